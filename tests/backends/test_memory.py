"""What is told of memory, and the error where it does not suffice."""

import numpy as np
import pytest

import rnnx
from rnnx import backends
from rnnx.backends import memory
from rnnx.errors import MemoryLimitError, OptionError

TOO_MANY = {"T": 10**8, "N": 10**6, "D": 3, "H": 4}
"""Arrays of more bytes than a process can address, whatever the system promises."""


def test_report_of_a_backend(backend):
    report = rnnx.memory_report()
    assert set(report) == set(backend.memory_report())  # the numbers move
    assert set(report) in ({"used", "held", "free", "total"}, {"free", "total"}, set())


def test_report_by_name():
    with rnnx.use_backend("strict"):
        assert rnnx.memory_report() == {}
        assert set(rnnx.memory_report("numpy")) == set(memory.host())
    with pytest.raises(rnnx.BackendError, match="There is no backend 'cuda'"):
        rnnx.memory_report("cuda")


def test_memory_of_the_host(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "HOST", tmp_path / "meminfo")
    assert memory.host() == {}
    memory.HOST.write_text(
        "MemTotal:       2048 kB\nMemFree:  7 kB\nMemAvailable:   1024 kB\nHugePages_Total: 0\n"
    )
    assert rnnx.memory_report("numpy") == {"free": 2**20, "total": 2**21}
    memory.HOST.write_text("nothing\n")
    assert memory.host() == {}


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (3 * 2**29, "1.5 GiB"),
        (2**50, "1024.0 TiB"),
    ],
)
def test_bytes_as_text(count, text):
    assert memory.as_text(count) == text


@pytest.mark.parametrize("training", [True, False])
def test_forward_with_too_little_memory(backend, training):
    T, N, D, H = TOO_MANY.values()
    cell = rnnx.LSTM(D, H)
    x = backend.xp.broadcast_to(rnnx.asarray([[[1.0]]], "float32"), (T, N, D))
    params, before = cell.init(), rnnx.memory_report()
    with pytest.raises(MemoryLimitError) as caught:
        cell.forward(params, x, training=training)
    error = caught.value
    assert error.sizes == TOO_MANY
    assert error.asked >= 32 * N * H * 4
    assert error.total == before.get("total")
    assert error.problem.startswith(f"LSTM.forward: {memory.as_text(error.asked)} more were asked for")
    assert error.hint == "Lower T (100000000), N (1000000), D (3) or H (4)."
    if before:
        free, total = memory.as_text(error.free), memory.as_text(error.total)
        assert error.problem.endswith(f", and {free} of {total} are free on {backend}.")
    assert isinstance(error, MemoryError)
    assert isinstance(error, rnnx.RnnxError)
    assert error.__cause__ is not None


def failing(error):
    def fail(*args, **kwargs):
        raise error

    return fail


def test_backward_with_too_little_memory(backend, monkeypatch):
    cell = rnnx.GRU(3, 4)
    y, _, tape = cell.forward(cell.init(), backend.zeros((5, 2, 3), "float32"))
    monkeypatch.setattr(rnnx.GRU, "finish", failing(MemoryError()))
    with pytest.raises(MemoryLimitError, match=r"^GRU\.backward: memory ran out") as caught:
        cell.backward(tape, y)
    assert caught.value.asked == 0
    assert caught.value.sizes == {"T": 5, "N": 2, "D": 3, "H": 4}


def test_other_errors_stay_what_they_are(backend, monkeypatch):
    cell = rnnx.RNN(3, 4)
    for error in (ZeroDivisionError(), RuntimeError("the device is lost"), OptionError("no")):
        monkeypatch.setattr(rnnx.RNN, "bind_forward", failing(error))
        with pytest.raises(type(error)) as caught:
            cell.forward(cell.init(), backend.zeros((5, 2, 3), "float32"))
        assert caught.value is error


def test_an_error_inside_another_keeps_its_sizes(backend):
    with (
        pytest.raises(MemoryLimitError) as caught,
        backend.computing("outer", N=3),
        backend.computing("inner", T=2),
    ):
        raise MemoryError
    assert caught.value.problem.startswith("inner: memory ran out")
    assert caught.value.hint == "Lower T (2)."


def test_layers_losses_and_optimisers_name_their_sizes(backend, monkeypatch):
    linear, embedding = rnnx.Linear(3, 4), rnnx.Embedding(7, 5)
    weights, rows = linear.init(), embedding.init()
    y, tape = linear.forward(weights, backend.zeros((6, 2, 3), "float32"))
    logits, parameters = backend.zeros((6, 7), "float32"), {"w": backend.zeros((2, 5), "float32")}
    sgd = rnnx.SGD(0.1)
    state = sgd.init(parameters)
    for function, hint in (
        (lambda: linear.forward(weights, y[..., :3]), "rows (12), D (3) or O (4)"),
        (lambda: linear.backward(tape, y), "rows (12), D (3) or O (4)"),
        (lambda: embedding.forward(rows, [1, 2]), "ids (2) or E (5)"),
        (lambda: rnnx.softmax_cross_entropy(logits, [0] * 6), "positions (6) or V (7)"),
        (lambda: rnnx.half_squared_error(y, y), "numbers (48)"),
        (lambda: sgd.update(parameters, parameters, state), "parameters (10)"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(type(backend), "untracked", failing(MemoryError()))
            with pytest.raises(MemoryLimitError) as caught:
                function()
        assert caught.value.hint == f"Lower {hint}."


def test_what_torch_says(torch):
    backend = backends.resolve("torch")
    for error, asked in {
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.50 MiB. GPU 0 has"): 20.5 * 2**20,
        RuntimeError("MPS backend out of memory. Tried to allocate 256 bytes on shared pool."): 256,
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 77 bytes."): 77,
        torch.OutOfMemoryError("CUDA out of memory"): 0,
        RuntimeError("cuBLAS failed"): None,
        MemoryError(): 0,
    }.items():
        assert backend.memory_asked(error) == asked


def test_what_numpy_says():
    with pytest.raises(MemoryError) as caught:
        np.empty((10**8, 10**7))
    assert backends.resolve("numpy").memory_asked(caught.value) == 8 * 10**15
