"""Datasets for TensorFlow 1.15 and kvarn alike.

Each program takes the module and gives a dataset, and how its iterator is made: "one_shot" or "initializable", which
optimize it, or "structure", which does not.
"""

import collections

import numpy as np

PROGRAMS = {}


def program(build):
    PROGRAMS[build.__name__] = build
    return build


def shuffles():
    """Orders of shuffled datasets."""

    def make(name, change, kind, seed=None, graph_seed=None):
        def build(tf):
            if graph_seed is not None:
                tf.set_random_seed(graph_seed)
            return change(tf.data.Dataset.range(10), seed), kind

        PROGRAMS["shuffle_" + name + "_" + kind] = build

    for kind in ("one_shot", "initializable", "structure"):
        make("whole", lambda d, s: d.shuffle(10, s), kind, 3)
        make("small_buffer", lambda d, s: d.shuffle(3, s), kind, 7)
        make("buffer_of_one", lambda d, s: d.shuffle(1, s).repeat(), kind, 7)
        make("repeated", lambda d, s: d.shuffle(10, s).repeat(3), kind, 3)
        make("repeated_small_buffer", lambda d, s: d.shuffle(4, s).repeat(3), kind, 5)
        make("for_ever", lambda d, s: d.shuffle(10, s).repeat(), kind, 11)
        make(
            "not_reshuffled", lambda d, s: d.shuffle(10, s, reshuffle_each_iteration=False).repeat(2), kind, 3
        )
        make("large_buffer", lambda d, s: d.repeat(2).shuffle(100, s), kind, 13)
        make("graph_seed", lambda d, s: d.shuffle(10), kind, None, 42)
        make("both_seeds", lambda d, s: d.shuffle(10, s), kind, 5, 42)
        make("twice", lambda d, s: d.shuffle(10, s).shuffle(5, 17).repeat(3), kind, 3)
        make("between", lambda d, s: d.shuffle(10, s).prefetch(2).repeat(2).batch(4), kind, 3)
        make("taken_all", lambda d, s: d.shuffle(10, s).take(-1).repeat(2), kind, 3)
        make("zero_seed", lambda d, s: d.shuffle(10, s), kind, 0, 0)
        make("cached", lambda d, s: d.shuffle(10, s).cache().repeat(2), kind, 3)
        make("of_cache", lambda d, s: d.cache().shuffle(10, s).repeat(2), kind, 3)


shuffles()


@program
def shuffled_files(tf):
    inner = lambda n: tf.data.Dataset.range(4).map(lambda v: v + 10 * n).shuffle(4, 9)  # noqa: E731
    return tf.data.Dataset.range(3).flat_map(inner).repeat(2), "structure"


@program
def shuffle_and_repeat(tf):
    apply = tf.data.experimental.shuffle_and_repeat(4, 3, seed=5)
    return tf.data.Dataset.range(6).apply(apply), "one_shot"


@program
def zipped_shuffles(tf):
    one, two = (tf.data.Dataset.range(5).shuffle(5, 3) for _ in range(2))
    return tf.data.Dataset.zip((one, two)).repeat(2), "structure"


@program
def random_numbers(tf):
    return tf.data.experimental.RandomDataset(7).take(10), "one_shot"


@program
def random_operations_in_functions(tf):
    draw = lambda v: tf.random_uniform([2], seed=4)  # noqa: E731
    return tf.data.Dataset.range(3).map(draw).repeat(2), "initializable"


@program
def two_functions_with_random_operations(tf):
    numbers = tf.data.Dataset.range(4).map(lambda v: tf.random_uniform([], seed=4))
    return numbers.map(lambda x: (x, tf.random_uniform([], seed=4))), "initializable"


@program
def random_operations_by_the_graph(tf):
    tf.set_random_seed(5)
    return tf.data.Dataset.range(3).map(lambda v: tf.random_uniform([2])), "initializable"


@program
def structures(tf):
    pair = collections.namedtuple("pair", "a b")
    dataset = tf.data.Dataset.from_tensor_slices({"x": np.arange(6.0).reshape(3, 2), "y": ["a", "b", "c"]})
    return dataset.map(lambda d: pair(d["x"] * 2, {"z": d["y"], "w": (d["x"][0],)})), "one_shot"


@program
def lists_are_tensors(tf):
    return tf.data.Dataset.from_tensors(([1, 2], [[3.0], [4.0]])).repeat(2), "one_shot"


@program
def batches(tf):
    return tf.data.Dataset.range(7).map(lambda v: (v, tf.fill([2], v))).batch(3), "one_shot"


@program
def batches_without_the_rest(tf):
    return tf.data.Dataset.range(7).batch(3, drop_remainder=True), "one_shot"


