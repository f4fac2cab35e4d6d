"""Graphs that parse strings, for TensorFlow 1.15 and kvarn alike.

Each program takes the module and gives what to fetch.
"""

PROGRAMS = {}


def program(build):
    PROGRAMS[build.__name__] = build
    return build


def csvs():
    def make(name, lines, defaults, **options):
        def build(tf):
            return tf.decode_csv(tf.constant(lines), [tf.constant(*d) for d in defaults(tf)], **options)

        PROGRAMS["csv_" + name] = build

    def kinds(tf):
        return [([0], tf.int32), ([0], tf.int64), ([0.5],), ([0.25], tf.float64), (["none"],)]

    make("types", ["1,2,3.5,4.5,five", ",,,,", "-7,-8,1e3,.5,x y"], kinds)
    make("spaces", [" 1 , 2 , 3.5 , 4.5 , five "], kinds)
    make("one_line", "1,2,3,4,5", kinds)
    make("matrix", [["1,2,3,4,5"], ["6,7,8,9,10"]], kinds)
    make("not_an_integer", ["1,2,3,4,5", "1,2.5,3,4,5"], kinds)
    make("too_large_an_integer", ["3000000000,2,3,4,5"], kinds)
    make("signed_integer", ["+1,2,3,4,5"], kinds)
    make("underscore", ["1_0,2,3,4,5"], kinds)
    make("not_a_float", ["1,2,x,4,5"], kinds)
    make("words_for_floats", ["1,2,nan,inf,5", "1,2,-inf,NaN,5", "1,2,Infinity,4,5"], kinds)
    make("hexadecimal", ["1,2,0x10,4,5"], kinds)
    make("large_floats", ["1,2,1e39,1e308,5", "1,2,-1e39,1e-330,5"], kinds)
    middle = "1.000000059604644775390625"
    make("near_the_middle_of_floats", [f"1,2,{middle}00001,4,5", f"1,2,{middle},4,5"], kinds)
    make("too_many_fields", ["1,2,3,4,5,6"], kinds)
    make("too_few_fields", ["1,2,3,4,5", "1,2"], kinds)
    make("nothing", ["1,2,3,4,5", ""], kinds)
    make("error_in_the_line_before", ["1,x,3,4,5", "1,2"], kinds)

    def texts(tf):
        return [(["a"],), (["b"],)]

    make("quotes", ['"x,y","say ""no"""', '"",""', 'plain,"two\nlines"'], texts)
    make("quote_inside", ['a"b,c'], texts)
    make("quote_not_closed", ['"abc,d'], texts)
    make("text_after_quote", ['"abc"d,e'], texts)
    make("quotes_are_text", ['"x,y"', 'a"b,c'], texts, use_quote_delim=False)
    make("line_ends_before_fields", ["\na,b", "a,\r\nb"], texts)
    make("line_end_inside", ["a\n,b"], texts)
    make("empty_line_ends", ["\n"], texts)
    make("other_delimiter", ["a|b", "c,|d,"], texts, field_delim="|")
    make("tabs", ["a\tb"], texts, field_delim="\t")
    make("not_available", ["NA,x", "y,NA"], texts, na_value="NA")
    make("selected", ["a,b,c,d", "e,f,g,h"], texts, select_cols=[1, 3])
    make("selected_missing", ["a,b,c,d", "e,f"], texts, select_cols=[1, 3])
    make("selected_before_damage", ['a,b,c"d'], texts, select_cols=[0, 1])
    make("selected_last_empty", ["a,b,c,"], texts, select_cols=[1, 3])
    make("required", ["a,b", ",c"], lambda tf: [([], tf.string), (["d"],)])
    make("scalar_default", [",b"], lambda tf: [("s",), (["d"],)])
    make("two_characters", ["a;;b"], texts, field_delim=";;")


csvs()


def example(tf, **features):
    lists = {int: ("int64_list", tf.train.Int64List), float: ("float_list", tf.train.FloatList)}
    lists[bytes] = ("bytes_list", tf.train.BytesList)
    found = {}
    for key, values in features.items():
        if values is None:
            found[key] = tf.train.Feature()
        else:
            field, kind = lists[type(values[0]) if values else int]
            found[key] = tf.train.Feature(**{field: kind(value=values)})
    return tf.train.Example(features=tf.train.Features(feature=found)).SerializeToString()


def rows(tf):
    return [
        example(tf, id=[1], v=[0.5, 1.5], tags=[b"a", b"b"], seq=[1, 2, 3, 4]),
        example(tf, id=[2], v=[2.5, 3.5], tags=None, seq=[5, 6]),
        example(tf, id=[3], tags=[b"c"]),
    ]


