"""Kernels and matrix products bound once per sequence, so that a time loop looks nothing up.

Both classes have the same methods. What they return writes into `out` (`Workspace`) or ignores it and returns
new arrays (`Functional`); the caller uses what is returned.
"""

from collections.abc import Callable
from itertools import count

from rnnx.backends import Backend
from rnnx.ops.pointwise import Pointwise
from rnnx.typing import Array, Kernel


class Operands:
    """Matrices that the steps of a batch multiply by, in the layout that suits them.

    The parts of a batch bind the same step, so the k-th matrix that it asks for is the same for all of them:
    it is made once.

    Parameters
    ----------
    backend : Backend
    batch, steps : int
        N and T.
    """

    def __init__(self, backend: Backend, batch: int, steps: int) -> None:
        self.backend = backend
        self.batch = batch
        self.steps = steps
        self._made: list[Array] = []

    def get(self, k: int, a: Array) -> Array:
        """The k-th one, which is `a`."""
        if k == len(self._made):
            self._made.append(self.backend.operand(a, self.batch, self.steps))
        return self._made[k]


class Workspace:
    """In-place operations on blocks of shape (rows, N), with scratch memory of their own.

    Parameters
    ----------
    operands : Operands
        Of the whole batch.
    hidden, batch : int
        H and N; pointwise bodies run on (H, N).
    dtype : dtype
        The namespace's own object.
    """

    def __init__(self, operands: Operands, hidden: int, batch: int, dtype: object) -> None:
        self.backend = operands.backend
        self.operands = operands
        self.hidden = hidden
        self.batch = batch
        self.dtype = dtype
        self._asked = count()

    def kernel(self, body: Pointwise) -> Kernel:
        """``kernel(*inputs, out=outputs)``; output k may be given the memory of input k."""
        return self.backend.kernel(body.program, (self.hidden, self.batch), self.dtype)

    def operand(self, a: Array) -> Array:
        """A matrix that every step multiplies by, in a layout that needs no copy per step."""
        return self.operands.get(next(self._asked), a)

    def matmul(self, rows: int) -> Callable[[Array, Array, Array], Array]:
        """``out = a @ b`` for a result of shape (rows, N)."""
        return self.backend.matmul((rows, self.batch), self.dtype)

    def matmul_add(self, rows: int) -> Callable[[Array, Array, Array], Array]:
        """``out += a @ b`` for a result of shape (rows, N)."""
        return self.backend.matmul_add((rows, self.batch), self.dtype)

    def empty(self, rows: int) -> Array:
        """Block of shape (rows, N) for `out` of a product."""
        return self.backend.empty((rows, self.batch), self.dtype)


class Functional:
    """The same without a write to any array: for single steps, and for a library's own differentiation."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def kernel(self, body: Pointwise) -> Kernel:
        """``kernel(*inputs)`` returns new arrays."""
        compute = self.backend.functional_kernel(body.program)
        return lambda *inputs, out=None: compute(*inputs)

    def operand(self, a: Array) -> Array:
        """The matrix itself: one product takes it as it is."""
        return a

    def matmul(self, rows: int) -> Callable[[Array, Array, Array], Array]:
        """``a @ b``."""
        matmul = self.backend.xp.matmul
        return lambda a, b, out: matmul(a, b)

    def matmul_add(self, rows: int) -> Callable[[Array, Array, Array], Array]:
        """``out + a @ b``."""
        matmul = self.backend.xp.matmul
        return lambda a, b, out: out + matmul(a, b)

    def empty(self, rows: int) -> None:
        """Nothing: no product writes into memory that it is given."""
        return None


Ops = Workspace | Functional