@program
def batches_of_strings(tf):
    return tf.data.Dataset.from_tensor_slices(["a", "bb", "ccc"]).batch(2), "one_shot"


@program
def different_shapes_in_a_batch(tf):
    return tf.data.Dataset.range(3).map(lambda v: tf.fill([v], v)).batch(2), "one_shot"


@program
def padded(tf):
    dataset = tf.data.Dataset.from_tensor_slices([3, 1, 4, 2]).map(
        lambda n: (tf.fill([n], n), tf.fill([n], "s"))
    )
    return dataset.padded_batch(3, ([None], [5]), (-1, "pad")), "one_shot"


@program
def padded_in_two_dimensions(tf):
    dataset = tf.data.Dataset.range(1, 4).map(lambda n: tf.fill([n, 4 - n], n))
    return dataset.padded_batch(3, [None, None], drop_remainder=True), "one_shot"


@program
def padded_too_small(tf):
    dataset = tf.data.Dataset.from_tensor_slices([1, 3]).map(lambda n: tf.fill([n], n))
    return dataset.padded_batch(2, [2]), "one_shot"


@program
def sparse(tf):
    value = tf.SparseTensor([[0, 1], [2, 0], [2, 2]], [1.0, 2.0, 3.0], [3, 4])
    return tf.data.Dataset.from_tensor_slices({"s": value, "i": [0, 1, 2]}).batch(2), "one_shot"


@program
def sparse_through_functions(tf):
    def tags(n):
        return tf.SparseTensor(tf.expand_dims(tf.range(n), 1), tf.fill([n], n), [4])

    dataset = tf.data.Dataset.from_tensor_slices(np.array([2, 0, 3], np.int64)).map(tags)
    return dataset.batch(3).map(lambda s: (s, tf.sparse_tensor_to_dense(s))), "one_shot"


@program
def sparse_slices(tf):
    value = tf.SparseTensor([[0, 0], [2, 1], [2, 3]], [5, 6, 7], [3, 4])
    return tf.data.Dataset.from_sparse_tensor_slices(value), "one_shot"


@program
def unbatched(tf):
    dataset = tf.data.Dataset.from_tensors((np.arange(4), [[1.0], [2.0], [3.0], [4.0]]))
    return dataset.apply(tf.data.experimental.unbatch()), "one_shot"


@program
def unbatched_sparse(tf):
    value = tf.SparseTensor([[0, 1], [2, 0]], [1.0, 2.0], [3, 4])
    dataset = tf.data.Dataset.from_tensors((value, [7, 8, 9]))
    return dataset.apply(tf.data.experimental.unbatch()), "one_shot"


@program
def windows(tf):
    dataset = tf.data.Dataset.range(10).window(3, shift=2, stride=2, drop_remainder=False)
    return dataset.flat_map(lambda w: w.batch(5)), "one_shot"


@program
def windows_of_pairs(tf):
    dataset = tf.data.Dataset.range(5).map(lambda v: (v, -v)).window(2, drop_remainder=True)
    return dataset.flat_map(lambda a, b: tf.data.Dataset.zip((a.batch(2), b.batch(2)))), "one_shot"


@program
def interleaved(tf):
    inner = lambda n: tf.data.Dataset.from_tensors(n).repeat(n)  # noqa: E731
    return tf.data.Dataset.range(1, 6).interleave(inner, cycle_length=3, block_length=2), "one_shot"


@program
def interleaved_by_threads(tf):
    inner = lambda n: tf.data.Dataset.from_tensors(n).repeat(n)  # noqa: E731
    dataset = tf.data.Dataset.range(1, 6)
    return dataset.interleave(inner, cycle_length=3, block_length=2, num_parallel_calls=2), "one_shot"


@program
def parallel_interleaved_with_empty_ones(tf):
    inner = lambda n: tf.data.Dataset.range(n % 3)  # noqa: E731
    apply = tf.data.experimental.parallel_interleave(inner, cycle_length=2, block_length=1)
    return tf.data.Dataset.range(7).apply(apply), "one_shot"


@program
def mapped_by_threads(tf):
    return tf.data.Dataset.range(20).map(lambda v: v * v, num_parallel_calls=4).prefetch(3), "one_shot"


@program
def mapped_and_batched(tf):
    apply = tf.data.experimental.map_and_batch(lambda v: (v, -v), 3, num_parallel_batches=2)
    return tf.data.Dataset.range(8).apply(apply), "one_shot"


@program
def filtered(tf):
    return tf.data.Dataset.range(10).filter(lambda v: tf.equal(v % 3, 1)), "one_shot"


