"""What is done with checkpoints as files: one module a verb, each a function of `kvarn.checkpoint`.

    verify, repair                      whole or broken; what is whole of a broken one
    diff                                two of them, tensor by tensor and key by key
    rewrite, average, merge, convert    one made of another, or of several
    reshard                             other parts, other data files

They read through `kvarn.formats.reader.TensorReader`, never write over what they read, keep a few MB in
memory however large the checkpoint is, and leave nothing behind when they fail.
"""
