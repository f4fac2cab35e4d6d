"""Embedding variables in checkpoints: rows by key, whatever parts and tensors they lie in.

stored_table    which tensors are the parts and slots of which variable
columns         keys, numbers and rows of one part, with their lengths checked
table, rows     EmbeddingTable: one variable and its slots as one thing, to be read; what it gives out
bucket_rows     rows in the order of other parts, by ranged reads: for those who write them anew
diff, union, moves, repair, arrow, check      what the verbs do with them
"""