@program
def fixed_and_variable(tf):
    features = {
        "id": tf.FixedLenFeature([], tf.int64),
        "v": tf.FixedLenFeature([2], tf.float32, [8.0, 9.0]),
        "tags": tf.VarLenFeature(tf.string),
        "seq": tf.FixedLenSequenceFeature([2], tf.int64, allow_missing=True, default_value=-1),
        "none": tf.VarLenFeature(tf.float32),
        "text": tf.FixedLenFeature([1, 2], tf.string, [["x", "y"]]),
    }
    return tf.parse_example(rows(tf), features)


@program
def one_example(tf):
    features = {
        "id": tf.FixedLenFeature([1], tf.int64),
        "tags": tf.VarLenFeature(tf.string),
        "seq": tf.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
        "absent": tf.FixedLenSequenceFeature([3], tf.float32, allow_missing=True),
    }
    return tf.parse_single_example(tf.constant(rows(tf)[0]), features)


@program
def one_example_with_a_name(tf):
    features = {"id": tf.FixedLenFeature([], tf.int64), "tags": tf.VarLenFeature(tf.string)}
    return tf.parse_single_example(tf.constant(rows(tf)[0]), features, example_names="first")


@program
def sparse_features(tf):
    serialized = [
        example(tf, ix=[3, 1], iy=[0, 2], val=[0.5, -1.0]),
        example(tf, ix=[2], iy=[1], val=[4.0]),
        example(tf, other=[1]),
    ]
    features = {
        "one": tf.SparseFeature("ix", "val", tf.float32, 5),
        "two": tf.SparseFeature(["ix", "iy"], "val", tf.float32, [5, 3]),
    }
    return tf.parse_example(serialized, features)


@program
def no_examples(tf):
    features = {"id": tf.FixedLenFeature([2], tf.int64), "tags": tf.VarLenFeature(tf.string)}
    return tf.parse_example(tf.constant([], tf.string), features)


def failing(name, feature, names=None, single=False):
    def build(tf):
        key, kind = feature(tf)
        if single:
            return tf.parse_single_example(tf.constant(rows(tf)[0]), {key: kind})
        return tf.parse_example(rows(tf), {key: kind}, example_names=names)

    PROGRAMS["failing_" + name] = build


for single in (False, True):
    end = "_alone" if single else ""
    failing("missing" + end, lambda tf: ("w", tf.FixedLenFeature([], tf.int64)), single=single)
    failing("type" + end, lambda tf: ("id", tf.FixedLenFeature([], tf.float32)), single=single)
    failing("sparse_type" + end, lambda tf: ("tags", tf.VarLenFeature(tf.int64)), single=single)
    failing("size" + end, lambda tf: ("v", tf.FixedLenFeature([3], tf.float32, [0.0] * 3)), single=single)
    failing(
        "stride" + end,
        lambda tf: ("seq", tf.FixedLenSequenceFeature([3], tf.int64, allow_missing=True)),
        single=single,
    )
failing("missing_with_a_name", lambda tf: ("v", tf.FixedLenFeature([2], tf.float32)), ["one", "two", "three"])


@program
def failing_bytes(tf):
    return tf.parse_example(["\xff\xff nonsense"], {"id": tf.VarLenFeature(tf.int64)})


# -- sequences ----------------------------------------------------------------------------------------


def feature(tf, values):
    """A Feature; without a list for None."""
    lists = {int: ("int64_list", tf.train.Int64List), float: ("float_list", tf.train.FloatList)}
    lists[bytes] = ("bytes_list", tf.train.BytesList)
    if values is None:
        return tf.train.Feature()
    field, kind = lists[type(values[0]) if values else int]
    return tf.train.Feature(**{field: kind(value=values)})


def sequence(tf, context, lists):
    return tf.train.SequenceExample(
        context=tf.train.Features(feature={k: feature(tf, v) for k, v in context.items()}),
        feature_lists=tf.train.FeatureLists(
            feature_list={
                k: tf.train.FeatureList(feature=[feature(tf, v) for v in rows]) for k, rows in lists.items()
            }
        ),
    ).SerializeToString()


