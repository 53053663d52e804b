"""Modules of torch as cells with parameters, and back. These calls alone import torch."""

from importlib import import_module
from typing import Any

from rnnx import backends
from rnnx.errors import DtypeError, OptionError
from rnnx.interop import torch_weights
from rnnx.interop.torch_layout import Layout
from rnnx.typing import Array, Params

DTYPES = ("float32", "float64", "complex128")


def from_torch(module: Any) -> tuple[Any, dict[str, Array]]:
    """Make a cell and its parameters of a recurrent module of torch.

    The parameters are copies. Time comes first in rnnx, whatever the module's ``batch_first``.

    Parameters
    ----------
    module : torch.nn.RNN, torch.nn.LSTM or torch.nn.GRU
        Of any depth and direction, with or without biases, on any device, in float32, float64 or complex128.

    Returns
    -------
    cell : SequenceCell
        An `RNN`, `LSTM` or `GRU`; a `Bidirectional` of it, if the module has two directions; a `Stack`, if it
        has more than one layer, with the module's dropout.
    params : dict of str to array
        On the default backend. ``b`` is the sum of the module's two biases, but for the n of a GRU, whose
        ``bias_hh`` is ``bn``; without biases they are zeros.

    Raises
    ------
    OptionError
        The module is another one, or it has a projection (``proj_size``) or weights that are no plain
        parameters.
    DtypeError
        Its weights are of another dtype.
    BackendError
        torch is not installed.
    """
    found = _torch_modules().describe(module)
    if found is None:
        made = type(module)
        raise OptionError(
            f"from_torch: module is a {made.__module__}.{made.__qualname__}; expected a torch.nn.RNN, "
            "LSTM or GRU, and no subclass.",
            "Pass the recurrent part of a model, such as model.rnn.",
        )
    if found.options.pop("proj_size"):
        raise OptionError(
            f"from_torch: module has proj_size={module.proj_size}; a projection of h is not supported."
        )
    layout = Layout(found.kind, **found.options)
    problem = layout.mismatch({name: tuple(value.shape) for name, value in found.parameters.items()})
    if problem:
        raise OptionError(
            f"from_torch: module {problem}.",
            "Make its weights plain parameters: remove parametrizations and pruning.",
        )
    for name, value in found.parameters.items():
        dtype = str(value.dtype).removeprefix("torch.")
        if dtype not in DTYPES:
            raise DtypeError(
                f"from_torch: {name} has dtype {dtype}; expected one of {', '.join(DTYPES)}.",
                "Convert the module: module.float().",
            )
    arrays = {name: backends.to_numpy(value) for name, value in found.parameters.items()}
    cell = torch_weights.make_cell(layout)
    return cell, torch_weights.to_params(layout, cell, arrays)


def to_torch(cell: Any, params: Params) -> Any:
    """Make a module of torch that computes the same function.

    Parameters
    ----------
    cell : SequenceCell
        An `RNN`, `LSTM` or `GRU` with any `gate_order`, or a `Bidirectional` or `Stack` of them as from
        `from_torch`.
    params : mapping of str to array
        On any backend.

    Returns
    -------
    torch.nn.RNN, torch.nn.LSTM or torch.nn.GRU
        On the CPU, of the parameters' dtype, with ``batch_first=False``. Its ``bias_hh`` is zero, but for
        the n of a GRU, where it is ``bn``.

    Raises
    ------
    OptionError
        No module of torch computes that function; the message says why.
    ShapeError, DtypeError, MixedArraysError
        The parameters are not the cell's.
    BackendError
        torch is not installed.
    """
    modules = _torch_modules()
    layout = torch_weights.layout_of("to_torch", cell)
    arrays = torch_weights.to_arrays("to_torch", layout, cell, params, DTYPES)
    return modules.build(layout.kind, layout.options, arrays)


def _torch_modules() -> Any:
    backends.resolve("torch")  # raises an error that says how to install it
    return import_module("rnnx.backends.torch_modules")
