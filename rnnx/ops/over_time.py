"""Sums over all time steps and the whole batch as one matrix product each.

They are gradients of ``W.T @ a + b[:, None]``, in which every column is a step of a sequence, given that of
the result, d. A backend may have a way of its own to form them.
"""

from rnnx.columns import Columns
from rnnx.typing import Array

MANY = 256
"""Columns from which on BLAS is up to a quarter faster if the result is formed transposed."""


def weight_gradients(d: Columns, *seen: Columns, bias: bool = False) -> list[Array]:
    """Gradient (C, R) of W for every a (C, K), given d (R, K); with `bias` that of b (R,) before them."""
    xp, found = d.backend.xp, d.backend.weight_gradients(d, seen, bias)
    if found is None:
        matrix = d.whole
        found = [xp.sum(matrix, axis=1)] if bias else []
        for a in seen:
            found.append(a.whole @ matrix.T if matrix.shape[1] < MANY else (matrix @ a.whole.T).T)
    return found


def input_gradient(W: Array, d: Columns) -> Array:
    """Gradient of a as rows (K, C), given W (C, R) and d (R, K)."""
    found = d.backend.input_gradient(W, d)
    return d.whole.T @ W.T if found is None else found
