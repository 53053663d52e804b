"""Sums over all time steps and the whole batch as one matrix product each."""

from rnnx.typing import Array, Namespace, Params


def input_gradients(xp: Namespace, params: Params, x: Array, d: Array) -> tuple[Array, Array, Array]:
    """Gradients of x, Wx and b, given rows x (T*N, D) and those of the pre-activations, d (G*H, T*N)."""
    return d.T @ params["Wx"].T, x.T @ d.T, xp.sum(d, axis=1)
