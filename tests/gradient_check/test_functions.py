"""Any pair of functions: on every library's arrays, in every form of outputs; what is refused says why."""

from functools import partial
from typing import NamedTuple

import numpy as np
import pytest

import rnnx
from rnnx.gradient_check.examination import AUTOGRAD
from rnnx.gradient_check.oracles import COMPLEX, DIFFERENCES


class Both(NamedTuple):
    y: object
    total: object


def affine(x, W, b, form=tuple):
    """tanh of an affine map and its sum, written for any namespace."""
    xp = x.__array_namespace__() if hasattr(x, "__array_namespace__") else rnnx.get_backend().xp
    y = xp.tanh(x @ W + b)
    outputs = {
        tuple: (y, xp.sum(y)),
        dict: {"y": y, "total": xp.sum(y)},
        Both: Both(y, xp.sum(y)),
        None: y,
    }
    return outputs[form], (x, W, y, form, xp)


def affine_backward(upstream, cache):
    x, W, y, form, xp = cache
    if form is None:
        da = upstream * (1.0 - y * y)
    else:
        dy, dtotal = upstream.values() if form is dict else upstream
        da = (dy + dtotal) * (1.0 - y * y)
    return {"x": da @ W.T, "W": x.T @ da, "b": xp.sum(da, axis=0)}


def inputs(rng, backend=None):
    shapes = {"x": (4, 3), "W": (3, 2), "b": (2,)}
    host = {name: rng.uniform(-1.0, 1.0, shape) for name, shape in shapes.items()}
    return {name: (backend or rnnx.get_backend()).asarray(value) for name, value in host.items()}


@pytest.mark.parametrize("form", [tuple, dict, Both, None], ids=["tuple", "dict", "NamedTuple", "array"])
def test_on_every_backend(backend, rng, form):
    given = inputs(rng, backend)
    report = rnnx.gradcheck(partial(affine, form=form), affine_backward, given)
    assert report.passed, str(report)
    assert {row.tensor for row in report.gradients} == {"x", "W", "b"}
    oracle = {COMPLEX if backend.complex else DIFFERENCES} | ({AUTOGRAD} if backend.autograd else set())
    assert {row.oracle for row in report.gradients} == oracle
    assert {row.backend for row in report.rows} == {str(backend)}

    def wrong(upstream, cache):
        found = affine_backward(upstream, cache)
        return found | {"b": -found["b"]}

    report = rnnx.gradcheck(partial(affine, form=form), wrong, given)
    assert {row.tensor for row in report.failures} == {"b"}
    assert {row.hint for row in report.failures} == {"Its sign is wrong."}


def test_float32_is_checked_in_float64(rng):
    given = {name: value.astype(np.float32) for name, value in inputs(rng).items()}
    report = rnnx.gradcheck(affine, affine_backward, given)
    assert report.passed, str(report)
    assert all(row.error < 1e-12 for row in report.gradients)


def test_a_scalar_loss_of_one_number():
    report = rnnx.gradcheck(
        lambda x: (np.sum(x**3), x), lambda dy, x: {"x": 3.0 * x**2 * dy}, {"x": np.array(0.5)}
    )
    assert report.passed, str(report)


def test_a_function_that_makes_float64_of_float32_is_noted(rng):
    def forward(x):
        return np.tanh(x), x

    def backward(dy, x):
        return {"x": np.full(x.shape, 1.0) * dy / np.cosh(x) ** 2}

    report = rnnx.gradcheck(forward, backward, {"x": rng.uniform(-1.0, 1.0, 5)})
    assert report.passed
    assert report.notes[0].startswith(
        "forward on numpy: not checked in float32: DtypeError: the gradient of x"
    )


def test_large_inputs_are_checked_along_directions(rng):
    given = {"x": rng.uniform(-1, 1, (20, 100)), "W": rng.uniform(-0.1, 0.1, (100, 50)), "b": np.zeros(50)}
    report = rnnx.gradcheck(affine, affine_backward, given)
    assert report.passed, str(report)
    assert {row.oracle for row in report.gradients} == {"adjoint test by complex step"}


def test_many_outputs(rng):
    def forward(x):
        return {f"y{k}": np.sin((k + 1.0) * x) for k in range(12)}, x

    def backward(upstream, x, wrong=1.0):
        terms = [(k + 1.0) * np.cos((k + 1.0) * x) * upstream[f"y{k}"] for k in range(12)]
        return {"x": sum(terms[:-1]) + wrong * terms[-1]}

    given = {"x": rng.uniform(-1.0, 1.0, 3)}
    assert rnnx.gradcheck(forward, backward, given).passed
    (row,) = rnnx.gradcheck(forward, partial(backward, wrong=1.001), given).failures
    assert "right without an upstream gradient of y11" in row.hint


def test_an_input_of_no_gradient_is_bound(rng):
    def rows(W, ids):
        return W[ids], (W, ids)

    def rows_backward(dy, cache):
        W, ids = cache
        dW = np.zeros_like(W)
        np.add.at(dW, ids, dy)
        return {"W": dW}

    report = rnnx.gradcheck(
        partial(rows, ids=np.array([0, 2, 2])), rows_backward, {"W": rng.uniform(-1.0, 1.0, (4, 3))}
    )
    assert report.passed, str(report)
