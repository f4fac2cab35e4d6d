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
