"""Records what TensorFlow makes of programs.py in programs.json; run with TensorFlow 1.15.5."""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
MOST = 40


def plain(value):
    """A value of a session as JSON, with its type."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in sorted(value.items())}
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if value.dtype == object:
        return [v.decode("latin-1") for v in value.reshape(-1)] + list(value.shape)
    return [str(value.dtype), list(value.shape), value.reshape(-1).tolist()]


def run(tf, build):
    """The elements of a program's dataset, its specs, and the nodes of its graph."""
    out = {"elements": []}
    with tf.Graph().as_default() as graph:
        dataset, kind = build(tf)
        out["repr"] = repr(dataset)
        if kind == "one_shot":
            iterator, start = dataset.make_one_shot_iterator(), None
        elif kind == "initializable":
            iterator = dataset.make_initializable_iterator()
            start = iterator.initializer
        else:
            iterator = tf.data.Iterator.from_structure(
                dataset.output_types, dataset.output_shapes, output_classes=dataset.output_classes
            )
            start = iterator.make_initializer(dataset)
        element = iterator.get_next()
        out["nodes"] = [[op.name, op.type, [x.name for x in op.inputs]] for op in graph.get_operations()]
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for _ in range(1 if start is None else 2):
                try:
                    if start is not None:
                        session.run(start)
                except tf.errors.OpError as e:
                    out["elements"].append(failure(e))
                    continue
                problems = 0
                for _ in range(MOST):
                    try:
                        out["elements"].append(plain(session.run(element)))
                    except tf.errors.OutOfRangeError as e:
                        out["elements"].append(failure(e))
                        break
                    except tf.errors.OpError as e:
                        out["elements"].append(failure(e))
                        problems += 1
                        if problems == 4:
                            break
    return out


def failure(error):
    return [type(error).__name__, error.message.split("\n")[0]]


def main():
    import tensorflow as tf
    from programs import PROGRAMS

    tf.logging.set_verbosity(tf.logging.FATAL)
    with open(os.path.join(HERE, "programs.json"), "w") as f:
        recorded = {name: run(tf, build) for name, build in PROGRAMS.items()}
        f.write(
            "{\n" + ",\n".join(json.dumps(k) + ": " + json.dumps(v) for k, v in recorded.items()) + "\n}\n"
        )


if __name__ == "__main__":
    sys.path.insert(0, HERE)
    main()
