"""The devices of this process.

Source: tensorflow/python/client/device_lib.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import protos


def list_local_devices(session_config: Any = None) -> list[Any]:
    """One DeviceAttributes message: the processor that everything runs on."""
    device = protos.message("tensorflow.DeviceAttributes")(name="/device:CPU:0", device_type="CPU")
    return [device]
