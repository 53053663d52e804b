"""Two CUDA devices, and memory that does not suffice, on a stub of CuPy."""

import pytest

import rnnx
from rnnx.backends import cupy_diagnosis, registry
from rnnx.errors import BackendError, MixedArraysError
from support.cupy_stub import CUDARuntimeError, Machine, OutOfMemoryError, ndarray
from support.programs import BODIES


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


@pytest.fixture
def second(backend):
    """A second device of the backend, which is not the current one."""
    if backend.name != "cupy":
        pytest.skip("only CuPy has a current device")
    try:
        return registry.resolve("cupy:1")
    except BackendError as error:
        pytest.skip(str(error))


def test_parameters_and_input_on_two_devices(backend, second):
    cell = rnnx.GRU(3, 4)
    params, x = cell.init(), second.zeros((5, 2, 3), "float32")
    with pytest.raises(MixedArraysError, match=r"params\['Wx'\] is on cupy, .*x is on cupy:1; expected"):
        cell.forward(params, x)
    moved = rnnx.asarray(x)
    assert backend.holds(moved)
    cell.forward(params, moved)


def test_all_results_are_on_the_device_of_the_arrays(backend, second, rng):
    values = rng.standard_normal((5, 2, 3))
    with rnnx.use_backend(second):
        lstm, linear, embedding, adam = (
            rnnx.LSTM(3, 4),
            rnnx.Linear(4, 7),
            rnnx.Embedding(6, 3),
            rnnx.AdamW(0.1),
        )
        params, readout, table = lstm.init(), linear.init(), embedding.init()
        memory, x = adam.init(params), rnnx.asarray(values, "float32")
    y, state, tape = lstm.forward(params, x)  # from here on, cupy:0 is the default and the current device
    logits, linear_tape = linear.forward(readout, y)
    loss, dlogits = rnnx.softmax_cross_entropy(logits, [[0, 1]] * 5)
    dy, dreadout = linear.backward(linear_tape, dlogits)
    dx, dstate, grads = lstm.backward(tape, dy)
    rows, ids = embedding.forward(table, [1, 2])
    clipped, norm = rnnx.clip_by_global_norm(grads, 1.0)
    params, memory = adam.update(params, clipped, memory)
    results = [
        y,
        *state,
        logits,
        loss,
        dlogits,
        dy,
        dx,
        *dstate,
        rows,
        norm,
        *embedding.backward(ids, rows).values(),
    ]
    results += [
        *dreadout.values(),
        *grads.values(),
        *clipped.values(),
        *params.values(),
        *lstm.step(params, x[0, ...])[1],
    ]
    assert all(second.holds(array) for array in results)
    assert not any(backend.holds(array) for array in results)


@pytest.mark.parametrize("backend", ["cupy"], indirect=True)
def test_what_a_backend_makes_is_on_its_device(backend, second, simulator):
    program = BODIES["rnn_tanh_forward"].program
    made = [
        second.empty((2, 3), "float32"),
        second.zeros((2, 3), "float32"),
        second.asarray([1.0]),
        second.asarray(backend.zeros((2, 3), "float32")),
        *second.functional_kernel(program)(*[second.zeros((2, 3), "float32")] * len(program.inputs)),
        second.scatter_add(second.asarray([0, 1]), second.zeros((2, 3), "float32"), 4),
    ]
    assert all(second.holds(array) for array in made)
    before, other = second.memory_report(), backend.memory_report()
    kept = second.empty((10**6,), "float32")
    assert second.memory_report()["used"] >= before["used"] + kept.nbytes
    assert backend.memory_report() == other
    with simulator.trace() as events:
        second.synchronize()
    assert ("sync", "device") in [event[:2] for event in events]


@pytest.mark.parametrize("backend", ["cupy"], indirect=True)
def test_what_is_told_of_a_device(backend, simulator, monkeypatch, tmp_path):
    line = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build"
    (tmp_path / "version").write_text(line, encoding="utf-8")
    monkeypatch.setattr(cupy_diagnosis, "DRIVER_FILE", tmp_path / "version")
    found = backend.details()
    assert list(found) == [
        "name",
        "compute capability",
        "NVIDIA driver",
        "CUDA of the driver",
        "CUDA of CuPy",
    ]
    assert found["NVIDIA driver"] == "580.65.06"
    assert all(found.values())
