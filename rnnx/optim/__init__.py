"""Optimisers and gradient clipping, as pure functions of dicts of arrays.

    state = optimizer.init(params)
    params, state = optimizer.update(params, grads, state)

Nothing is written to: an update returns new parameters and a new state. The numbers are those of the classes
of the same names in torch.optim, with the same options.
"""

from rnnx.optim.base import Optimizer
from rnnx.optim.clipping import clip_by_global_norm, clip_by_value
from rnnx.optim.rules import SGD, Adagrad, AdagradState, AdamW, AdamWState, RMSprop, RMSpropState, SGDState

__all__ = [
    "SGD",
    "Adagrad",
    "AdagradState",
    "AdamW",
    "AdamWState",
    "Optimizer",
    "RMSprop",
    "RMSpropState",
    "SGDState",
    "clip_by_global_norm",
    "clip_by_value",
]
