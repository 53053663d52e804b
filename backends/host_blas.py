"""The matrix product of the BLAS library inside NumPy, by its address, for code that is compiled here."""

import ctypes
from functools import cache
from pathlib import Path

import numpy as np

SYMBOLS = {np.dtype("float32"): "scipy_cblas_sgemm64_", np.dtype("float64"): "scipy_cblas_dgemm64_"}
"""Names in the OpenBLAS of NumPy's wheels; all integers of its interface have 64 bits."""


@cache
def gemm_address(dtype: np.dtype) -> int | None:
    """Address of ``cblas_?gemm``; None where NumPy is built with another BLAS."""
    root = Path(np.__file__).parent
    folders = root.parent / "numpy.libs", root / ".dylibs"
    for path in sorted(path for folder in folders for path in folder.glob("*openblas64_*")):
        found = getattr(ctypes.CDLL(str(path)), SYMBOLS[dtype], None)
        if found is not None:
            return ctypes.cast(found, ctypes.c_void_p).value
    return None
