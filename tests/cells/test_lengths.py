"""Sequences of different lengths in one batch: each is as if it ran alone, and padding does nothing."""

import numpy as np
import pytest

import rnnx
from rnnx import projection, states
from rnnx.cells import REGISTRY
from rnnx.containers import CONTAINERS
from rnnx.ragged import groups, segments
from rnnx.steps import CHUNK
from support.cells import alone, check_array, make_case, padded_with

ALL = REGISTRY | CONTAINERS
T, D, H = 7, 3, 4
LENGTHS = {
    "unsorted": [3, 7, 1, 5, 3],
    "sorted": [7, 5, 5, 2, 1],
    "none of full length": [2, 4, 1],
    "equal": [4, 4],
    "full": [7, 7, 7],
}


@pytest.fixture(params=ALL)
def cell(request):
    return ALL[request.param](D, H)


@pytest.fixture(params=LENGTHS)
def lengths(request):
    return LENGTHS[request.param]


def close(found, expected, name):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12, err_msg=name)


def test_equals_each_sequence_alone(cell, backend, rng, lengths):
    host = make_case(cell, rng, T, len(lengths))
    with rnnx.use_backend("numpy"):
        expected = alone(cell, host, lengths)
    case = host._replace(x=padded_with(np.nan, host.x, lengths), dy=padded_with(np.inf, host.dy, lengths)).on(
        backend
    )
    y, final, tape = cell.forward(case.params, case.x, case.state, lengths=lengths)
    dx, dstate, grads = cell.backward(tape, case.dy, case.dstate)
    N = len(lengths)
    host_y = check_array(backend, y, (T, N, cell.output_size), "float64")
    host_dx = check_array(backend, dx, (T, N, D), "float64")
    close(host_y, expected["y"], "y")
    close(host_dx, expected["dx"], "dx")
    for n, length in enumerate(lengths):
        assert not host_y[length:, n].any(), "y past the end"
        assert not host_dx[length:, n].any(), "the gradient of padding"
    for key, state in {"final": final, "dstate": dstate}.items():
        assert type(state) is type(case.state)
        for rows, (name, value) in zip(expected[key], states.leaves(state, key), strict=True):
            close(check_array(backend, value, np.shape(rows), "float64"), np.stack(rows), name)
    assert grads.keys() == cell.param_shapes.keys()
    for name, shape in cell.param_shapes.items():
        close(check_array(backend, grads[name], shape, "float64"), expected["grads"][name], name)


def test_without_a_tape_gives_the_same(cell, backend, rng):
    long, lengths = 2 * CHUNK + 3, [CHUNK + 1, 2 * CHUNK + 3, 5]
    case = make_case(cell, rng, long, 3)
    case = case._replace(
        params={name: 0.3 * value for name, value in case.params.items()},
        x=padded_with(np.nan, case.x, lengths),
    ).on(backend)
    y, final, _ = cell.forward(case.params, case.x, case.state, lengths=lengths)
    y_without, final_without, tape = cell.forward(
        case.params, case.x, case.state, lengths=lengths, training=False
    )
    assert tape is None
    found = check_array(backend, y_without, (long, 3, cell.output_size), "float64")
    close(found, backend.to_numpy(y), "y")
    for (name, one), (_, other) in zip(states.leaves(final_without), states.leaves(final), strict=True):
        close(backend.to_numpy(one), backend.to_numpy(other), name)


def test_missing_states_and_upstream_gradients(cell, backend, rng):
    lengths = LENGTHS["unsorted"]
    case = make_case(cell, rng, T, len(lengths)).on(backend)
    zeros = states.transform(lambda _, s: 0.0 * s, cell.state_sizes, case.state)

    def gradients(state, dy, dstate):
        _, _, tape = cell.forward(case.params, case.x, state, lengths=lengths)
        dx, dinitial, grads = cell.backward(tape, dy, dstate)
        return [backend.to_numpy(v) for v in (dx, *dict(states.leaves(dinitial)).values(), *grads.values())]

    for missing, filled in (
        ((None, case.dy, case.dstate), (zeros, case.dy, case.dstate)),
        ((case.state, None, case.dstate), (case.state, 0.0 * case.dy, case.dstate)),
        ((case.state, case.dy, None), (case.state, case.dy, zeros)),
    ):
        for one, other in zip(gradients(*missing), gradients(*filled), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("columns", [1, 4, 9])
def test_pieces_that_are_projected_alone_or_together_give_the_same(columns, cell, backend, rng, monkeypatch):
    lengths = LENGTHS["unsorted"]
    case = make_case(cell, rng, T, len(lengths)).on(backend)

    def results():
        y, _, tape = cell.forward(case.params, case.x, case.state, lengths=lengths)
        dx, _, grads = cell.backward(tape, case.dy, case.dstate)
        return {"y": y, "dx": dx} | grads

    expected = results()
    monkeypatch.setattr(projection, "COLUMNS", columns)
    for name, value in results().items():
        close(backend.to_numpy(value), backend.to_numpy(expected[name]), name)


def test_groups_of_segments():
    parts = segments(7, 5, np.array([7, 5, 5, 2, 1]))
    assert [part.size for part in parts] == [5, 4, 9, 2]
    assert list(groups(parts, 1)) == [[part] for part in parts]
    assert list(groups(parts, 9)) == [parts[:2], parts[2:3], parts[3:]]
    assert list(groups(parts, 99)) == [parts]


def test_segments_hold_no_padding():
    assert segments(7, 5, np.array([7, 5, 5, 2, 1])) == [(0, 1, 5), (1, 2, 4), (2, 5, 3), (5, 7, 1)]
    assert segments(7, 2, None) == [(0, 7, 2)]
    assert segments(0, 2, None) == [(0, 0, 2)]


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ([3, 0], rnnx.OptionError, "lengths[1] is 0; expected lengths in 1..5, T of x."),
        ([-2, 3], rnnx.OptionError, "lengths[0] is -2; expected lengths in 1..5, T of x."),
        ([3, 6], rnnx.OptionError, "lengths[1] is 6; expected lengths in 1..5, T of x."),
        ([3.0, 2.0], rnnx.DtypeError, "lengths has dtype float64; expected integers."),
        ([True, True], rnnx.DtypeError, "lengths has dtype bool; expected integers."),
        ([3], rnnx.ShapeError, "lengths has shape (1,); expected (2,)."),
        ([[3, 2]], rnnx.ShapeError, "lengths has shape (1, 2); expected (2,)."),
        (4, rnnx.ShapeError, "lengths has shape (); expected (2,)."),
    ],
)
def test_wrong_lengths(lengths, error, message):
    cell = rnnx.LSTM(3, 4)
    with pytest.raises(error) as caught:
        cell.forward(cell.init(), np.zeros((5, 2, 3), np.float32), lengths=lengths)
    assert str(caught.value).startswith(f"LSTM.forward: {message}")


def test_lengths_on_a_device(backend):
    if backend.holds(np.zeros(2)):
        pytest.skip("NumPy's arrays are on the host")
    cell = rnnx.GRU(3, 4)
    with pytest.raises(rnnx.DtypeError, match=r"GRU.forward: lengths is a .*on the host.*to_numpy"):
        cell.forward(cell.init(), backend.zeros((5, 2, 3), "float32"), lengths=backend.asarray([5, 2]))
