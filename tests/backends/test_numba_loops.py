"""Compiled time loops: against NumPy's, their threads, and steps of users' own."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

import rnnx
from rnnx.backends import host_threads, numba_loop
from rnnx.cells import REGISTRY
from rnnx.errors import ShapeError
from rnnx.ops import capture, input_gradient, pointwise, tanh, weight_gradients
from support.cells import CHAINS, everything, make_case

pytestmark = pytest.mark.parametrize("backend", ["numba"], indirect=True)

DTYPES = "float32", "float64"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CHAINS)
def test_any_size_agrees_with_numpy(backend, rng, name, dtype):
    for T, N, D, H in (
        (1, 1, 1, 1),
        (9, 1, 3, 20),
        (17, 1, 9, 8),
        (6, 2, 1, 9),
        (5, 7, 4, 25),
        (4, 33, 20, 17),
        (3, 32, 9, 21),
    ):
        cell = REGISTRY[name](D, H)
        case = make_case(cell, rng, T, N)
        case = case._replace(params={key: 0.5 * value for key, value in case.params.items()}).on(
            backend, dtype
        )
        found = everything(cell, case)
        with rnnx.use_backend("numpy"):
            expected = everything(cell, case)
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == other.dtype
            assert one.shape == other.shape
            atol = (1e-6 if dtype == "float32" else 1e-12) * np.abs(other).max()
            np.testing.assert_allclose(one, other, rtol=0, atol=atol, err_msg=f"{(T, N, D, H)}")


@pytest.fixture
def teams(monkeypatch, blas):
    """Function that sets the number of BLAS's threads; loops use them for small layers too."""
    monkeypatch.setattr(numba_loop, "ALONE", 1)
    monkeypatch.setattr(host_threads, "START", 1)
    return blas.library.scipy_openblas_set_num_threads64_


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CHAINS)
def test_several_threads_compute_the_same_bits_as_one(backend, rng, name, dtype, teams):
    for T, N, D, H in ((9, 1, 3, 20), (6, 3, 1, 9), (5, 33, 20, 40), (4, 32, 20, 17), (4, 96, 7, 33)):
        cell = REGISTRY[name](D, H)
        case = make_case(cell, rng, T, N).on(backend, dtype)
        results = {}
        for count in (1, 2, 3):
            teams(count)
            results[count] = [everything(cell, case) for _ in range(4)]
        for one, *others in zip(*results[1], *results[2], *results[3], strict=True):
            for other in others:
                np.testing.assert_array_equal(other, one)


@pytest.mark.parametrize(
    ("threads", "batch", "expected"),
    [
        (1, 32, (1, False)),
        (2, 1, (1, False)),  # a single sequence
        (2, 24, (2, False)),  # no whole cache lines
        (2, 32, (2, True)),
        (3, 48, (3, True)),
        (4, 64, (4, True)),
        (8, 32, (7, False)),  # two threads with sequences of their own would take longer
    ],
)
def test_threads_share_sequences_where_they_can(backend, monkeypatch, threads, batch, expected):
    known = SimpleNamespace(execute=1, idle=2, number=lambda: threads)
    monkeypatch.setattr(host_threads, "threads", lambda: known)
    cell = rnnx.LSTM(64, 128)
    params, x = cell.init(), np.zeros((50, batch, 64), np.float32)
    script, operands = capture.captured(cell, backend, params, False)
    bound = backend.bind_loop(script, 128, operands, (params["Wx"], params["b"]), x)
    assert bound._team(50, 16, batch, 4 * batch)[2:] == expected
    assert bound._team(1, 16, 2, 8)[2:] == (1, False)  # too little to do


def test_loops_of_several_callers_at_once(backend, rng, teams):
    teams(2)
    cell = rnnx.LSTM(20, 40)
    case = make_case(cell, rng, 30, 8).on(backend, "float32")
    expected = everything(cell, case)

    def run(_):
        with rnnx.use_backend("numba"):
            return [everything(cell, case) for _ in range(8)]

    with ThreadPoolExecutor(4) as pool:
        for results in pool.map(run, range(4)):
            for found in results:
                for one, other in zip(found, expected, strict=True):
                    np.testing.assert_array_equal(one, other)


