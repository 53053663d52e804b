"""NumPy's arrays on the CPU, with pointwise bodies compiled by Numba."""

from dataclasses import dataclass
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from rnnx.backends import host_blas, numba_chain, numba_kernels
from rnnx.backends.base import Backend
from rnnx.backends.numpy_backend import NumpyBackend
from rnnx.backends.slabs import Slabs
from rnnx.errors import BackendError
from rnnx.typing import Array, Kernel, Program, Script


@dataclass(frozen=True)
class NumbaBackend(NumpyBackend):
    """Pointwise bodies as compiled loops for float32 and float64, serial: BLAS has the threads."""

    kernels = "loops compiled by Numba, cached on disk"

    def details(self) -> dict[str, str]:
        compiled = host_blas.addresses(numba_kernels.DTYPES[0]) is not None
        loops = "compiled" if compiled else "step by step, since NumPy's BLAS is not that of its wheels"
        own = {"time loops": loops, "compiled code": str(numba_kernels.folder())}
        return super().details() | own

    def kernel(self, program: Program, shape: tuple[int, ...], dtype: Any) -> Kernel:
        if np.dtype(dtype) not in numba_kernels.DTYPES:
            return super().kernel(program, shape, dtype)
        return numba_kernels.kernel(program, dtype)

    def slab_kernel(self, program: Program, shape: tuple[int, ...], dtype: Any, slabs: Slabs) -> Kernel:
        if np.dtype(dtype) not in numba_kernels.DTYPES:
            return super().slab_kernel(program, shape, dtype, slabs)
        return Backend.slab_kernel(self, program, shape, dtype, slabs)

    def linear_recurrence(self, a: Array, c: Array, reverse: bool = False) -> None:
        width = (c.shape[0] - a.shape[0]) * c.shape[1]
        if width:
            numba_kernels.linear_recurrence()(np.ascontiguousarray(a), c, width, reverse)

    def operand(self, a: Array, columns: int, products: int) -> Array:
        a = super().operand(a, columns, products)
        return a if a.itemsize in a.strides[-2:] else np.ascontiguousarray(a)

    def compiles_loops(self, dtype: Any) -> bool:
        return dtype in numba_kernels.DTYPES and host_blas.addresses(dtype) is not None

    def run_loop(
        self,
        script: Script,
        steps: int,
        hidden: int,
        slabs: tuple[Any, ...],
        scratch: list[Array],
        operands: list[Array],
    ) -> None:
        pre, saved, states, d, dy = slabs
        _, rows, N = pre.shape
        blas = host_blas.addresses(pre.dtype) or ()
        sizes = steps, hidden, N, rows // hidden, saved.shape[1] // hidden
        upstream = () if not d else (np.empty((0, 0, 0), pre.dtype) if dy is None else dy,)
        operands = [*operands]
        for k in numba_chain.columns_of(script):
            operands[k] = np.ascontiguousarray(np.broadcast_to(operands[k], (hidden, N)))
        loop = numba_chain.time_loop(script, len(states), len(operands), pre.dtype)
        loop(*blas, *sizes, pre, saved, *states, *d, *scratch, *operands, *upstream)


def create(device: str | None) -> Backend:
    """The Numba backend; its only device is the CPU."""
    if device not in (None, "cpu"):
        raise BackendError(
            f"numba has no device {device!r}; its only device is the CPU.", 'Use set_backend("numba").'
        )
    return NumbaBackend("numba", xp, "cpu")
