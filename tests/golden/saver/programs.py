"""Programs whose save graphs are recorded: each builds variables and returns what makes the Saver.

`tf` is TensorFlow when they are recorded and kvarn's names when they are tested.
"""

ALL = {}


def program(function):
    ALL[function.__name__] = function
    return function


@program
def refs_list(tf):
    tf.Variable([1.0, 2.0], name="a")
    tf.Variable(3, name="scope/b")
    tf.get_variable("c", [2, 3])
    return lambda: tf.train.Saver()


@program
def single(tf):
    a = tf.Variable([1.0, 2.0], name="a")
    return lambda: tf.train.Saver([a])


@program
def dict_names(tf):
    a = tf.Variable([1.0, 2.0], name="a")
    b = tf.Variable(3, name="b")
    return lambda: tf.train.Saver({"x": b, "y": a})


@program
def resource(tf):
    tf.get_variable("a", [2], use_resource=True)
    tf.get_variable("b", [3], dtype=tf.int64, use_resource=True, initializer=tf.zeros_initializer())
    tf.get_variable("c", [1])
    return lambda: tf.train.Saver()


@program
def resource_dict(tf):
    a = tf.get_variable("a", [2], use_resource=True)
    return lambda: tf.train.Saver({"k": a})


@program
def partitioned(tf):
    tf.get_variable("p", [10, 3], partitioner=tf.fixed_size_partitioner(3))
    tf.get_variable("w", [2])
    return lambda: tf.train.Saver()


@program
def partitioned_in_list(tf):
    p = tf.get_variable("p", [10, 3], partitioner=tf.fixed_size_partitioner(3))
    w = tf.get_variable("w", [2])
    return lambda: tf.train.Saver([w, p])


@program
def partitioned_in_dict(tf):
    p = tf.get_variable("p", [10, 3], partitioner=tf.fixed_size_partitioner(3))
    w = tf.get_variable("w", [2])
    return lambda: tf.train.Saver({"q": p, "v": w})


@program
def partitioned_resource(tf):
    tf.get_variable("p", [4, 3], partitioner=tf.fixed_size_partitioner(2), use_resource=True)
    return lambda: tf.train.Saver()


@program
def sharded_one(tf):
    tf.Variable([1.0, 2.0], name="a")
    tf.Variable(3, name="b")
    return lambda: tf.train.Saver(sharded=True)


@program
def sharded_devices(tf):
    with tf.device("/job:ps/task:1"):
        tf.Variable([1.0, 2.0], name="a")
    with tf.device("/job:ps/task:0"):
        tf.Variable(3, name="b")
    with tf.device("/job:ps/task:0"):
        tf.get_variable("c", [2], use_resource=True)
    tf.Variable(2.5, name="d")
    return lambda: tf.train.Saver(sharded=True)


@program
def unsharded_devices(tf):
    with tf.device("/job:ps/task:1"):
        tf.Variable([1.0, 2.0], name="a")
    with tf.device("/job:ps/task:0"):
        tf.get_variable("c", [2], use_resource=True)
    return lambda: tf.train.Saver()


@program
def reshape(tf):
    tf.Variable([1.0, 2.0], name="a")
    tf.get_variable("r", [2], use_resource=True)
    return lambda: tf.train.Saver(reshape=True)


@program
def named(tf):
    tf.Variable([1.0, 2.0], name="a")
    return lambda: tf.train.Saver(
        name="keep", filename="fn", max_to_keep=None, keep_checkpoint_every_n_hours=2.5
    )


@program
def twice(tf):
    tf.Variable([1.0, 2.0], name="a")

    def both():
        tf.train.Saver()
        return tf.train.Saver()

    return both


@program
def base_builder(tf):
    tf.Variable([1.0, 2.0], name="a")
    tf.Variable(3, name="b")
    return lambda: tf.train.Saver(builder=tf.BaseSaverBuilder())


@program
def v1_write(tf):
    tf.Variable([1.0, 2.0], name="a")
    tf.get_variable("p", [10, 3], partitioner=tf.fixed_size_partitioner(3))
    return lambda: tf.train.Saver(write_version=tf.train.SaverDef.V1)


@program
def v1_sharded(tf):
    tf.Variable([1.0, 2.0], name="a")
    return lambda: tf.train.Saver(write_version=tf.train.SaverDef.V1, sharded=True)


@program
def unknown_shape(tf):
    tf.Variable([1.0, 2.0], name="a", validate_shape=False)
    return lambda: tf.train.Saver(reshape=True)
