"""The table of names, and ``import tensorflow`` through it."""

from __future__ import annotations

import importlib
import pathlib
import subprocess
import sys

import pytest

from kvarn.compat.tensorflow import gen_ops, names, namespace
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session


@pytest.mark.parametrize("full", names.all_names())
def test_every_name_of_the_table_is_there(full: str) -> None:
    space, _, name = full.rpartition(".")
    found = namespace.resolve(space, name, "tensorflow")
    # tf.newaxis is NumPy's: None.
    assert found is not None or full == "newaxis"


@pytest.mark.parametrize("module", [*names.MODULES])
def test_every_module_of_the_table_has_its_sources(module: str) -> None:
    for target in names.MODULES[module]:
        if target == "tf" or target == "protos":
            continue
        if target.startswith("tf:"):
            assert target[3:] in names.NAMESPACES
        else:
            importlib.import_module(target)


def run(tmp_path: pathlib.Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "program.py").write_text(program)
    command = [sys.executable, "-m", "kvarn", "run", "program.py", *arguments]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)


def test_a_program_finds_its_names_its_arguments_and_its_neighbours(tmp_path: pathlib.Path) -> None:
    (tmp_path / "neighbour.py").write_text("import tensorflow as tf\nVALUE = tf.constant([1., 2.])\n")
    done = run(
        tmp_path,
        """
import sys
import tensorflow as tf
import tensorflow.compat.v1 as tf1
from tensorflow.python.framework import ops, meta_graph
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.python.ops import array_ops, math_ops
from neighbour import VALUE
assert __name__ == "__main__"
assert tf.__version__ == "1.15.5"
assert tf1.Session is tf.Session and ops.Graph is tf.Graph
with tf.Session() as s:
    print(sys.argv[1:], s.run(tf.reduce_sum(VALUE)), type(MetaGraphDef()).__name__)
""",
        "--rate",
        "0.1",
    )
    assert done.stderr == ""
    assert done.stdout == "['--rate', '0.1'] 3.0 MetaGraphDef\n"


@pytest.mark.parametrize(
    ("program", "error", "near"),
    [
        (
            "import tensorflow as tf\ntf.reduce_smu",
            "AttributeError: module 'tensorflow' has no",
            "tf.reduce_sum",
        ),
        (
            "import tensorflow as tf\ntf.train.Savr()",
            "AttributeError: module 'tensorflow.train'",
            "tf.train.Saver",
        ),
        ("import tensorflow as tf\ntf.latest_checkpoint", "AttributeError", "tf.train.latest_checkpoint"),
        ("import tensorflow.python.framework.opss", "ModuleNotFoundError", "tensorflow.python.framework.ops"),
        ("from tensorflow.python.ops import nothing_ops", "ImportError", "tensorflow.python.ops"),
    ],
)
def test_a_missing_name_says_what_comes_nearest(
    tmp_path: pathlib.Path, program: str, error: str, near: str
) -> None:
    done = run(tmp_path, program)
    assert done.returncode == 1
    assert error in done.stderr
    assert near in done.stderr


def test_a_missing_program_is_one_line(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-m", "kvarn", "run", "nothing.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "no file 'nothing.py'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failing_program_shows_its_own_traceback_and_status(tmp_path: pathlib.Path) -> None:
    done = run(tmp_path, "raise SystemExit(7)")
    assert done.returncode == 7
    done = run(tmp_path, "def f():\n    1 / 0\nf()")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "program.py" in done.stderr


def test_importing_a_room_does_not_hide_a_namespace() -> None:
    code = (
        "import kvarn.train.training_util, kvarn.io, kvarn as tf\n"
        "print(tf.train.get_global_step.__name__, tf.io.write_graph.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["get_global_step", "write_graph"], done.stderr


def test_a_real_tensorflow_that_is_imported_already_is_not_replaced(tmp_path: pathlib.Path) -> None:
    code = (
        "import sys, types; sys.modules['tensorflow'] = types.ModuleType('tensorflow')\n"
        "from kvarn.compat.tensorflow import importer\n"
        "try: importer.install()\nexcept ImportError as e: print('refused', e)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("refused tensorflow is imported already"), done.stderr


def test_the_enums_of_embedding_variables_are_where_deeprec_has_them(tmp_path: pathlib.Path) -> None:
    program = """
import tensorflow as tf
from tensorflow.core.framework.embedding import config_pb2
option = tf.StorageOption(storage_type=config_pb2.StorageType.DRAM, cache_strategy=config_pb2.CacheStrategy.LRU)
print(int(option.storage_type), int(option.cache_strategy), config_pb2.SlotType.VARIABLE)
"""
    done = run(tmp_path, program)
    assert done.stdout.split() == ["1", "0", "1"], done.stderr


def test_what_is_not_yet_there_says_so(tmp_path: pathlib.Path) -> None:
    done = run(tmp_path, "import tensorflow as tf\ntf.estimator.Estimator")
    assert "has no attribute 'estimator'. kvarn does not have it yet" in done.stderr
    assert "nearest" not in done.stderr


def test_help_of_the_package_works() -> None:
    code = "import kvarn, pydoc; print(len(pydoc.render_doc(kvarn)) > 1000, 'train' in dir(kvarn))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["True", "True"], done.stderr[-500:]


def test_a_missing_module_to_run_is_one_line(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-m", "kvarn", "run", "-m", "nothing.here"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "no module named 'nothing.here'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_name_may_stand_for_none_and_a_switch_for_what_it_is_now(tmp_path: pathlib.Path) -> None:
    program = (
        "from tensorflow.python.ops import array_ops, control_flow_util, control_flow_v2_toggles as toggles\n"
        "from tensorflow.python.data.ops import dataset_ops, optional_ops\n"
        "print(array_ops.newaxis, dataset_ops._VariantDataset.__name__, optional_ops._OptionalImpl.__name__)\n"
        "before = control_flow_util.ENABLE_CONTROL_FLOW_V2\n"
        "toggles.enable_control_flow_v2()\n"
        "print(before, control_flow_util.ENABLE_CONTROL_FLOW_V2)\n"
    )
    assert run(tmp_path, program).stdout == "None VariantDataset Optional\nFalse True\n"


def test_generated_modules_have_ops_by_both_names() -> None:
    module = gen_ops.GeneratedOps("tensorflow.python.ops.gen_sparse_ops")
    with Graph().as_default(), Session() as session:
        by_definition = module.SparseFillEmptyRowsGrad(reverse_index_map=[2, 1], grad_values=[0, 1, 2, 3])
        by_function = module.sparse_fill_empty_rows_grad([2, 1], [0, 1, 2, 3])
        for d_values, d_default in session.run([tuple(by_definition), tuple(by_function)]):
            assert (d_values.tolist(), d_default) == ([2, 1], 3)
    with pytest.raises(AttributeError, match="kvarn does not have that op"):
        _ = module.NoSuchOp
