"""The compiled CPU path: its tanh, its loops against NumPy's kernels, its cache, what it cannot compile."""

import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

import rnnx
from rnnx.backends import resolve
from rnnx.cells import REGISTRY
from rnnx.ops import capture, pointwise, relu, sigmoid, sign, sqrt, tanh
from support.cells import make_case

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


def test_tanh_of_float32_is_within_four_units_in_the_last_place(backend):
    x = np.concatenate([np.linspace(-12.0, 12.0, 400_001), np.logspace(-30, 2, 100_001)]).astype("float32")
    (found,) = run(backend, only_tanh, [x])
    exact = np.tanh(x.astype("float64"))
    units = np.abs(found - exact) / np.spacing(np.abs(exact).astype("float32"))
    assert units.max() <= 4.0
    assert np.abs(found).max() <= 1.0


def test_tanh_of_float64_is_exact_to_1e_15(backend):
    x = np.linspace(-20.0, 20.0, 100_001)
    (found,) = run(backend, only_tanh, [x])
    np.testing.assert_allclose(found, np.tanh(x), rtol=1e-15, atol=1e-15)


def test_tanh_of_what_is_no_number(backend):
    x = np.array([np.nan, np.inf, -np.inf, 0.0], "float32")
    (found,) = run(backend, only_tanh, [x])
    np.testing.assert_array_equal(found, np.array([np.nan, 1.0, -1.0, 0.0], "float32"))


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
    column, wide = rng.standard_normal((5, 1)), rng.standard_normal((5, 14))[:, ::2]
    for inputs in ([a, column, c], [a, wide, c], [a, np.asfortranarray(wide), column]):
        expected = resolve("numpy").functional_kernel(everything.program)(*inputs)
        for found, value in zip(run(backend, everything, inputs), expected, strict=True):
            np.testing.assert_allclose(found, value, rtol=1e-14)


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


@pytest.mark.parametrize("name", REGISTRY)
def test_every_chain_of_steps_is_compiled_as_a_whole(backend, name):
    cell = REGISTRY[name](3, 4)
    if not hasattr(cell, "bind_forward"):
        pytest.skip("no chain of steps")
    assert backend.compiles_loops(np.dtype("float32"))
    assert not backend.compiles_loops(np.dtype("complex128"))
    for backward in (False, True):
        assert capture.script(cell, backend, backward) is not None


@dataclass(frozen=True)
class Doubled(rnnx.RNN):
    """A step with arithmetic of its own, for which a script has no word."""

    def bind_forward(self, ops, params):
        true = super().bind_forward(ops, params)

        def step(pre, prev, after, saved):
            pre = 2.0 * pre
            return true(pre, prev, after, saved)

        return step


def test_a_step_that_cannot_be_captured_runs_step_by_step(backend, rng):
    cell, plain = Doubled(3, 4), rnnx.RNN(3, 4)
    assert capture.script(cell, backend, False) is None
    case = make_case(cell, rng, 5, 2).on(backend)
    double = {name: (2.0 if name != "Wh" else 1.0) * value for name, value in case.params.items()}
    found = cell.forward(case.params, case.x, case.state)[0]
    np.testing.assert_allclose(found, plain.forward(double, case.x, case.state)[0], rtol=1e-13)


def test_without_the_blas_of_numpy_s_wheels_it_runs_step_by_step(backend, rng, monkeypatch):
    case = make_case(rnnx.LSTM(3, 4), rng).on(backend, "float32")
    expected = rnnx.LSTM(3, 4).forward(case.params, case.x, case.state)[0]
    monkeypatch.setattr("rnnx.backends.host_blas.addresses", lambda dtype: None)
    assert not backend.compiles_loops(np.dtype("float32"))
    assert "step by step" in backend.details()["time loops"]
    found = rnnx.LSTM(3, 4).forward(case.params, case.x, case.state)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


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
