"""Losses with their gradients: each function returns ``(loss, gradient)`` and copies nothing to the host."""

from math import prod
from typing import Any, Literal

import numpy as np

from rnnx import backends, checks
from rnnx.errors import DtypeError, OptionError, ShapeError
from rnnx.typing import Array


def half_squared_error(y: Array, target: Array) -> tuple[Array, Array]:
    """Half the summed squared error, ``0.5 * sum((y - target)**2)``.

    Parameters
    ----------
    y, target : (...) array
        Of one shape and dtype, on one backend.

    Returns
    -------
    loss : () array
        In the square of y's unit.
    dy : (...) array
        ``y - target``, the gradient of y.

    Raises
    ------
    ShapeError, DtypeError, MixedArraysError
    """
    where = "half_squared_error"
    backend = backends.of({"y": y, "target": target}, where)
    checks.shape(where, "target", target, tuple(y.shape))
    checks.dtype(where, "target", target, y.dtype)
    checks.floating(where, "y", backend.xp, y.dtype)
    with backend.computing(where, numbers=prod(y.shape)):
        dy = y - target
        return 0.5 * backend.xp.sum(dy * dy), dy


def softmax_cross_entropy(
    logits: Array, targets: Any, mask: Any = None, reduction: Literal["mean", "sum"] = "mean"
) -> tuple[Array, Array]:
    """Cross-entropy of softmax(logits) against the ids that should have come, in nats.

    ::

        loss    = sum over positions of w (log sum_v exp(logits_v) - logits_target)
        dlogits = w (softmax(logits) - one_hot(target))

    with w = 1 for the sum, 1 / (number of unmasked positions) for the mean, and 0 where the mask is False.
    The largest logit of each position is subtracted first, so that no exp overflows.

    Parameters
    ----------
    logits : (..., V) array
        Unnormalised log probabilities.
    targets : (...) array_like of int
        On the host; ids in 0 .. V - 1. What stands where the mask is False is not looked at.
    mask : (...) array_like of bool, optional
        On the host; False for positions that count nothing, such as padding. Their gradient is exactly zero,
        whatever their logits are.
    reduction : {"mean", "sum"}
        Over the unmasked positions.

    Returns
    -------
    loss : () array
        In nats; for the mean, in nats per unmasked position.
    dlogits : (..., V) array
        Gradient of the logits.

    Raises
    ------
    OptionError
        An id is out of range, the reduction is unknown, or no position is left to average.
    ShapeError, DtypeError, MixedArraysError
    """
    where = "softmax_cross_entropy"
    backend = backends.of({"logits": logits}, where)
    checks.floating(where, "logits", backend.xp, logits.dtype)
    if reduction not in ("mean", "sum"):
        raise OptionError(f'{where}: reduction is {reduction!r}; expected "mean" or "sum".')
    if not logits.shape or logits.shape[-1] == 0:
        raise ShapeError(f"{where}: logits has shape {tuple(logits.shape)}; expected (..., V), V at least 1.")
    *positions, V = logits.shape
    targets = checks.on_host(where, "targets", targets, "integers")
    checks.shape(where, "targets", targets, tuple(positions), "One id for each row of logits.")
    count = targets.size
    if mask is not None:
        mask = checks.on_host(where, "mask", mask, "booleans")
        checks.shape(where, "mask", mask, tuple(positions), "One bool for each row of logits.")
        if mask.dtype != np.bool_:
            raise DtypeError(f"{where}: mask has dtype {mask.dtype}; expected bool.", "Write mask != 0.")
        count = int(np.count_nonzero(mask))
        targets = np.where(mask, targets, np.zeros((), targets.dtype))
    targets = checks.ids(where, "targets", targets, V)
    if reduction == "mean" and count == 0:
        raise OptionError(f"{where}: no position is unmasked; expected at least one for a mean.")
    scale = 1.0 / count if reduction == "mean" else 1.0

    xp = backend.xp
    with backend.computing(where, positions=targets.size, V=V):
        weight: Any = scale
        if mask is not None:
            # A weight of 0 alone would let the inf and nan of padding through, as nan.
            counts = backend.asarray(mask[..., None])
            logits = xp.where(counts, logits, backend.zeros((), logits.dtype))
            weight = xp.astype(counts, logits.dtype) * scale
        target = backend.asarray(targets[..., None])
        # The complex step comes through here too; its values are ordered by their real parts.
        real = xp.real(logits) if xp.isdtype(logits.dtype, "complex floating") else logits
        shifted = logits - xp.max(real, axis=-1, keepdims=True)
        dlogits = xp.exp(shifted)
        total = xp.sum(dlogits, axis=-1, keepdims=True)
        loss = xp.sum((xp.log(total) - xp.take_along_axis(shifted, target, axis=-1)) * weight)
        one_hot = xp.arange(V, dtype=target.dtype, device=backend.device) == target
        dlogits *= weight / total
        dlogits -= xp.astype(one_hot, logits.dtype) * weight
        return loss, dlogits
