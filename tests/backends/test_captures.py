"""Steps of users' own, captured or not: they do what they do when they are called one by one."""

import copy
import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest

import rnnx
from rnnx.ops import capture, pointwise, tanh
from support.cells import everything, make_case, script_of

NUMPY = pytest.mark.parametrize("backend", ["numpy"], indirect=True)


@pointwise
def twice(a):
    return tanh(2.0 * a)


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
        activate, true = ops.kernel(twice), super().bind_forward(ops, params)

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


def by_values(cell, ops, params):
    """Bind one body or the other."""
    body = ops.kernel(twice if params["Wh"].all() else cell.bodies[0])
    recur, WhT = ops.matmul_add(cell.hidden_size), ops.operand(params["Wh"].T)

    def step(pre, prev, after, saved):
        return cell.State(*body(recur(WhT, prev.h, pre), out=(after.h,)))

    return step


def by_a_flag(cell, ops, params):
    """Bind a step that leaves its product out where a weight is zero."""
    full, recur = bool(params["Wh"].all()), ops.matmul_add(cell.hidden_size)
    WhT, body = ops.operand(params["Wh"].T), ops.kernel(cell.bodies[0])

    def step(pre, prev, after, saved):
        return cell.State(*body(recur(WhT, prev.h, pre) if full else pre, out=(after.h,)))

    return step


def by_another_step(cell, ops, params):
    """Bind one step or another that calls the same in another order."""
    recur, WhT, body = ops.matmul_add(cell.hidden_size), ops.operand(params["Wh"].T), ops.kernel(twice)

    def once(pre, prev, after, saved):
        return cell.State(*body(recur(WhT, prev.h, pre), out=(after.h,)))

    def again(pre, prev, after, saved):
        return once(recur(WhT, prev.h, pre), prev, after, saved)

    return once if params["Wh"].all() else again


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
    "reshape": (stepping(lambda xp, Wh, pre, h: xp.reshape(pre, (-1,))), False),
    "concat": (stepping(lambda xp, Wh, pre, h: xp.concat([pre, h])), False),
    "mean": (stepping(lambda xp, Wh, pre, h: xp.mean(pre, axis=0)), False),
    "einsum": (stepping(lambda xp, Wh, pre, h: np.einsum("ij,in->jn", Wh, h)), False),
    "any": (stepping(lambda xp, Wh, pre, h: np.any(h)), False),
    "equal": (stepping(lambda xp, Wh, pre, h: h == pre), False),
    "a body in turn": (rnn("InTurn", in_turn), False),
    "a write to an operand": (rnn("WithDecay", with_decay), False),
    "a body by values": (rnn("ByValues", by_values), True),
    "a flag by values": (rnn("ByAFlag", by_a_flag), True),
    "a step by values": (rnn("ByAnotherStep", by_another_step), True),
    "a bind that zeros fail": (rnn("Inverting", inverting), True),
    "unhashable": (rnn("Unhashable", rnnx.RNN.bind_forward, __hash__=None), True),
    "a product over a view": (rnn("OverAView", over_its_input, bind_projection=as_a_view), True),
    "a name that is none": (rnn("Odd[name] ", rnnx.RNN.bind_forward), True),
}
"""Cells with what a script has no word for, or hardly, and whether they are captured."""


@NUMPY
@pytest.mark.parametrize(("kind", "is_captured"), ODD.values(), ids=ODD)
def test_odd_steps_do_what_they_do_one_by_one(backend, rng, kind, is_captured, loops):
    cell = kind(3, 4)
    for N in 1, 2:
        case = make_case(cell, rng, 5, N).on(backend)
        other = case._replace(params={name: value.copy() for name, value in case.params.items()})
        other.params["Wh"][0, 0] = 0.0
        for each in case, other, case:
            loops.clear()
            found = everything(cell, each)
            assert len(loops) == (3 if is_captured else 1)  # the backward pass is an RNN's own
            with rnnx.use_backend(replace(backend, loops=False)):
                expected = everything(cell, each)
            for one, other_one in zip(found, expected, strict=True):
                np.testing.assert_allclose(one, other_one, rtol=1e-12, atol=1e-14)


@NUMPY
def test_scripts_are_of_the_code_as_it_is(backend, rng, monkeypatch):
    cell = rnnx.RNN(3, 4)
    case = make_case(cell, rng).on(backend)
    before = everything(cell, case)
    copies = copy.copy(cell), copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))
    monkeypatch.setattr(rnnx.RNN, "bind_forward", by_another_step)
    with rnnx.use_backend(replace(backend, loops=False)):
        expected = everything(cell, case)
    assert not np.allclose(before[0], expected[0])
    for each in (cell, *copies):
        assert each == cell
        np.testing.assert_allclose(everything(each, case)[0], expected[0], rtol=1e-13)
    assert capture.KEY not in pickle.loads(pickle.dumps(cell)).__dict__