@program
def captured(tf):
    scale = tf.constant(10, tf.int64)
    table = tf.constant([5, 6, 7])
    return tf.data.Dataset.range(3).map(lambda v: (v * scale, table[v])), "one_shot"


@program
def captured_variables(tf):
    counter = tf.get_variable("counter", initializer=5.0, use_resource=True)
    plain = tf.get_variable("plain", initializer=7.0, use_resource=False)
    return tf.data.Dataset.range(2).map(lambda v: (tf.to_float(v) + counter, plain)), "initializable"


@program
def generated(tf):
    def numbers():
        for i in range(3):
            yield i, {"text": "t" + str(i), "row": [i] * i}

    types = (tf.int64, {"text": tf.string, "row": tf.float32})
    return tf.data.Dataset.from_generator(numbers, types).repeat(2), "one_shot"


@program
def generated_with_arguments(tf):
    dataset = tf.data.Dataset.from_generator(lambda n: iter(range(n)), tf.int32, [], args=(4,))
    return dataset, "one_shot"


@program
def generator_with_another_structure(tf):
    return tf.data.Dataset.from_generator(lambda: iter([(1, 2), 3]), (tf.int64, tf.int64)), "one_shot"


@program
def generator_with_another_shape(tf):
    return tf.data.Dataset.from_generator(lambda: iter([[1, 2]]), tf.int64, [3]), "one_shot"


@program
def concatenated(tf):
    one, two = tf.data.Dataset.range(2), tf.data.Dataset.from_tensor_slices(np.array([[1, 2]]))
    return one.map(lambda v: tf.fill([3], v)).concatenate(two), "one_shot"


@program
def sharded(tf):
    return tf.data.Dataset.range(10).shard(3, 2), "one_shot"


@program
def sharded_badly(tf):
    return tf.data.Dataset.range(10).shard(3, 3), "one_shot"


@program
def enumerated(tf):
    return tf.data.Dataset.from_tensor_slices(["a", "b"]).apply(
        tf.data.experimental.enumerate_dataset(5)
    ), "one_shot"


@program
def grouped(tf):
    apply = tf.data.experimental.group_by_window(lambda v: v % 3, lambda key, d: d.batch(4), window_size=4)
    return tf.data.Dataset.range(14).apply(apply), "one_shot"


@program
def bucketed(tf):
    dataset = tf.data.Dataset.from_tensor_slices([1, 5, 2, 7, 3, 6]).map(lambda n: tf.fill([n], n))
    apply = tf.data.experimental.bucket_by_sequence_length(lambda x: tf.shape(x)[0], [3, 6], [2, 2, 2])
    return dataset.apply(apply), "one_shot"


@program
def scanned(tf):
    step = lambda state, v: (state + tf.to_int32(v), state * 2)  # noqa: E731
    return tf.data.Dataset.range(5).apply(tf.data.experimental.scan(1, step)), "one_shot"


@program
def taken_while(tf):
    return tf.data.Dataset.range(9).apply(tf.data.experimental.take_while(lambda v: v < 4)), "one_shot"


@program
def counted(tf):
    return tf.data.experimental.Counter(3, 2).take(4), "one_shot"


@program
def chosen(tf):
    datasets = [tf.data.Dataset.from_tensors(t).repeat(2) for t in "abc"]
    choices = tf.data.Dataset.from_tensor_slices(np.array([0, 1, 0, 0, 2, 1, 2]))
    return tf.data.experimental.choose_from_datasets(datasets, choices), "one_shot"


@program
def failing_elements(tf):
    check = lambda v: tf.check_numerics(1.0 / tf.to_float(v % 3), "not finite")  # noqa: E731
    return tf.data.Dataset.range(1, 7).map(check), "one_shot"


@program
def failing_elements_by_threads(tf):
    check = lambda v: tf.check_numerics(1.0 / tf.to_float(v % 3), "not finite")  # noqa: E731
    return tf.data.Dataset.range(1, 7).map(check, num_parallel_calls=2).prefetch(1), "one_shot"


@program
def ignored_errors(tf):
    check = lambda v: tf.check_numerics(1.0 / tf.to_float(v % 3), "not finite")  # noqa: E731
    return tf.data.Dataset.range(1, 7).map(check).apply(tf.data.experimental.ignore_errors()), "one_shot"


@program
def out_of_range_in_a_function(tf):
    def stop(v):
        if v == 2:
            raise StopIteration
        return v

    return tf.data.Dataset.range(5).map(lambda v: tf.py_func(stop, [v], tf.int64)), "initializable"


@program
def batch_size_of_zero(tf):
    return tf.data.Dataset.range(3).batch(tf.constant(0, tf.int64)), "initializable"


