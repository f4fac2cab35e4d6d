"""Summary operations, their messages and errors, and graphs that the functions of `tf.summary` build.

Run with TensorFlow 1.15.5 by record.py and with kvarn by tests/unit/summary.
"""

import numpy as np


def _pixels(shape, seed):
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


def _floats(shape, seed):
    return np.random.RandomState(seed).randn(*shape) * 3


def _ramp(h, w, c):
    ramp = np.add.outer(np.arange(h) * 2, np.arange(w) * 3)[None, :, :, None] + np.arange(c) * 5
    return (ramp % 256).astype(np.uint8)


def _not_finite():
    image = np.zeros((1, 4, 4, 3), np.float32)
    image[0, 1, 1, 1] = np.nan
    image[0, 2, 2] = np.inf
    image[0, 0, 0, 0] = 2
    return image


def operations(tf, ops):
    """The tensors of all operations, by name; ``ops`` has the generated functions."""
    rng = np.random.RandomState(0)
    out = {
        "scalar": ops.scalar_summary("a", np.float64(1 / 3)),
        "scalar_many": ops.scalar_summary(["a", "b"], np.array([1, 2], np.int64)),
        "scalar_too_large": ops.scalar_summary("a", tf.constant(1e300, tf.float64)),
        "scalar_half": ops.scalar_summary("a", np.float16(1.1)),
        "scalar_int": ops.scalar_summary("a", tf.constant(2**62 + 2**38 + 1, tf.int64)),
        "scalar_shape": ops.scalar_summary(["a"], 1.0),
        "scalar_shape_2": ops.scalar_summary("a", [1.0]),
        "scalar_shape_3": ops.scalar_summary(["a", "b"], [1.0]),
        "histogram": ops.histogram_summary("h", np.array([1, 2, 2, 5], np.float32)),
        "histogram_normal": ops.histogram_summary("h", tf.constant(rng.randn(1000), tf.float64)),
        "histogram_float": ops.histogram_summary("h", rng.randn(1000)),
        "histogram_ints": ops.histogram_summary("h", rng.randint(-5, 5, (10, 7))),
        "histogram_empty": ops.histogram_summary("h", np.zeros([0], np.float32)),
        "histogram_limits": ops.histogram_summary(
            "h", tf.constant([0.0, -0.0, 1e-12, 1e-13, -1e-12, -1e-13, 1e30, -1e30, 1e308], tf.float64)
        ),
        "histogram_infinity": ops.histogram_summary("h", np.array([1, np.inf, np.nan]), name="hn"),
        "histogram_nan": ops.histogram_summary("h", np.array([1, np.nan, np.inf]), name="hi"),
        "histogram_tags": ops.histogram_summary(["a"], [1.0]),
        "image_limit": ops.image_summary("i", _pixels((4, 2, 3, 1), 7), max_images=2),
        "image_many": ops.image_summary("i", _pixels((2, 2, 3, 1), 8), max_images=5),
        "image_not_finite": ops.image_summary("i", _not_finite()),
        "image_nan": ops.image_summary("i", _not_finite() * np.float32(np.nan)),
        "image_zero": ops.image_summary("i", np.zeros((1, 4, 4, 3), np.float32)),
        "image_channels": ops.image_summary("i", np.zeros((1, 4, 4, 2), np.float32)),
        "image_empty": ops.image_summary("i", np.zeros((1, 0, 4, 3), np.float32)),
        "image_none": ops.image_summary("i", np.zeros((0, 4, 4, 3), np.float32)),
        "image_color": ops.image_summary(
            "i", _not_finite(), bad_color=tf.make_tensor_proto([1, 2, 3], tf.uint8)
        ),
        "image_few_colors": ops.image_summary(
            "i", _not_finite(), bad_color=tf.make_tensor_proto([1, 2], tf.uint8)
        ),
        "audio": ops.audio_summary_v2(
            "a", (rng.randn(4, 10, 2) * 0.7).astype(np.float32), 8000.5, max_outputs=2
        ),
        "audio_clipped": ops.audio_summary_v2(
            "a", np.linspace(-1.2, 1.2, 97, dtype=np.float32)[None], 0.3, max_outputs=1
        ),
        "audio_halves": ops.audio_summary_v2(
            "a", (np.arange(-6, 7) / 2 / 32768).astype(np.float32)[None], 1.5, max_outputs=1
        ),
        "audio_rate": ops.audio_summary_v2("a", np.ones((1, 1), np.float32), 0.0, max_outputs=1),
        "audio_rank": ops.audio_summary_v2("a", np.ones((1), np.float32), 1.0, max_outputs=1),
        "audio_no_frames": ops.audio_summary_v2("a", np.ones((1, 0), np.float32), 1.0, max_outputs=1),
        "audio_no_channels": ops.audio_summary_v2("a", np.ones((1, 1, 0), np.float32), 1.0, max_outputs=1),
        "tensor": ops.tensor_summary_v2("t", np.arange(6).reshape(2, 3), b"\x12\x01x"),
        "tensor_strings": ops.tensor_summary_v2("t", [b"a", b"bc"], b""),
        "tensor_number": ops.tensor_summary_v2("t", np.float32(3), b""),
        "tensor_bools": ops.tensor_summary_v2("t", [True, False], b""),
        "tensor_halves": ops.tensor_summary_v2("t", np.array([1, 2.5], np.float16), b""),
        "tensor_complex": ops.tensor_summary_v2("t", np.array([1 + 2j], np.complex64), b""),
        "tensor_empty": ops.tensor_summary_v2("t", np.zeros((0, 2), np.float32), b""),
        "tensor_old": ops.tensor_summary(np.arange(3), name="node"),
    }
    for channels in (1, 3, 4):
        for height, width in ((1, 1), (1, 7), (9, 1), (5, 6), (40, 70)):
            kind = f"{channels}_{height}x{width}"
            shape = (1, height, width, channels)
            out["image_" + kind] = ops.image_summary("i", _pixels(shape, 1), max_images=1)
            out["image_ramp_" + kind] = ops.image_summary("i", _ramp(height, width, channels), max_images=1)
            for dtype in (tf.float16, tf.float32, tf.float64):
                for name, values in (("", _floats(shape, 2)), ("positive_", abs(_floats(shape, 3)))):
                    out[f"image_{dtype.name}_{name}{kind}"] = ops.image_summary(
                        "i", tf.constant(values, dtype)
                    )
    out["merge"] = ops.merge_summary([out["scalar"], out["histogram"], out["tensor_old"], out["tensor_old"]])
    out["merge_twice"] = ops.merge_summary([out["scalar"], out["scalar"]])
    out["merge_no_summary"] = ops.merge_summary([b"\xff\xff"])
    out["merge_vector"] = ops.merge_summary([[b"", b""]])
    return out


