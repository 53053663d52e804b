"""The TF-LSTM functions of notebook 002 beside the double loop of the definition."""

import numpy as np
import pytest

import rnnx
from rnnx.gradient_check.problem import draw
from rnnx.notebooks import tflstm
from rnnx.notebooks.tflstm import (
    tflstm_backward_advance_origin_step_pp,
    tflstm_backward_pp,
    tflstm_backward_pp_advance,
    tflstm_forward_origin2_pp,
    tflstm_forward_origin2_pp_unfold,
    tflstm_forward_origin_step_pp,
)
from support.notebooks import Pair, check_backend, check_gradients
from support.tflstm_loop import double_loop

N, T, H = 2, 3, 2
SIZES = {"overlap": (5, 2, 1), "touch": (6, 2, 2), "leave a rest": (8, 3, 2)}
"""D, F, S."""


def shapes(D, F, S):
    width = ((D - F) // S + 1) * H
    weights = {"Wx": (F, 4 * H), "Wh": (H, 4 * H), "Wk": (H, 4 * H), "b": (4 * H,)}
    weights |= dict.fromkeys(["pi", "pf", "po"], (H,))
    step = {"x": (N, D), "prev_h": (N, width), "prev_c": (N, width)} | weights
    return step, {"x": (N, T, D), "h0": (N, width)} | weights


def pairs(D, F, S):
    step, sequence = shapes(D, F, S)
    fixed = (F, S, H)
    return {
        "step": Pair(
            tflstm_forward_origin_step_pp, tflstm_backward_advance_origin_step_pp, step, fixed=fixed
        ),
        "sequence": Pair(tflstm_forward_origin2_pp, tflstm_backward_pp, sequence, fixed=fixed),
        "unfold": Pair(tflstm_forward_origin2_pp_unfold, tflstm_backward_pp_advance, sequence, fixed=fixed),
    }


PAIRS = pairs(7, 3, 2)


def plain(x, h, c, *weights_and_sizes):
    """The definition, for x (N, T, D) and gates in any order."""
    *weights, _, S, order = weights_and_sizes
    params = dict(zip(("Wx", "Wh", "Wk", "b", "pi", "pf", "po"), weights, strict=True))
    for name in ("Wx", "Wh", "Wk", "b"):
        gates = dict(zip(order, np.split(params[name], 4, -1), strict=True))
        params[name] = np.concatenate([gates[gate] for gate in "ifgo"], -1)
    y, _, c = double_loop(np, params, x.transpose(1, 0, 2), h, c, S)
    return y.transpose(1, 0, 2), c


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_values_are_those_of_the_double_loop(sizes, rng):
    D, F, S = sizes
    made = pairs(D, F, S)
    x, prev_h, prev_c, *weights = made["step"].draw(rng).values()
    next_h, next_c, _ = tflstm_forward_origin_step_pp(x, prev_h, prev_c, *weights, F, S, H)
    expected_h, expected_c = plain(x[:, None], prev_h, prev_c, *weights, F, S, "ifog")
    np.testing.assert_allclose(next_h, expected_h[:, 0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(next_c, expected_c, rtol=0, atol=1e-12)

    x, h0, *weights = made["sequence"].draw(rng).values()
    for forward, order in (
        (tflstm_forward_origin2_pp, "ifog"),
        (tflstm_forward_origin2_pp_unfold, "gifo"),
    ):
        out, _ = forward(x, h0, *weights, F, S, H)
        expected, _ = plain(x, h0, np.zeros_like(h0), *weights, F, S, order)
        np.testing.assert_allclose(out, expected, rtol=0, atol=1e-12)


def test_the_inputs_of_the_kaldi_comparison():
    """Evenly spaced numbers, and no printed states to compare with: the double loop stands in."""
    N, D, T, H, F, S = 2, 3, 3, 3, 2, 1
    blocks = (D - F) // S + 1

    def spread(first, last, *shape):
        return np.linspace(first, last, int(np.prod(shape))).reshape(shape)

    x, h0 = spread(-0.4, 0.6, N, T, D), np.zeros((N, blocks * H))
    weights = [spread(-0.2, 0.9, F, 4 * H), spread(-0.3, 0.8, H, 4 * H), spread(-0.4, 0.7, H, 4 * H)]
    weights += [spread(0.2, 0.7, 4 * H), spread(0.1, 0.6, H), spread(0.2, 0.7, H), spread(0.3, 0.8, H)]
    out, cache = tflstm_forward_origin2_pp_unfold(x, h0, *weights, F, S, H)
    np.testing.assert_allclose(out, plain(x, h0, h0, *weights, F, S, "gifo")[0], rtol=0, atol=1e-14)
    gradients = tflstm_backward_pp_advance(spread(-0.6, 0.6, N, T, blocks * H), cache)
    for gradient, value in zip(gradients, (x, h0, *weights), strict=True):
        assert gradient.shape == value.shape
        assert np.all(gradient != 0.0)


def test_both_pairs_agree_where_the_gates_are_moved(rng):
    arguments = PAIRS["sequence"].draw(rng)
    moved = dict(arguments)
    for name in ("Wx", "Wh", "Wk", "b"):
        i, f, o, g = np.split(arguments[name], 4, -1)
        moved[name] = np.concatenate([g, i, f, o], -1)
    (out,) = PAIRS["sequence"].outputs(arguments)
    dh = draw(rng, out.shape)
    _, _, (one,) = PAIRS["sequence"].run(arguments, lambda *_: dh)
    (unfolded,), _, (other,) = PAIRS["unfold"].run(moved, lambda *_: dh)
    np.testing.assert_allclose(unfolded, out, rtol=0, atol=1e-12)
    for name, gradient in one.items():
        if name in ("Wx", "Wh", "Wk", "b"):
            i, f, o, g = np.split(gradient, 4, -1)
            gradient = np.concatenate([g, i, f, o], -1)
        np.testing.assert_allclose(other[name], gradient, rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("sizes", [SIZES["overlap"], SIZES["touch"]], ids=["overlap", "touch"])
@pytest.mark.parametrize("name", PAIRS)
def test_gradients(name, sizes, rng):
    check_gradients(pairs(*sizes)[name], rng)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_backends_agree_and_a_cache_serves_twice(name, dtype, tolerance, backend, rng):
    check_backend(PAIRS[name], rng, backend, dtype, tolerance)


def test_a_rest_of_the_input_is_not_read(rng):
    arguments = PAIRS["sequence"].draw(rng)  # all 7 inputs are read
    wide = arguments | {"x": np.concatenate([arguments["x"], np.full((N, T, 1), np.nan)], 2)}
    (out,) = PAIRS["sequence"].outputs(arguments)
    (found,), _, (gradients,) = PAIRS["sequence"].run(wide, lambda _, y: np.ones_like(y))
    np.testing.assert_array_equal(found, out)
    assert not gradients["x"][:, :, -1].any()


def test_a_star_import_brings_what_the_notebook_uses():
    scope = {}
    exec("from rnnx.notebooks.tflstm import *", scope)
    assert set(tflstm.__all__) == scope.keys() - {"__builtins__"}


@pytest.mark.parametrize(
    ("wrong", "fixed", "message"),
    [
        (
            {},
            {"F": 8},
            "tflstm_forward_origin2_pp: F is 8, x has shape (2, 3, 7); expected F <= D, here 7. "
            "A filter that fits no window makes no block.",
        ),
        (
            {},
            {"S": 0},
            "tflstm_forward_origin2_pp: S is 0; expected at least 1, for x of shape (2, 3, 7).",
        ),
        (
            {},
            {"H": 4},
            "tflstm_forward_origin2_pp: h0 has shape (2, 6); expected (N, B*H) = (2, 12). "
            "N is 2 in x (2, 3, 7); B is 3; H is 4.",
        ),
        (
            {},
            {"F": 2},
            "tflstm_forward_origin2_pp: Wx has shape (3, 8); expected (F, 4*H) = (2, 8). F is 2; H is 2.",
        ),
        (
            {"Wk": np.zeros((H, 3 * H))},
            {},
            "tflstm_forward_origin2_pp: Wk has shape (2, 6); expected (H, 4*H) = (2, 8). H is 2.",
        ),
        (
            {"po": np.zeros(H + 1)},
            {},
            "tflstm_forward_origin2_pp: po has shape (3,); expected (H,) = (2,). H is 2.",
        ),
        (
            {"x": np.zeros((N, 7))},
            {},
            "tflstm_forward_origin2_pp: x has shape (2, 7); expected (N, T, D).",
        ),
    ],
)
def test_sizes_that_disagree(wrong, fixed, message):
    arguments = {name: np.zeros(shape) for name, shape in PAIRS["sequence"].shapes.items()}
    with pytest.raises(rnnx.ShapeError) as caught:
        tflstm_forward_origin2_pp(**arguments | wrong, **{"F": 3, "S": 2, "H": H} | fixed)
    assert str(caught.value) == message


def test_other_bad_input():
    arguments = [np.zeros(shape) for shape in PAIRS["sequence"].shapes.values()]
    out, cache = tflstm_forward_origin2_pp(*arguments, *PAIRS["sequence"].fixed)
    with pytest.raises(rnnx.OptionError, match="tflstm_backward_pp_advance: cache is of tflstm_forward_or"):
        tflstm_backward_pp_advance(out, cache)
    with pytest.raises(rnnx.ShapeError, match=r"tflstm_backward_pp: dh has shape \(2, 6\); expected \(2, 3"):
        tflstm_backward_pp(out[:, 0], cache)
