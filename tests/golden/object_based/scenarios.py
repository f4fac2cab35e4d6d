"""What restores do when objects are missing, late or different.  Each gives back what can be written as JSON."""

import os


def _values(sess, *fetches):
    return [sess.run(f).tolist() for f in fetches]


def _message(call):
    """The class and first line of what a call raises, with addresses left out; None if it raises nothing."""
    try:
        call()
    except Exception as error:
        return [type(error).__name__, str(error).split("\n")[0].split("<")[0].split(" object at")[0]]
    return None


def _saved(tf, folder, **variables):
    """The prefix of a checkpoint of variables with these values."""
    with tf.Graph().as_default(), tf.Session() as sess:
        checkpoint = tf.train.Checkpoint(**{name: tf.Variable(v) for name, v in variables.items()})
        sess.run(tf.global_variables_initializer())
        return checkpoint.save(os.path.join(folder, "ck"))


def late_objects(tf, folder):
    """Objects that come after the restore, at once and through a list, are restored."""
    prefix = _saved(tf, folder, a=1.0, b=[2.0, 3.0])
    checkpoint = tf.train.Checkpoint()
    status = checkpoint.restore(prefix)
    found = [_message(status.assert_consumed), _message(status.assert_nontrivial_match)]
    found.append(_message(status.assert_existing_objects_matched))
    checkpoint.a = tf.Variable(0.0)
    found.append(_message(status.assert_nontrivial_match))
    checkpoint.b = tf.Variable([0.0, 0.0], use_resource=True)
    found.append(_message(status.assert_consumed))
    with tf.Session() as sess:
        status.run_restore_ops()
        return [*found, _values(sess, checkpoint.a, checkpoint.b, checkpoint.save_counter)]


def later_restores_win(tf, folder):
    first = _saved(tf, os.path.join(folder, "1"), a=1.0)
    second = _saved(tf, os.path.join(folder, "2"), a=2.0)
    checkpoint = tf.train.Checkpoint()
    statuses = [checkpoint.restore(first), checkpoint.restore(second)]
    checkpoint.a = tf.Variable(0.0)
    with tf.Session() as sess:
        statuses[1].run_restore_ops()
        found = _values(sess, checkpoint.a)
        statuses[0].initialize_or_restore()
        found += _values(sess, checkpoint.a)
        checkpoint.restore(first).run_restore_ops()
        return found + _values(sess, checkpoint.a)


def more_and_less(tf, folder):
    """An object that the checkpoint lacks is initialized; a value without an object is reported."""
    prefix = _saved(tf, folder, a=1.0, b=2.0)
    checkpoint = tf.train.Checkpoint(a=tf.Variable(10.0), c=tf.Variable(30.0))
    status = checkpoint.restore(prefix).expect_partial()
    found = [_message(status.assert_consumed), _message(status.assert_existing_objects_matched)]
    with tf.Session() as sess:
        status.initialize_or_restore()
        return [*found, _message(status.assert_nontrivial_match), _values(sess, checkpoint.a, checkpoint.c)]


def no_checkpoint(tf, folder):
    checkpoint = tf.train.Checkpoint(a=tf.Variable(10.0))
    status = checkpoint.restore(None)
    calls = (
        status.assert_consumed,
        status.assert_existing_objects_matched,
        status.assert_nontrivial_match,
        status.run_restore_ops,
    )
    found = [_message(call) for call in calls]
    with tf.Session() as sess:
        status.initialize_or_restore()
        missing = _message(lambda: checkpoint.restore(os.path.join(folder, "nothing")))[:1]
        return [*found, _values(sess, checkpoint.a, checkpoint.save_counter), missing]


