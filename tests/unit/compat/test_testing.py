"""`tf.test`: test cases, assertions, decorators, and comparisons of graphs and gradients."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest

import numpy as np
import pytest

import kvarn as tf
from kvarn.compat.tensorflow.testing import decorators, environment, gradient_checker_v2, graphs


def run(cls: type) -> unittest.TestResult:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(cls).run(result)
    return result


@pytest.fixture
def case() -> tf.test.TestCase:
    made = tf.test.TestCase()
    made.setUp()
    return made


def test_each_test_has_a_graph_of_its_own_and_the_same_seeds() -> None:
    seen = []

    class Two(tf.test.TestCase):
        def test_a(self) -> None:
            seen.append((tf.get_default_graph(), np.random.rand(), tf.get_default_graph().seed))

        test_b = test_a

    assert not run(Two).failures
    assert seen[0][0] is not seen[1][0]
    # numpy.random.seed(87654321), and the seed that TensorFlow's test case sets.
    assert seen[0][1:] == seen[1][1:] == (np.random.RandomState(87654321).rand(), 87654321)


def test_the_cached_session_is_one_and_a_session_is_closed(case: tf.test.TestCase) -> None:
    v = tf.Variable(3)
    with case.cached_session() as first:
        first.run(v.initializer)
        assert v.op.device == ""
        assert (v + 1).op.device == "/device:CPU:0"
    with case.cached_session(use_gpu=True) as second:
        assert first is second
        assert second.run(v) == 3
        assert (v + 1).op.device == ""
    assert case.evaluate({"v": [v]}) == {"v": [3]}
    with pytest.raises(ValueError, match="graph used to get the cached session is different"):
        case.cached_session(graph=tf.Graph()).__enter__()
    with case.session(graph=tf.Graph()) as other:
        assert tf.get_default_session() is other
        assert tf.get_default_graph() is other.graph
        tf.no_op(name="n")
    with pytest.raises(RuntimeError, match="closed"):
        other.run("n")
    case.tearDown()
    with pytest.raises(RuntimeError, match="closed"):
        first.run(v)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("assertAllClose", ([1.0, {"a": 2.0}], [1.0, {"a": 2.0 + 1e-6}]), ([1.0, {"a": 2.0}], [1.0, {"a": 2.1}])),
        ("assertAllClose", (float("nan"), float("nan")), ([1.0], [1.0, 2.0])),
        ("assertAllEqual", ([1, 2], np.array([1, 2])), ([1, 2], [1, 3])),
        ("assertAllEqual", ([np.nan], [np.nan]), ([1], [[1]])),
        ("assertNotAllClose", ([1.0], [2.0]), ([1.0], [1.0])),
        ("assertNotAllEqual", ([1], [2]), ([1], [1])),
        ("assertAllCloseAccordingToType", (np.float16([1]), np.float16([1.001])), ([1.0], [1.001])),
        ("assertArrayNear", ([1.0, 2.0], [1.05, 2.0], 0.1), ([1.0], [1.2], 0.1)),
        ("assertNear", (float("inf"), float("inf"), 0.1), (1.0, 2.0, 0.5)),
        ("assertNear", (np.array([1.0]), 1.0, 0.1), (np.array([1.0]), 2.0, 0.5)),
        ("assertNDArrayNear", (np.ones(2), np.ones(2), 0.1), (np.ones(2), np.zeros(2), 0.1)),
        ("assertAllInRange", ([1, 2], 1, 2), ([1, 2], 1, 2, False, True)),
        ("assertAllInSet", ([1, 2, 1], {1, 2, 3}), ([1, 4], {1})),
        ("assertAllGreater", ([2, 3], 1), ([1, 2], 1)),
        ("assertAllLessEqual", ([2, 3], 3), ([2, 4], 3)),
        ("assertDeviceEqual", ("/cpu:0", "/device:CPU:0"), ("/cpu:0", "/cpu:1")),
        ("assertStartsWith", ("abc", "ab"), ("abc", "b")),
        ("assertItemsEqual", ([1, 2], [2, 1]), ([1], [1, 1])),
        ("assertLen", ([1, 2], 2), ([1], 2)),
        ("assertDTypeEqual", (np.float32(1), np.float32), (np.float32(1), np.float64)),
    ],
)  # fmt: skip
def test_an_assertion_holds_or_fails(case: tf.test.TestCase, name: str, good: tuple, bad: tuple) -> None:
    getattr(case, name)(*good)
    with pytest.raises(AssertionError):
        getattr(case, name)(*bad)


def test_assertions_take_tensors_and_tell_where_they_differ(case: tf.test.TestCase) -> None:
    with case.cached_session():
        case.assertAllEqual(tf.constant([1, 2]) + 1, [2, 3])
        with pytest.raises(AssertionError, match="not equal where") as e:
            case.assertAllEqual(tf.constant([1, 2]), [1, 5])
    assert "lhs = [2]" in str(e.value)
    case.assertShapeEqual(np.zeros((2, 3)), tf.zeros([2, 3]))
    with pytest.raises(TypeError, match="tf_tensor must be a Tensor"):
        case.assertShapeEqual(np.zeros(2), np.zeros(2))
    with pytest.raises(ValueError, match="Can't compare dict to non-dict"):
        case.assertAllClose({"a": 1}, [1])


def test_messages_are_compared_with_their_text_and_to_seven_digits(case: tf.test.TestCase) -> None:
    case.assertProtoEquals("f: 0.1", tf.AttrValue(f=0.1))
    case.assertProtoEquals("f: 0.10000001", tf.AttrValue(f=0.1))
    with pytest.raises(AssertionError):
        case.assertProtoEquals("f: 0.1001", tf.AttrValue(f=0.1))
    with pytest.raises(AssertionError, match="Can't compare protos"):
        case.assertProtoEquals(tf.NodeDef(), tf.AttrValue())
    case.assertProtoEqualsVersion("node { name: 'n' op: 'NoOp' }", _graph_def("n"))


def _graph_def(*names: str, device: str | None = None) -> tf.GraphDef:
    with tf.Graph().as_default() as graph, tf.device(device):
        for name in names:
            tf.no_op(name=name)
    return graph.as_graph_def()


def test_errors_of_a_run_are_found_by_text_and_operation(case: tf.test.TestCase) -> None:
    with case.cached_session() as session:
        p = tf.placeholder(tf.float32, name="lonely")
        with case.assertRaisesOpError("must feed a value(.|\n)*Caused by: lonely"):
            session.run(p)
        with case.assertRaisesWithPredicateMatch(tf.errors.OpError, lambda e: e.op is p.op):
            session.run(p)
        with pytest.raises(AssertionError, match="Exception of type"), case.assertRaisesOpError("other text"):
            session.run(p)
    with pytest.raises(AssertionError, match="OpError not raised"), case.assertRaisesOpError("any"):
        pass


def test_checked_threads_fail_their_test() -> None:
    class Threads(tf.test.TestCase):
        def test_error(self) -> None:
            thread = self.checkedThread(lambda: 1 / 0)
            thread.start()
            thread.join()

        def test_not_joined(self) -> None:
            self.checkedThread(lambda: None)

    failures = {test.id().split(".")[-1]: text for test, text in run(Threads).failures}
    assert "Error in checkedThread: division by zero" in failures["test_error"]
    assert "A checked thread was not joined." in failures["test_not_joined"]


def test_written_text_is_captured(case: tf.test.TestCase, tmp_path) -> None:
    with open(tmp_path / "f", "w") as stream:
        with case.captureWritesToStream(stream) as captured:
            stream.write("inside")
        assert captured.contents() == "inside"
        stream.write("after")
    assert (tmp_path / "f").read_text() == "after"


def test_decorators_leave_the_graph_half_of_a_test() -> None:
    ran = []

    @decorators.run_all_in_graph_and_eager_modes
    class Modes(tf.test.TestCase):
        def test_both(self) -> None:
            ran.append(tf.get_default_session() is not None)

        @decorators.run_v2_only
        def test_v2(self) -> None:
            raise AssertionError

        @decorators.run_gpu_only
        def test_gpu(self) -> None:
            raise AssertionError

        @decorators.run_v1_only("b/1")
        @decorators.run_deprecated_v1
        @decorators.disable_xla("no")
        def testOld(self) -> None:
            ran.append("old")

    result = run(Modes)
    assert result.wasSuccessful()
    assert ran == ["old", True]
    assert sorted(reason for _, reason in result.skipped) == [
        "Not a test.", "Test is only compatible with v2", "Test requires GPU",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="only supports test methods"):
        decorators.run_in_graph_and_eager_modes(Modes)
    with pytest.raises(ValueError, match="should be string"):
        decorators.run_v1_only(None)


def test_graphs_are_equal_whatever_the_order_of_their_nodes() -> None:
    graphs.assert_equal_graph_def(_graph_def("a", "b"), _graph_def("b", "a"))
    with pytest.raises(AssertionError, match="Did not find expected node 'b = NoOp"):
        tf.test.assert_equal_graph_def(_graph_def("a"), _graph_def("a", "b"))
    with pytest.raises(AssertionError, match="Found unexpected node 'b = NoOp"):
        tf.test.assert_equal_graph_def(_graph_def("a", "b"), _graph_def("a"))
    with pytest.raises(
        AssertionError, match="Node named 'a' has device '/device:CPU:0' that is not expected ''"
    ):
        tf.test.assert_equal_graph_def(_graph_def("a", device="/cpu:0"), _graph_def("a"))
    with pytest.raises(TypeError, match=r"Expected tf.GraphDef for expected, got NodeDef"):
        tf.test.assert_equal_graph_def(_graph_def("a"), tf.NodeDef())

    def with_constant(**fields) -> tf.GraphDef:
        node = tf.NodeDef(name="c", op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto([2.0, 2.0]))
        for key, value in fields.items():
            node.attr["value"].tensor.ClearField("tensor_content")
            getattr(node.attr["value"].tensor, key).extend(value)
        return tf.GraphDef(node=[node])

    graphs.assert_equal_graph_def(with_constant(), with_constant(float_val=[2.0]))
    with pytest.raises(AssertionError, match="has attr 'value'"):
        graphs.assert_equal_graph_def(with_constant(), with_constant(float_val=[2.0, 3.0]))


def test_operations_are_looked_for_in_a_graph() -> None:
    graph = tf.Graph()
    with graph.as_default():
        tf.no_op(name="n")
    assert graphs.assert_ops_in_graph({"n": "NoOp"}, graph)["n"].op == "NoOp"
    with pytest.raises(ValueError, match=r"Expected op for node n is different\. Const vs NoOp"):
        graphs.assert_ops_in_graph({"n": "Const"}, graph)
    with pytest.raises(ValueError, match="Not all expected ops are present"):
        graphs.assert_ops_in_graph({"m": "NoOp"}, graph)
    graphs.set_producer_version(graph, 8)
    assert graph.graph_def_versions.producer == 8


def test_jacobians_by_gradients_and_by_differences() -> None:
    with tf.Graph().as_default(), tf.Session():
        x, w = tf.constant([[1.0, 2.0]], tf.float64), tf.constant([[3.0], [4.0]], tf.float64)
        y = tf.matmul(x, w)
        by_gradients, by_differences = tf.test.compute_gradient(x, [1, 2], y, [1, 1])
        assert by_gradients.tolist() == [[3.0], [4.0]]
        np.testing.assert_allclose(by_differences, by_gradients)
        both = tf.test.compute_gradient(
            [x, w], [[1, 2], [2, 1]], y, [1, 1], [np.ones((1, 2)), np.ones((2, 1))]
        )
        assert [j[0].tolist() for j in both] == [[[3.0], [4.0]], [[1.0], [2.0]]]
        z = tf.constant([1 + 2j], tf.complex128)
        # d(z^2) = 2 z dz as a map of (re, im) to (re, im).
        squared = tf.test.compute_gradient(z, [1], z * z, [1], np.array([1 + 2j]))
        np.testing.assert_allclose(squared[1], [[2, 4], [-4, 2]], atol=1e-6)
        assert tf.test.compute_gradient_error(z, [1], z * z, [1], np.array([1 + 2j])) < 1e-6
        params = tf.Variable(np.ones((3, 2)))
        rows = tf.gather(params, [2, 0, 2])
        assert (
            tf.test.compute_gradient_error(params, [3, 2], rows, [3, 2], init_targets=[params.initializer])
            < 1e-6
        )


def test_attributes_are_replaced_and_put_back() -> None:
    original = os.path.exists
    with tf.test.StubOutForTesting() as stubs:
        stubs.Set(os.path, "exists", lambda path: True)
        stubs.SmartSet(os.path, "exists", lambda path: "twice")
        assert os.path.exists("/none") == "twice"
    assert os.path.exists is original
    with pytest.raises(AttributeError):
        stubs.SmartSet(os.path, "none", 1)


def test_there_is_no_gpu_and_no_cluster() -> None:
    assert not tf.test.is_gpu_available()
    assert not tf.test.is_built_with_cuda()
    assert tf.test.gpu_device_name() == ""
    with pytest.raises(tf.errors.UnimplementedError, match="cannot be started"):
        environment.create_local_cluster(1, 1)


def test_a_program_of_tests_exits_with_its_result(tmp_path) -> None:
    program = tmp_path / "some_test.py"
    program.write_text(
        "import tensorflow as tf\n"
        "from tensorflow.python.framework import test_util\n"
        "from tensorflow.python.platform import googletest, test\n"
        "tf.flags.DEFINE_integer('n', 1, '')\n"
        "class T(test.TestCase):\n"
        "  @test_util.run_deprecated_v1\n"
        "  def testIt(self):\n"
        "    open(self.get_temp_dir() + '/f', 'w').close()\n"
        "    print('folder', test.get_temp_dir())\n"
        "    self.assertEqual(tf.flags.FLAGS.n, 1)\n"
        "if __name__ == '__main__': googletest.main()\n"
    )

    def outcome(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "kvarn", "run", str(program), *arguments],
            capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, "TEST_TMPDIR": str(tmp_path / "room")},
        )  # fmt: skip

    passed = outcome()
    assert passed.returncode == 0, passed.stderr
    folder = passed.stdout.split("folder ")[1].strip()
    assert folder.startswith(str(tmp_path / "room"))
    assert not os.path.exists(folder)
    assert outcome("--n=2").returncode == 1


def test_gradients_of_functions_and_differences() -> None:
    with tf.Graph().as_default(), tf.Session():
        product = gradient_checker_v2.compute_gradient(
            lambda x, y: x * x * y, [np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.5, 1.0])]
        )
        rows = gradient_checker_v2.compute_gradient(lambda x: tf.gather(x, [1, 1]), [np.ones((2, 2))])
        with pytest.raises(ValueError, match="`x` must be a list of Tensors"):
            gradient_checker_v2.compute_gradient(lambda x: x, np.ones(1))
    for by_x, by_y in product:
        np.testing.assert_allclose(by_x, np.diag([4.0, 2.0, 6.0]), atol=1e-6)
        np.testing.assert_allclose(by_y, np.diag([1.0, 4.0, 9.0]), atol=1e-6)
    for (by_rows,) in rows:
        np.testing.assert_allclose(by_rows, [[0] * 4, [0] * 4, [1, 0, 1, 0], [0, 1, 0, 1]], atol=1e-6)
    assert gradient_checker_v2.max_error(*product) < 1e-6
    assert gradient_checker_v2.max_error((), ()) == 0
