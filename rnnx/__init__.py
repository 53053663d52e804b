"""Recurrent cells with hand-derived, proven gradients, on NumPy, CuPy and PyTorch arrays alike."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # stars, so that the table below stays the only list of names by hand
    from rnnx.activations import *  # noqa: F403
    from rnnx.backends import *  # noqa: F403
    from rnnx.cells import *  # noqa: F403
    from rnnx.containers import *  # noqa: F403
    from rnnx.errors import *  # noqa: F403
    from rnnx.gradient_check import *  # noqa: F403
    from rnnx.interop import *  # noqa: F403
    from rnnx.layers import *  # noqa: F403
    from rnnx.losses import *  # noqa: F403
    from rnnx.optim import *  # noqa: F403
    from rnnx.truncated import *  # noqa: F403
    from rnnx.typing import *  # noqa: F403

__version__ = "0.1.0"

_HOMES = {
    "rnnx.activations": "Tanh",
    "rnnx.backends": (
        "Backend BackendStatus asarray available_backends get_backend memory_report set_backend to_numpy "
        "use_backend"
    ),
    "rnnx.cells": (
        "GRU GRUState LSTM LSTMState PeepholeLSTM REGISTRY RNN RNNState SRU SRUState TFLSTM TFLSTMState"
    ),
    "rnnx.containers": "CONTAINERS Bidirectional BidirectionalState Stack",
    "rnnx.errors": (
        "BackendError DataError DtypeError FunctionError MemoryLimitError MixedArraysError OptionError "
        "RnnxError ShapeError TapeConsumed TrainingError"
    ),
    "rnnx.gradient_check": "GradientReport gradcheck",
    "rnnx.interop": "from_torch to_torch",
    "rnnx.layers": "Dropout Embedding Linear",
    "rnnx.losses": "half_squared_error softmax_cross_entropy",
    "rnnx.optim": "SGD Adagrad AdamW RMSprop clip_by_global_norm clip_by_value",
    "rnnx.truncated": "tbptt",
    "rnnx.typing": "SequenceCell",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

_ROOMS = {
    "activations",
    "backends",
    "cells",
    "charlm",
    "checks",
    "containers",
    "errors",
    "interop",
    "layers",
    "losses",
    "notebooks",
    "ops",
    "optim",
    "stepcell",
    "typing",
}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    """Import a public name from its home at first use (PEP 562)."""
    if name in _ROOMS:
        return import_module(f"rnnx.{name}")
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'rnnx' has no attribute {name!r}")
    if find_spec("rnnx.backends") is None:
        raise ImportError(
            f"{__file__} is in rnnx's source folder, which lacks rnnx.backends. Run `pip install -e .` "
            "there, or run from another folder."
        )
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
