"""The LSTM of notebook 004 on one matrix, and that notebook's two checks."""

import numpy as np
import pytest

import rnnx
from rnnx.notebooks import batched_lstm
from rnnx.notebooks.batched_lstm import LSTM, checkBatchGradient, checkSequentialMatchesBatch, judge
from support.cells import check_array
from support.notebooks import Pair, check_backend, check_gradients

n, b, D, H = 4, 2, 3, 5
SHAPES = {"X": (n, b, D), "WLSTM": (1 + D + H, 4 * H), "c0": (b, H), "h0": (b, H)}


def forward(X, WLSTM, c0, h0):
    return LSTM.forward(X, WLSTM, c0, h0)


def backward(dHout, dcn, dhn, cache):
    return LSTM.backward(dHout, cache, dcn, dhn)


PAIR = Pair(forward, backward, SHAPES)


def test_gradients(rng):
    check_gradients(PAIR, rng)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_backends_agree_and_a_cache_serves_twice(dtype, tolerance, backend, rng):
    check_backend(PAIR, rng, backend, dtype, tolerance)


def test_states_are_zeros_by_default(rng):
    X, WLSTM, c0, h0 = PAIR.draw(rng).values()
    zero = np.zeros((b, H))
    for given, full in (((), (zero, zero)), ((c0,), (c0, zero)), ((None, h0), (zero, h0))):
        *found, cache = LSTM.forward(X, WLSTM, *given)
        *expected, cache_full = LSTM.forward(X, WLSTM, *full)
        dH = rng.standard_normal(found[0].shape)
        found += LSTM.backward(dH, cache)
        expected += LSTM.backward(dH, cache_full, zero, zero)
        for value, wanted in zip(found, expected, strict=True):
            np.testing.assert_array_equal(value, wanted)


def test_a_sequence_without_a_step_returns_its_initial_states(rng):
    _, WLSTM, c0, h0 = PAIR.draw(rng).values()
    Hout, cn, hn, _ = LSTM.forward(np.zeros((0, b, D)), WLSTM, c0, h0)
    assert Hout.shape == (0, b, H)
    np.testing.assert_array_equal(cn, c0)
    np.testing.assert_array_equal(hn, h0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_init(backend, dtype):
    matrix = check_array(backend, LSTM.init(200, 100, dtype=dtype), (301, 400), dtype)
    np.testing.assert_array_equal(matrix[0], np.repeat([0.0, 3.0, 0.0, 0.0], 100))
    assert np.std(matrix[1:]) == pytest.approx(300**-0.5, rel=0.01)
    assert np.mean(matrix[1:]) == pytest.approx(0.0, abs=1e-3)
    other = backend.to_numpy(LSTM.init(200, 100, 0, seed=1, dtype=dtype))
    assert not other[0].any()
    assert np.all(other[1:] != matrix[1:])


def test_one_pass_agrees_with_one_pass_for_each_step(backend, capsys):
    found = checkSequentialMatchesBatch()
    assert found == dict.fromkeys(["Hout", "dX", "dWLSTM", "dc0", "dh0"], True)
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == "Making sure batched version agrees with sequential version: (should all be True)"
    assert rest == ["True"] * 4


def test_every_line_of_the_gradient_check_is_ok(capsys):
    rows = checkBatchGradient()
    assert len(rows) == 5 * 3 * 10 + 15 * 16 + 12 + 12
    assert {row.status for row in rows} == {"OK"}
    assert max(row.rel_error for row in rows) < 1e-5
    lines = capsys.readouterr().out.splitlines()
    assert lines == [str(row) for row in rows]
    first = rows[0]
    assert lines[0] == (
        f"OK checking param X index (0, 0, 0) (val = {first.value:+8f}), analytic = {first.analytic:+8f}, "
        f"numerical = {first.numerical:+8f}, relative error = {first.rel_error:+8f}"
    )


@pytest.mark.parametrize(
    ("analytic", "numerical", "status"),
    [
        (0.0, 0.0, "OK"),
        (1e-8, -2e-8, "VAL SMALL WARNING"),
        (1.0, 1.0 + 1e-9, "OK"),
        (1.0, 1.03, "WARNING"),
        (1.0, -0.5, "NOTOK"),
        (1.0, -1.0, "NOTOK"),
        (float("nan"), 1.0, "NOTOK"),
    ],
)
def test_status_words(analytic, numerical, status):
    assert judge(analytic, numerical)[0] == status


def test_a_wrong_gradient_is_seen(monkeypatch, capsys):
    right = LSTM.backward

    def wrong(*arguments):
        dX, dWLSTM, dc0, dh0 = right(*arguments)
        return dX, dWLSTM, 1.05 * dc0, -dh0

    monkeypatch.setattr(batched_lstm.LSTM, "backward", staticmethod(wrong))
    statuses = {name: {row.status for row in checkBatchGradient() if row.name == name} for name in SHAPES}
    assert statuses == {"X": {"OK"}, "WLSTM": {"OK"}, "c0": {"WARNING"}, "h0": {"NOTOK"}}
    assert "\n!!!!! NOTOK checking param h0 index (0, 0)" in capsys.readouterr().out
    found = checkSequentialMatchesBatch()
    assert found == {"Hout": True, "dX": False, "dWLSTM": False, "dc0": False, "dh0": False}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"WLSTM": np.zeros((1 + D + H, 4 * H + 2))},
            "LSTM.forward: WLSTM has shape (9, 22); expected (1 + D + H, 4*H) with D = 3 of X (4, 2, 3). "
            "A row of biases, then the rows of the input, then those of the hidden state.",
        ),
        (
            {"WLSTM": np.zeros((D + H, 4 * H))},
            "LSTM.forward: WLSTM has shape (8, 20); expected (1 + D + H, 4*H) with D = 3 of X (4, 2, 3).",
        ),
        ({"X": np.zeros((n, D))}, "LSTM.forward: X has shape (4, 3); expected (n, b, D)."),
        (
            {"c0": np.zeros((b, H + 1))},
            "LSTM.forward: c0 has shape (2, 6); expected (b, H) = (2, 5). b is 2 in X (4, 2, 3); H is 5.",
        ),
        ({"h0": np.zeros((1, H))}, "LSTM.forward: h0 has shape (1, 5); expected (b, H) = (2, 5)."),
    ],
)
def test_shapes_that_disagree(wrong, message):
    with pytest.raises(rnnx.ShapeError) as caught:
        LSTM.forward(**{name: np.zeros(shape) for name, shape in SHAPES.items()} | wrong)
    assert str(caught.value).startswith(message)


def test_other_bad_input():
    with pytest.raises(
        rnnx.OptionError, match=r"LSTM.init: hidden_size is 0; expected an integer of at least"
    ):
        LSTM.init(3, 0)
    arguments = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    with pytest.raises(rnnx.MixedArraysError, match=r"LSTM.forward: WLSTM is a list"):
        LSTM.forward(**arguments | {"WLSTM": [[0.0]]})
    *_, cache = LSTM.forward(**arguments)
    with pytest.raises(rnnx.ShapeError, match=r"LSTM.backward: dHout_in has shape \(2, 5\)"):
        LSTM.backward(np.zeros((b, H)), cache)
    with pytest.raises(rnnx.ShapeError, match=r"LSTM.backward: dcn has shape \(5, 2\); expected \(2, 5\)"):
        LSTM.backward(np.zeros((n, b, H)), cache, np.zeros((H, b)))
    with pytest.raises(
        rnnx.OptionError, match=r"LSTM.backward: cache is a dict; expected the one that LSTM.fo"
    ):
        LSTM.backward(np.zeros((n, b, H)), {})
