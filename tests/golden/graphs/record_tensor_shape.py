"""Records what TensorFlow 1.15 makes of the expressions in tensor_shape_calls.txt.

python record_tensor_shape.py > tensor_shape.json
"""

import json
import pathlib

import tensorflow as tf

found = []
for call in pathlib.Path(__file__).with_name("tensor_shape_calls.txt").read_text().splitlines():
    try:
        value = eval(call, {"tf": tf})
    except Exception as e:
        found.append({"call": call, "error": type(e).__name__, "text": str(e)})
    else:
        found.append(
            {"call": call, "value": value if value is None or isinstance(value, bool) else repr(value)}
        )
print(json.dumps(found, indent=1))
