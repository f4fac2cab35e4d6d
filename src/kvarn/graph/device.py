"""Device names: ``/job:worker/replica:0/task:1/device:CPU:0`` and parts of it.

kvarn runs everything where it is; devices are kept because graphs carry them, and because partitioned
and sharded savers group variables by them.

Source: tensorflow/python/framework/{device,device_spec}.py (1.15).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple


class _Parts(NamedTuple):
    job: str | None = None
    replica: int | None = None
    task: int | None = None
    device_type: str | None = None
    device_index: int | None = None


class DeviceSpec:
    """A device, as far as it is given; parts that are None are left open.

    Args:
      job: name of the job.
      replica, task: numbers.
      device_type: such as ``CPU``; ``cpu`` and ``gpu`` are turned into capitals.
      device_index: number of the device, None for any.
    """

    __slots__ = ("_parts",)

    def __init__(
        self,
        job: Any = None,
        replica: Any = None,
        task: Any = None,
        device_type: Any = None,
        device_index: Any = None,
    ) -> None:
        self._parts = _Parts(
            _str(job), _int(replica), _int(task), _device_type(device_type), _int(device_index)
        )

    @classmethod
    def from_string(cls, spec: str | None) -> DeviceSpec:
        """The DeviceSpec that a string describes; ValueError when it is malformed."""
        self = cls.__new__(cls)
        self._parts = _parse(spec or "")
        return self

    def parse_from_string(self, spec: str) -> DeviceSpec:
        """Takes over what ``spec`` describes, and returns itself."""
        self._parts = _parse(spec)
        return self

    def to_string(self) -> str:
        """The string of the parts that are given."""
        return _print(self._parts)

    def merge_from(self, dev: Any) -> None:
        """Takes over the parts that ``dev`` gives; the others stay."""
        self._parts = _merge(self._parts, _parts_of(dev))

    def make_merged_spec(self, dev: Any) -> DeviceSpec:
        """A new DeviceSpec with the parts of ``dev``, and its own where ``dev`` gives none."""
        return DeviceSpec(*_merge(self._parts, _parts_of(dev)))

    def replace(self, **kwargs: Any) -> DeviceSpec:
        """A new DeviceSpec in which the given parts are replaced."""
        return DeviceSpec(**{**self._parts._asdict(), **kwargs})

    @property
    def job(self) -> str | None:
        return self._parts.job

    @job.setter
    def job(self, job: Any) -> None:
        self._parts = self._parts._replace(job=_str(job))

    @property
    def replica(self) -> int | None:
        return self._parts.replica

    @replica.setter
    def replica(self, replica: Any) -> None:
        self._parts = self._parts._replace(replica=_int(replica))

    @property
    def task(self) -> int | None:
        return self._parts.task

    @task.setter
    def task(self, task: Any) -> None:
        self._parts = self._parts._replace(task=_int(task))

    @property
    def device_type(self) -> str | None:
        return self._parts.device_type

    @device_type.setter
    def device_type(self, device_type: Any) -> None:
        self._parts = self._parts._replace(device_type=_device_type(device_type))

    @property
    def device_index(self) -> int | None:
        return self._parts.device_index

    @device_index.setter
    def device_index(self, device_index: Any) -> None:
        self._parts = self._parts._replace(device_index=_int(device_index))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DeviceSpec) and self.to_string() == other.to_string()

    def __hash__(self) -> int:
        return hash(self.to_string())

    def __repr__(self) -> str:
        return f"DeviceSpec({self.to_string()!r})"


class DeviceSpecV2(DeviceSpec):
    """A DeviceSpec that does not change: its parts cannot be set, and what changes it gives a new one."""

    __slots__ = ()

    job = property(lambda self: self._parts.job)
    replica = property(lambda self: self._parts.replica)
    task = property(lambda self: self._parts.task)
    device_type = property(lambda self: self._parts.device_type)
    device_index = property(lambda self: self._parts.device_index)

    def parse_from_string(self, spec: str) -> DeviceSpec:
        """A new one, of ``spec``."""
        return type(self).from_string(spec)

    def make_merged_spec(self, dev: Any) -> DeviceSpec:
        """A new one with the parts of ``dev``, and its own where ``dev`` gives none."""
        return type(self)(*_merge(self._parts, _parts_of(dev)))

    def replace(self, **kwargs: Any) -> DeviceSpec:
        """A new one in which the given parts are replaced."""
        return type(self)(**{**self._parts._asdict(), **kwargs})


DeviceSpecV1 = DeviceSpec


class MergeDevice:
    """A device function: what an operation asks for already, filled up with a device.

    Args:
      spec: a device string or a DeviceSpec.

    Raises:
      ValueError: the string is malformed.
    """

    def __init__(self, spec: Any) -> None:
        self._parts = _parts_of(spec)

    def __call__(self, node: Any) -> str:
        """The device for ``node``, an Operation or NodeDef."""
        return _merge_and_print(self._parts, node.device or "")

    @property
    def is_null_merge(self) -> bool:
        """Whether it changes nothing."""
        return not _print(self._parts)

    def __repr__(self) -> str:
        return f"<MergeDevice {_print(self._parts)!r}>"


def check_valid(spec: str) -> None:
    """Raises ValueError when a device string is malformed."""
    _parse(spec)


def is_device_spec(obj: Any) -> bool:
    return isinstance(obj, DeviceSpec)


def canonical_name(device: Any) -> str:
    """The full form of a device string or DeviceSpec; ``""`` for None.

    Raises:
      ValueError: the string is malformed.
    """
    return "" if not device else _print(_parts_of(device))


def merge_device(spec: Any) -> MergeDevice:
    """The device function of a device string or DeviceSpec; one that is a function already is returned.

    Raises:
      ValueError: the string is malformed.
    """
    return spec if isinstance(spec, MergeDevice) else MergeDevice(spec)


def _parts_of(device: Any) -> _Parts:
    return device._parts if isinstance(device, DeviceSpec) else _parse(device or "")


@functools.lru_cache(maxsize=1024)
def _parse(spec: str) -> _Parts:
    job = replica = task = device_type = device_index = None
    for part in spec.split("/"):
        if not part:
            continue
        fields = part.split(":")
        key, count = fields[0], len(fields)
        if count == 2 and key == "job":
            job = fields[1]
        elif count == 2 and key == "replica":
            replica = int(fields[1])
        elif count == 2 and key == "task":
            task = int(fields[1])
        elif (count in (1, 2) and key.upper() in ("CPU", "GPU")) or (count == 3 and key == "device"):
            if device_type is not None:
                raise ValueError(f"Cannot specify multiple device types: {spec}")
            device_type = _device_type(fields[1]) if count == 3 else key.upper()
            if count > 1 and fields[-1] != "*":
                device_index = int(fields[-1])
        elif key:
            raise ValueError(f"Unknown attribute: '{key}' in '{spec}'")
    return _Parts(job, replica, task, device_type, device_index)


@functools.lru_cache(maxsize=1024)
def _print(parts: _Parts) -> str:
    text = ""
    if parts.job is not None:
        text += f"/job:{parts.job}"
    if parts.replica is not None:
        text += f"/replica:{parts.replica}"
    if parts.task is not None:
        text += f"/task:{parts.task}"
    if parts.device_type is not None:
        text += f"/device:{parts.device_type}:{'*' if parts.device_index is None else parts.device_index}"
    return text


def _merge(base: _Parts, over: _Parts) -> _Parts:
    return base._replace(**{name: value for name, value in over._asdict().items() if value is not None})


@functools.lru_cache(maxsize=4096)
def _merge_and_print(base: _Parts, over: str) -> str:
    return _print(_merge(base, _parse(over)))


def _str(value: Any) -> str | None:
    return None if value is None else str(value)


def _int(value: Any) -> int | None:
    return None if value is None else int(value)


def _device_type(value: Any) -> str | None:
    return value.upper() if value in ("cpu", "gpu") else _str(value)
