"""Sums over all time steps and the whole batch as one matrix product each."""

from rnnx.typing import Array, Namespace, Params

MANY = 256


def input_gradients(xp: Namespace, params: Params, x: Array, d: Array) -> tuple[Array, Array, Array]:
    """Gradients of x, Wx and b, given rows x (K, D) and those of the pre-activations, d (G*H, K)."""
    return d.T @ params["Wx"].T, weight_gradient(x.T, d), xp.sum(d, axis=1)


def weight_gradient(a: Array, d: Array) -> Array:
    """Gradient of W in ``W.T @ a``, a (D, K), given that of the product, d (R, K): ``a @ d.T``."""
    # BLAS is up to a quarter faster with the transpose; of few columns, to turn that round takes longer.
    return a @ d.T if d.shape[1] < MANY else (d @ a.T).T
