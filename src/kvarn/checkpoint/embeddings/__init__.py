"""Embedding variables in checkpoints: rows by key, whatever parts and tensors they lie in.

table           EmbeddingTable: one variable and its slots as one thing
bucket_rows     the rows of buckets by ranged reads
diff, union, moves, repair, arrow, check      what the verbs do with them
"""
