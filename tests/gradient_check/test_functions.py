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


X = np.linspace(0.2, 1.0, 6).reshape(2, 3)


def same(x):
    return 2.0 * x, x


def doubled(dy, x):
    return {"x": 2.0 * dy}


def writes(x):
    x += 1.0
    return 2.0 * x, x


def writes_late(dy, x):
    x[0, 0] = 7.0
    return {"x": 2.0 * dy}


generator = np.random.default_rng(3)


@pytest.mark.parametrize(
    ("forward", "backward", "given", "error", "problem", "hint"),
    [
        (
            lambda x: (x * generator.uniform(size=x.shape), x),
            doubled,
            X,
            rnnx.FunctionError,
            r"forward is random: two calls on equal inputs differ by 0\.\d+ in output\.",
            "Seed its generator inside of it",
        ),
        (
            lambda x: (float(np.sum(x)), x),
            doubled,
            X,
            rnnx.FunctionError,
            "forward returns a float as output; expected an array on numpy",
            "a single number as one of shape",
        ),
        (
            lambda x: 2.0 * x,
            doubled,
            X,
            rnnx.FunctionError,
            r"forward returns a ndarray; expected \(outputs, cache\)",
            "The cache is whatever backward needs",
        ),
        (
            lambda x: (x, x, x),
            doubled,
            X,
            rnnx.FunctionError,
            r"forward returns a tuple of 3; expected \(outputs, cache\)",
            "The cache is",
        ),
        (
            writes,
            doubled,
            X,
            rnnx.FunctionError,
            "forward writes to the input x: 6 of 6 entries",
            "a copy of x",
        ),
        (same, writes_late, X, rnnx.FunctionError, "backward writes to the input x: 1 of 6", "a copy of x"),
        (
            lambda x: (np.log(x - 0.5), x),
            doubled,
            X,
            rnnx.FunctionError,
            "forward returns NaN or infinity in 2 of 6 entries of output",
            "inputs inside of its domain",
        ),
        (
            lambda x: (x.astype(np.float32), x),
            doubled,
            X,
            rnnx.DtypeError,
            "forward returns output as float32 from float64 inputs; expected float64",
            "Make buffers in the inputs' dtype",
        ),
        (
            same,
            lambda dy, x: 2.0 * dy,
            X,
            rnnx.FunctionError,
            "backward returns a ndarray; expected a dict of gradients",
            "Its keys are the names",
        ),
        (
            same,
            lambda dy, x: {"dx": 2.0 * dy},
            X,
            rnnx.ShapeError,
            "backward returns dx; expected x, the names of the inputs",
            "An input that needs no gradient",
        ),
        (
            same,
            lambda dy, x: {"x": (2.0 * dy).T},
            X,
            rnnx.ShapeError,
            r"backward returns a gradient of shape \(3, 2\) for x; expected \(2, 3\)",
            "undo transpositions",
        ),
        (
            same,
            lambda dy, x: {"x": (2.0 * dy).astype(np.float32)},
            X,
            rnnx.DtypeError,
            "backward returns a gradient of dtype float32 for x; expected float64",
            "Make buffers",
        ),
        (
            same,
            lambda dy, x: {"x": None},
            X,
            rnnx.FunctionError,
            "backward returns a NoneType as gradient of x; expected an array on numpy",
            "",
        ),
        (
            same,
            doubled,
            np.arange(6),
            rnnx.DtypeError,
            r"inputs\['x'\] has dtype int64; expected float64",
            "Integers have no gradient: bind x before, with functools.partial",
        ),
        (
            same,
            doubled,
            X.astype(np.float16),
            rnnx.DtypeError,
            r"inputs\['x'\] has dtype float16, which has three digits; expected float64",
            "the check runs in lower precisions by itself",
        ),
        (same, doubled, X * 1j, rnnx.DtypeError, r"inputs\['x'\] has dtype complex128", "real numbers"),
        (same, doubled, X * np.nan, rnnx.FunctionError, r"inputs\['x'\] holds NaN or infinity", ""),
        (same, doubled, X[:0], rnnx.ShapeError, r"has shape \(0, 3\); expected at least one entry", ""),
        (
            same,
            doubled,
            [1.0],
            rnnx.MixedArraysError,
            "gradcheck: x is a list; expected an array",
            "Convert it",
        ),
        (lambda y: (y, y), doubled, X, rnnx.OptionError, r"forward\(y\) cannot be called .*by name: x", ""),
        (
            same,
            lambda dy: {},
            X,
            rnnx.OptionError,
            r"backward\(dy\) cannot be called .*\(upstream, cache\)",
            "",
        ),
        (3, doubled, X, rnnx.OptionError, "forward is a int; expected a function", ""),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_what_cannot_be_checked_is_refused(forward, backward, given, error, problem, hint):
    with pytest.raises(error, match=problem) as caught:
        rnnx.gradcheck(forward, backward, {"x": given})
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rnnx.gradcheck(same, doubled), "expected a cell, such as rnnx.LSTM"),
        (
            lambda: rnnx.gradcheck(same, doubled, {}),
            "inputs is empty; expected the arrays of forward by name",
        ),
        (lambda: rnnx.gradcheck(same, doubled, [X]), "inputs is a list; expected the arrays"),
        (lambda: rnnx.gradcheck(rnnx.RNN(2, 3), doubled), "a cell has its own backward pass and inputs"),
        (lambda: rnnx.gradcheck(same, doubled, {"x": X}, time=["y"]), "there is no input 'y'"),
        (lambda: rnnx.gradcheck(same, doubled, {"x": X}, gates={"W": "if"}), "there is no input 'W'"),
        (lambda: rnnx.gradcheck(same, doubled, {"x": X}, gates={"x": "if"}), "a last axis of 2 equal gates"),
    ],
)
def test_arguments_that_do_not_fit(call, message):
    with pytest.raises((rnnx.OptionError, rnnx.ShapeError), match=message):
        call()


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
