"""Records what TensorFlow 1.15 makes of the calls in make_tensor_proto_calls.txt.

python record_make_tensor_proto.py > make_tensor_proto.json
"""

import base64
import json
import pathlib

import numpy as np
import tensorflow as tf

found = []
for call in pathlib.Path(__file__).with_name("make_tensor_proto_calls.txt").read_text().splitlines():
    try:
        proto = eval(call, {"tf": tf, "np": np})
    except Exception as e:
        found.append({"call": call, "error": type(e).__name__, "text": str(e)})
    else:
        found.append({"call": call, "proto": base64.b64encode(proto.SerializeToString()).decode()})
print(json.dumps(found, indent=1))
