"""Safetensors files with torch's names, read and written without torch."""

from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from rnnx.errors import DataError, OptionError
from rnnx.files import write_atomically
from rnnx.interop import torch_weights
from rnnx.interop.torch_layout import Layout, Shapes, infer
from rnnx.typing import Array, Params

DTYPES = {"F32": "float32", "F64": "float64"}
SAVE = "Save it with safetensors.torch.save_file(module.state_dict(), path)."


def load_torch(
    path: str | PathLike[str], prefix: str = "", *, activation: str | None = None
) -> tuple[Any, dict[str, Array]]:
    """Read the weights of a torch.nn.RNN, LSTM or GRU from a safetensors file; torch is not needed.

    Kind, sizes, depth and directions follow from the names and shapes. Dropout is not in such a file.

    Parameters
    ----------
    path : path
        A file that ``safetensors.torch.save_file(module.state_dict(), path)`` has written.
    prefix : str
        What stands before the names: ``"rnn."`` where the module is the part `rnn` of a larger one. Tensors
        without it are left alone.
    activation : {"tanh", "relu"}, optional
        Of an RNN, for which it must be given, since the file does not tell; of no other kind.

    Returns
    -------
    cell : SequenceCell
    params : dict of str to array
        Both as from `rnnx.from_torch`, in the file's dtype, float32 or float64.

    Raises
    ------
    DataError
        The file is missing, cut short or of another format, or its names, shapes, dtypes or values are not
        those of one module.
    OptionError
        `activation` is missing or wrong.
    OSError
        The file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    where = repr(str(path))
    if not path.is_file():
        problem = f"{where} is no file" if path.exists() else f"There is no file {where}"
        raise DataError(f"{problem}.", SAVE)
    try:
        with safe_open(path, framework="np") as file:
            names = list(file.keys())
            own = {name[len(prefix) :]: file.get_slice(name) for name in names if name.startswith(prefix)}
            shapes = {name: tuple(found.get_shape()) for name, found in own.items()}
            layout = _layout(where, prefix, names, shapes, activation)
            _check_dtypes(where, {prefix + name: own[name].get_dtype() for name in layout.shapes})
            arrays = {name: file.get_tensor(prefix + name) for name in layout.shapes}
    except SafetensorError as error:
        problem = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{where} is cut short or no safetensors file: {problem}.", SAVE) from None
    for name, value in arrays.items():
        if not np.isfinite(value).all():
            raise DataError(f"{where}: {prefix + name} holds values that are not finite.", SAVE)
    cell = torch_weights.make_cell(layout)
    return cell, torch_weights.to_params(layout, cell, arrays)


def save_torch(path: str | PathLike[str], cell: Any, params: Params, prefix: str = "") -> None:
    """Write weights to a safetensors file with torch's names; torch is not needed.

    ``module.load_state_dict(safetensors.torch.load_file(path))`` reads them into a module of the same kind,
    sizes, depth and directions, with biases. A file of that name is replaced in one step; a crash leaves
    the old one or the new one.

    Parameters
    ----------
    path : path
    cell : SequenceCell
        As for `rnnx.to_torch`. Its dropout and its activation are not written.
    params : mapping of str to array
        On any backend, in float32 or float64.
    prefix : str
        Put before the names, such as ``"rnn."``.

    Raises
    ------
    OptionError
        No module of torch computes that function; the message says why.
    ShapeError, DtypeError, MixedArraysError
        The parameters are not the cell's.
    OSError
        The folder cannot be written to, or the disk is full.
    """
    from safetensors.numpy import save

    layout = torch_weights.layout_of("save_torch", cell)
    arrays = torch_weights.to_arrays("save_torch", layout, cell, params, tuple(DTYPES.values()))
    write_atomically(Path(path), save({prefix + name: value for name, value in arrays.items()}))


def _layout(where: str, prefix: str, names: list[str], shapes: Shapes, activation: str | None) -> Layout:
    layout = infer(shapes)
    if isinstance(layout, str):
        end = "weight_hh_l0"
        prefixes = sorted({name.removesuffix(end) for name in names if name.endswith(end)} - {prefix})
        at = f" at the prefix {prefix!r}" * bool(prefix)
        hint = f"Try prefix={prefixes[0]!r}." if prefixes else SAVE
        raise DataError(f"{where} holds no RNN, LSTM or GRU{at}: it {layout}.", hint)
    if layout.kind != "rnn":
        if activation is not None:
            raise OptionError(
                f"load_torch: activation is {activation!r}; {where} holds {layout.kind.upper()} weights, "
                "which have none."
            )
        return layout
    if activation not in torch_weights.NONLINEARITIES:
        raise OptionError(
            f"load_torch: activation is {activation!r}; {where} holds RNN weights, which need one of "
            f"{', '.join(torch_weights.NONLINEARITIES)}.",
            "It is the module's nonlinearity; torch's default is tanh.",
        )
    return replace(layout, nonlinearity=activation)


def _check_dtypes(where: str, found: dict[str, str]) -> None:
    first = next(iter(found.values()))
    for name, dtype in found.items():
        if dtype not in DTYPES or dtype != first:
            raise DataError(
                f"{where}: {name} is {dtype}; expected all of F32, or all of F64.",
                "Convert the module before it is saved: module.float().",
            )
