"""Cells of torch's layouts, and their parameters: biases merged and split, gate blocks in torch's order.

torch has two biases, `b_ih + b_hh`, where a cell here has `b`. Their sum goes into `b`, but for a GRU's n,
whose `b_hh` stands inside the reset and is `bn`. The way back leaves `b_hh` zero, but for `bn`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnx.cells import GRU, LSTM, RNN
from rnnx.errors import OptionError
from rnnx.interop.torch_layout import Layout

CELLS: dict[str, Any] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
Arrays = dict[str, np.ndarray]


def make_cell(layout: Layout, **options: Any) -> Any:
    """The cell of a layout; `options` are those of its class."""
    return CELLS[layout.kind](layout.input_size, layout.hidden_size, **options)


def parts(cell: Any) -> list[tuple[str, Any]]:
    """Every layer and direction with the prefix of its parameters' names, in the order of torch."""
    return [("", cell)]


def layout_of(where: str, cell: Any) -> Layout:
    """The layout of a cell that has a counterpart in torch.

    Raises OptionError with the reason for one that has none.
    """
    kind = kind_of(where, cell)
    return Layout(kind, cell.input_size, cell.hidden_size)


def kind_of(where: str, cell: Any) -> str:
    """The kind of a single layer; OptionError for a function that torch's module cannot compute."""
    name = type(cell).__name__
    kind = next((kind for kind, found in CELLS.items() if type(cell) is found), None)
    if kind is None:
        raise OptionError(f"{where}: {name} has no counterpart among torch.nn.RNN, LSTM and GRU.")
    options = {"gate_order": cell.gate_order}
    if kind == "rnn":
        options["activation"] = cell.activation
        if cell.activation not in ("tanh", "relu"):
            raise OptionError(
                f"{where}: the RNN's activation is {cell.activation!r}; torch.nn.RNN has tanh and relu only."
            )
    if kind == "gru" and not cell.reset_after:
        raise OptionError(
            f"{where}: the GRU applies its reset gate before the recurrent product; torch.nn.GRU applies it "
            "after, and no weights turn one into the other."
        )
    if cell != CELLS[kind](cell.input_size, cell.hidden_size, **options):
        raise OptionError(f"{where}: {cell} has options that torch.nn.{name} has not.")
    return kind


def to_params(layout: Layout, cell: Any, arrays: Mapping[str, np.ndarray]) -> Arrays:
    """Parameters of a cell from torch's, in new memory."""
    params: Arrays = {}
    for suffix, (prefix, part) in zip(layout.suffixes, parts(cell), strict=True):
        own = {"Wx": arrays["weight_ih" + suffix].T, "Wh": arrays["weight_hh" + suffix].T}
        none = np.zeros(part.param_shapes["b"], own["Wh"].dtype)
        own |= _merged(part, arrays.get("bias_ih" + suffix, none), arrays.get("bias_hh" + suffix, none))
        params |= {prefix + name: np.array(own[name], order="C") for name in part.param_shapes}
    return params


def _merged(part: Any, b_ih: np.ndarray, b_hh: np.ndarray) -> Arrays:
    b = b_ih + b_hh
    if not isinstance(part, GRU):
        return {"b": b}
    n = part.rows[2]
    b[n] = b_ih[n]
    return {"b": b, "bn": b_hh[n]}


def to_arrays(layout: Layout, cell: Any, params: Mapping[str, np.ndarray]) -> Arrays:
    """Torch's parameters from a cell's, in new memory."""
    arrays: Arrays = {}
    for suffix, (prefix, part) in zip(layout.suffixes, parts(cell), strict=True):
        Wx, Wh, b = (
            np.concatenate([params[prefix + name][..., rows] for rows in part.rows], axis=-1)
            for name in ("Wx", "Wh", "b")
        )
        hidden = np.zeros_like(b)
        if layout.kind == "gru":
            hidden[2 * part.hidden_size :] = params[prefix + "bn"]
        values = (np.ascontiguousarray(Wx.T), np.ascontiguousarray(Wh.T), b, hidden)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        arrays |= {name + suffix: value for name, value in zip(names, values, strict=True)}
    return arrays
