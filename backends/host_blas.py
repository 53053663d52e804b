"""Products of the BLAS library inside NumPy, by their addresses, for code that is compiled here."""

import ctypes
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

LETTERS = {np.dtype("float32"): "s", np.dtype("float64"): "d"}


class Addresses(NamedTuple):
    """Of ``cblas_?gemm`` and ``cblas_?gemv``; all integers of their interface have 64 bits."""

    gemm: int
    gemv: int


@cache
def addresses(dtype: np.dtype) -> Addresses | None:
    """The products for a dtype; None where NumPy is not built with the OpenBLAS of its wheels."""
    root = Path(np.__file__).parent
    folders = root.parent / "numpy.libs", root / ".dylibs"
    for path in sorted(path for folder in folders for path in folder.glob("*openblas64_*")):
        library = ctypes.CDLL(str(path))
        symbols = [f"scipy_cblas_{LETTERS[dtype]}{name}64_" for name in Addresses._fields]
        if all(hasattr(library, symbol) for symbol in symbols):
            functions = (ctypes.cast(getattr(library, symbol), ctypes.c_void_p) for symbol in symbols)
            return Addresses(*(function.value or 0 for function in functions))
    return None
