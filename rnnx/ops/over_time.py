"""Sums over all time steps and the whole batch as one matrix product each."""

from rnnx.typing import Array, Namespace, Params


def steps_last(xp: Namespace, slab: Array) -> Array:
    """Slab (T, R, N) as a matrix (R, T*N)."""
    T, R, N = slab.shape
    return xp.reshape(xp.permute_dims(slab, (1, 0, 2)), (R, T * N))


def input_gradients(xp: Namespace, params: Params, x: Array, d: Array) -> tuple[Array, Array, Array]:
    """Gradients of x, Wx and b, given rows x (T*N, D) and those of the pre-activations, d (G*H, T*N)."""
    return d.T @ params["Wx"].T, x.T @ d.T, xp.sum(d, axis=1)
