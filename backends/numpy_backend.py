"""NumPy on the CPU: the default backend."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from rnnx.backends import host_pool, memory, printing, small_products
from rnnx.backends.base import Backend
from rnnx.backends.numpy_loop import PrintedLoop
from rnnx.backends.products import Product
from rnnx.errors import BackendError
from rnnx.typing import Array, Kernel, Program, Script, TimeLoop

ARRAYS = (np.ndarray, np.generic)


@dataclass(frozen=True)
class NumpyBackend(Backend):
    """Pointwise bodies as ufunc calls with ``out=``, and time loops that have nothing else but products."""

    kernels = "NumPy ufuncs with out="

    loops: bool = True

    def holds(self, x: Any) -> bool:
        return isinstance(x, ARRAYS)

    def asarray(self, values: Any, dtype: Any = None) -> Array:
        return np.asarray(values, dtype=self.dtype(dtype))

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        if isinstance(dtype, str):
            dtype = self.dtype(dtype)
        count = math.prod(shape)
        if 16 * count < host_pool.LEAST:  # no dtype is wider
            return np.empty(shape, dtype)
        return host_pool.pool.empty(shape, np.dtype(dtype), count)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        x = self.empty(shape, dtype)
        x.fill(0)
        return x

    def copy(self, x: Array) -> Array:
        return np.array(x)

    def contiguous(self, x: Array) -> Array:
        return np.ascontiguousarray(x)

    def side_by_side(self, slab: Array) -> Array:
        steps, rows, columns = slab.shape  # by methods, two microseconds sooner
        matrix = self.empty((rows, steps * columns), slab.dtype)
        matrix.reshape(rows, steps, columns)[...] = slab.transpose(1, 0, 2)
        return matrix

    def each(self, x: Array, backwards: bool = False) -> Iterator[Array]:
        return iter(x[::-1] if backwards else x)

    def freeze(self, x: Array) -> Array:
        x.flags.writeable = False
        return x

    def memory_report(self) -> dict[str, int]:
        return memory.host()

    def details(self) -> dict[str, str]:
        blas = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
        return {"BLAS": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()}

    def kernel(self, program: Program, shape: tuple[int, ...], dtype: Any) -> Kernel:
        make, rows = printing.in_place_maker(program, np, dtype)
        return make(np.empty((rows, *shape), dtype))

    def bind_loop(
        self,
        script: Script,
        hidden: int,
        operands: list[Array],
        projection: tuple[Array, Array] | None,
        x: Array,
    ) -> TimeLoop | None:
        steps, columns, _ = x.shape
        laid_out = [self.operand(a, columns, steps) for a in operands]
        return PrintedLoop(script, hidden, laid_out, x.dtype, self._contiguous_product)

    def operand(self, a: Array, columns: int, products: int) -> Array:
        # BLAS packs rows faster than columns, and small parts of them not at all; one copy costs about as
        # much as 20 packings save.
        if products < 24:
            return a
        in_parts = small_products.may_gain(a.shape[0], columns) and small_products.number(a.shape, columns)
        return np.ascontiguousarray(a) if columns >= 16 or in_parts else a

    def matmul_steps(self, a: Array, b: Array) -> Array:
        (steps, _, columns), rows = b.shape, a.shape[0]
        out = self.empty((steps, rows, columns), a.dtype)
        parts = small_products.cut(a, columns) if small_products.may_gain(rows, columns) else None
        if parts is None:
            return np.matmul(a, b, out=out)
        np.matmul(parts, b[:, None, :, :], out=out.reshape(steps, len(parts), -1, columns))
        return out

    def matmul(self, shape: tuple[int, ...], dtype: Any) -> Product:
        multiply, matmul = self._contiguous_product(*shape), np.matmul

        def product(a: Array, b: Array, out: Array) -> Array:
            return multiply(a, b, out) if out.flags.c_contiguous else matmul(a, b, out)

        return product

    def matmul_add(self, shape: tuple[int, ...], dtype: Any) -> Product:
        multiply, scratch, add = self._contiguous_product(*shape), np.empty(shape, dtype), np.add

        def product(a: Array, b: Array, out: Array) -> Array:
            return add(out, multiply(a, b, scratch), out)

        return product

    def _contiguous_product(self, rows: int, columns: int) -> Product:
        """As `matmul`, for results that are contiguous."""
        # Of two matrices, dot is matmul at half a microsecond less.
        return self._matmul_in_parts(columns) if small_products.may_gain(rows, columns) else np.dot

    def _matmul_in_parts(self, columns: int) -> Product:
        """Products that may be faster in parts."""
        matmul, last, parts = np.matmul, None, None

        def product(a: Array, b: Array, out: Array) -> Array:
            nonlocal last, parts
            if a is not last:
                last, parts = a, small_products.cut(a, columns)
            if parts is None:
                return matmul(a, b, out)
            matmul(parts, b, out.reshape(len(parts), -1, columns))
            return out

        return product

    def linear_recurrence(self, a: Array, c: Array, reverse: bool = False) -> None:
        width = (c.shape[0] - a.shape[0]) * c.shape[1]
        if not width:
            return
        a, c = a.reshape(-1, width), c.reshape(-1, width)
        steps, rest = (a[::-1], iter(c[::-1])) if reverse else (a, iter(c))
        source, scratch = next(rest), np.empty(width, c.dtype)
        multiply, add = np.multiply, np.add
        for factor, target in zip(steps, rest, strict=True):
            source = add(target, multiply(factor, source, scratch), target)

    def scatter_add(self, ids: Array, rows: Array, size: int) -> Array:
        total = np.zeros((size, rows.shape[1]), rows.dtype)
        if ids.size:
            order = np.argsort(ids, kind="stable")
            present, starts = np.unique(ids[order], return_index=True)
            total[present] = np.add.reduceat(rows[order], starts, axis=0)
        return total


def create(device: str | None) -> Backend:
    """The NumPy backend; its only device is the CPU."""
    if device not in (None, "cpu"):
        raise BackendError(
            f"numpy has no device {device!r}; its only device is the CPU.", 'Use set_backend("numpy").'
        )
    return NumpyBackend("numpy", xp, "cpu")


def device_of(x: Any) -> str | None:
    """Device part of the name of the backend that holds x."""
    return None