def graph(tf):
    """A graph of all functions; collections by name."""
    x = tf.placeholder(tf.float32, [], name="x")
    tf.summary.scalar("loss", x)
    tf.summary.scalar("loss", 1.0)
    tf.summary.scalar("/bad name%", x, collections=["mine", "yours"])
    tf.summary.scalar("f", x, family="fam ily")
    with tf.name_scope("outer"):
        tf.summary.scalar("f", x, family="family")
        tf.summary.histogram("h", [1, 2])
        tf.summary.histogram(None, [1.0, 2.0])
        tf.summary.image("i", tf.zeros([1, 2, 2, 1]), max_outputs=1)
        tf.summary.audio("a", [[0.0, 1.0]], 44100, max_outputs=2)
        tf.summary.text("t", tf.constant(["x"]))
        tf.summary.tensor_summary(
            "tensor", [1, 2], "description", display_name="shown", family="family", collections=[]
        )
        tf.summary.merge([tf.summary.scalar("m", x, collections=[])], collections=["mine"])
        tf.summary.merge([tf.summary.scalar("m", x, collections=[])], name="merged it")
    tf.summary.merge_all()
    tf.summary.merge_all(scope="outer/f", name="some")
    tf.summary.merge_all("mine")
    collections = (tf.GraphKeys.SUMMARIES, "mine", "yours")
    return {key: [t.name for t in tf.get_collection(key)] for key in collections}


