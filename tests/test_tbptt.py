"""Truncated BPTT against its definition, the full gradient, windows side by side, and streaming."""

import numpy as np
import pytest

import rnnx
from rnnx import states
from rnnx.cells import REGISTRY
from rnnx.containers import CONTAINERS
from support.cells import check_array, make_case
from support.complexstep import complex_step

T, N, D, H = 9, 2, 2, 3
CAUSAL = {name: make for name, make in (REGISTRY | CONTAINERS).items() if make(D, H).causal}
SMOOTH = [name for name in CAUSAL if CAUSAL[name](D, H).analytic]


@pytest.fixture(params=CAUSAL)
def cell(request):
    return CAUSAL[request.param](D, H)


class Losses:
    """Half the squared error of every piece's outputs, and the pieces that were asked for."""

    def __init__(self, targets):
        self.targets, self.pieces = targets, []

    def __call__(self, y, start):
        self.pieces.append((start, start + y.shape[0]))
        return rnnx.half_squared_error(y, self.targets[start : start + y.shape[0], ...])


def full(cell, case):
    """Loss, gradients and final state of the whole sequence."""
    y, final, tape = cell.forward(case.params, case.x, case.state)
    loss, dy = rnnx.half_squared_error(y, case.dy)
    _, _, grads = cell.backward(tape, dy)
    return loss, grads, final


def agree(backend, found, expected):
    """Loss, gradients and final state are the same."""
    close = {"rtol": 1e-11, "atol": 1e-12}
    np.testing.assert_allclose(backend.to_numpy(found[0]), backend.to_numpy(expected[0]), **close)
    assert found[1].keys() == expected[1].keys()
    for name, value in expected[1].items():
        host = check_array(backend, found[1][name], tuple(value.shape), "float64")
        np.testing.assert_allclose(host, backend.to_numpy(value), err_msg=name, **close)
    pairs = zip(states.leaves(found[2]), states.leaves(expected[2]), strict=True)
    for (name, one), (_, other) in pairs:
        np.testing.assert_allclose(backend.to_numpy(one), backend.to_numpy(other), err_msg=name, **close)


@pytest.mark.parametrize(("window", "stride"), [(9, 1), (50, 2), (9, 4), (9, 9), (50, 50)])
def test_a_window_over_everything_gives_the_full_gradient(cell, window, stride, backend, rng):
    case = make_case(cell, rng, T, N).on(backend)
    losses = Losses(case.dy)
    found = rnnx.tbptt(cell, case.params, case.x, losses, window=window, stride=stride, state=case.state)
    agree(backend, found, full(cell, case))
    assert losses.pieces == [(start, min(start + stride, T)) for start in range(0, T, stride)]


def test_side_by_side_it_is_the_sum_of_independent_windows(cell, backend, rng):
    case, window = make_case(cell, rng, T, N).on(backend), 4
    loss, grads, state = 0.0, dict.fromkeys(case.params, 0.0), case.state
    for start in range(0, T, window):
        own = slice(start, min(start + window, T))
        piece = case._replace(x=case.x[own, ...], dy=case.dy[own, ...])
        value, own, state = full(cell, piece._replace(state=state))
        loss, grads = loss + value, {name: grads[name] + own[name] for name in grads}
    found = rnnx.tbptt(cell, case.params, case.x, Losses(case.dy), window=window, state=case.state)
    agree(backend, found, (loss, grads, state))


