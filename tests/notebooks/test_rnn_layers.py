"""The RNN and LSTM functions of notebooks 002 and 003: printed numbers, gradients, backends, bad input."""

import numpy as np
import pytest

import rnnx
from rnnx.notebooks import rnn_layers
from rnnx.notebooks.rnn_layers import (
    lstm_backward,
    lstm_forward,
    lstm_step_backward,
    lstm_step_forward,
    rnn_backward,
    rnn_forward,
    rnn_step_backward,
    rnn_step_forward,
    sigmoid,
)
from support.cells import check_array
from support.notebooks import Pair, check_backend, check_gradients

N, T, D, H = 2, 4, 3, 5
RNN = {"Wx": (D, H), "Wh": (H, H), "b": (H,)}
LSTM = {"Wx": (D, 4 * H), "Wh": (H, 4 * H), "b": (4 * H,)}
PAIRS = {
    "rnn step": Pair(rnn_step_forward, rnn_step_backward, {"x": (N, D), "prev_h": (N, H), **RNN}),
    "rnn": Pair(rnn_forward, rnn_backward, {"x": (N, T, D), "h0": (N, H), **RNN}),
    "lstm step": Pair(
        lstm_step_forward, lstm_step_backward, {"x": (N, D), "prev_h": (N, H), "prev_c": (N, H), **LSTM}
    ),
    "lstm": Pair(lstm_forward, lstm_backward, {"x": (N, T, D), "h0": (N, H), **LSTM}),
}
EXPECTED_H = [
    [0.24635157, 0.28610883, 0.32240467, 0.35525807, 0.38474904],
    [0.49223563, 0.55611431, 0.61507696, 0.66844003, 0.7159181],
    [0.56735664, 0.66310127, 0.74419266, 0.80889665, 0.858299],
]
EXPECTED_C = [
    [0.32986176, 0.39145139, 0.451556, 0.51014116, 0.56717407],
    [0.66382255, 0.76674007, 0.87195994, 0.97902709, 1.08751345],
    [0.74192008, 0.90592151, 1.07717006, 1.25120233, 1.42395676],
]
EXPECTED_SEQUENCE = [
    [
        [0.01764008, 0.01823233, 0.01882671, 0.0194232],
        [0.11287491, 0.12146228, 0.13018446, 0.13902939],
        [0.31358768, 0.33338627, 0.35304453, 0.37250975],
    ],
    [
        [0.45767879, 0.4761092, 0.4936887, 0.51041945],
        [0.6704845, 0.69350089, 0.71486014, 0.7346449],
        [0.81733511, 0.83677871, 0.85403753, 0.86935314],
    ],
]


def spread(backend, first, last, *shape):
    return backend.asarray(np.linspace(first, last, int(np.prod(shape))).reshape(shape))


def test_the_printed_states_of_a_step(backend):
    N, D, H = 3, 4, 5
    x = spread(backend, -0.4, 1.2, N, D)
    prev_h, prev_c = spread(backend, -0.3, 0.7, N, H), spread(backend, -0.4, 0.9, N, H)
    Wx, Wh = spread(backend, -2.1, 1.3, D, 4 * H), spread(backend, -0.7, 2.2, H, 4 * H)
    next_h, next_c, _ = lstm_step_forward(x, prev_h, prev_c, Wx, Wh, spread(backend, 0.3, 0.7, 4 * H))
    np.testing.assert_allclose(backend.to_numpy(next_h), EXPECTED_H, rtol=0, atol=1e-8)
    np.testing.assert_allclose(backend.to_numpy(next_c), EXPECTED_C, rtol=0, atol=1e-8)


