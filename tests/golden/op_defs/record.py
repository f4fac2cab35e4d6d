"""Writes the OpDefs of all ops that TensorFlow 1.15.5 registers; run with that version."""

import gzip
import os

from google.protobuf import text_format
from tensorflow.core.framework import op_def_pb2
from tensorflow.python import pywrap_tensorflow


def main():
    ops = op_def_pb2.OpList()
    ops.ParseFromString(pywrap_tensorflow.TF_GetBuffer(pywrap_tensorflow.TF_GetAllOpList()))
    for op in ops.op:
        op.ClearField("summary")
        op.ClearField("description")
        for part in list(op.input_arg) + list(op.output_arg) + list(op.attr):
            part.ClearField("description")
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tensorflow_1.15.5.pbtxt.gz")
    with gzip.GzipFile(path, "wb", mtime=0) as f:
        f.write(text_format.MessageToString(ops).encode())


if __name__ == "__main__":
    main()