def session_writer(tf, ops_v2):
    """A graph that writes into folder ``logs`` when it runs; the names of its summaries, and of what writes a graph.

    Two runs give the events, in any order.
    """
    x = tf.placeholder(tf.float32, [], name="x")
    step = tf.train.get_or_create_global_step()
    writer = ops_v2.create_file_writer("logs", max_queue=5, flush_millis=60000)
    with writer.as_default(), ops_v2.always_record_summaries():
        ops_v2.scalar("loss", x)
        with tf.name_scope("outer"):
            ops_v2.scalar("loss", x, family="fam", step=3)
            ops_v2.histogram("h", tf.constant([1.0, 2.0]))
            ops_v2.image("i", tf.zeros([1, 2, 2, 3]))
            ops_v2.audio("a", tf.zeros([1, 5]), 8000.0, 2)
            ops_v2.generic("g", tf.constant([1, 2]), metadata=tf.SummaryMetadata(display_name="shown"))
            ops_v2.generic("g", tf.constant(["text"]))
        ops_v2.graph(tf.placeholder(tf.string), step=0)
    with writer.as_default():
        ops_v2.scalar("unless told", x)
        with ops_v2.never_record_summaries():
            ops_v2.scalar("never", x)
        with ops_v2.record_summaries_every_n_global_steps(2):
            ops_v2.scalar("every", x)
        with ops_v2.record_if(tf.placeholder_with_default(True, [])):
            ops_v2.scalar("maybe", x)
    ops_v2.scalar("without a writer", x)
    events = tf.summary.all_v2_summary_ops()
    with tf.Session() as session:
        file_writer = tf.summary.FileWriter("logs", session=session)
        session.run(tf.global_variables_initializer())
        with writer.as_default():
            tf.summary.initialize(graph=tf.Graph())
        session.run(events, {x: 1.5})
        session.run(tf.assign_add(step, 1))
        session.run(events, {x: 2.5})
        value = tf.Summary.Value(tag="by hand", simple_value=3)
        file_writer.add_summary(tf.Summary(value=[value]), 7)
        file_writer.close()
    return [t.name for t in events]


def events_in(tf, path):
    """The events of a file but for their times, in the order of their bytes."""
    found = []
    for event in tf.train.summary_iterator(path):
        event.ClearField("wall_time")
        found.append(event.SerializeToString())
    return sorted(found)


def write_events(tf):
    """Writes one of every kind of event into folder ``logs``."""
    with tf.Graph().as_default() as graph:
        loss = tf.summary.scalar("loss", tf.constant(0.5))
        text = tf.summary.text("text", tf.constant(["a", "b"]))
    writer = tf.summary.FileWriter("logs", graph, filename_suffix=".end")
    with tf.Session(graph=graph) as session:
        for step in range(3):
            writer.add_summary(session.run(loss), step)
            writer.add_summary(session.run(text), step)
    writer.add_summary(tf.Summary(value=[tf.Summary.Value(tag="by hand", simple_value=2)]))
    writer.add_session_log(tf.SessionLog(status=tf.SessionLog.CHECKPOINT, checkpoint_path="model"), 10)
    metadata = tf.RunMetadata()
    metadata.step_stats.dev_stats.add(device="cpu")
    writer.add_run_metadata(metadata, "run", 11)
    writer.add_graph(tf.Graph(), 12)
    message = tf.LogMessage(level=tf.LogMessage.WARN, message="said")
    writer.add_event(tf.Event(wall_time=1.5, step=13, log_message=message))
    writer.close()


def tagged(tf, logging_ops):
    """The functions that take tags; their collections by name."""
    x = tf.placeholder(tf.float32, [], name="x")
    logging_ops.scalar_summary("a tag", x)
    logging_ops.scalar_summary(["a", "b"], [x, x], name="two")
    logging_ops.histogram_summary("h", [x, x])
    logging_ops.image_summary("i", tf.zeros([1, 2, 2, 1]), max_images=1, collections=["mine"])
    logging_ops.audio_summary("s", tf.zeros([1, 5]), 8000)
    with tf.name_scope("outer"):
        logging_ops.merge_summary(["", ""], collections=["mine"], name="some")
    assert logging_ops.get_summary_op() is logging_ops.get_summary_op()
    assert logging_ops.merge_all_summaries("none") is None
    collections = (tf.GraphKeys.SUMMARIES, tf.GraphKeys.SUMMARY_OP, "mine")
    return {key: [t.name for t in tf.get_collection(key)] for key in collections}
