"""Clipping of gradients, by value and by global norm."""

from rnnx import checks
from rnnx.optim.base import common_backend
from rnnx.typing import Array, Params


def clip_by_value(grads: Params, limit: float) -> dict[str, Array]:
    """Clip every number to ±limit, as ``torch.nn.utils.clip_grad_value_``.

    Parameters
    ----------
    grads : mapping of str to array
    limit : float
        At least 0.

    Returns
    -------
    dict of str to array
    """
    limit = checks.number("clip_by_value", "limit", limit)
    backend = common_backend("clip_by_value", grads=grads)
    xp, clipped = backend.xp, {}
    with backend.untracked():
        for name, g in grads.items():
            # Not clip: that of array-api-compat takes longer on small arrays, where it matters.
            high = xp.full((), limit, dtype=g.dtype, device=backend.device)
            clipped[name] = xp.minimum(xp.maximum(g, -high), high)
    return clipped


def clip_by_global_norm(grads: Params, limit: float) -> tuple[dict[str, Array], Array]:
    """Scale all gradients by one factor, so that their common norm is at most the limit.

    The factor is ``min(limit / (norm + 1e-6), 1)``: that of ``torch.nn.utils.clip_grad_norm_``, whose 1e-6
    leaves the norm a little below the limit.

    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", ICML (2013).

    Parameters
    ----------
    grads : mapping of str to array
    limit : float
        At least 0.

    Returns
    -------
    grads : dict of str to array
    norm : () array
        Euclidean norm of all numbers together before the clipping. It stays on the device.
    """
    limit = checks.number("clip_by_global_norm", "limit", limit)
    backend = common_backend("clip_by_global_norm", grads=grads)
    xp = backend.xp
    with backend.untracked():
        first, *others = (xp.sum(g * g) for g in grads.values())
        norm = xp.sqrt(sum(others, start=first))
        one = xp.ones((), dtype=norm.dtype, device=backend.device)
        factor = xp.minimum(limit / (norm + 1e-6), one)
        return {name: g * xp.astype(factor, g.dtype, copy=False) for name, g in grads.items()}, norm
