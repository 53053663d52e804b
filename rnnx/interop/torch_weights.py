"""Cells of torch's layouts, and their parameters: biases merged and split, gate blocks in torch's order.

torch adds two biases, ``bias_ih + bias_hh``, where a cell here has one, ``b``. In a GRU's n they differ:
``bias_hh`` stands inside the reset, and is ``bn`` here. On the way back all else goes into ``bias_ih``.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from rnnx import backends, checks
from rnnx.cells import GRU, LSTM, RNN
from rnnx.containers import Bidirectional, Stack
from rnnx.errors import DtypeError, OptionError
from rnnx.interop.torch_layout import Layout
from rnnx.typing import Array, Params

CELLS: dict[str, Any] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
NONLINEARITIES = ("tanh", "relu")
Arrays = dict[str, np.ndarray]


def make_cell(layout: Layout) -> Any:
    """Return a bare cell, a `Bidirectional`, or a `Stack` if there is more than one layer."""
    options = {"activation": layout.nonlinearity} if layout.kind == "rnn" else {}
    layers: list[Any] = []
    for _ in range(layout.num_layers):
        below = layers[-1].output_size if layers else layout.input_size
        cell = CELLS[layout.kind](below, layout.hidden_size, **options)
        layers.append(Bidirectional(cell) if layout.bidirectional else cell)
    return layers[0] if len(layers) == 1 else Stack(*layers, dropout=layout.dropout)


def layers_of(cell: Any) -> dict[str, Any]:
    """Layers from the input up, by the prefix of their parameters' names."""
    return cell.members if type(cell) is Stack else {"": cell}


def parts_of(cell: Any) -> dict[str, Any]:
    """Every layer and direction by the prefix of its parameters' names, in the order of torch."""
    return {
        "".join(f"{name}." for name in (prefix, direction) if name): part
        for prefix, layer in layers_of(cell).items()
        for direction, part in (layer.members.items() if type(layer) is Bidirectional else [("", layer)])
    }


def layout_of(where: str, cell: Any) -> Layout:
    """The layout of the module that computes what the cell does; OptionError saying why there is none."""
    layers = list(layers_of(cell).values())
    turned = [type(layer) is Bidirectional for layer in layers]
    if any(both and layer.merge != "concat" for both, layer in zip(turned, layers, strict=True)):
        raise OptionError(f"{where}: a Bidirectional sums its directions; torch sets them side by side.")
    known = {prefix: _layout_of_part(where, part) for prefix, part in parts_of(cell).items()}
    first = next(iter(known.values()))
    for prefix, layout in known.items():
        if replace(layout, input_size=first.input_size) != first:
            raise OptionError(
                f"{where}: {prefix[:-1]} is {parts_of(cell)[prefix]}, unlike the first part of the cell; "
                "torch has one kind and one hidden size for all layers and directions."
            )
    if len(set(turned)) > 1:
        raise OptionError(f"{where}: only some layers are Bidirectional; in torch all are, or none.")
    return replace(
        first,
        num_layers=len(layers),
        bidirectional=turned[0],
        dropout=cell.dropout if len(layers) > 1 else 0.0,
    )


def _layout_of_part(where: str, part: Any) -> Layout:
    name = type(part).__name__
    kind = next((kind for kind, found in CELLS.items() if type(part) is found), None)
    if kind is None:
        raise OptionError(
            f"{where}: {name} has no counterpart; expected an RNN, LSTM or GRU, a Bidirectional of one, "
            "or a Stack of either."
        )
    layout = Layout(kind, part.input_size, part.hidden_size)
    if kind == "rnn":
        if part.activation not in NONLINEARITIES:
            raise OptionError(
                f"{where}: the RNN's activation is {part.activation!r}; torch.nn.RNN has tanh and relu."
            )
        layout = replace(layout, nonlinearity=part.activation)
    if kind == "gru" and not part.reset_after:
        raise OptionError(
            f"{where}: the GRU resets h before the recurrent product, torch.nn.GRU resets the product; "
            "no weights turn one into the other."
        )
    if replace(part, gate_order=None) != make_cell(layout):
        raise OptionError(f"{where}: {part} has an option that torch.nn.{name} lacks.")
    return layout


def to_params(layout: Layout, cell: Any, arrays: Mapping[str, np.ndarray]) -> dict[str, Array]:
    """Parameters of a cell from torch's, on the default backend, in new memory."""
    params: dict[str, Array] = {}
    for suffix, (prefix, part) in zip(layout.suffixes, parts_of(cell).items(), strict=True):
        own = {"Wx": arrays["weight_ih" + suffix].T, "Wh": arrays["weight_hh" + suffix].T}
        none = np.zeros(part.param_shapes["b"], own["Wh"].dtype)
        own |= _merged(part, arrays.get("bias_ih" + suffix, none), arrays.get("bias_hh" + suffix, none))
        for name in part.param_shapes:
            params[prefix + name] = backends.asarray(np.array(own[name], order="C"))
    return params


def _merged(part: Any, b_ih: np.ndarray, b_hh: np.ndarray) -> Arrays:
    b = b_ih + b_hh
    if not isinstance(part, GRU):
        return {"b": b}
    n = part.rows[2]
    b[n] = b_ih[n]
    return {"b": b, "bn": b_hh[n]}


def to_arrays(where: str, layout: Layout, cell: Any, params: Params, dtypes: tuple[str, ...]) -> Arrays:
    """Torch's parameters from a cell's, on the host, in new memory; the dtype must be one of `dtypes`."""
    backend = backends.of(checks.named(where, params), where)
    checks.parameters(where, backend, params, cell.param_shapes)
    host = {name: backend.to_numpy(value) for name, value in params.items()}
    dtype = next(iter(host.values())).dtype.name
    if dtype not in dtypes:
        raise DtypeError(f"{where}: params has dtype {dtype}; expected one of {', '.join(dtypes)}.")
    arrays: Arrays = {}
    for suffix, (prefix, part) in zip(layout.suffixes, parts_of(cell).items(), strict=True):
        Wx, Wh, b = (
            np.concatenate([host[prefix + name][..., rows] for rows in part.rows], axis=-1)
            for name in ("Wx", "Wh", "b")
        )
        b_hh = np.zeros_like(b)
        if isinstance(part, GRU):
            b_hh[2 * part.hidden_size :] = host[prefix + "bn"]
        own = {"weight_ih": Wx.T, "weight_hh": Wh.T, "bias_ih": b, "bias_hh": b_hh}
        arrays |= {name + suffix: np.ascontiguousarray(value) for name, value in own.items()}
    return arrays