def sequences(tf):
    return [
        sequence(
            tf,
            {"id": [7], "v": [1.0, 2.0], "tags": [b"a", b"b"]},
            {"n": [[1, 2], [3, 4], [5, 6]], "words": [[b"x"], [], [b"y", b"z"]], "f": [[0.5]]},
        ),
        sequence(
            tf,
            {"v": [3.0, 4.0], "none": None},
            {"n": [[7, 8]], "words": [None, [b"w"]], "f": [], "t": [[b"q"]]},
        ),
        sequence(tf, {"id": [9], "tags": []}, {"n": [], "f": [[1.5], [2.5]]}),
    ]


def context_of(tf):
    return {
        "id": tf.FixedLenFeature([], tf.int64, -1),
        "v": tf.FixedLenFeature([2], tf.float32, [0.25, 0.5]),
        "tags": tf.VarLenFeature(tf.string),
        "none": tf.VarLenFeature(tf.float32),
    }


def lists_of(tf):
    return {
        "n": tf.FixedLenSequenceFeature([2], tf.int64),
        "words": tf.VarLenFeature(tf.string),
        "f": tf.FixedLenSequenceFeature([], tf.float32, allow_missing=True),
        "t": tf.FixedLenSequenceFeature([1], tf.string, allow_missing=True),
        "nowhere": tf.VarLenFeature(tf.int64),
    }


@program
def sequences_in_a_batch(tf):
    return tf.io.parse_sequence_example(sequences(tf), context_without_tags(tf), lists_of(tf))


def context_without_tags(tf):
    found = context_of(tf)
    del found["tags"]
    return found


@program
def sequences_of_strings_in_a_batch(tf):
    context = {"tags": tf.VarLenFeature(tf.string)}
    return tf.io.parse_sequence_example(
        sequences(tf)[:2], context, example_names=["one", "two"], name="mine"
    )[0]


@program
def lists_in_a_batch(tf):
    return tf.io.parse_sequence_example(sequences(tf), sequence_features=lists_of(tf))


@program
def context_in_a_batch(tf):
    return tf.io.parse_sequence_example(sequences(tf)[:2], context_features=context_of(tf))


def single_sequences():
    def make(index):
        def build(tf):
            return tf.io.parse_single_sequence_example(sequences(tf)[index], context_of(tf), lists_of(tf))

        PROGRAMS[f"sequence_{index}"] = build

    for index in (0, 1):
        make(index)


single_sequences()


@program
def sequence_with_a_name(tf):
    context = {"id": tf.FixedLenFeature([], tf.int64)}
    return tf.io.parse_single_sequence_example(sequences(tf)[0], context, None, "one", "mine")[0]


def failing_sequences():
    def make(name, features, index=0, names=None):
        def batch(tf):
            return tf.io.parse_sequence_example(sequences(tf), *features(tf), example_names=names)

        def single(tf):
            given, word = sequences(tf)[index], names and names[index]
            return tf.io.parse_single_sequence_example(given, *features(tf), example_name=word)

        PROGRAMS["failing_sequence_" + name] = single
        PROGRAMS["failing_sequences_" + name] = batch

    def context(key, kind):
        return lambda tf: ({key: kind(tf)}, None)

    def lists(key, kind):
        return lambda tf: (None, {key: kind(tf)})

    make("missing", context("id", lambda tf: tf.FixedLenFeature([], tf.int64)), 1)
    make("missing_everywhere", context("no", lambda tf: tf.FixedLenFeature([2], tf.int64)))
    make("missing_named", context("id", lambda tf: tf.FixedLenFeature([], tf.int64)), 1, ["a", "b", "c"])
    make("type", context("id", lambda tf: tf.FixedLenFeature([], tf.float32, 0.0)))
    make("sparse_type", context("id", lambda tf: tf.VarLenFeature(tf.float32)))
    make("size", context("v", lambda tf: tf.FixedLenFeature([3], tf.float32, [0.0] * 3)))
    make("size_of_strings", context("tags", lambda tf: tf.FixedLenFeature([], tf.string, "")))
    make("list_missing", lists("t", lambda tf: tf.FixedLenSequenceFeature([1], tf.string)))
    make("list_type", lists("n", lambda tf: tf.FixedLenSequenceFeature([2], tf.float32)))
    make("list_sparse_type", lists("words", lambda tf: tf.VarLenFeature(tf.float32)))
    make("list_size", lists("n", lambda tf: tf.FixedLenSequenceFeature([3], tf.int64)))
    make("list_ragged", lists("words", lambda tf: tf.FixedLenSequenceFeature([1], tf.string)))


failing_sequences()


@program
def failing_sequences_of_nonsense(tf):
    return tf.io.parse_sequence_example([b"\xff\xff nonsense"], {"id": tf.VarLenFeature(tf.int64)})
