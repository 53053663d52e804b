"""How a backend multiplies matrices: products of a step, and sums over the steps."""

from collections.abc import Callable, Sequence
from typing import Any

from rnnx.typing import Array, Columns, Namespace

Product = Callable[[Array, Array, Array], Array]
"""A bound matrix product: ``product(a, b, out)`` returns its result, which it may write into `out`."""


class Products:
    """Products of a `Backend`, by functions of the namespace."""

    xp: Namespace

    def operand(self, a: Array, columns: int, products: int) -> Array:
        """A matrix that so many products have for their `a`, in the layout that suits them.

        `columns` is the number of columns of their `b`.
        """
        return a

    def matmul_steps(self, a: Array, b: Array) -> Array:
        """``a @ b[t]`` of every step, a new (T, R, N) of a (R, K) and b (T, K, N)."""
        return self.xp.matmul(a, b)

    def matmul(self, shape: tuple[int, ...], dtype: Any) -> Product:
        """``out = a @ b`` for results of that shape; `out` is neither a nor b."""
        matmul = self.xp.matmul

        def product(a: Array, b: Array, out: Array) -> Array:
            out[...] = matmul(a, b)
            return out

        return product

    def matmul_add(self, shape: tuple[int, ...], dtype: Any) -> Product:
        """``out += a @ b`` for results of that shape; `out` is neither a nor b."""
        matmul = self.xp.matmul

        def product(a: Array, b: Array, out: Array) -> Array:
            out += matmul(a, b)
            return out

        return product

    def weight_gradients(self, d: Columns, seen: Sequence[Columns], bias: bool) -> list[Array] | None:
        """``a @ d.T``, a new (C, R), of d (R, K) and every a (C, K); None if `matmul` is as good a way.

        With `bias`, the sum (R,) of the columns of d comes first.
        """
        return None

    def input_gradient(self, W: Array, d: Columns) -> Array | None:
        """``d.T @ W.T``, a new (K, C), of W (C, R) and d (R, K), or None if `matmul` is as good."""
        return None
