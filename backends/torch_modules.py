"""torch.nn.RNN, LSTM and GRU: what such a module is, and the module of given options and weights."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

KINDS = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
OPTIONS = ("input_size", "hidden_size", "num_layers", "bias", "bidirectional", "dropout", "proj_size")


class Description(NamedTuple):
    """A module: its kind, its options by torch's names, and its parameters."""

    kind: str
    options: dict[str, Any]
    parameters: dict[str, torch.Tensor]


def describe(module: Any) -> Description | None:
    """Read a module; None if it is not exactly one of `KINDS`: a subclass may compute something else."""
    for kind, found in KINDS.items():
        if type(module) is found:
            names = (*OPTIONS, "nonlinearity") if kind == "rnn" else OPTIONS
            options = {name: getattr(module, name) for name in names}
            return Description(kind, options, dict(module.named_parameters()))
    return None


def build(kind: str, options: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
    """Make a module on the CPU, of the arrays' dtype; torch's random state stays as it is."""
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
    dtype = next(iter(tensors.values())).dtype
    module = KINDS[kind](**options, dtype=dtype, device="meta").to_empty(device="cpu")  # draws no numbers
    module.load_state_dict(tensors)
    return module
