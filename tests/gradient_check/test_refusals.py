"""Functions and inputs that no gradient can be told of: each error says what to change."""

import re
from dataclasses import dataclass

import numpy as np
import pytest

import rnnx

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
        (lambda: rnnx.gradcheck(lambda x: ({}, x), doubled, {"x": X}), "forward returns no outputs"),
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
    with pytest.raises((rnnx.OptionError, rnnx.ShapeError, rnnx.FunctionError), match=message):
        call()


@dataclass(frozen=True)
class Returns(rnnx.RNN):
    """Something else than a forward pass should."""

    def changed(self, y):
        raise NotImplementedError

    def forward(self, params, x, state=None, *, lengths=None, training=True):
        y, final, tape = super().forward(params, x, state, lengths=lengths, training=training)
        return self.changed(y), final, tape


@pytest.mark.parametrize(
    ("changed", "found", "hint"),
    [
        (lambda self, y: y.tolist(), "a list, no array on numpy", "Return arrays."),
        (lambda self, y: y.astype("float32"), "float32 from float64 inputs", "Keep the inputs' dtype"),
        (
            lambda self, y: np.where(np.arange(len(y))[:, None, None] == 0, np.nan, y),
            "NaN or infinity in 6 of 24 entries",
            "Look for a division by zero",
        ),
    ],
    ids=["list", "float32", "NaN"],
)
def test_a_cell_that_returns_no_outputs_to_differentiate(monkeypatch, changed, found, hint):
    monkeypatch.setattr(Returns, "changed", changed)
    rows = rnnx.gradcheck(Returns(2, 3)).failures
    assert {row.tensor for row in rows} == {"y"}
    assert found in str(rows[0])
    assert hint in rows[0].hint


@pytest.mark.parametrize(
    ("method", "changed", "message"),
    [
        (
            "forward",
            lambda y, final, tape: (y, tape),
            r"Cell\.forward returns a tuple of 2; expected \(y, final",
        ),
        (
            "forward",
            lambda y, final, tape: y,
            r"Cell\.forward returns a ndarray; expected \(y, final state, tape",
        ),
        (
            "forward",
            lambda y, final, tape: (y, final.h, tape),
            "returns a ndarray as final state; expected one w",
        ),
        (
            "backward",
            lambda dx, dstate, grads: (dx, grads),
            r"backward returns a tuple of 2; expected \(dx, ds",
        ),
        (
            "backward",
            lambda dx, dstate, grads: (dx, dstate, [*grads]),
            "returns a list as grads; expected a dict",
        ),
    ],
)
def test_a_cell_whose_passes_return_something_else(method, changed, message):
    class Cell(rnnx.RNN):
        pass

    true = getattr(rnnx.RNN, method)
    setattr(Cell, method, lambda *arguments, **options: changed(*true(*arguments, **options)))
    with pytest.raises(rnnx.FunctionError, match=message):
        rnnx.gradcheck(Cell(2, 3))


@pytest.mark.parametrize(
    ("changed", "found", "hint"),
    [
        (lambda dx: dx.astype("float32"), "gradient of dtype float32, expected float64", "Keep the inputs'"),
        (
            lambda dx: dx[:, :, :1],
            r"gradient of shape \(4, 2, 1\), expected \(4, 2, 2\)",
            "its tensor's shape",
        ),
        (lambda dx: dx.tolist(), "a gradient that is no array on numpy", "Return arrays"),
        (lambda dx: np.where(dx == dx.max(), np.nan, dx), "DIFFERS .* nan against", "It is not finite"),
    ],
    ids=["float32", "shape", "list", "NaN"],
)
def test_a_cell_whose_gradient_is_none(changed, found, hint):
    class Cell(rnnx.RNN):
        def backward(self, tape, dy=None, dstate=None):
            dx, dstate, grads = super().backward(tape, dy, dstate)
            return changed(dx), dstate, grads

    report = rnnx.gradcheck(Cell(2, 3))
    assert {(row.tensor, row.oracle) for row in report.failures} == {("x", "complex step")}
    assert re.search(found, str(report))
    assert hint in report.failures[0].hint
