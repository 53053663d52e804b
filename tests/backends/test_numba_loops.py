"""Compiled time loops: their products, alone and against NumPy's, and their threads."""

import ctypes
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import rnnx
from rnnx.backends import host_threads, numba_chain, numba_loop
from rnnx.cells import REGISTRY
from support.cells import make_case

pytestmark = pytest.mark.parametrize("backend", ["numba"], indirect=True)

DTYPES = "float32", "float64"
ROWS = 8


def function(dtype, name):
    """A compiled function of addresses and other integers."""
    address = numba_chain.functions(np.dtype(dtype))[numba_chain.FUNCTIONS.index(name)]

    def call(*arguments):
        values = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments]
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(values))
        kind(address)(*values)

    return call


def integers(rng, shape, dtype):
    """Numbers whose sums of products are exact, in whatever order."""
    return rng.integers(-8, 9, shape).astype(dtype)


LAYOUTS = {
    "rows": np.ascontiguousarray,
    "columns": np.asfortranarray,
    "strided": lambda a: np.repeat(np.repeat(a, 2, axis=0), 3, axis=1)[::2, ::3],
    "backwards": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
}


def packed(a, blocks, height, first=0, last=None):
    """A matrix as panels."""
    panels = -(-height // ROWS)
    found = np.full(blocks * panels * ROWS * a.shape[1], np.nan, a.dtype)
    last = panels if last is None else last
    inner = a.shape[1]
    function(a.dtype, "pack")(a, *a.strides, found, blocks, height, first, last, inner, 0, inner)
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_packed_panels_are_the_matrix(backend, rng, dtype, layout):
    for blocks, height, inner in ((1, 1, 1), (3, 8, 5), (2, 13, 7), (1, 70, 3)):
        a = LAYOUTS[layout](integers(rng, (blocks * height, inner), dtype))
        panels = -(-height // ROWS)
        expected = np.zeros((blocks, panels * ROWS, inner), dtype)
        expected[:, :height] = a.reshape(blocks, height, inner)
        expected = expected.reshape(blocks, panels, ROWS, inner).swapaxes(2, 3)
        found = packed(a, blocks, height)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found.reshape(expected.shape), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_are_exact_for_any_number_of_columns(backend, rng, dtype):
    for blocks, height, inner in ((1, 5, 3), (4, 20, 9), (2, 8, 130)):
        a = integers(rng, (blocks * height, inner), dtype)
        panels = packed(a, blocks, height)
        for columns in (*range(1, 41), 64, 70, 100):
            b, start = (
                integers(rng, (inner, columns), dtype),
                integers(rng, (blocks * height, columns), dtype),
            )
            sizes = blocks, height, 0, -(-height // ROWS), inner
            for add in (0, 1):
                out = start.copy()
                function(dtype, "multiply")(panels, *sizes, b, columns, out, add)
                np.testing.assert_array_equal(out, a @ b + add * start, err_msg=f"{columns} columns")


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_product_of_some_panels_leaves_the_other_rows_alone(backend, rng, dtype):
    blocks, height, inner = 3, 20, 4
    a = integers(rng, (blocks * height, inner), dtype)
    panels = packed(a, blocks, height, 1, 3)
    for columns in (1, 2, 5, 40):
        b, out = integers(rng, (inner, columns), dtype), np.full((blocks, height, columns), 99.0, dtype)
        function(dtype, "multiply")(panels, blocks, height, 1, 3, inner, b, columns, out, 0)
        np.testing.assert_array_equal(out[:, :8], 99.0)
        np.testing.assert_array_equal(out[:, 8:], (a @ b).reshape(out.shape)[:, 8:])


def test_a_product_larger_than_a_core_s_cache(backend, rng):
    a, b = integers(rng, (16, 1100), "float32"), integers(rng, (1100, 200), "float32")
    out = np.empty((16, 200), "float32")
    function("float32", "multiply")(packed(a, 2, 8), 2, 8, 0, 1, 1100, b, 200, out, 0)
    np.testing.assert_array_equal(out, a @ b)


@pytest.mark.parametrize("layout", ["rows", "columns"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_products_with_one_column(backend, rng, dtype, layout):
    for blocks, height, inner in ((1, 1, 1), (4, 20, 37), (3, 41, 130), (1, 128, 8)):
        a = LAYOUTS[layout](integers(rng, (blocks * height, inner), dtype))
        b, start = integers(rng, (inner,), dtype), integers(rng, (blocks, height), dtype)
        for add in (0, 1):
            out = start.copy()
            last = max(height - 1, 1)
            function(dtype, "multiply_one")(a, *a.strides, blocks, height, 0, last, inner, b, out, add)
            expected = (a @ b).reshape(blocks, height) + add * start
            expected[:, last:] = start[:, last:]
            np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_projection_of_one_sequence(backend, rng, dtype):
    for D, blocks, height, steps in ((1, 1, 3, 1), (5, 3, 20, 8), (7, 4, 41, 6)):
        x, W = integers(rng, (steps, D), dtype), integers(rng, (D, blocks * height), dtype)
        bias = integers(rng, (2 * blocks * height,), dtype)[::2]
        panel = np.full((D, ROWS), np.nan, dtype)
        function(dtype, "turn")(x, *x.strides, panel, 0, D, steps, ROWS, 0)
        np.testing.assert_array_equal(panel[:, :steps], x.T)
        out = np.full((steps, blocks * height), 99.0, dtype)
        weights = W, blocks * height, bias, bias.strides[0]
        function(dtype, "project")(panel, steps, D, *weights, blocks, height, 1, height, out)
        expected = (x @ W + bias).reshape(steps, blocks, height)
        expected[:, :, 0] = 99.0
        np.testing.assert_array_equal(out.reshape(expected.shape), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_turned_and_turned_back(backend, rng, dtype):
    for batch, D in ((1, 1), (3, 40), (20, 7)):
        wide = rng.standard_normal((batch, 2 * D)).astype(dtype)
        for x in (wide[:, :D], wide[:, ::2], wide[::-1, ::-2]):
            out = np.ones((D, batch + 2), dtype)
            function(dtype, "turn")(x, *x.strides, out, 0, D, batch, batch + 2, 1)
            np.testing.assert_array_equal(out[:, :batch], x.T + np.ones((), dtype))
            np.testing.assert_array_equal(out[:, batch:], 1.0)
        y = np.zeros((batch, D), dtype)
        function(dtype, "turn_back")(np.ascontiguousarray(wide[:, :D].T), y, *y.strides, 0, D, batch)
        np.testing.assert_array_equal(y, wide[:, :D])


def everything(cell, case, **options):
    """Outputs, states and gradients of a cell."""
    y, final, tape = cell.forward(case.params, case.x, case.state, **options)
    dx, dstate, grads = cell.backward(tape, case.dy, case.dstate)
    again = cell.forward(case.params, case.x, case.state, training=False)
    return [y, *final, dx, *dstate, *grads.values(), again[0], *again[1]]


CHAINS = [name for name in REGISTRY if hasattr(REGISTRY[name](1, 1), "bind_forward")]


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
def teams(monkeypatch):
    """Function that sets the number of BLAS's threads; loops use them for small layers too."""
    known = host_threads.threads()
    if known is None:
        pytest.skip("BLAS has no threads of a kind that is known")
    monkeypatch.setattr(numba_loop, "ALONE", 1)
    before = known.number()
    yield known.library.scipy_openblas_set_num_threads64_
    known.library.scipy_openblas_set_num_threads64_(before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CHAINS)
def test_several_threads_compute_the_same_bits_as_one(backend, rng, name, dtype, teams):
    for T, N, D, H in ((9, 1, 3, 20), (6, 3, 1, 9), (5, 33, 20, 40)):
        cell = REGISTRY[name](D, H)
        case = make_case(cell, rng, T, N).on(backend, dtype)
        results = {}
        for count in (1, 2, 3):
            teams(count)
            results[count] = [everything(cell, case) for _ in range(10)]
        for one, *others in zip(*results[1], *results[2], *results[3], strict=True):
            for other in others:
                np.testing.assert_array_equal(other, one)


def test_loops_of_several_callers_at_once(backend, rng, teams):
    teams(2)
    cell = rnnx.LSTM(20, 40)
    case = make_case(cell, rng, 30, 8).on(backend, "float32")
    expected = everything(cell, case)

    def run(_):
        with rnnx.use_backend("numba"):
            return [everything(cell, case) for _ in range(20)]

    with ThreadPoolExecutor(4) as pool:
        for results in pool.map(run, range(4)):
            for found in results:
                for one, other in zip(found, expected, strict=True):
                    np.testing.assert_array_equal(one, other)


def test_an_unknown_blas_leaves_loops_on_one_thread(backend, rng, monkeypatch):
    case = make_case(rnnx.LSTM(20, 40), rng, 9, 8).on(backend, "float32")
    monkeypatch.setattr(numba_loop, "ALONE", 1)
    expected = everything(rnnx.LSTM(20, 40), case)
    monkeypatch.setattr(host_threads, "KNOWN", ((0, 2, 0), (0, 2, 20)))
    host_threads.threads.cache_clear()
    try:
        assert host_threads.threads() is None
        assert backend.details()["time loops"] == "compiled, on one thread"
        for one, other in zip(everything(rnnx.LSTM(20, 40), case), expected, strict=True):
            np.testing.assert_array_equal(one, other)
    finally:
        host_threads.threads.cache_clear()


FORK = """
import os, sys
import numpy as np
import rnnx
from rnnx.backends import numba_loop

numba_loop.ALONE = 1
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
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("features", ["", "+avx,+avx2,+fma"], ids=["oldest", "avx2"])
def test_products_on_other_machines(backend, tmp_path, features):
    """In another process, for which Numba compiles as for a machine with fewer instructions."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("an x86-64 machine has older ones to compile for")
    settings = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": features, "XDG_CACHE_HOME": str(tmp_path)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        __file__,
        "-k",
        "product and not other",
    ]
    done = subprocess.run(
        command, env=os.environ | settings, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
