"""`tf.train.ClusterSpec`: the addresses of the tasks of a cluster, by job.

kvarn runs in one process; programs use these to say where variables would be.

Source: tensorflow/python/training/server_lib.py (1.15).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kvarn import protos


class ClusterSpec:
    """Jobs, each with the addresses of its tasks.

    Args:
      cluster: addresses by job: a list, or a dictionary by number of the task; or a ClusterDef message, or
        another ClusterSpec.

    Raises:
      TypeError: ``cluster`` is of another kind.
    """

    def __init__(self, cluster: Any) -> None:
        self._tasks: dict[str, dict[int, str]] = {}
        if isinstance(cluster, ClusterSpec):
            self._tasks = {job: dict(tasks) for job, tasks in cluster._tasks.items()}
        elif isinstance(cluster, protos.ClusterDef):
            for job in cluster.job:
                self._tasks[job.name] = dict(job.tasks)
        elif isinstance(cluster, Mapping):
            for name, tasks in cluster.items():
                self._tasks[str(name)] = _numbered(name, tasks)
        else:
            raise TypeError(
                "`cluster` must be a dictionary mapping one or more job names to lists of network addresses, or a "
                "`ClusterDef` protocol buffer"
            )

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClusterSpec) and self._tasks == other._tasks

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ClusterSpec({self.as_dict()!r})"

    def as_dict(self) -> dict[str, Any]:
        """Addresses by job: a list if the tasks are numbered from 0 without a gap, else a dictionary."""
        found: dict[str, Any] = {}
        for job, tasks in self._tasks.items():
            dense = sorted(tasks) == list(range(len(tasks)))
            found[job] = [tasks[i] for i in sorted(tasks)] if dense else dict(tasks)
        return found

    def as_cluster_def(self) -> Any:
        """The ClusterDef message."""
        message = protos.ClusterDef()
        for job in sorted(self._tasks):
            entry = message.job.add(name=job)
            for number, address in sorted(self._tasks[job].items()):
                entry.tasks[number] = address
        return message

    @property
    def jobs(self) -> list[str]:
        """The names of the jobs."""
        return list(self._tasks)

    def num_tasks(self, job_name: str) -> int:
        """How many tasks a job has; ValueError if there is no such job."""
        return len(self._job(job_name))

    def task_indices(self, job_name: str) -> list[int]:
        """The numbers of a job's tasks; ValueError if there is no such job."""
        return sorted(self._job(job_name))

    def task_address(self, job_name: str, task_index: int) -> str:
        """The address of a task; ValueError if there is no such task."""
        job = self._job(job_name)
        if task_index not in job:
            raise ValueError(f"No task with index {task_index!r} in job {job_name!r}")
        return job[task_index]

    def job_tasks(self, job_name: str) -> list[str | None]:
        """The addresses of a job's tasks by number, None where there is none; ValueError without the job."""
        job = self._job(job_name)
        return [job.get(i) for i in range(max(job, default=-1) + 1)]

    def _job(self, name: str) -> dict[int, str]:
        if name not in self._tasks:
            raise ValueError(f"No such job in cluster: {name!r}")
        return self._tasks[name]


def _numbered(job: Any, tasks: Any) -> dict[int, str]:
    if isinstance(tasks, Mapping):
        for number in tasks:
            if not isinstance(number, int):
                raise TypeError("Task indices in a sparse cluster must be integers")
        return {number: str(address) for number, address in tasks.items()}
    if isinstance(tasks, Sequence) and not isinstance(tasks, str):
        return {i: str(address) for i, address in enumerate(tasks)}
    raise TypeError(f"The tasks for job {job!r} must be a list or a dictionary from integers to strings.")