@pytest.mark.parametrize(("window", "stride"), [(5, 2), (4, 2), (3, 1), (7, 4), (3, 3)])
@pytest.mark.parametrize("name", SMOOTH)
def test_is_what_it_is_defined_to_be(name, window, stride, rng):
    """The gradient of each piece's loss, by the complex step, with the state before its window held still."""
    cell = CAUSAL[name](1, 2)
    case = make_case(cell, rng, T, N)
    expected = dict.fromkeys(case.params, 0.0)
    for start in range(0, T, stride):
        stop = min(start + stride, T)
        begin = max(start - (window - stride), 0)
        still = case.state
        if begin:
            _, still, _ = cell.forward(case.params, case.x[:begin], case.state)
        still = states.transform(lambda _, value: value.astype(complex), cell.state_sizes, still)

        def loss(params, begin=begin, start=start, stop=stop, still=still):
            y, _, _ = cell.forward(params, case.x[begin:stop].astype(complex), still)
            return 0.5 * np.sum((y[start - begin :] - case.dy[start:stop]) ** 2)

        for key, value in complex_step(loss, case.params).items():
            expected[key] = expected[key] + value
    _, grads, _ = rnnx.tbptt(
        cell, case.params, case.x, Losses(case.dy), window=window, stride=stride, state=case.state
    )
    for key, value in expected.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(grads[key], value, rtol=1e-11, atol=1e-11 * scale, err_msg=key)


def test_the_state_is_that_of_streaming(cell, backend, rng):
    case = make_case(cell, rng, T, N).on(backend)
    seen = []

    def losses(y, start):
        seen.append(backend.to_numpy(y))
        return Losses(case.dy)(y, start)

    _, _, final = rnnx.tbptt(cell, case.params, case.x, losses, window=5, stride=2, state=case.state)
    state, rows = case.state, []
    for t in range(T):
        row, state = cell.step(case.params, case.x[t, ...], state)
        rows.append(backend.to_numpy(row))
    np.testing.assert_allclose(np.concatenate(seen), np.stack(rows), rtol=1e-11, atol=1e-12)
    for (name, one), (_, other) in zip(states.leaves(final), states.leaves(state), strict=True):
        np.testing.assert_allclose(
            backend.to_numpy(one), backend.to_numpy(other), rtol=1e-11, atol=1e-12, err_msg=name
        )


def test_calls_in_a_row_carry_the_state(rng):
    cell = rnnx.LSTM(D, H)
    case = make_case(cell, rng, 8, N)
    whole = rnnx.tbptt(cell, case.params, case.x, Losses(case.dy), window=2)
    first = rnnx.tbptt(cell, case.params, case.x[:4], Losses(case.dy[:4]), window=2)
    second = rnnx.tbptt(cell, case.params, case.x[4:], Losses(case.dy[4:]), window=2, state=first[2])
    grads = {name: first[1][name] + second[1][name] for name in first[1]}
    agree(rnnx.get_backend(), (first[0] + second[0], grads, second[2]), whole)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"window": 0}, rnnx.OptionError, "tbptt: window is 0; expected an integer of at least 1."),
        ({"stride": 2.0}, rnnx.OptionError, "tbptt: stride is 2.0; expected an integer of at least 1."),
        ({"stride": 5}, rnnx.OptionError, "tbptt: window is 4; expected at least 5, the stride."),
        (
            {"cell": rnnx.Bidirectional(rnnx.RNN(D, H))},
            rnnx.OptionError,
            "tbptt: Bidirectional is not causal; expected a cell whose state can be carried.",
        ),
        (
            {"x": np.zeros((0, N, D))},
            rnnx.ShapeError,
            "tbptt: x has shape (0, 2, 2); expected (T, N, 2) with at least one step.",
        ),
        (
            {"dy_fn": lambda y, start: (0.0, np.zeros((1, N, H)))},
            rnnx.ShapeError,
            "tbptt: dy has shape (1, 2, 3); expected (4, 2, 3).",
        ),
        (
            {"dy_fn": lambda y, start: (0.0, y.astype(np.float32))},
            rnnx.DtypeError,
            "tbptt: dy has dtype float32; expected float64",
        ),
    ],
)
def test_wrong_arguments(options, error, message):
    cell = rnnx.RNN(D, H)
    arguments = dict(
        cell=cell, params=cell.init(0, "float64"), x=np.zeros((T, N, D)), dy_fn=Losses(np.zeros((T, N, H)))
    )
    with pytest.raises(error) as caught:
        rnnx.tbptt(**(arguments | {"window": 4} | options))
    assert str(caught.value).startswith(message)
