"""The compiled CPU path: its tanh, its loops against NumPy's kernels, its cache, what it cannot compile."""

import math
import os
import re
import subprocess
import sys
from decimal import Decimal, localcontext

import numpy as np
import pytest

import rnnx
from rnnx.backends import resolve
from rnnx.backends.numba_loop import BoundLoop
from rnnx.backends.numpy_loop import PrintedLoop
from rnnx.cells import REGISTRY
from rnnx.ops import pointwise, relu, sigmoid, sign, sqrt, tanh
from support.cells import CHAINS, make_case, script_of

pytestmark = pytest.mark.parametrize("backend", ["numba"], indirect=True)


@pointwise
def everything(a, b, c):
    d = sqrt(a * a + 1.0) / (2.0 - sigmoid(b))
    return relu(d - 1.2) + sign(c), tanh(c - d), -a


@pointwise
def only_tanh(x):
    return tanh(x)


def run(backend, body, inputs, same=()):
    """Outputs of a bound kernel, those in `same` in the memory of their inputs."""
    given = [x.copy() for x in inputs]
    count, shape = len(body.program.outputs), np.broadcast_shapes(*(x.shape for x in inputs))
    dtype = inputs[0].dtype
    out = tuple(given[k] if k in same else np.full(shape, np.nan, dtype) for k in range(count))
    assert backend.kernel(body.program, shape, dtype)(*given, out=out) is out
    return out


def exact_tanh(x):
    """Hyperbolic tangent of a number, to 60 digits."""
    with localcontext(prec=60):
        e = (2 * Decimal(float(x))).exp()
        return Decimal(float(x)) if abs(x) < 1e-15 else (e - 1) / (e + 1)