@program
def buffer_size_of_zero(tf):
    return tf.data.Dataset.range(3).shuffle(0), "initializable"


@program
def step_of_zero(tf):
    return tf.data.Dataset.range(0, 3, 0), "initializable"


@program
def counting_down(tf):
    return tf.data.Dataset.range(5, 0, -2), "one_shot"


@program
def empty_for_ever(tf):
    return tf.data.Dataset.range(0).repeat(), "one_shot"


@program
def nothing_of_it(tf):
    return tf.data.Dataset.range(5).repeat(0), "structure"


@program
def skipped(tf):
    return tf.data.Dataset.range(5).skip(3).concatenate(tf.data.Dataset.range(3).skip(-1)), "one_shot"


@program
def cached(tf):
    return tf.data.Dataset.range(3).map(lambda v: tf.random_uniform([], seed=3)).cache().repeat(2), "one_shot"


@program
def options_without_optimizations(tf):
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    options.experimental_optimization.autotune = False
    return tf.data.Dataset.range(6).shuffle(6, 3).repeat(2).with_options(options), "one_shot"


@program
def parallel_interleaved_many(tf):
    inner = lambda n: tf.data.Dataset.from_tensors(n).repeat((n * 7) % 5)  # noqa: E731
    apply = tf.data.experimental.parallel_interleave(inner, cycle_length=4, block_length=2)
    return tf.data.Dataset.range(12).apply(apply), "one_shot"


@program
def interleaved_many(tf):
    inner = lambda n: tf.data.Dataset.from_tensors(n).repeat((n * 7) % 5)  # noqa: E731
    return tf.data.Dataset.range(12).interleave(inner, cycle_length=4, block_length=2), "one_shot"


@program
def shapes_of_one_size_in_a_batch(tf):
    return tf.data.Dataset.range(1, 3).map(lambda v: tf.fill([v, 3 - v], v)).batch(2), "one_shot"


@program
def different_shapes_in_a_batch_not_fused(tf):
    return tf.data.Dataset.range(3).map(lambda v: tf.fill([v], v)).batch(2), "structure"


@program
def optionals_with_values(tf):
    optional = tf.data.experimental.Optional
    made = tf.data.Dataset.range(3).map(lambda x: optional.from_value({"a": x, "b": (x + 1, "s")}))
    return made.map(lambda o: (o.has_value(), o.get_value())), "initializable"


@program
def optionals_of_sparse_tensors(tf):
    def sparse(x):
        return tf.SparseTensor([[0], [x]], [x, 7], [10])

    made = tf.data.Dataset.range(1, 3).map(lambda x: tf.data.experimental.Optional.from_value(sparse(x)))
    return made.map(lambda o: o.get_value()).map(lambda s: (s.indices, s.values, s.dense_shape)), "one_shot"


@program
def optionals_without_values(tf):
    spec = tf.TensorSpec([], tf.int64)
    made = tf.data.Dataset.range(2).map(lambda x: tf.data.experimental.Optional.none_from_structure(spec))
    return made.map(lambda o: (o.has_value(), o.get_value(), spec.shape.as_list() or 0)), "initializable"


@program
def optionals_of_an_iterator(tf):
    iterator = tf.data.Dataset.range(1).make_one_shot_iterator()
    optional = tf.data.experimental.get_next_as_optional(iterator)
    given = tf.data.Dataset.from_tensors(optional).map(lambda o: o.has_value())
    return given, "initializable"


@program
def dataset_of_a_dataset(tf):
    inner = tf.data.Dataset.range(3).map(lambda x: (x, tf.as_string(x)))
    return tf.data.Dataset.from_tensors((inner, 5)).flat_map(lambda d, _: d), "one_shot"


@program
def datasets_in_a_batch(tf):
    datasets = tf.data.Dataset.range(4).map(tf.data.Dataset.range)
    return datasets.batch(2).apply(tf.data.experimental.unbatch()).flat_map(lambda d: d), "one_shot"


@program
def strings_chosen(tf):
    words = tf.data.Dataset.from_tensor_slices(["a", "bb", "", "ccc"])
    return words.filter(lambda w: tf.strings.length(w) < 3).map(lambda w: w + "!"), "one_shot"


@program
def variables_in_functions(tf):
    v = tf.get_variable("v", initializer=5, dtype=tf.int32, use_resource=True)
    return tf.data.Dataset.from_tensor_slices([1, 2]).map(lambda x: (x + v, v.assign_add(1))), "initializable"


@program
def variables_in_legacy_functions(tf):
    v = tf.get_variable("v", initializer=5, dtype=tf.int32, use_resource=True)
    return tf.data.Dataset.range(2).map_with_legacy_function(lambda x: tf.to_int32(x) + v), "initializable"
