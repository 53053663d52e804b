"""What a backend is: one library's arrays on one device, and how pointwise bodies and GEMMs run on them."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from rnnx.backends import memory, printing
from rnnx.backends.products import Products
from rnnx.errors import DtypeError, MemoryLimitError
from rnnx.typing import Array, Kernel, Namespace, Program, Script, TimeLoop


class BackendStatus(NamedTuple):
    """Whether a backend can be used here, why (not), and what mends it (empty if usable)."""

    usable: bool
    reason: str
    install: str


NOTHING = nullcontext()
"""A context that does nothing; one serves all."""


@dataclass(frozen=True)
class Backend(Products):
    """One library's arrays on one device.

    The methods are right for any namespace; a subclass overrides what it can do better.

    Attributes
    ----------
    name : str
        As given to `set_backend`: ``"numpy"``, ``"torch:mps"``.
    xp : module
        Array API namespace, through array-api-compat.
    device : object
        The namespace's own device object.
    asynchronous : bool
        Whether work is queued, so that timings need `synchronize`.
    complex : bool
        Whether the complex step may be used on it.
    double : bool
        Whether it has float64.
    autograd : bool
        Whether the library differentiates by itself (see `differentiate`), as an oracle for the gradient
        check.
    loops : bool
        Whether `bind_loop` is asked for time loops; without, each step is called, and can be watched.
    kernels : str
        How pointwise bodies run, in a few words.
    """

    kernels: ClassVar[str] = "functions of the namespace"

    name: str
    xp: Namespace
    device: Any
    asynchronous: bool = False
    complex: bool = True
    double: bool = True
    autograd: bool = False
    loops: bool = False

    def __str__(self) -> str:
        return self.name

    def holds(self, x: Any) -> bool:
        """Whether x is an array of this library on this device."""
        raise NotImplementedError

    def asarray(self, values: Any, dtype: Any = None) -> Array:
        """Array on this device from nested sequences, scalars, or any backend's array.

        Parameters
        ----------
        values : array_like
            An array that is on this device already is returned as it is, if the dtype fits.
        dtype : str or dtype, optional
            ``"float32"``, ``"int64"``, ... or the namespace's own object.
        """
        return self.xp.asarray(values, dtype=self.dtype(dtype), device=self.device)

    def to_numpy(self, x: Array) -> np.ndarray:
        """X on the host; where it is there already, the result may share its memory."""
        return np.asarray(x)

    def dtype(self, name: Any) -> Any:
        """The namespace's dtype of that name; None and the namespace's own objects pass through."""
        if not isinstance(name, str):
            return name
        found = getattr(self.xp, name, None)
        if found is None or not _is_dtype(name):
            raise DtypeError(
                f"dtype is {name!r}, which {self.name} does not have.", 'Use "float32" or "float64".'
            )
        return found

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Array of arbitrary content."""
        return self.xp.empty(shape, dtype=self.dtype(dtype), device=self.device)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Array of zeros."""
        return self.xp.zeros(shape, dtype=self.dtype(dtype), device=self.device)

    def copy(self, x: Array) -> Array:
        """The same in memory of its own."""
        return self.xp.asarray(x, copy=True)

    def contiguous(self, x: Array) -> Array:
        """X itself, or a copy with its last axis contiguous, where the library has an order of axes."""
        return x

    def side_by_side(self, slab: Array) -> Array:
        """The steps of a slab (T, R, N) as a new matrix (R, T*N)."""
        (steps, rows, columns), xp = slab.shape, self.xp
        matrix = self.empty((rows, steps * columns), slab.dtype)
        xp.reshape(matrix, (rows, steps, columns))[...] = xp.permute_dims(slab, (1, 0, 2))
        return matrix

    def each(self, x: Array, backwards: bool = False) -> Iterator[Array]:
        """Views ``x[0], x[1], ...``, or from the last one to the first."""
        order = range(x.shape[0])
        return (x[k, ...] for k in (reversed(order) if backwards else order))

    def synchronize(self) -> None:
        """Wait until all queued work is done. Errors of asynchronous work are raised here at the latest."""

    def memory_report(self) -> dict[str, int]:
        """Bytes ``used``, ``held``, ``free`` and ``total``, as far as the library tells."""
        return {}

    def memory_asked(self, error: Exception) -> int | None:
        """Bytes that could not be had, 0 if the error does not say; None if it is not about memory."""
        if not isinstance(error, MemoryError) or isinstance(error, MemoryLimitError):
            return None
        shape, dtype = getattr(error, "shape", None), getattr(error, "dtype", None)  # NumPy's has them
        return 0 if shape is None or dtype is None else math.prod(shape) * np.dtype(dtype).itemsize

    def details(self) -> dict[str, str]:
        """What the library tells of its device and of what it runs on: names and versions."""
        return {}

    def computing(self, where: str, **sizes: int) -> memory.Computing:
        """`untracked`, and where memory runs out, an error with these sizes, of the function of that name.

        Raises
        ------
        MemoryLimitError
        """
        return memory.Computing(self, where, sizes)

    def untracked(self) -> AbstractContextManager[Any]:
        """`placed`, and the library records nothing for a differentiation of its own."""
        return NOTHING

    def placed(self) -> AbstractContextManager[Any]:
        """Context in which new arrays are made on this device; what the library records goes on."""
        return NOTHING

    def differentiate(
        self, function: Callable[[dict[str, Array]], Array], inputs: dict[str, Array]
    ) -> dict[str, Array]:
        """Gradients of a scalar function of named arrays by the library's own automatic differentiation."""
        raise NotImplementedError(f"{self.name} has no automatic differentiation")

    def watching(self, see: Callable[[str, Any, Any], None]) -> AbstractContextManager[Any]:
        """While it is open, ``see(name, arguments, result)`` is called after each operation of the library.

        Where a library cannot tell of them, nothing is seen.
        """
        return NOTHING

    def freeze(self, x: Array) -> Array:
        """X, protected from writing where the library can do so."""
        return x

    def functional_kernel(self, program: Program) -> Kernel:
        """The program as a function that returns new arrays and writes to none."""
        return printing.functional(program, self.xp)

    def kernel(self, program: Program, shape: tuple[int, ...], dtype: Any) -> Kernel:
        """The program for inputs and outputs of one shape; it writes into the arrays of ``out=``.

        Output k may be given the memory of input k.
        """
        compute = printing.functional(program, self.xp)

        def kernel(*inputs: Array, out: tuple[Array, ...]) -> tuple[Array, ...]:
            for target, value in zip(out, compute(*inputs), strict=True):
                target[...] = value
            return out

        return kernel

    def bind_loop(
        self,
        script: Script,
        hidden: int,
        operands: list[Array],
        projection: tuple[Array, Array] | None,
        x: Array,
    ) -> TimeLoop | None:
        """Bind the whole time loop of a captured step; None if it is to be called step by step.

        Parameters
        ----------
        script : Script
        hidden : int
            H.
        operands : list of array
            The step's matrices and columns.
        projection : tuple of array or None
            Wx (D, G*H) and b (G*H,): of ``x[t] @ Wx + b``, with which a step of a forward pass begins, unless
            it is a function of the cell's own.
        x : (T, N, D) array
            Inputs of the whole batch.
        """
        return None

    def linear_recurrence(self, a: Array, c: Array, reverse: bool = False) -> None:
        """``c[t+1] += a[t] * c[t]`` in place for t = 0 .. T-1, where a step is a block of N rows.

        Parameters
        ----------
        a : (T*N, H) array
        c : ((T+1)*N, H) array
            Contiguous; it shares no memory with a.
        reverse : bool
            Whether to go back through the same recurrence: ``c[t] += a[t] * c[t+1]`` for t = T-1 .. 0.
        """
        N = c.shape[0] - a.shape[0]
        starts = range(0, a.shape[0], max(N, 1))
        for at in reversed(starts) if reverse else starts:
            source, target = (at + N, at) if reverse else (at, at + N)
            c[target : target + N, :] += a[at : at + N, :] * c[source : source + N, :]

    def scatter_add(self, ids: Array, rows: Array, size: int) -> Array:
        """Sum of the rows by id: result ``(size, E)`` with ``result[ids[k]] += rows[k]``, in a fixed order.

        Parameters
        ----------
        ids : (K,) integer array
            Each in 0 .. size - 1; the caller has checked that.
        rows : (K, E) array
        size : int
            Rows of the result.
        """
        xp = self.xp
        column = xp.arange(size, dtype=ids.dtype, device=self.device)
        one_hot = xp.astype(column[:, None] == ids[None, :], rows.dtype)
        return xp.matmul(one_hot, rows)


def _is_dtype(name: str) -> bool:
    """Whether a name is a dtype's own one, neither an alias nor a function's."""
    try:
        return np.dtype(name).name == name
    except TypeError:
        return False
