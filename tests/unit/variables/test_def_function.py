"""``tf.function`` and ``defun`` in a graph.

Names, structures and numbers are those that TensorFlow 1.15.5 gave for the same calls.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn.variables.def_function import ConcreteFunction, defun, function

pytestmark = pytest.mark.usefixtures("graph")


@pytest.fixture
def graph() -> Any:
    with tf.Graph().as_default() as made:
        yield made


def run(fetches: Any, feeds: Any = None) -> Any:
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches, feeds)


def called(tensor: Any) -> str:
    """The function that the node of a tensor calls."""
    name: str = tensor.op.get_attr("f").name
    return name


def library() -> dict[str, Any]:
    return {f.signature.name: f for f in tf.get_default_graph().as_graph_def().library.function}


def variable(value: Any = 2.0, name: str = "v") -> Any:
    return tf.get_variable(name, initializer=value, use_resource=True)


def test_a_call_is_a_node() -> None:
    v = variable()
    p = tf.placeholder(tf.float32, [None], name="p")

    @function
    def f(x: Any, y: float = 1.0, *, k: Any = None) -> Any:
        return x * v + y, {"a": x}

    total, parts = f(p)
    node = total.op
    assert (node.name, node.type) == ("StatefulPartitionedCall", "StatefulPartitionedCall")
    assert [x.name for x in node.inputs] == ["p:0", "v:0"]
    assert parts["a"] is node.outputs[1]
    assert total.shape.as_list() == [None]
    assert node.get_attr("config_proto") == b"R\x05R\x03\x98\x01\x01"
    (definition,) = library().values()
    assert [(a.name, a.type) for a in definition.signature.input_arg] == [
        ("x", 1),
        ("mul_readvariableop_v", 20),
    ]
    assert [a.name for a in definition.signature.output_arg] == ["identity", "identity_1"]
    assert dict(definition.control_ret) == {"mul/ReadVariableOp": "mul/ReadVariableOp"}
    assert [(n.name, n.op, list(n.input)) for n in definition.node_def] == [
        ("mul/ReadVariableOp", "ReadVariableOp", ["mul_readvariableop_v"]),
        ("mul", "Mul", ["x", "mul/ReadVariableOp:value:0"]),
        ("add/y", "Const", []),
        ("add", "AddV2", ["mul:z:0", "add/y:output:0"]),
        ("Identity", "Identity", ["add:z:0", "^mul/ReadVariableOp"]),
        ("Identity_1", "Identity", ["x", "^mul/ReadVariableOp"]),
    ]
    np.testing.assert_array_equal(run(total, {p: [1.0, -5.0]}), [3.0, -9.0])


def test_functions_are_shared_by_calls_of_one_kind() -> None:
    @function
    def f(x: Any, y: Any = 1.0, *, k: Any = None) -> Any:
        return x * y

    p = tf.placeholder(tf.float32, [None])
    first = called(f(p))
    assert called(f(p)) == called(f(p, 1.0)) == called(f(x=p, k=None)) == first
    others = [
        f(tf.constant([1.0, 2.0])),
        f(p, 3.0),
        f(p, k="z"),
        f(p, np.float32(1.0)),
        f(tf.constant(1.0), p),
    ]
    assert len({first, *map(called, others)}) == 6
    with tf.Graph().as_default():
        assert run(f(tf.constant(2.0), 4.0)) == 8.0
    with pytest.raises(TypeError, match="can be no part of a function, as it has no hash"):
        f(p, {1, 2})


def test_functions_have_effects_in_order() -> None:
    v = variable()

    @defun
    def f(x: Any) -> Any:
        before = v.read_value()
        v.assign_add(x)
        after = v.read_value()
        v.assign(after * 10.0)
        return before, after

    assert run(f(tf.constant(1.0))) == (2.0, 3.0)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(f(tf.constant(1.0)))
        assert session.run(v) == 30.0


def test_a_function_that_returns_nothing_gives_its_node() -> None:
    @function
    def f(x: Any) -> None:
        pass

    node = f(tf.constant(1.0))
    assert (node.name, node.type, list(node.outputs)) == ("PartitionedFunctionCall", "PartitionedCall", [])


def test_gradients_are_a_call_of_what_the_forward_call_gives() -> None:
    v = variable()
    p = tf.placeholder(tf.float32, [None], name="p")

    @function
    def f(x: Any) -> Any:
        return x * v + 1.0, {"a": x}

    total, _ = f(p)
    before = called(total)
    found = tf.gradients(total, [p, v])
    assert [x.name for x in found] == [
        "gradients/StatefulPartitionedCall_grad/PartitionedCall:0",
        "gradients/StatefulPartitionedCall_grad/PartitionedCall:1",
    ]
    assert [x.shape.ndims for x in found] == [1, 0]
    assert before.startswith("__inference_f_")
    assert called(total).startswith("__forward_f_")
    functions = library()
    forward, backward = functions[called(total)], functions[called(found[0])]
    assert forward.attr["backward_function_name"].s.decode() == backward.signature.name
    assert backward.attr["forward_function_name"].s.decode() == forward.signature.name
    given = {a.name for a in forward.signature.output_arg}
    assert given == {"identity", "identity_1", "mul", "add_y", "x", "mul_readvariableop"}
    np.testing.assert_array_equal(run(found, {p: [1.0, -5.0]})[0], [2.0, 2.0])
    assert run(found[1], {p: [1.0, -5.0]}) == -4.0
    # A second one takes what the first asked for already.
    again = tf.gradients(total, [v])
    assert called(total) == forward.signature.name
    assert run(again, {p: [1.0, -5.0]}) == [-4.0]


def test_gradients_of_gradients_of_loops_and_of_nested_functions() -> None:
    @function
    def cube(x: Any) -> Any:
        return tf.while_loop(lambda i, a: i < 2, lambda i, a: (i + 1, a * x), [0, x])[1]

    x = tf.constant(2.0)
    y = cube(x)
    (first,) = tf.gradients(y, [x])
    (second,) = tf.gradients(first, [x])
    assert run([y, first, second]) == [8.0, 12.0, 12.0]

    v = variable([[1.0, 2.0]])

    @function
    def inner(x: Any) -> Any:
        return tf.square(x) * v[0, 0]

    @function
    def outer(x: Any) -> Any:
        a = inner(x)
        return a + inner(a)

    x = tf.constant(3.0)
    y = outer(x)
    of_x, of_v = tf.gradients(y, [x, v])
    assert run([y, of_x]) == [90.0, 114.0]
    np.testing.assert_array_equal(run(of_v), [[252.0, 0.0]])


def test_what_is_random_is_drawn_once_for_value_and_gradient() -> None:
    @function
    def f(x: Any) -> Any:
        return tf.nn.dropout(x, rate=0.5)

    x = tf.ones([1000])
    y = f(x)
    value, gradient = run([y, tf.gradients(y, [x])[0]])
    np.testing.assert_array_equal(value, gradient)
    assert 300 < np.count_nonzero(value) < 700


def test_conditionals_in_functions() -> None:
    @function
    def f(x: Any) -> Any:
        return tf.cond(tf.reduce_sum(x) > 0, lambda: x * 2.0, lambda: x * 3.0)

    p = tf.placeholder(tf.float32, [None])
    y = f(p)
    (gradient,) = tf.gradients(y, [p])
    np.testing.assert_array_equal(run([y, gradient], {p: [1.0, -5.0]}), [[3.0, -15.0], [3.0, 3.0]])
    np.testing.assert_array_equal(run([y, gradient], {p: [1.0, 5.0]}), [[2.0, 10.0], [2.0, 2.0]])


def test_effects_in_branches_and_loops_of_a_function_all_run() -> None:
    """Outside of functions, only what is asked for runs."""
    taken, rounds = variable(0, "taken"), variable(0, "rounds")

    def branch() -> Any:
        taken.assign_add(1)
        return tf.constant(10)

    def body(i: Any) -> Any:
        rounds.assign_add(2)
        return i + 1

    @function
    def f(x: Any) -> Any:
        tf.cond(x > 0, branch, lambda: tf.constant(0))
        tf.while_loop(lambda i: i < 3, body, [0])
        return x

    y = f(tf.constant(1))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert session.run(y) == 1
        assert session.run([taken, rounds]) == [1, 6]


def test_embedding_variables_train_through_functions() -> None:
    table = tf.get_embedding_variable("ev", 2, initializer=tf.ones_initializer())
    step = tf.train.get_or_create_global_step()

    @function
    def look(ids: Any) -> Any:
        return tf.nn.embedding_lookup(table, ids)

    ids = tf.constant(np.array([1, 1, 4]))
    loss = tf.reduce_sum(look(ids))
    train = tf.train.GradientDescentOptimizer(0.25).minimize(loss, global_step=step)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train)
        rows = session.run(look(tf.constant(np.array([1, 4, 7]))))
    np.testing.assert_array_equal(rows, [[0.5, 0.5], [0.75, 0.75], [1.0, 1.0]])


def test_sparse_tensors_and_nests_as_arguments() -> None:
    @function
    def f(sparse: Any, more: Any) -> Any:
        return {"s": tf.sparse_tensor_to_dense(sparse) * more["k"], "none": None}

    found = f(tf.SparseTensor([[0, 1]], [2.0], [1, 2]), {"k": tf.constant(2.0), "n": 3})
    assert found["none"] is None
    np.testing.assert_array_equal(run(found["s"]), [[0.0, 4.0]])


def test_an_input_signature_makes_one_function() -> None:
    @function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def total(x: Any) -> Any:
        return tf.reduce_sum(x)

    calls = [total([1, 2, 3]), total(np.array([1.0, 2.0], np.float32)), total(tf.placeholder(tf.float32))]
    assert len(set(map(called, calls))) == 1
    assert run(calls[:2]) == [6.0, 3.0]
    assert total.get_concrete_function().name == called(calls[0])
    with pytest.raises(ValueError, match="Python inputs incompatible with input_signature"):
        total([[1.0]])
    with pytest.raises(TypeError):
        total(1, 2)


def test_methods_have_functions_of_their_own() -> None:
    class Scale:
        def __init__(self, by: float) -> None:
            self.by = by

        @function
        def __call__(self, x: Any) -> Any:
            return x * self.by

    two, three = Scale(2.0), Scale(3.0)
    calls = [two(tf.constant(1.0)), two(tf.constant(5.0)), three(tf.constant(1.0))]
    assert run(calls) == [2.0, 10.0, 3.0]
    assert called(calls[0]) == called(calls[1]) != called(calls[2])


def test_a_method_keeps_its_object_and_nobody_elses() -> None:
    class Scale:
        def __init__(self, by: float) -> None:
            self.by = by

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Scale)

        def __hash__(self) -> int:
            return 0

        @function
        def scaled(self, x: Any) -> Any:
            return x * self.by

    two = Scale(2.0)
    assert run([two.scaled(tf.constant(1.0)), Scale(3.0).scaled(tf.constant(1.0))]) == [2.0, 3.0]
    assert two.scaled.get_concrete_function(tf.TensorSpec([], tf.float32)).name.startswith(
        "__inference_scaled_"
    )
    gone = weakref.ref(two)
    del two
    gc.collect()
    assert gone() is None


def test_variables_are_made_outside_and_once() -> None:
    class Layer:
        w: Any = None

        @function
        def __call__(self, x: Any) -> Any:
            if self.w is None or x.shape.ndims:
                self.w = tf.Variable(3.0)
            return self.w * x

    layer = Layer()
    y = layer(tf.constant(2.0))
    assert layer.w.op.name == "Variable"
    assert layer.w.op.graph is tf.get_default_graph()
    assert run(y) == 6.0
    assert run(tf.gradients(y, [layer.w])) == [2.0]
    with pytest.raises(ValueError, match="tried to create variables on non-first call"):
        layer(tf.constant([1.0]))


def test_a_concrete_function_is_called_with_tensors_alone() -> None:
    v = variable(np.ones([3, 2], np.float32))

    @function
    def net(x: Any, flag: bool = True) -> Any:
        y = tf.matmul(x, v)
        return y + 1.0 if flag else y

    made = net.get_concrete_function(tf.TensorSpec([None, 3], tf.float32), flag=False)
    assert isinstance(made, ConcreteFunction)
    assert [x.op.name for x in made.inputs] == ["x", "MatMul/ReadVariableOp/v"]
    assert made.captured_inputs == [v.handle]
    assert made.structured_outputs.shape.as_list() == [None, 2]
    np.testing.assert_array_equal(run(made(tf.ones([1, 3]))), [[3.0, 3.0]])
    np.testing.assert_array_equal(run(made(x=np.ones([1, 3], np.float32))), [[3.0, 3.0]])
    with pytest.raises(TypeError, match=r"takes the tensors \['x'\]"):
        made()
    with pytest.raises(TypeError, match="takes the tensors"):
        made(tf.ones([1, 3]), y=1)


def test_a_concrete_function_is_of_one_graph() -> None:
    @function
    def f(x: Any) -> Any:
        return x + 1.0

    made = f.get_concrete_function(tf.TensorSpec([], tf.float32))
    with tf.Graph().as_default():
        with pytest.raises(ValueError, match="is in the library of another graph"):
            made(tf.constant(1.0))
        assert run(f(tf.constant(1.0))) == 2.0


def test_python_conditions_are_not_converted() -> None:
    @function
    def branches(x: Any) -> Any:
        return x if x > 0 else -x

    @function
    def iterates(x: Any) -> Any:
        return list(x)

    x = tf.constant([1.0])
    with pytest.raises(
        TypeError, match=r"AutoGraph is disabled in this function(.|\n)*use tf.cond or tf.while_loop"
    ):
        branches(x[0])
    with pytest.raises(TypeError, match=r"iterating over `tf.Tensor` is not allowed(.|\n)*use tf.map_fn"):
        iterates(x)
    with pytest.raises(
        TypeError, match=r"not allowed in Graph execution(.|\n)*'Const:0' has a value only in a run"
    ):
        bool(x)


def test_a_function_returns_tensors() -> None:
    @defun
    def f(x: Any) -> Any:
        return object()

    with pytest.raises(TypeError, match="must return zero or more Tensors"):
        f(tf.constant(1))


def test_graphs_with_functions_are_imported_and_differentiated() -> None:
    @function
    def f(x: Any) -> Any:
        return x * x * 3.0

    x = tf.placeholder(tf.float32, [], name="x")
    (gradient,) = tf.gradients(f(x), [x])
    definition = tf.get_default_graph().as_graph_def()
    with tf.Graph().as_default():
        x, y, found = tf.import_graph_def(
            definition, return_elements=["x:0", "PartitionedCall:0", gradient.name]
        )
        again = tf.gradients(y, [x])[0]
        assert run([y, found, again], {x: 2.0}) == [12.0, 12.0, 12.0]
