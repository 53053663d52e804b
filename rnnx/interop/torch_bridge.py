"""Modules of torch as cells with parameters, and back. torch is imported by these calls only."""

from importlib import import_module
from typing import Any

from rnnx import backends, checks
from rnnx.errors import DtypeError, OptionError
from rnnx.interop import torch_weights
from rnnx.interop.torch_layout import Layout
from rnnx.typing import Array, Params

DTYPES = ("float32", "float64", "complex128")


def from_torch(module: Any) -> tuple[Any, dict[str, Array]]:
    """Make a cell and its parameters of a recurrent module of torch.

    The parameters are copies. Time comes first in rnnx, also where the module has ``batch_first=True``.

    Parameters
    ----------
    module : torch.nn.RNN, torch.nn.LSTM or torch.nn.GRU
        Of any depth and direction, with or without biases, on any device, in float32, float64 or complex128.

    Returns
    -------
    cell : SequenceCell
        An `RNN`, `LSTM` or `GRU`; a `Bidirectional` of two of them, if the module has two directions; a
        `Stack` of its layers, if it has more than one.
    params : dict of str to array
        Parameters on the default backend. ``b`` is the sum of the module's two biases, but for a GRU's
        ``bn``; without biases both are zeros.

    Raises
    ------
    OptionError
        The module is another one, or has a projection (``proj_size``) or weights that are computed.
    DtypeError
        The weights are of another dtype.
    BackendError
        torch is not installed.
    """
    description = _torch_modules().describe(module)
    if description is None:
        raise OptionError(
            f"from_torch: module is a {type(module).__name__}; expected a torch.nn.RNN, LSTM or GRU.",
            "Pass the recurrent part of a larger module, such as model.rnn.",
        )
    kind, options, tensors = description
    if options["proj_size"]:
        raise OptionError(
            f"from_torch: module has proj_size={options['proj_size']}; a projection of h is not supported."
        )
    layout = Layout(kind, *(options[name] for name in Layout.__match_args__[1:]))
    problem = layout.mismatch({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    if problem:
        raise OptionError(
            f"from_torch: module {problem}.",
            "Make its weights plain parameters: remove parametrizations and pruning.",
        )
    arrays = {}
    for name, tensor in tensors.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in DTYPES:
            raise DtypeError(
                f"from_torch: {name} has dtype {dtype}; expected one of {', '.join(DTYPES)}.",
                "Convert the module: module.float().",
            )
        arrays[name] = backends.to_numpy(tensor)
    cell = torch_weights.make_cell(layout, options.get("nonlinearity"), options["dropout"])
    params = torch_weights.to_params(layout, cell, arrays)
    return cell, {name: backends.asarray(value) for name, value in params.items()}


def to_torch(cell: Any, params: Params) -> Any:
    """Make a module of torch that computes the same function.

    Parameters
    ----------
    cell : SequenceCell
        An `RNN`, `LSTM` or `GRU` with any `gate_order`, or `Bidirectional` and `Stack` of them as
        `from_torch` returns them.
    params : mapping of str to array
        On any backend.

    Returns
    -------
    torch.nn.RNN, torch.nn.LSTM or torch.nn.GRU
        On the CPU, of the parameters' dtype, with ``batch_first=False``. Its ``bias_hh`` is zero, but for
        the block of a GRU's n, which is ``bn``.

    Raises
    ------
    OptionError
        torch.nn has no module for that function; the message says why.
    ShapeError, DtypeError, MixedArraysError
        The parameters are not those of the cell.
    BackendError
        torch is not installed.
    """
    modules = _torch_modules()
    layout = torch_weights.layout_of("to_torch", cell)
    arrays = host_arrays("to_torch", layout, cell, params)
    options = {name: getattr(layout, name) for name in Layout.__match_args__[1:]}
    return modules.build(layout.kind, options | torch_weights.options_of(cell), arrays)


def _torch_modules() -> Any:
    backends.resolve("torch")  # raises what says how to install it
    return import_module("rnnx.backends.torch_modules")
