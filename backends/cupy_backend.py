"""CuPy on a CUDA device: a pointwise body is one kernel launch, a product one call of cuBLAS."""

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx.backends import cupy_diagnosis, cupy_kernels
from rnnx.backends.base import Backend
from rnnx.backends.products import Product
from rnnx.errors import BackendError
from rnnx.typing import Array, Kernel, Program

cupy_diagnosis.require_one_wheel()  # before the import, which only warns of a second wheel

import array_api_compat.cupy as xp  # noqa: E402
import cupy  # noqa: E402

NO_MEMORY = {"CUDARuntimeError": 2, "CUDADriverError": 2, "CUBLASError": 3}
"""Status by the class of CuPy's errors about memory that do not come from its pool."""


@dataclass(frozen=True)
class CupyBackend(Backend):
    """Arrays on one CUDA device, whichever device CuPy holds for the current one.

    CuPy makes results on the thread's current device, so a method that makes arrays switches to its own. What
    `kernel`, `matmul` and `matmul_add` return runs inside `untracked`, which switches once per sequence.
    """

    kernels = "one CuPy ElementwiseKernel per body"

    def holds(self, x: Any) -> bool:
        return isinstance(x, cupy.ndarray) and x.device.id == self.device.id

    def asarray(self, values: Any, dtype: Any = None) -> Array:
        with self.device:
            return cupy.asarray(values, dtype=self.dtype(dtype))

    def to_numpy(self, x: Array) -> np.ndarray:
        copy: np.ndarray = cupy.asnumpy(x)
        return copy

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        with self.device:
            return cupy.empty(shape, dtype=self.dtype(dtype))

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        with self.device:
            return cupy.zeros(shape, dtype=self.dtype(dtype))

    def contiguous(self, x: Array) -> Array:
        return cupy.ascontiguousarray(x)

    def synchronize(self) -> None:
        self.device.synchronize()

    def memory_report(self) -> dict[str, int]:
        pool = cupy.get_default_memory_pool()
        with self.device:
            free, total = cupy.cuda.runtime.memGetInfo()
            used, held, limit = pool.used_bytes(), pool.total_bytes(), pool.get_limit()
        if limit:  # of CUPY_GPU_MEMORY_LIMIT, or set by the program
            free, total = min(free, max(limit - held, 0)), min(total, limit)
        return {"used": used, "held": held, "free": free, "total": total}

    def memory_asked(self, error: Exception) -> int | None:
        if getattr(error, "status", None) == NO_MEMORY.get(type(error).__name__, -1):
            return 0
        found = re.match(r"Out of memory allocating ([\d,]+) bytes", str(error))
        if isinstance(error, cupy.cuda.memory.OutOfMemoryError) and found:
            return int(found[1].replace(",", ""))
        return super().memory_asked(error)

    def details(self) -> dict[str, str]:
        return cupy_diagnosis.details(cupy, self.device.id)

    def placed(self) -> AbstractContextManager[Any]:
        switched: AbstractContextManager[Any] = self.device
        return switched

    def untracked(self) -> AbstractContextManager[Any]:
        return self.placed()

    def functional_kernel(self, program: Program) -> Kernel:
        compute = cupy_kernels.functional(program)

        def kernel(*inputs: Array) -> tuple[Array, ...]:
            with self.device:
                return compute(*inputs)

        return kernel

    def kernel(self, program: Program, shape: tuple[int, ...], dtype: Any) -> Kernel:
        return cupy_kernels.in_place(program)

    def operand(self, a: Array, columns: int, products: int) -> Array:
        return a if a.flags.forc else cupy.ascontiguousarray(a)  # else gemm would copy it, call by call

    def matmul(self, shape: tuple[int, ...], dtype: Any) -> Product:
        gemm, matmul = _gemm(), cupy.matmul

        def product(a: Array, b: Array, out: Array) -> Array:
            return gemm("N", "N", a, b, out=out) if b.size else matmul(a, b, out=out)

        return product

    def matmul_add(self, shape: tuple[int, ...], dtype: Any) -> Product:
        gemm = _gemm()

        def product(a: Array, b: Array, out: Array) -> Array:
            return gemm("N", "N", a, b, out=out, beta=1.0) if b.size else out

        return product

    def linear_recurrence(self, a: Array, c: Array, reverse: bool = False) -> None:
        cupy_kernels.linear_recurrence(a, c, reverse)

    def scatter_add(self, ids: Array, rows: Array, size: int) -> Array:
        with self.device:
            return super().scatter_add(ids, rows, size)


def _gemm() -> Any:
    """CuPy's GEMM that can add into its result; one call of cuBLAS if all matrices are C- or F-contiguous."""
    from cupy import cublas  # needs cuBLAS to import

    return cublas.gemm


def create(device: str | None) -> Backend:
    """The CuPy backend on the device of that index; device 0 by default.

    Raises
    ------
    BackendError
        CuPy or the device cannot be used; the message says why and what to do.
    """
    if device is not None and not (device.isascii() and device.isdigit()):
        raise BackendError(
            f"cupy has no device {device!r}; expected the index of a CUDA device.",
            'For example set_backend("cupy:1").',
        )
    index = int(device or 0)
    cupy_diagnosis.require_device(cupy, index)
    return CupyBackend(
        f"cupy:{index}" if index else "cupy", xp, cupy.cuda.Device(index), asynchronous=True, complex=False
    )


def device_of(x: Any) -> str | None:
    """Device part of the name of the backend that holds x."""
    return str(x.device.id) if x.device.id else None
