"""A stand-in for CuPy's module of cuBLAS: matrix products by plain loops (machine/gemm.cpp).

The functions have the names and arguments of ``cupy_backends.cuda.libs.cublas``. What is not here raises an
error that names it.
"""

import ctypes
from types import ModuleType

from cupysim import machine_library
from cupysim.requirements import SimulatorError

NAME = "cupy_backends.cuda.libs.cublas"

CONSTANTS = {
    "CUBLAS_OP_N": 0,
    "CUBLAS_OP_T": 1,
    "CUBLAS_OP_C": 2,
    "CUBLAS_SIDE_LEFT": 0,
    "CUBLAS_SIDE_RIGHT": 1,
    "CUBLAS_FILL_MODE_LOWER": 0,
    "CUBLAS_FILL_MODE_UPPER": 1,
    "CUBLAS_DIAG_NON_UNIT": 0,
    "CUBLAS_DIAG_UNIT": 1,
    "CUBLAS_POINTER_MODE_HOST": 0,
    "CUBLAS_POINTER_MODE_DEVICE": 1,
    "CUBLAS_DEFAULT_MATH": 0,
    "CUBLAS_TENSOR_OP_MATH": 1,
    "CUBLAS_TF32_TENSOR_OP_MATH": 3,
    "CUBLAS_GEMM_DEFAULT": -1,
    "CUBLAS_GEMM_DEFAULT_TENSOR_OP": 99,
    "CUBLAS_COMPUTE_16F": 64,
    "CUBLAS_COMPUTE_32F": 68,
    "CUBLAS_COMPUTE_32F_PEDANTIC": 69,
    "CUBLAS_COMPUTE_64F": 70,
    "CUBLAS_COMPUTE_64F_PEDANTIC": 71,
    "CUBLAS_COMPUTE_32F_FAST_16F": 74,
    "CUBLAS_COMPUTE_32F_FAST_16BF": 75,
    "CUBLAS_COMPUTE_32F_FAST_TF32": 77,
}
TYPES = {"s": 0, "d": 1, "c": 4, "z": 5}
"""cudaDataType by the letter that begins the name of a function of cuBLAS."""


class CUBLASError(RuntimeError):
    """An error of cuBLAS."""


def make_module() -> ModuleType:
    """The module that stands in ``sys.modules`` for CuPy's."""
    gemm = _bind_gemm()
    modes = {"PointerMode": 0, "MathMode": 0}
    module = ModuleType(NAME, __doc__)
    content = vars(module)
    content.update(CONSTANTS, CUBLASError=CUBLASError, __getattr__=_refuse)
    content.update(create=lambda: 1, destroy=lambda handle: None, getVersion=lambda handle: 130000)
    for mode in modes:  # the machine itself sees whether a scalar lies on the device
        content[f"get{mode}"] = lambda handle, mode=mode: modes[mode]
        content[f"set{mode}"] = lambda handle, value, mode=mode: modes.update({mode: value})

    def gemmEx(
        h, ta, tb, m, n, k, alpha, a, a_type, lda, b, b_type, ldb, beta, c, c_type, ldc, compute, algo
    ):
        _require_one_type(a_type, b_type, c_type, compute)
        return gemm(c_type, m, n, k, alpha, a, lda, 0, ta, b, ldb, 0, tb, beta, c, ldc, 0, 1, 0)

    def gemmStridedBatchedEx(
        h, ta, tb, m, n, k, alpha, a, a_type, lda, sa, b, b_type, ldb, sb, beta, c, c_type, ldc, sc, count,
        compute, algo,
    ):  # fmt: skip
        _require_one_type(a_type, b_type, c_type, compute)
        return gemm(c_type, m, n, k, alpha, a, lda, sa, ta, b, ldb, sb, tb, beta, c, ldc, sc, count, 0)

    content.update(gemmEx=gemmEx, gemmStridedBatchedEx=gemmStridedBatchedEx)
    for letter, code in TYPES.items():
        content.update(_typed(letter, code, gemm))
    return module


def _typed(letter, code, gemm):
    """The functions of one type, such as sgemm, sgemmBatched and sgemmStridedBatched."""

    def plain(h, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        return gemm(code, m, n, k, alpha, a, lda, 0, ta, b, ldb, 0, tb, beta, c, ldc, 0, 1, 0)

    def batched(h, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, count):
        return gemm(code, m, n, k, alpha, a, lda, 0, ta, b, ldb, 0, tb, beta, c, ldc, 0, count, 1)

    def strided(h, ta, tb, m, n, k, alpha, a, lda, sa, b, ldb, sb, beta, c, ldc, sc, count):
        return gemm(code, m, n, k, alpha, a, lda, sa, ta, b, ldb, sb, tb, beta, c, ldc, sc, count, 0)

    return {f"{letter}gemm": plain, f"{letter}gemmBatched": batched, f"{letter}gemmStridedBatched": strided}


def _bind_gemm():
    """The machine's product on the current stream, which must not be captured."""
    function = machine_library.library.cupysim_gemm
    pointer, number, stride = ctypes.c_ssize_t, ctypes.c_int, ctypes.c_longlong
    matrix = [pointer, number, stride, number]
    function.argtypes = [
        pointer,
        *[number] * 4,
        pointer,
        *matrix,
        *matrix,
        pointer,
        *matrix[:3],
        number,
        number,
    ]
    function.restype = ctypes.py_object
    capturing = machine_library.library["runtime_streamIsCapturing"]
    capturing.argtypes = [pointer, number]

    def gemm(*arguments):
        from cupy.cuda import get_current_stream  # not yet there when this module is made

        current = get_current_stream().ptr
        if capturing(current, 0):  # CuPy's own words
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        function(current, *arguments)

    return gemm


def _require_one_type(a_type, b_type, c_type, compute):
    if not a_type == b_type == c_type or compute == CONSTANTS["CUBLAS_COMPUTE_16F"]:
        raise SimulatorError(
            "The CuPy simulator has no matrix product of mixed types, or with sums in float16."
        )


def _refuse(name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise SimulatorError(f"The CuPy simulator has no {name} of cuBLAS, only matrix products.")
