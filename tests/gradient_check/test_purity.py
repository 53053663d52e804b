"""What passes may not do is seen: write to what they are given, be random, clip, touch the padding."""

from dataclasses import dataclass

import numpy as np
import pytest

import rnnx
from rnnx.cells import RNN
from rnnx.gradient_check.report import AGAIN, ENDED, LINEAR, PADDING, SECOND, UNTOUCHED

X = np.linspace(0.2, 1.0, 6).reshape(2, 3)


def failures(report):
    return {(row.tensor, row.oracle): row.hint for row in report.failures}


def tanh(x):
    y = np.tanh(x)
    return y, {"x": x, "y": [y]}


def slope(dy, cache):
    return {"x": dy * (1.0 - cache["y"][0] ** 2)}


def test_a_pure_pair_has_all_rows():
    report = rnnx.gradcheck(tanh, slope, {"x": X})
    assert report.passed, str(report)
    assert {(row.tensor, row.oracle) for row in report.rows if row.kind == "purity"} == {
        ("output", AGAIN),
        ("x", UNTOUCHED),
        ("upstream output", UNTOUCHED),
        ("cache array 0", UNTOUCHED),
        ("cache array 1", UNTOUCHED),
        ("x", SECOND),
        ("x", LINEAR),
    }


def test_the_upstream_gradient_is_written_to():
    def backward(dy, cache):
        dy *= 1.0 - cache["y"][0] ** 2
        return {"x": dy}

    found = failures(rnnx.gradcheck(tanh, backward, {"x": X}))
    assert "work on a copy of it" in found["upstream output", UNTOUCHED]


def test_the_cache_is_written_to():
    def backward(dy, cache):
        y = cache["y"][0]
        y *= y
        return {"x": dy * (1.0 - y)}

    found = failures(rnnx.gradcheck(tanh, backward, {"x": X}))
    assert "The first call has overwritten its cache" in found["x", SECOND]
    assert ("cache array 1", UNTOUCHED) in found


def test_a_cache_that_is_used_up_must_say_so():
    def backward(dy, cache, error=rnnx.TapeConsumed):
        if "y" not in cache:
            raise error("the cache is used up")
        return {"x": dy * (1.0 - cache.pop("y")[0] ** 2)}

    def careless(dy, cache):
        return backward(dy, cache, KeyError)

    assert rnnx.gradcheck(tanh, backward, {"x": X}).passed
    (row,) = rnnx.gradcheck(tanh, careless, {"x": X}).failures
    assert "raises KeyError" in str(row)
    assert "raise rnnx.TapeConsumed" in row.hint


def test_a_normalised_gradient_is_not_linear():
    def backward(dy, cache):
        return {"x": slope(dy, cache)["x"] / max(1.0, float(np.abs(dy).max()))}

    report = rnnx.gradcheck(tanh, backward, {"x": X})
    assert "is it clipped, or normalised" in failures(report)["x", LINEAR]


def test_something_is_added_to_the_gradient():
    def weight_decay(dy, cache):
        return {"x": slope(dy, cache)["x"] + 0.01 * cache["x"]}

    def from_itself(dy, cache):
        return {"x": slope(dy, cache)["x"] + cache["x"]}

    found = failures(rnnx.gradcheck(tanh, weight_decay, {"x": X}))
    assert "something else is added to it" in found["x", LINEAR]
    found = failures(rnnx.gradcheck(tanh, from_itself, {"x": X}))
    assert "it is the tensor itself: start it with zeros" in found["x", LINEAR]


@dataclass(frozen=True)
class LeaksPadding(RNN):
    """Outputs past the end are not zero."""

    def forward(self, params, x, state=None, *, lengths=None, training=True):
        y, final, tape = super().forward(params, x, state, lengths=lengths, training=training)
        return y + 0.0 * x.sum() + (0.25 if lengths is not None else 0.0), final, tape


@dataclass(frozen=True)
class GradientOfPadding(RNN):
    """A gradient reaches the padding."""

    def backward(self, tape, dy=None, dstate=None):
        ragged = tape.ragged is not None
        dx, dstate, grads = super().backward(tape, dy, dstate)
        return (dx + 1e-9 if ragged else dx), dstate, grads


@dataclass(frozen=True)
class WritesToInput(RNN):
    def forward(self, params, x, state=None, *, lengths=None, training=True):
        x *= 1.5
        return super().forward(params, x, state, lengths=lengths, training=training)


@dataclass(frozen=True)
class WritesToParams(RNN):
    """Its backward pass does; the gradients are right."""

    def forward(self, params, x, state=None, *, lengths=None, training=True):
        y, final, tape = super().forward(params, x, state, lengths=lengths, training=training)
        return y, final, (tape, params)

    def backward(self, tape, dy=None, dstate=None):
        tape, params = tape
        found = super().backward(tape, dy, dstate)
        params["b"][...] = 0.0
        return found


@dataclass(frozen=True)
class Random(RNN):
    def forward(self, params, x, state=None, *, lengths=None, training=True):
        noise = np.random.default_rng().uniform(0.9, 1.1)
        return super().forward(params, x * noise, state, lengths=lengths, training=training)


@pytest.mark.parametrize(
    ("cell", "tensor", "oracle", "hint"),
    [
        (LeaksPadding, "y", ENDED, "y is not exactly zero past the ends of the sequences: mask it."),
        (GradientOfPadding, "x", PADDING, "x is not exactly zero past the ends"),
        (WritesToInput, "x", UNTOUCHED, "x was written to: work on a copy of it."),
        (WritesToParams, "b", UNTOUCHED, "b was written to: work on a copy of it."),
        (Random, "y", AGAIN, "The forward pass is random: seed its generator inside of it."),
    ],
)
def test_impure_cells(cell, tensor, oracle, hint):
    found = failures(rnnx.gradcheck(cell(2, 3)))
    assert hint in found[tensor, oracle]
