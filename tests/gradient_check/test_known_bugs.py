"""Mistakes that real libraries have shipped: each is caught, in the right place, with a hint at its cause."""

from functools import partial

import pytest

import rnnx
from support.known_bugs import (
    GATES,
    LSTM_BUGS,
    deep,
    deep_backward,
    deep_inputs,
    lstm,
    lstm_backward,
    lstm_inputs,
    with_bug,
)


def check_lstm(backward, rng):
    return rnnx.gradcheck(
        lstm, backward, lstm_inputs(rng), gates=dict.fromkeys(("Wx", "Wh", "b"), GATES), time=["x"]
    )


def by_complex_step(report):
    return {row.tensor: row for row in report.failures if row.oracle == "complex step"}


def test_the_right_passes_pass(rng):
    report = check_lstm(lstm_backward, rng)
    assert report.passed, str(report)
    assert {row.oracle for row in report.gradients} == {"complex step"}
    assert not report.notes
    report = rnnx.gradcheck(deep, deep_backward, deep_inputs(rng))
    assert report.passed, str(report)


@pytest.mark.parametrize("bug", LSTM_BUGS)
def test_an_lstm_with_a_known_bug(bug, rng):
    tensors, tensor, hint = LSTM_BUGS[bug]
    report = check_lstm(with_bug(bug), rng)
    found = by_complex_step(report)
    assert found.keys() == tensors, str(report)
    assert hint in found[tensor].hint, str(report)


def test_the_gates_are_named(rng):
    found = by_complex_step(check_lstm(with_bug("sigmoid's derivative forgotten"), rng))
    assert all(
        found[name].where.startswith("gate o over one time step (right: i, f, g)")
        for name in ("Wx", "Wh", "b")
    )
    found = by_complex_step(check_lstm(with_bug("bias of another gate"), rng))
    assert found["b"].where.startswith("gates f, o (right: i, g)")


def test_a_wrong_layer_in_the_middle(rng):
    report = rnnx.gradcheck(deep, partial(deep_backward, wrong_layer=1), deep_inputs(rng))
    found = by_complex_step(report)
    lower = {f"layers.0.{way}.{name}" for way in ("forward", "backward") for name in ("Wx", "Wh")}
    assert found.keys() == lower | {"x", "layers.1.backward.Wx", "layers.1.backward.Wh"}, str(report)
    assert found["layers.1.backward.Wx"].where.startswith("layer 1, backward direction")
    assert "What is above layer 1 is right" in found["layers.1.backward.Wx"].hint
    assert "Layer 1 is wrong, too" in found["layers.0.forward.Wx"].hint
    assert "Layer 1 is wrong, too" in found["x"].hint