def test_the_printed_states_of_a_sequence(backend):
    N, D, H, T = 2, 5, 4, 3
    Wx, Wh = spread(backend, -0.2, 0.9, D, 4 * H), spread(backend, -0.3, 0.6, H, 4 * H)
    x, h0 = spread(backend, -0.4, 0.6, N, T, D), spread(backend, -0.4, 0.8, N, H)
    h, _ = lstm_forward(x, h0, Wx, Wh, spread(backend, 0.2, 0.7, 4 * H))
    np.testing.assert_allclose(backend.to_numpy(h), EXPECTED_SEQUENCE, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", PAIRS)
def test_gradients(name, rng):
    check_gradients(PAIRS[name], rng)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_backends_agree_and_a_cache_serves_twice(name, dtype, tolerance, backend, rng):
    check_backend(PAIRS[name], rng, backend, dtype, tolerance)


@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_a_sequence_is_its_steps(kind, rng):
    arguments = PAIRS[kind].draw(rng)
    h, _ = PAIRS[kind].forward(**arguments)
    x, state, *weights = arguments.values()
    states = (state, np.zeros_like(state))[: 1 if kind == "rnn" else 2]
    for t in range(T):
        *states, _ = PAIRS[f"{kind} step"].forward(x[:, t], *states, *weights)
        np.testing.assert_allclose(h[:, t], states[0], rtol=1e-14, atol=1e-15)


def test_results_are_the_callers_own(rng):
    arguments = PAIRS["lstm"].draw(rng)
    h, cache = lstm_forward(**arguments)
    dh = rng.standard_normal(h.shape)
    expected = lstm_backward(dh, lstm_forward(**arguments)[1])
    h[...] = np.nan  # a copy: the cache does not see it
    for _ in range(2):
        for value, wanted in zip(lstm_backward(dh, cache), expected, strict=True):
            np.testing.assert_array_equal(value, wanted)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoid(backend, dtype):
    values = np.array([[-1000.0, -2.0], [0.0, 1000.0]])
    found = check_array(backend, sigmoid(backend.asarray(values, dtype)), (2, 2), dtype)
    np.testing.assert_allclose(found, [[0.0, 1.0 / (1.0 + np.exp(2.0))], [0.5, 1.0]], rtol=1e-6)


def test_a_star_import_brings_what_the_notebook_uses():
    scope = {}
    exec("from rnnx.notebooks.rnn_layers import *", scope)
    assert set(rnn_layers.__all__) == scope.keys() - {"__builtins__"}


ZEROS = {name: {key: np.zeros(shape) for key, shape in pair.shapes.items()} for name, pair in PAIRS.items()}


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        (
            "lstm",
            {"Wh": np.zeros((H, 4 * H - 1))},
            "lstm_forward: Wh has shape (5, 19); expected (H, 4*H) = (5, 20). H is 5 in h0 (2, 5).",
        ),
        (
            "lstm",
            {"Wx": np.zeros((D + 1, 4 * H))},
            "lstm_forward: Wx has shape (4, 20); expected (D, 4*H) = (3, 20). "
            "D is 3 in x (2, 4, 3); H is 5 in h0 (2, 5).",
        ),
        (
            "lstm",
            {"b": np.zeros((4 * H, 1))},
            "lstm_forward: b has shape (20, 1); expected (4*H,) = (20,). H is 5 in h0 (2, 5).",
        ),
        ("lstm", {"x": np.zeros((N, D))}, "lstm_forward: x has shape (2, 3); expected (N, T, D)."),
        (
            "lstm step",
            {"prev_c": np.zeros((N + 1, H))},
            "lstm_step_forward: prev_c has shape (3, 5); expected (N, H) = (2, 5). "
            "N is 2 in x (2, 3); H is 5 in prev_h (2, 5).",
        ),
        (
            "rnn step",
            {"prev_h": np.zeros((N + 1, H))},
            "rnn_step_forward: prev_h has shape (3, 5); expected (N, H) = (2, H). N is 2 in x (2, 3).",
        ),
        (
            "rnn",
            {"Wx": np.zeros((D, 4 * H))},
            "rnn_forward: Wx has shape (3, 20); expected (D, H) = (3, 5). "
            "D is 3 in x (2, 4, 3); H is 5 in h0 (2, 5).",
        ),
    ],
)
def test_shapes_that_disagree(name, wrong, message):
    with pytest.raises(rnnx.ShapeError) as caught:
        PAIRS[name].forward(**ZEROS[name] | wrong)
    assert str(caught.value) == message


def test_other_bad_input():
    with pytest.raises(rnnx.MixedArraysError, match="rnn_forward: x is a list; expected an array"):
        rnn_forward(**ZEROS["rnn"] | {"x": [[[0.0] * D] * T] * N})
    with pytest.raises(rnnx.DtypeError, match=r"params\['b'\] has dtype float32; expected float64"):
        rnn_forward(**ZEROS["rnn"] | {"b": np.zeros(H, np.float32)})
    _, cache = rnn_forward(**ZEROS["rnn"])
    with pytest.raises(
        rnnx.ShapeError, match=r"rnn_backward: dh has shape \(4, 2, 5\); expected \(2, 4, 5\)"
    ):
        rnn_backward(np.zeros((T, N, H)), cache)
    with pytest.raises(
        rnnx.OptionError, match="lstm_backward: cache is of rnn_forward; expected the one that"
    ):
        lstm_backward(np.zeros((N, T, H)), cache)
    with pytest.raises(rnnx.OptionError, match="rnn_step_backward: cache is a tuple; expected the one that"):
        rnn_step_backward(np.zeros((N, H)), (1, 2))
    _, _, cache = lstm_step_forward(**ZEROS["lstm step"])
    with pytest.raises(rnnx.ShapeError, match=r"lstm_step_backward: dnext_c has shape \(5,\)"):
        lstm_step_backward(np.zeros((N, H)), np.zeros(H), cache)