def test_an_unknown_blas_leaves_loops_on_one_thread(backend, rng, monkeypatch, teams):
    cell = rnnx.LSTM(20, 40)
    case = make_case(cell, rng, 9, 8).on(backend, "float32")

    def loops():
        y, final, tape = cell.forward(case.params, case.x, case.state)
        return [y, *final, *cell.backward(tape, case.dy, case.dstate)[1]]

    teams(2)
    expected = loops()
    monkeypatch.setattr(host_threads, "KNOWN", ((0, 2, 0), (0, 2, 20)))
    host_threads.threads.cache_clear()
    try:
        assert host_threads.threads() is None
        assert backend.details()["time loops"] == "compiled, on one thread"
        for one, other in zip(loops(), expected, strict=True):
            np.testing.assert_array_equal(one, other)
    finally:
        host_threads.threads.cache_clear()


FORK = """
import os, sys
import numpy as np
import rnnx
from rnnx.backends import host_threads, numba_loop

numba_loop.ALONE = host_threads.START = 1
known = host_threads.threads()
assert known is None or known.number() == 2
rnnx.set_backend("numba")
cell = rnnx.LSTM(20, 40)
params, x = cell.init(), np.random.default_rng(0).standard_normal((30, 8, 20), np.float32)
y = cell.forward(params, x)[0]
child = os.fork()
same = np.array_equal(cell.forward(params, x)[0], y)
if child == 0:
    os._exit(0 if same else 1)
sys.exit(0 if same and os.waitpid(child, 0)[1] == 0 else 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_loops_go_on_after_a_fork(backend):
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class Scaled(rnnx.RNN):
    """A cell with a projection of its own."""

    def project(self, xp, params, x):
        return 2.0 * (x @ params["Wx"]) + params["b"]

    def bind_projection(self, ops, params):
        return super().bind_projection(ops, {**params, "Wx": 2.0 * params["Wx"]})


@pointwise
def decaying_forward(a, h):
    s = tanh(a)
    return s, s + 0.5 * h


@pointwise
def decaying_backward(s, dh):
    return dh * (1.0 - s * s), 0.5 * dh


@dataclass(frozen=True)
class Decaying(rnnx.RNN):
    """A cell without a product in its step."""

    @property
    def bodies(self):
        return decaying_forward, decaying_backward

    @property
    def param_shapes(self):
        return {"Wx": (self.input_size, self.hidden_size), "b": (self.hidden_size,)}

    def bind_forward(self, ops, params):
        activate = ops.kernel(decaying_forward)

        def step(pre, prev, after, saved):
            _, h = activate(pre, prev.h, out=(pre, after.h))
            return type(prev)(h)

        return step

    def bind_backward(self, ops, params):
        activate = ops.kernel(decaying_backward)

        def step(pre, saved, prev, after, d):
            activate(pre, d.h, out=(pre, d.h))

        return step

    def finish(self, xp, params, steps):
        db, dWx = weight_gradients(steps.d, steps.x, bias=True)
        return input_gradient(params["Wx"], steps.d), {"Wx": dWx, "b": db}


@dataclass(frozen=True)
class Turned(rnnx.LSTM):
    """A cell that forgets to transpose a matrix."""

    def bind_forward(self, ops, params):
        return super().bind_forward(ops, {**params, "Wh": params["Wh"].T})


@pytest.mark.parametrize("batch", [1, 24, 32])
def test_a_step_without_a_product(backend, rng, teams, batch):
    cell = Decaying(3, 40)
    case = make_case(cell, rng, 7, batch).on(backend)
    with rnnx.use_backend("numpy"):
        expected = everything(cell, case)
    for count in (1, 2):
        teams(count)
        for one, other in zip(everything(cell, case), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * np.abs(other).max())


def test_a_projection_of_its_own_is_not_replaced(backend, rng):
    cell = Scaled(3, 4)
    case = make_case(cell, rng, 5, 2).on(backend)
    y = cell.forward(case.params, case.x, case.state)[0]
    np.testing.assert_allclose(y[0], cell.step(case.params, case.x[0], case.state)[0], rtol=1e-13)
    np.testing.assert_allclose(
        y, cell.forward(case.params, case.x, case.state, training=False)[0], rtol=1e-13
    )


def test_a_matrix_that_does_not_fit_is_refused(backend, rng):
    case = make_case(rnnx.LSTM(3, 4), rng, 5, 2).on(backend)
    with pytest.raises(ShapeError, match="a matrix of 4x16; its blocks need 16x4"):
        Turned(3, 4).forward(case.params, case.x, case.state)
