"""NumPy's arrays on the CPU, with pointwise bodies compiled by Numba."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from rnnx.backends import host_threads, numba_kernels, numba_sums
from rnnx.backends.base import Backend
from rnnx.backends.numba_loop import BoundLoop
from rnnx.backends.numpy_backend import NumpyBackend
from rnnx.errors import BackendError
from rnnx.typing import Array, Columns, Kernel, Program, Script, TimeLoop


@dataclass(frozen=True)
class NumbaBackend(NumpyBackend):
    """Pointwise bodies and time loops compiled for float32 and float64."""

    kernels = "loops compiled by Numba, cached on disk"

    def details(self) -> dict[str, str]:
        known = host_threads.threads() is not None
        loops = "compiled, on " + ("the threads of NumPy's BLAS" if known else "one thread")
        own = {"time loops": loops, "compiled code": str(numba_kernels.folder())}
        return super().details() | own

    def kernel(self, program: Program, shape: tuple[int, ...], dtype: Any) -> Kernel:
        if np.dtype(dtype) not in numba_kernels.DTYPES:
            return super().kernel(program, shape, dtype)
        return numba_kernels.kernel(program, dtype)

    def linear_recurrence(self, a: Array, c: Array, reverse: bool = False) -> None:
        width = (c.shape[0] - a.shape[0]) * c.shape[1]
        if width:
            numba_kernels.linear_recurrence()(np.ascontiguousarray(a), c, width, reverse)

    def weight_gradients(self, d: Columns, seen: Sequence[Columns], bias: bool) -> list[Array] | None:
        return numba_sums.weight_gradients(self.empty, d, seen, bias) if numba_sums.suits(d) else None

    def input_gradient(self, W: Array, d: Columns) -> Array | None:
        return numba_sums.input_gradient(self.empty, W, d) if numba_sums.suits(d) else None

    def bind_loop(
        self,
        script: Script,
        hidden: int,
        operands: list[Array],
        projection: tuple[Array, Array] | None,
        x: Array,
    ) -> TimeLoop | None:
        if x.dtype not in numba_kernels.DTYPES:
            return super().bind_loop(script, hidden, operands, projection, x)
        if projection is None and not script.backward:
            return None
        return BoundLoop(script, hidden, operands, projection, self.empty)


def create(device: str | None) -> Backend:
    """The Numba backend; its only device is the CPU."""
    if device not in (None, "cpu"):
        raise BackendError(
            f"numba has no device {device!r}; its only device is the CPU.", 'Use set_backend("numba").'
        )
    return NumbaBackend("numba", xp, "cpu")
