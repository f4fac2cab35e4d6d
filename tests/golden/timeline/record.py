"""Records what TensorFlow 1.15.5 makes of step stats: ``python record.py tensorflow_1.15.5.json``."""

import json
import sys

import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework import step_stats_pb2
from tensorflow.python.client import timeline

TASK = "/job:localhost/replica:0/task:0/device"
RECEIVED = "[8B] edge_16_b/read from /job:ps/replica:0/task:3/cpu:0 to /job:worker/replica:0/task:0/cpu:0"

# Devices, and what ran there: name, start, duration, label, (bytes, allocator) of each output.
DEVICES = {
    TASK + ":CPU:0": [
        ("_SOURCE", 1000, 2, "_SOURCE = NoOp()"),
        ("a", 1003, 10, "a = Const()", (16, "cpu")),
        ("b", 1004, 4, "b = Split(axis, a)", (8, "cpu"), (8, "cpu"), (0, "cpu")),
        ("c", 1020, 5, "c = Add(b:1, a, ^d)", (400, "cpu")),
        ("odd", 1021, 0, "no label of the form"),
        ("e", 1030, 6, "[cpu 0.4MB 0.4MB] e = MatMul(c, c)", (4000, "gpu_bfc")),
    ],
    TASK + ":CPU:1": [
        ("f", 1027, 9, "f = Identity(c/_12)", (400, "cpu")),
        ("g", 1040, 3, "g = AddN(f, b:1, b, gone, gone/_3)", (400, "cpu")),
        # Once more, as in a loop.
        ("f", 1050, 9, "f = Identity(c)", (40, "cpu")),
    ],
    "/job:worker/replica:0/task:0/cpu:0": [("RecvTensor", 12345, 42, RECEIVED)],
    "/device:GPU:0/stream:all": [("e:MatMul", 1031, 3, "e:MatMul"), ("bare", 1036, 3, "x = Y(a)")],
}


def step_stats():
    stats = step_stats_pb2.StepStats()
    for device, nodes in DEVICES.items():
        device_stats = stats.dev_stats.add(device=device)
        for name, start, duration, label, *outputs in nodes:
            node = device_stats.node_stats.add(
                node_name=name, all_start_micros=start, all_end_rel_micros=duration, timeline_label=label
            )
            for i, (size, allocator) in enumerate(outputs):
                description = node.output.add(slot=i).tensor_description
                description.dtype = tf.float32.as_datatype_enum
                description.shape.dim.add(size=size // 4)
                description.allocation_description.requested_bytes = size
                description.allocation_description.allocator_name = allocator
    return stats


def main(path):
    analysis = timeline.Timeline(step_stats()).analyze_step_stats()
    text = timeline.Timeline(step_stats()).generate_chrome_trace_format()
    no_dataflow = timeline.Timeline(step_stats()).generate_chrome_trace_format(show_dataflow=False)
    recorded = {
        "step_stats": text_format.MessageToString(step_stats()),
        "default": json.loads(text),
        "no_dataflow": json.loads(no_dataflow),
        "memory": json.loads(analysis.chrome_trace.format_to_string()),
        "maximums": {
            name: [found.timestamp, found.num_bytes, sorted(found.tensors)]
            for name, found in analysis.allocator_maximums.items()
        },
        "text": text[:300],
    }
    with open(path, "w") as file:
        json.dump(recorded, file, separators=(",", ":"), sort_keys=True)
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
