"""Safetensors files with torch's names, read and written without torch."""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from rnnx import backends
from rnnx.errors import DataError, DtypeError, OptionError
from rnnx.files import write_atomically
from rnnx.interop import torch_weights
from rnnx.interop.torch_layout import infer
from rnnx.typing import Array, Params

DTYPES = ("F32", "F64")
SAVE = "Save it with safetensors.torch.save_file(module.state_dict(), path)."


def load_torch(
    path: str | PathLike[str], prefix: str = "", *, activation: str | None = None
) -> tuple[Any, dict[str, Array]]:
    """Read the weights of a torch.nn.RNN, LSTM or GRU from a safetensors file; torch is not needed.

    The kind, the sizes, the depth and the directions follow from the names and shapes. Dropout is not in a
    file.

    Parameters
    ----------
    path : path
        A file that ``safetensors.torch.save_file(module.state_dict(), path)`` has written.
    prefix : str
        What stands before the names, such as ``"rnn."`` where the module is the part ``rnn`` of a larger one.
        All other tensors of the file are left alone.
    activation : {"tanh", "relu"}, optional
        Needed for an RNN, since a file does not tell; an LSTM and a GRU have none.

    Returns
    -------
    cell : SequenceCell
    params : dict of str to array
        Both as from `rnnx.from_torch`, in the file's dtype, float32 or float64.

    Raises
    ------
    DataError
        The file is missing, cut short or of another format, or its names, shapes, dtypes or values are not
        those of a module.
    OptionError
        The activation is missing, unknown, or needless.
    OSError
        The file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    where = repr(str(path))
    if not path.is_file():
        raise DataError(
            f"{where} is a folder; expected a file." if path.exists() else f"There is no file {where}."
        )
    try:
        with safe_open(path, framework="np") as file:
            names = list(file.keys())
            slices = {name: file.get_slice(name) for name in names if name.startswith(prefix)}
            layout = _layout(where, prefix, names, slices, activation)
            arrays = {name: file.get_tensor(prefix + name) for name in layout.shapes}
    except SafetensorError as error:
        problem = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{where} is cut short or no safetensors file: {problem}.", SAVE) from None
    for name, value in arrays.items():
        if not np.isfinite(value).all():
            raise DataError(f"{where}: {prefix + name} holds values that are not finite.")
    cell = torch_weights.make_cell(layout)
    params = torch_weights.to_params(layout, cell, arrays)
    return cell, {name: backends.asarray(value) for name, value in params.items()}
