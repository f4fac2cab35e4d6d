"""Modules of TensorFlow that kvarn does not have, and the generated ones, which it has as a whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import kvarn as tf
from kvarn import errors
from kvarn.compat.tensorflow import absent, gen_ops


def run(tmp_path: Path, text: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "kvarn", "run", str(script)], capture_output=True, text=True, check=False
    )


def test_what_is_imported_and_not_used_does_no_harm(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "import tensorflow as tf\n"
        "from tensorflow.python.eager import backprop\n"
        "from tensorflow.python.autograph.core import ag_ctx\n"
        "import tensorflow.contrib.distribute\n"
        "class Tape(backprop.GradientTape): pass\n"
        "print(isinstance(3, backprop.GradientTape), tf.constant(1).name)\n",
    )
    assert (done.stdout, done.stderr) == ("False Const:0\n", "")


@pytest.mark.parametrize("use", ["backprop.GradientTape()", "Tape()", "backprop.GradientTape.gradient(1)"])
def test_what_is_used_says_its_name(tmp_path: Path, use: str) -> None:
    done = run(
        tmp_path,
        f"from tensorflow.python.eager import backprop\nclass Tape(backprop.GradientTape): pass\n{use}\n",
    )
    assert done.returncode != 0
    assert "UnimplementedError: kvarn does not have '" in done.stderr


def test_a_module_that_tensorflow_does_not_have(tmp_path: Path) -> None:
    done = run(tmp_path, "import tensorflow.python.traning\n")
    assert "No module named 'tensorflow.python.traning'. kvarn does not have it; nearest: " in done.stderr


def test_names_inside() -> None:
    module = absent.AbsentModule("tensorflow.python.eager.backprop")
    assert (
        repr(module.GradientTape.gradient)
        == "<absent 'tensorflow.python.eager.backprop.GradientTape.gradient'>"
    )
    assert not hasattr(module, "__wrapped__")
    assert not hasattr(module.GradientTape, "__wrapped__")
    with pytest.raises(
        errors.UnimplementedError, match=r"does not have 'tensorflow.python.eager.backprop.f'"
    ):
        module.f(1, a=2)


@pytest.mark.parametrize(
    ("op", "function"),
    [
        ("MatMul", "mat_mul"),
        ("Conv2DBackpropInput", "conv2d_backprop_input"),
        ("FFT2D", "fft2d"),
        ("TensorArrayV3", "tensor_array_v3"),
        ("L2Loss", "l2_loss"),
        ("LRNGrad", "lrn_grad"),
        ("QuantizeV2", "quantize_v2"),
        ("SparseApplyFtrlV2", "sparse_apply_ftrl_v2"),
    ],
)
def test_names_of_generated_functions(op: str, function: str) -> None:
    assert gen_ops.snake_case(op) == function


def test_generated_modules() -> None:
    module = gen_ops.GeneratedOps("tensorflow.python.ops.gen_math_ops")
    with tf.Graph().as_default(), tf.Session() as sess:
        product = module.mat_mul([[2.0]], [[3.0]], name="product")
        assert product.op.type == "MatMul"
        assert sess.run(product) == 6.0
        assert module._assert(True, ["x"]).type == "Assert"
    with pytest.raises(AttributeError, match="kvarn does not have that op"):
        module.no_such_op


def test_what_a_program_replaces_is_replaced_where_it_is_used(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "from unittest import mock\n"
        "from tensorflow.python.ops import check_ops\n"
        "import kvarn.ops.check, kvarn\n"
        "spec, original = kvarn.ops.check.__spec__, kvarn.ops.check.assert_equal\n"
        "with mock.patch.object(check_ops, 'assert_equal', lambda *a: 'replaced'):\n"
        "    print(kvarn.ops.check.assert_equal(1, 2), check_ops.assert_equal(1, 2))\n"
        "print(kvarn.ops.check.assert_equal is original, check_ops.assert_equal is original)\n"
        "print(kvarn.ops.check.__spec__ is spec)\n",
    )
    assert done.stdout == "replaced replaced\nTrue True\nTrue\n", done.stderr


def test_traced_functions(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "import tensorflow as tf\n"
        "from tensorflow.python.eager import def_function, function\n"
        "class A:\n"
        "    @def_function.function\n"
        "    def f(self): return 1\n"
        "    @function.defun(autograph=False)\n"
        "    def g(self, x): return x + 2\n"
        "print(tf.Session().run([A().f(), A().g(tf.constant(2))]), tf.function is def_function.function)\n",
    )
    assert done.stdout == "[np.int32(1), np.int32(4)] True\n", done.stderr
