"""Printed time loops: against their steps one by one, what is printed, and steps of users' own."""

import tracemalloc
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pytest

import rnnx
from rnnx.backends.numpy_loop import Source
from rnnx.cells import REGISTRY
from rnnx.ops import capture, pointwise, tanh
from rnnx.stepcell import StepCell
from support.cells import CHAINS, everything, make_case

NUMPY = pytest.mark.parametrize("backend", ["numpy"], indirect=True)

OPTIONS = {}, {"checkpoint_every": 4}, {"lengths": True}, {"lengths": True, "checkpoint_every": 2}


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
    text = Source(capture.script(cell, backend, backward), str).text
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
    assert capture.script(cell, backend, False) is not None
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


@dataclass(frozen=True)
class Doubled(rnnx.RNN):
    """A step with arithmetic of its own, for which a script has no word."""

    def bind_forward(self, ops, params):
        true = super().bind_forward(ops, params)
        return lambda pre, before, after, saved: true(2.0 * pre, before, after, saved)


@dataclass(frozen=True)
class AtOnce(rnnx.GRU):
    """A step that calls a body with two blocks as if they were one."""

    def bind_forward(self, ops, params):
        activate, true = ops.kernel(lone_forward), super().bind_forward(ops, params)

        def step(pre, before, after, saved):
            activate(pre[: 2 * self.hidden_size, ...], out=(pre[: 2 * self.hidden_size, ...],))
            return true(pre, before, after, saved)

        return step


def test_a_step_that_cannot_be_captured_runs_step_by_step(backend, rng):
    cell, plain = Doubled(3, 4), rnnx.RNN(3, 4)
    assert capture.script(cell, backend, False) is None
    case = make_case(cell, rng, 5, 2)
    double = {name: (2.0 if name != "Wh" else 1.0) * value for name, value in case.params.items()}
    expected = plain.forward(*case._replace(params=double).on(backend)[:3])[0]
    found = cell.forward(*case.on(backend)[:3])[0]
    np.testing.assert_allclose(backend.to_numpy(found), backend.to_numpy(expected), rtol=1e-13)


@NUMPY
def test_to_capture_a_step_takes_no_memory(backend):
    cell = rnnx.LSTM(10, 3000)  # its weights take 144 MB
    tracemalloc.start()
    assert capture.script(cell, backend, True) is not None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


@NUMPY
def test_several_blocks_are_no_block(backend):
    assert capture.script(AtOnce(3, 4), backend, False) is None