def slots_come_late(tf, folder):
    """Slots are restored when they are made: the variable, the optimizer or both may come later."""

    def model():
        v = tf.Variable([1.0, 2.0])
        optimizer = tf.train.MomentumOptimizer(0.5, 0.5)
        return v, optimizer, lambda: optimizer.minimize(tf.reduce_sum(v * v), var_list=[v])

    with tf.Graph().as_default(), tf.Session() as sess:
        v, optimizer, minimize = model()
        train = minimize()
        sess.run(tf.global_variables_initializer())
        sess.run(train)
        prefix = tf.train.Checkpoint(v=v, optimizer=optimizer).save(os.path.join(folder, "ck"))
    found = []
    for order in ("vo", "ov", "now"):
        with tf.Graph().as_default(), tf.Session() as sess:
            v, optimizer, minimize = model()
            checkpoint = tf.train.Checkpoint(**({"v": v, "optimizer": optimizer} if order == "now" else {}))
            status = checkpoint.restore(prefix)
            for which in order:
                if which == "v":
                    checkpoint.v = v
                elif order != "now":
                    checkpoint.optimizer = optimizer
            found.append(_message(status.assert_consumed))
            train = minimize()
            found.append(_message(status.assert_consumed))
            status.run_restore_ops()
            found += _values(sess, v, optimizer.get_slot(v, "momentum"))
            sess.run(train)
            found += _values(sess, v)
    return found


def by_names(tf, folder):
    """Checkpoints of Savers are restored by the names of variables, and Savers restore those of objects."""
    prefix = os.path.join(folder, "saver")
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.Variable(1.0, name="x")
        tf.Variable([2.0], name="y", use_resource=True)
        sess.run(tf.global_variables_initializer())
        tf.train.Saver().save(sess, prefix)
    found = []
    with tf.Graph().as_default(), tf.Session() as sess:
        checkpoint = tf.train.Checkpoint(one=tf.Variable(0.0, name="x"), two=tf.Variable([0.0], name="y"))
        status = checkpoint.restore(prefix)
        found.append(type(status).__name__)
        found.append(_message(status.assert_consumed)[:1])
    with tf.Graph().as_default(), tf.Session() as sess:
        root = tf.contrib.checkpoint.Checkpointable()
        root.one = tf.Variable(0.0, name="x")
        status = _without_counter(tf, root).restore(prefix)
        status.run_restore_ops()
        status.assert_consumed()
        found.append(_values(sess, root.one))
    prefix = None
    with tf.Graph().as_default(), tf.Session() as sess:
        checkpoint = tf.train.Checkpoint(net=tf.Variable(5.0, name="x"))
        sess.run(tf.global_variables_initializer())
        prefix = checkpoint.save(os.path.join(folder, "objects"))
    with tf.Graph().as_default(), tf.Session() as sess:
        x = tf.Variable(0.0, name="x")
        tf.train.Saver([x]).restore(sess, prefix)
        found.append(_values(sess, x))
    return found


def _without_counter(tf, root):
    from tensorflow.python.training.tracking import util

    return util.saver_with_op_caching(root)


def changed_objects(tf, folder):
    """A save after the objects have changed has them all; one after the graph has the old operations."""
    checkpoint = tf.train.Checkpoint(a=tf.Variable(1.0))
    found = []
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for name in (None, "b", None):
            if name is not None:
                setattr(checkpoint, name, tf.Variable(2.0))
                sess.run(getattr(checkpoint, name).initializer)
            before = len(tf.get_default_graph().get_operations())
            prefix = checkpoint.save(os.path.join(folder, "ck"))
            made = len(tf.get_default_graph().get_operations()) - before
            names = tf.train.NewCheckpointReader(prefix).get_variable_to_shape_map()
            found.append([os.path.basename(prefix), made, sorted(names)])
        checkpoint.write(os.path.join(folder, "sub", "exact"))
        found.append(sorted(os.listdir(os.path.join(folder, "sub"))))
        del checkpoint.a
        found.append(sorted(tf.train.list_variables(checkpoint.write(os.path.join(folder, "less")))))
    return found