def around_the_switches(dtype):
    """Odd multiples of ln(2) / 4, where another n begins, and their neighbours."""
    points = (np.arange(1, 120, 2) * math.log(2) / 4).astype(dtype)
    around = [points]
    for end in (0.0, math.inf):
        near = points
        for _ in range(4):
            near = np.nextafter(near, dtype(end))
            around.append(near)
    return np.concatenate(around)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tanh_is_within_three_units_in_the_last_place(backend, rng, dtype):
    sizes = np.concatenate(
        [np.logspace(-30, 2, 1001), rng.uniform(0.0, 3.0, 2000), rng.uniform(0.0, 21.0, 500)]
    )
    x = np.concatenate([sizes.astype(dtype), around_the_switches(dtype)])
    x *= rng.choice([-1, 1], x.size).astype(dtype)
    (found,) = run(backend, only_tanh, [x])
    assert found.dtype == dtype
    assert np.abs(found).max() <= 1.0
    exact = [exact_tanh(value) for value in x]
    errors = [abs(float(Decimal(float(a)) - b)) for a, b in zip(found, exact, strict=True)]
    expected = np.abs(np.array(exact, dtype))
    assert (errors / np.spacing(expected)).max() <= 3.0
    assert (errors / expected).max() <= (1e-15 if dtype is np.float64 else 3e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tanh_at_the_ends_of_the_numbers(backend, dtype):
    tiny, huge = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    x = np.array([np.nan, np.inf, huge, np.finfo(dtype).tiny, tiny, 0.0], dtype)
    expected = np.array([np.nan, 1.0, 1.0, np.finfo(dtype).tiny, tiny, 0.0], dtype)
    for side in (1.0, -1.0):
        (found,) = run(backend, only_tanh, [np.copysign(x, x.dtype.type(side))])
        np.testing.assert_array_equal(found, np.copysign(expected, side))
        np.testing.assert_array_equal(np.signbit(found[1:]), side < 0.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loop_of_tanh_is_made_of_vector_instructions(backend, dtype):
    numba, tanhs = pytest.importorskip("numba"), pytest.importorskip("rnnx.backends.numba_math")
    function = {"float32": tanhs.tanh32, "float64": tanhs.tanh64}[dtype]
    row = pytest.importorskip("rnnx.backends.numba_rows").row

    @numba.njit(error_model="numpy", fastmath={"contract"})
    def loop(x, y):
        for r in range(x.shape[0]):
            source, target = row(x, r), row(y, r)
            for c in range(x.shape[1]):
                target[c] = function(source[c])

    x, y = np.ones((2, 4, 30), dtype)[:, :, 3:20]
    loop(x, y)
    np.testing.assert_allclose(y, np.tanh(x), rtol=1e-6)
    (code,) = loop.inspect_llvm().values()
    assert re.search(rf"fdiv contract <\d+ x {'float' if dtype == 'float32' else 'double'}>", code)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("same", [(), (0,), (0, 1, 2)])
def test_a_kernel_is_that_of_numpy(backend, rng, dtype, same):
    body = everything if dtype != "complex128" else only_tanh
    inputs = [rng.standard_normal((5, 7)).astype(dtype) for _ in body.program.inputs]
    same = [k for k in same if k < len(inputs)]
    expected = resolve("numpy").functional_kernel(body.program)(*inputs)
    for found, value in zip(run(backend, body, inputs, same), expected, strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, value, rtol=1e-6 if dtype == "float32" else 1e-14)


def test_columns_and_strides(backend, rng):
    a, c = rng.standard_normal((2, 5, 7))
    column, row = rng.standard_normal((5, 1)), rng.standard_normal((1, 7))
    wide, part = rng.standard_normal((5, 14))[:, ::2], rng.standard_normal((6, 14))[1:, 3:10]
    for inputs in (
        [a, column, c],
        [a, wide, c],
        [a, np.asfortranarray(wide), column],
        [part, column, row],
        [part, wide, row],
        [part[::2, :], a[::2, :], part[::2, :]],
        [part[:, :1], a[:, :1], wide[:, :1]],
    ):
        expected = resolve("numpy").functional_kernel(everything.program)(*inputs)
        for found, value in zip(run(backend, everything, inputs), expected, strict=True):
            # d - 1.2 cancels: an ulp of d is more of the difference.
            np.testing.assert_allclose(found, value, rtol=1e-14, atol=4e-16)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", REGISTRY)
def test_cells_agree_with_numpy(backend, rng, name, dtype):
    cell = REGISTRY[name](3, 5)
    case = make_case(cell, rng, 9, 4)
    case = case._replace(params={key: 0.5 * value for key, value in case.params.items()}).on(backend, dtype)
    results = {}
    for kind in ("numpy", "numba"):
        with rnnx.use_backend(kind):
            y, _, tape = cell.forward(case.params, case.x, case.state, lengths=[9, 2, 5, 5])
            dx, _, grads = cell.backward(tape, case.dy, case.dstate)
        results[kind] = [y, dx, *grads.values()]
    for found, value in zip(results["numba"], results["numpy"], strict=True):
        scale = np.abs(value).max()
        np.testing.assert_allclose(found, value, rtol=0, atol=(1e-6 if dtype == "float32" else 1e-12) * scale)


def test_arguments_that_are_read_only_or_strided(backend, rng):
    cell = rnnx.GRU(3, 4)
    case = make_case(cell, rng, 5, 2)
    y, _, tape = cell.forward(case.params, case.x, case.state)
    expected = cell.backward(tape, case.dy, case.dstate)[2]
    params = {name: np.asfortranarray(value) for name, value in case.params.items()}
    params["Wh"] = np.repeat(params["Wh"], 2, axis=0)[::2]
    for array in (*params.values(), case.x, *case.state, *case.dstate):
        array.flags.writeable = False
    dy = np.ascontiguousarray(case.dy.transpose(2, 0, 1)).transpose(1, 2, 0)
    dy.flags.writeable = False
    again, _, tape = cell.forward(params, case.x, case.state)
    np.testing.assert_allclose(again, y, rtol=1e-13)
    for name, found in cell.backward(tape, dy, case.dstate)[2].items():
        np.testing.assert_allclose(found, expected[name], rtol=1e-12, err_msg=name)


def test_every_chain_of_steps_is_captured(backend):
    for name in CHAINS:
        for backward in (False, True):
            assert script_of(REGISTRY[name](3, 4), backward) is not None, name


def test_complex_numbers_take_the_loops_of_numpy(backend):
    cell = rnnx.RNN(3, 4)
    script = script_of(cell, True)
    for dtype, kind in (("float32", BoundLoop), ("complex128", PrintedLoop)):
        params, x = cell.init(dtype=dtype), np.zeros((2, 1, 3), dtype)
        assert type(backend.bind_loop(script, 4, [params["Wh"]], None, x)) is kind


SCRIPT = """
import sys, time
import numpy as np
import rnnx
rnnx.set_backend("numba")
cell = rnnx.RNN(2, 3)
start = time.perf_counter()
y, _, tape = cell.forward(cell.init(), np.ones((4, 2, 2), np.float32))
cell.backward(tape, y)
print(time.perf_counter() - start)
"""


def test_compiled_code_is_kept_on_disk(backend, tmp_path):
    def first_call():
        environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
        )
        return float(result.stdout)

    cold, warm = first_call(), first_call()
    kept = list(tmp_path.rglob("*"))
    assert [path for path in kept if path.suffix == ".nbi"], "no index of compiled code"
    assert not [path for path in kept if path.suffix == ".tmp"]
    assert warm < 0.5 * cold
