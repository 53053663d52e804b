"""Printed time loops: that they are used, against their steps one by one, and what is printed."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pytest

import rnnx
from rnnx.backends.numpy_loop import Source
from rnnx.cells import REGISTRY
from rnnx.ops import pointwise, tanh
from rnnx.stepcell import StepCell
from support.cells import CHAINS, everything, make_case, script_of

NUMPY = pytest.mark.parametrize("backend", ["numpy"], indirect=True)

OPTIONS = {}, {"checkpoint_every": 4}, {"lengths": True}, {"lengths": True, "checkpoint_every": 2}


@NUMPY
@pytest.mark.parametrize("name", CHAINS)
def test_every_chain_runs_as_printed_loops(backend, rng, name, loops):
    cell = REGISTRY[name](3, 4)
    for dtype in "float32", "float64", "complex128":
        everything(cell, make_case(cell, rng, 5).on(backend, dtype))
        assert loops == [5, 5, 5]  # forward, backward, and forward without a tape
        loops.clear()
    with rnnx.use_backend(replace(backend, loops=False)):
        everything(cell, make_case(cell, rng, 5).on(backend))
    assert not loops


@NUMPY
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("name", CHAINS)
def test_a_loop_does_what_its_steps_do(backend, rng, name, dtype):
    for T, N, D, H in ((1, 1, 1, 1), (40, 1, 3, 20), (9, 2, 4, 7), (6, 33, 5, 40)):
        cell = REGISTRY[name](D, H)
        if dtype.startswith("complex") and not cell.analytic:
            continue
        case = make_case(cell, rng, T, N).on(backend, dtype)
        lengths = rng.integers(1, T + 1, N)
        for options in OPTIONS:
            options = options | ({"lengths": lengths} if "lengths" in options else {})
            found = everything(cell, case, **options)
            with rnnx.use_backend(replace(backend, loops=False)):
                expected = everything(cell, case, **options)
            for one, other in zip(found, expected, strict=True):
                assert (one.shape, one.dtype) == (other.shape, np.dtype(dtype))
                atol = (1e-6 if dtype == "float32" else 1e-13) * np.abs(other).max()
                np.testing.assert_allclose(one, other, rtol=0, atol=atol, err_msg=f"{(T, N, D, H)} {options}")


@NUMPY
def test_without_gradients_of_the_outputs(backend, rng):
    cell = rnnx.LSTM(3, 4)
    case = make_case(cell, rng).on(backend)
    *_, tape = cell.forward(case.params, case.x, case.state)
    found = cell.backward(tape, None, case.dstate)[2]
    *_, tape = cell.forward(case.params, case.x, case.state)
    expected = cell.backward(tape, np.zeros_like(case.dy), case.dstate)[2]
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def calls(cell, backend, backward):
    """Functions that a step of a printed loop calls."""
    text = Source(script_of(cell, backward), str).text
    step = [line.strip() for line in text[text.index("zip(") :].splitlines()[1:]]
    return [line.partition("(")[0] for line in step if line.endswith(")") and not line.startswith("if ")]


@NUMPY
def test_neighbours_are_computed_together(backend):
    forward = calls(rnnx.LSTM(3, 4), backend, False)
    assert forward[:2] == ["product_0", "add"]
    assert forward.count("tanh") == 2  # of all gates, and of c
    for cell, expected in (
        (rnnx.RNN(3, 4), (3, 4)),
        (rnnx.LSTM(3, 4), (14, 20)),
        (rnnx.LSTM(3, 4, gate_order="ifog"), (11, 19)),  # all sigmoids are neighbours
        (rnnx.GRU(3, 4), (13, 18)),
    ):
        assert (len(calls(cell, backend, False)), len(calls(cell, backend, True))) == expected, cell


class LoneState(NamedTuple):
    """One array."""

    h: object


@pointwise
def lone_forward(h):
    return tanh(h)


@pointwise
def lone_backward(dh, h):
    return dh * (1.0 - h * h)


@dataclass(frozen=True)
class Lone(StepCell):
    """A step that touches no pre-activations, neither to read nor to write."""

    input_size: int
    hidden_size: int
    gate_order: object = None
    gates = ("h",)
    State = LoneState
    bodies = lone_forward, lone_backward

    def bind_forward(self, ops, params):
        activate = ops.kernel(lone_forward)
        return lambda pre, before, after, saved: LoneState(*activate(before.h, out=(after.h,)))

    def bind_backward(self, ops, params):
        activate = ops.kernel(lone_backward)
        return lambda pre, saved, before, after, d: activate(d.h, after.h, out=(d.h,))


@NUMPY
def test_a_step_that_touches_no_input(backend, rng):
    cell = Lone(3, 4)
    case = make_case(cell, rng, 4, 2).on(backend)
    assert script_of(cell, False) is not None
    y, _, tape = cell.forward(case.params, case.x, case.state)
    h, expected = case.state.h, []
    for _ in range(4):
        h = np.tanh(h)
        expected.append(h)
    np.testing.assert_allclose(y, expected, rtol=1e-13)
    dh = case.dstate.h
    for k in reversed(range(4)):
        dh = (dh + case.dy[k]) * (1.0 - expected[k] ** 2)
    np.testing.assert_allclose(cell.backward(tape, case.dy, case.dstate)[1].h, dh, rtol=1e-12)
