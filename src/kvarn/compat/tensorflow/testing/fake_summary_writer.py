"""A FileWriter that writes nothing and remembers what it was told, for tests of programs that write summaries.

Source: tensorflow/contrib/testing/python/framework/fake_summary_writer.py.
"""

from __future__ import annotations

from typing import Any, ClassVar

from kvarn import protos
from kvarn.compat.tensorflow.testing.graphs import assert_meta_graph_protos_equal
from kvarn.summary import writer, writer_cache


class FakeSummaryWriter:
    """Takes the place of `FileWriter` between `install` and `uninstall`."""

    _replaced_summary_writer: ClassVar[Any] = None

    @classmethod
    def install(cls) -> None:
        """Puts this class in the place of FileWriter.

        Raises:
          ValueError: it is there already.
        """
        if cls._replaced_summary_writer:
            raise ValueError("FakeSummaryWriter already installed.")
        cls._replaced_summary_writer = writer.FileWriter
        cls._put(cls)

    @classmethod
    def uninstall(cls) -> None:
        """Puts FileWriter back.

        Raises:
          ValueError: it has not been replaced.
        """
        if not cls._replaced_summary_writer:
            raise ValueError("FakeSummaryWriter not installed.")
        cls._put(cls._replaced_summary_writer)
        cls._replaced_summary_writer = None

    @staticmethod
    def _put(found: Any) -> None:
        for module in (writer, writer_cache):
            setattr(module, "FileWriter", found)  # noqa: B010  (a class that no checker takes for the other)

    def __init__(self, logdir: Any, graph: Any = None) -> None:
        self._logdir = logdir
        self._graph = graph
        self._summaries: dict[Any, list[Any]] = {}
        self._added_graphs: list[Any] = []
        self._added_meta_graphs: list[Any] = []
        self._added_session_logs: list[Any] = []
        self._added_run_metadata: dict[str, Any] = {}

    @property
    def summaries(self) -> dict[Any, list[Any]]:
        """The Summary messages of each step."""
        return self._summaries

    def assert_summaries(
        self,
        test_case: Any,
        expected_logdir: Any = None,
        expected_graph: Any = None,
        expected_summaries: dict[Any, dict[str, float]] | None = None,
        expected_added_graphs: list[Any] | None = None,
        expected_added_meta_graphs: list[Any] | None = None,
        expected_session_logs: list[Any] | None = None,
    ) -> None:
        """Fails a test case unless this was added; None is not looked at.

        Args:
          expected_summaries: the numbers by tag, for each step; but for ``global_step/sec``.
        """
        if expected_logdir is not None:
            test_case.assertEqual(expected_logdir, self._logdir)
        if expected_graph is not None:
            test_case.assertTrue(expected_graph is self._graph)
        for step, numbers in (expected_summaries or {}).items():
            test_case.assertTrue(
                step in self._summaries, msg=f"Missing step {step} from {self._summaries.keys()}."
            )
            found = {v.tag: v.simple_value for summary in self._summaries[step] for v in summary.value}
            found.pop("global_step/sec", None)
            test_case.assertEqual(numbers, found)
        if expected_added_graphs is not None:
            test_case.assertEqual(expected_added_graphs, self._added_graphs)
        if expected_added_meta_graphs is not None:
            test_case.assertEqual(len(expected_added_meta_graphs), len(self._added_meta_graphs))
            for expected, actual in zip(expected_added_meta_graphs, self._added_meta_graphs, strict=True):
                assert_meta_graph_protos_equal(test_case, expected, actual)
        if expected_session_logs is not None:
            test_case.assertEqual(expected_session_logs, self._added_session_logs)

    def add_summary(self, summ: Any, current_global_step: Any) -> None:
        """Remembers a summary, a message or bytes of one."""
        summary = protos.Summary.FromString(summ) if isinstance(summ, bytes) else summ
        self._summaries.setdefault(current_global_step, []).append(summary)

    def add_graph(self, graph: Any, global_step: Any = None, graph_def: Any = None) -> None:
        """Remembers a graph.

        Raises:
          ValueError: a step below zero, or a GraphDef.
        """
        _check_step(global_step)
        if graph_def is not None:
            raise ValueError(f"Unexpected graph_def {graph_def}.")
        self._added_graphs.append(graph)

    def add_meta_graph(self, meta_graph_def: Any, global_step: Any = None) -> None:
        """Remembers a MetaGraphDef; ValueError for a step below zero."""
        _check_step(global_step)
        self._added_meta_graphs.append(meta_graph_def)

    def add_session_log(self, session_log: Any, global_step: Any = None) -> None:
        """Remembers a SessionLog."""
        self._added_session_logs.append(session_log)

    def add_run_metadata(self, run_metadata: Any, tag: str, global_step: Any = None) -> None:
        """Remembers a RunMetadata; ValueError for a step below zero."""
        _check_step(global_step)
        self._added_run_metadata[tag] = run_metadata

    def flush(self) -> None:
        """Nothing happens."""

    def reopen(self) -> None:
        """Nothing happens."""

    def close(self) -> None:
        """Nothing happens."""


def _check_step(global_step: Any) -> None:
    if global_step is not None and global_step < 0:
        raise ValueError(f"Invalid global_step {global_step}.")