def structures(tf, folder):
    """What lists and dictionaries may do, and when they can not be saved any more."""
    root = tf.contrib.checkpoint.Checkpointable()
    numbers = [1, 2]
    root.list = numbers
    root.dict = {"a": [3], 4: 5}
    found = [repr(root.list), repr(root.dict), root.list == [1, 2], isinstance(root.list, list)]
    found += [
        isinstance(root.dict, dict),
        root.list.__add__([3]) == [1, 2, 3],
        list(root.list),
        dict(root.dict) == root.dict,
    ]
    root.list.append(tf.Variable(1.0, name="v"))
    root.dict["v"] = tf.Variable(2.0, name="w")
    found.append(len(numbers))
    found.append([type(o).__name__ for o in tf.contrib.checkpoint.list_objects(root)])
    tries = []

    def attempt(change):
        holder = tf.contrib.checkpoint.Checkpointable()
        holder.x = change[0]()
        change[1](holder.x)
        tries.append(_message(lambda: tf.contrib.checkpoint.list_objects(holder)))

    for make, change in (
        (lambda: [tf.Variable(1.0)], lambda x: x.__setitem__(0, tf.Variable(2.0))),
        (lambda: [1], lambda x: x.__setitem__(0, 2)),
        (lambda: [tf.Variable(1.0)], lambda x: x.pop()),
        (lambda: [tf.Variable(1.0)], lambda x: x.extend([1, 2])),
        (lambda: [tf.Variable(1.0)], lambda x: x.insert(0, 1)),
        (lambda: [3, 1], lambda x: x.sort()),
        (lambda: {"a": tf.Variable(1.0)}, lambda x: x.update(b=tf.Variable(2.0))),
        (lambda: {1: tf.Variable(1.0)}, lambda x: None),
        (lambda: {1: 2}, lambda x: x.pop(1)),
        (lambda: {"a": tf.Variable(1.0)}, lambda x: x.__delitem__("a")),
        (lambda: {"a": 1}, lambda x: x.__setitem__(tf, {})),
    ):
        attempt((make, change))
    given = [tf.Variable(1.0)]
    root.given = given
    given.append(1)
    tries.append(_message(lambda: tf.contrib.checkpoint.list_objects(root)))
    listed = tf.contrib.checkpoint.List(
        [tf.Variable(1.0, name="q", trainable=False), tf.Variable(1.0, name="r")]
    )
    mapping = tf.contrib.checkpoint.Mapping(inner=listed)
    calls = (
        lambda: listed.append(3),
        lambda: mapping.__setitem__("inner", listed),
        lambda: mapping.__setitem__("inner", tf.contrib.checkpoint.List()),
        lambda: mapping.__setitem__(1, listed),
        lambda: listed.__imul__(0),
        lambda: tf.train.Checkpoint(x=[1]),
        lambda: tf.train.Checkpoint(x=3),
        lambda: listed._track_trackable(tf.contrib.checkpoint.List(), "0"),
        lambda: listed._track_trackable(3, "5"),
    )
    tries.extend(_message(call) for call in calls)
    names = [[v.name for v in group] for group in (mapping.variables, mapping.trainable_variables)]
    return [found, tries, names, [v.name for v in mapping.non_trainable_variables]]


def unique_names(tf, folder):
    """Dependencies whose names are hints."""
    tracker = tf.contrib.checkpoint.UniqueNameTracker()
    tracked = [tracker.track(tf.Variable(1.0, name="v"), name) for name in ("x", "y", "x", "x_1", "x")]
    found = [_message(lambda: tracker.track(3, "z")), [v.name for v in tracker.variables]]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        prefix = tf.train.Checkpoint(tracker=tracker).write(os.path.join(folder, "ck"))
    return [*found, len(tracked), sorted(name for name, _ in tf.train.list_variables(prefix))]


def python_state(tf, folder):
    """State of Python objects is written at each save and set by `restore` itself."""

    class Counter(tf.train.experimental.PythonState):
        def __init__(self):
            self.count = 0

        def serialize(self):
            return str(self.count)

        def deserialize(self, string_value):
            self.count = int(string_value)

    counter = Counter()
    checkpoint = tf.train.Checkpoint(counter=counter, v=tf.Variable(1.0))
    found = []
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        prefixes = []
        for _ in range(2):
            counter.count += 3
            prefixes.append(checkpoint.save(os.path.join(folder, "ck")))
        for prefix in prefixes:
            checkpoint.restore(prefix).assert_consumed()
            found.append(counter.count)
    return [*found, str(tf.contrib.checkpoint.object_metadata(prefixes[0]))]


