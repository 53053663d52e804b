"""array-api-strict on a device that is not the host: refuses what the standard lacks, and transfers."""

from dataclasses import dataclass
from typing import Any

import array_api_strict as xp
import numpy as np

from rnnx.backends.base import Backend
from rnnx.errors import BackendError
from rnnx.typing import Array

HOST = "CPU_DEVICE"
DEFAULT = "device1"
StrictArray = type(xp.zeros(()))  # the library does not export its class


@dataclass(frozen=True)
class StrictBackend(Backend):
    """The standard and nothing else; for tests."""

    def holds(self, x: Any) -> bool:
        return isinstance(x, StrictArray) and x.device == self.device

    def asarray(self, values: Any, dtype: Any = None) -> Array:
        if not isinstance(values, StrictArray):
            return xp.asarray(values, dtype=self.dtype(dtype), device=self.device)
        moved = values.to_device(self.device)
        return moved if dtype is None else xp.astype(moved, self.dtype(dtype), copy=False)

    def to_numpy(self, x: Array) -> np.ndarray:
        return np.array(x.to_device(xp.Device(HOST)))


def create(device: str | None) -> Backend:
    """The strict backend on the named device; by default on one that is not the host."""
    label = device or DEFAULT
    known = [_label(place) for place in xp.__array_namespace_info__().devices()]
    if label not in known:
        raise BackendError(
            f"strict has no device {label!r}; its devices are {', '.join(known)}.",
            'Use set_backend("strict").',
        )
    return StrictBackend("strict" if label == DEFAULT else f"strict:{label}", xp, xp.Device(label))


def device_of(x: Any) -> str | None:
    """Device part of the name of the backend that holds x."""
    label = _label(x.device)
    return None if label == DEFAULT else label


def _label(device: Any) -> str:
    """Name of a device, which array-api-strict shows in its repr only."""
    return repr(device).partition("'")[2].rpartition("'")[0]
