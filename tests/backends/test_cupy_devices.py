"""Two CUDA devices, and memory that does not suffice, on a stub of CuPy."""

import pytest

import rnnx
from rnnx.backends import registry
from rnnx.errors import MixedArraysError
from support.cupy_stub import CUDARuntimeError, Machine, OutOfMemoryError, ndarray


def test_arrays_of_two_devices(put):
    put(Machine(devices=2))
    params = {name: ndarray(shape, 0) for name, shape in rnnx.LSTM(3, 4).param_shapes.items()}
    x, h, c = ndarray((5, 2, 3), 1), ndarray((2, 4), 1), ndarray((2, 4), 0)
    with pytest.raises(MixedArraysError) as caught:
        rnnx.LSTM(3, 4).forward(params, x)
    assert caught.value.problem == (
        "LSTM.forward: params['Wx'] is on cupy, params['Wh'] is on cupy, params['b'] is on cupy,"
        " x is on cupy:1; expected all arrays in one library on one device."
    )
    assert caught.value.hint == 'Move it: with rnnx.use_backend("cupy"): x = rnnx.asarray(x).'
    with pytest.raises(MixedArraysError, match=r"state\.h is on cupy:1, state\.c is on cupy; expected"):
        rnnx.LSTM(3, 4).forward(params, ndarray((5, 2, 3), 0), rnnx.LSTMState(h, c))


def test_device_too_small_for_the_arrays(put):
    put(Machine(free=3 * 2**20, total=2**30, limit=2 * 2**20, held=2**20, used=2**19))
    backend = registry.resolve("cupy")
    report = {"used": 2**19, "held": 2**20, "free": 2**20, "total": 2**21}
    assert rnnx.memory_report("cupy") == report
    error = OutOfMemoryError("Out of memory allocating 1,572,864 bytes (allocated so far: 512 bytes).")
    with pytest.raises(rnnx.MemoryLimitError) as caught, backend.computing("LSTM.forward", T=70, N=8):
        raise error
    assert str(caught.value) == (
        "LSTM.forward: 1.5 MiB more were asked for, and 1.0 MiB of 2.0 MiB are free on cupy."
        " Lower T (70) or N (8)."
    )
    assert caught.value.asked == 1572864
    assert caught.value.__cause__ is error
    assert backend.memory_asked(CUDARuntimeError(2)) == 0
    assert backend.memory_asked(CUDARuntimeError(35)) is None
    assert backend.memory_asked(type("CUBLASError", (RuntimeError,), {"status": 3})()) == 0
    with pytest.raises(CUDARuntimeError), backend.computing("LSTM.forward"):
        raise CUDARuntimeError(700)


def test_memory_without_a_limit(put):
    put(Machine(free=3, total=9))
    assert rnnx.memory_report("cupy") == {"used": 0, "held": 0, "free": 3, "total": 9}