def manager(tf, folder):
    """Which checkpoints a manager keeps, and what the state file says but for the times."""
    checkpoint = tf.train.Checkpoint(v=tf.Variable(1.0))
    found = [_message(lambda: tf.train.CheckpointManager(checkpoint, folder, max_to_keep=0))]
    kept = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=2)
    found.append([kept.latest_checkpoint, kept.checkpoints])
    with tf.Session() as sess:
        sess.run(checkpoint.v.initializer)
        for number in (None, None, 7, None):
            path = kept.save(checkpoint_number=number)
            listed = [os.path.basename(p) for p in kept.checkpoints]
            found.append([os.path.basename(path), listed, os.path.basename(kept.latest_checkpoint)])
        found.append(sorted(os.listdir(folder)))
        with open(os.path.join(folder, "checkpoint")) as state:
            found.append([line for line in state.read().split("\n") if "timestamp" not in line])
        again = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=1, checkpoint_name="other")
        found.append([os.path.basename(p) for p in again.checkpoints])
        again.save()
        found.append(sorted(os.listdir(folder)))
        checkpoint.restore(again.latest_checkpoint).assert_consumed().run_restore_ops()
        found.append(_values(sess, checkpoint.save_counter))
    return found


def reuse_of_objects(tf, folder):
    """One object under two names is saved once; a restore into two is logged and takes the first."""
    shared = tf.Variable(1.0, name="shared")
    checkpoint = tf.train.Checkpoint(a=shared, b=shared)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        prefix = checkpoint.save(os.path.join(folder, "ck"))
    apart = tf.train.Checkpoint(a=tf.Variable(0.0), b=tf.Variable(5.0))
    status = apart.restore(prefix)
    found = [_message(status.assert_consumed), sorted(n for n, _ in tf.train.list_variables(prefix))]
    with tf.Session() as sess:
        status.initialize_or_restore()
        return [*found, _values(sess, apart.a, apart.b)]


def variables_of_getters(tf, folder):
    """`_add_variable_with_custom_getter` makes dependencies, of the names it is given."""
    root = tf.train.Checkpoint()

    def getter(name, shape, dtype, initializer, **kwargs):
        return tf.get_variable("scoped/" + name, shape, dtype, initializer, **kwargs)

    made = root._add_variable_with_custom_getter("v", [2], initializer=tf.ones_initializer(), getter=getter)
    found = [made.name]
    again = {"shape": [2], "initializer": tf.ones_initializer()}
    found.append(_message(lambda: root._add_variable_with_custom_getter("v", getter=_other(tf), **again)))
    root._add_variable_with_custom_getter("v", getter=_other(tf), overwrite=True, **again)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        prefix = root.write(os.path.join(folder, "ck"))
    return [
        *found,
        [[n.name for n in o.attributes] for o in tf.contrib.checkpoint.object_metadata(prefix).nodes],
    ]


def _other(tf):
    return lambda name, shape, dtype, initializer: tf.Variable(initializer(shape, dtype), name="other")


def modules(tf, folder):
    """Modules name what is made in them and find what they hold; checkpoints know them by attributes."""

    class MyLayer(tf.Module):
        def __init__(self, name=None):
            super().__init__(name)
            self.z = tf.Variable(1.0, name="z")
            self.a = [tf.Variable(2.0, name="a0", trainable=False), {"k": self.z}]

        @tf.Module.with_name_scope
        def __call__(self, x):
            return tf.identity(x)

    class Whole(tf.Module):
        def __init__(self):
            super().__init__()
            with self.name_scope:
                self.inside = MyLayer()
            self.others = {"second": MyLayer("other"), "first": self.inside}

    whole = Whole()
    found = [m.name for m in (whole, *whole.submodules)]
    found.append([v.name for v in whole.variables])
    found.append([v.name for v in whole.trainable_variables])
    found += [
        whole.inside(1.0).name,
        whole.inside(1.0).name,
        _message(lambda: tf.Module("not an identifier")),
    ]
    is_variable = lambda leaf: isinstance(leaf, tf.Variable)  # noqa: E731 - as programs write it
    found.append(
        [[list(map(str, p)), v.name] for p, v in whole._flatten(predicate=is_variable, with_path=True)]
    )
    found.append([v.name for v in whole._flatten(recursive=False, predicate=is_variable)])
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        prefix = tf.train.Checkpoint(whole=whole).write(os.path.join(folder, "ck"))
    return [*found, str(tf.contrib.checkpoint.object_metadata(prefix))]


CASES = [
    modules,
    late_objects,
    later_restores_win,
    more_and_less,
    no_checkpoint,
    slots_come_late,
    by_names,
    changed_objects,
    structures,
    unique_names,
    python_state,
    manager,
    reuse_of_objects,
    variables_of_getters,
]
