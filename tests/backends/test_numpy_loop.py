"""Printed time loops: against their steps one by one, what is printed, and steps of users' own."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pytest

import rnnx
from rnnx.backends.numpy_loop import PrintedLoop, Source
from rnnx.cells import REGISTRY
from rnnx.ops import pointwise, tanh
from rnnx.stepcell import StepCell
from support.cells import CHAINS, everything, make_case, script_of

NUMPY = pytest.mark.parametrize("backend", ["numpy"], indirect=True)

OPTIONS = {}, {"checkpoint_every": 4}, {"lengths": True}, {"lengths": True, "checkpoint_every": 2}


@pytest.fixture
def loops(monkeypatch):
    """Numbers of steps that printed loops have run."""
    seen, run = [], PrintedLoop.run
    monkeypatch.setattr(
        PrintedLoop, "run", lambda self, steps, *a, **k: [seen.append(steps), run(self, steps, *a, **k)][1]
    )
    return seen


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
    assert script_of(cell, False) is None
    case = make_case(cell, rng, 5, 2)
    double = {name: (2.0 if name != "Wh" else 1.0) * value for name, value in case.params.items()}
    expected = plain.forward(*case._replace(params=double).on(backend)[:3])[0]
    found = cell.forward(*case.on(backend)[:3])[0]
    np.testing.assert_allclose(backend.to_numpy(found), backend.to_numpy(expected), rtol=1e-13)


def test_several_blocks_are_no_block():
    assert script_of(AtOnce(3, 4), False) is None


def rnn(name, bind, **fields):
    """An RNN whose forward pass is bound by ``bind(cell, ops, params)``."""
    return type(name, (rnnx.RNN,), {"bind_forward": bind, **fields})


def stepping(before):
    """An RNN whose steps begin with ``before(ops, Wh, pre, h)``."""

    def bind(cell, ops, params):
        step = rnnx.RNN.bind_forward(cell, ops, params)

        def own(pre, prev, after, saved):
            before(ops.backend.xp, params["Wh"], pre, prev.h)
            return step(pre, prev, after, saved)

        return own

    return rnn("Stepping", bind)


@pointwise
def twice(a):
    return tanh(2.0 * a)


def by_values(cell, ops, params):
    """Bind one body or the other."""
    body = ops.kernel(twice if params["Wh"].all() else cell.bodies[0])
    recur, WhT = ops.matmul_add(cell.hidden_size), ops.operand(params["Wh"].T)

    def step(pre, prev, after, saved):
        return cell.State(*body(recur(WhT, prev.h, pre), out=(after.h,)))

    return step


def in_turn(cell, ops, params):
    """Bind a step with a body at every other time."""
    recur, WhT, count = ops.matmul_add(cell.hidden_size), ops.operand(params["Wh"].T), []
    bodies = ops.kernel(twice), ops.kernel(cell.bodies[0])

    def step(pre, prev, after, saved):
        count.append(1)
        return cell.State(*bodies[len(count) % 2](recur(WhT, prev.h, pre), out=(after.h,)))

    return step


def with_decay(cell, ops, params):
    """Bind a step that writes to its operand."""
    recur, WhT, body = ops.matmul_add(cell.hidden_size), ops.operand(2.0 * params["Wh"].T), ops.kernel(twice)

    def step(pre, prev, after, saved):
        WhT[...] *= 0.5
        return cell.State(*body(recur(WhT, prev.h, pre), out=(after.h,)))

    return step


def over_its_input(cell, ops, params):
    """Bind a step whose product takes the place of its input."""
    recur, WhT, body = ops.matmul(cell.hidden_size), ops.operand(params["Wh"].T), ops.kernel(twice)

    def step(pre, prev, after, saved):
        return cell.State(*body(recur(WhT, prev.h, pre), out=(after.h,)))

    return step


def as_a_view(cell, ops, params):
    """Bind a projection to memory in another order."""
    return lambda x: (x @ params["Wx"] + params["b"]).mT


def inverting(cell, ops, params):
    """Bind what no matrix of zeros has."""
    np.linalg.inv(params["Wh"])
    return rnnx.RNN.bind_forward(cell, ops, params)


ODD = {
    "reshape": stepping(lambda xp, Wh, pre, h: xp.reshape(pre, (-1,))),
    "concat": stepping(lambda xp, Wh, pre, h: xp.concat([pre, h])),
    "mean": stepping(lambda xp, Wh, pre, h: xp.mean(pre, axis=0)),
    "einsum": stepping(lambda xp, Wh, pre, h: np.einsum("ij,in->jn", Wh, h)),
    "a body by values": rnn("ByValues", by_values),
    "a body in turn": rnn("InTurn", in_turn),
    "a write to an operand": rnn("WithDecay", with_decay),
    "a bind that zeros fail": rnn("Inverting", inverting),
    "unhashable": rnn("Unhashable", rnnx.RNN.bind_forward, __hash__=None),
    "a product over a view": rnn("OverAView", over_its_input, bind_projection=as_a_view),
}
"""Cells with what a script has no word for, or hardly."""


@NUMPY
@pytest.mark.parametrize("kind", ODD.values(), ids=ODD)
def test_odd_steps_do_what_they_do_one_by_one(backend, rng, kind):
    cell = kind(3, 4)
    for N in 1, 2:
        case = make_case(cell, rng, 5, N).on(backend)
        other = case._replace(params={name: value.copy() for name, value in case.params.items()})
        other.params["Wh"][0, 0] = 0.0
        for each in case, other, case:
            found = everything(cell, each)
            with rnnx.use_backend(replace(backend, loops=False)):
                expected = everything(cell, each)
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
