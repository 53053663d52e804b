"""The SRU functions of notebook 002: both kinds of weights, the advance form, steps, gradients, backends."""

import numpy as np
import pytest

import rnnx
from rnnx.notebooks import sru
from rnnx.notebooks.sru import (
    sru_backward,
    sru_backward_fast,
    sru_backward_fast_advance,
    sru_forward,
    sru_forward_fast,
    sru_step_backward,
    sru_step_backward_fast,
    sru_step_forward,
    sru_step_forward_fast,
)
from support.notebooks import Pair, check_backend, check_gradients

N, T, D, H = 2, 4, 3, 5
BIASES = {"bf": (H,), "br": (H,)}
SEPARATE = dict.fromkeys(["W", "Wf", "Wr", "Wh"], (D, H)) | BIASES
PACKED = {"W": (D, 4 * H), **BIASES}
STEP = {"x": (N, D), "prev_c": (N, H)}
SEQUENCE = {"x": (N, T, D)}
PAIRS = {
    "step": Pair(sru_step_forward, sru_step_backward, STEP | SEPARATE),
    "step, packed": Pair(sru_step_forward_fast, sru_step_backward_fast, STEP | PACKED),
    "sequence": Pair(sru_forward, sru_backward, SEQUENCE | SEPARATE),
    "sequence, packed": Pair(sru_forward_fast, sru_backward_fast, SEQUENCE | PACKED),
    "sequence, packed, advance": Pair(sru_forward_fast, sru_backward_fast_advance, SEQUENCE | PACKED),
}


def plain_step(x, c, W, Wf, Wr, Wh, bf, br):
    """The definition."""
    f, r = 1.0 / (1.0 + np.exp(-(x @ Wf + bf))), 1.0 / (1.0 + np.exp(-(x @ Wr + br)))
    c = f * c + (1.0 - f) * (x @ W)
    return r * np.tanh(c) + (1.0 - r) * (x @ Wh), c


@pytest.mark.parametrize("name", PAIRS)
def test_gradients(name, rng):
    check_gradients(PAIRS[name], rng)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_backends_agree_and_a_cache_serves_twice(name, dtype, tolerance, backend, rng):
    check_backend(PAIRS[name], rng, backend, dtype, tolerance)


def test_a_step_is_the_definition(rng):
    arguments = PAIRS["step"].draw(rng)
    for found, expected in zip(
        PAIRS["step"].outputs(arguments), plain_step(*arguments.values()), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("fast", [False, True])
def test_a_sequence_is_its_steps(fast, backend, rng):
    arguments = PAIRS["sequence, packed" if fast else "sequence"].draw(rng)
    arguments = {name: backend.asarray(value) for name, value in arguments.items()}
    forward, step = (sru_forward_fast, sru_step_forward_fast) if fast else (sru_forward, sru_step_forward)
    h, _ = forward(**arguments)
    x, *weights = arguments.values()
    c = backend.asarray(np.zeros((N, H)))
    for t in range(T):
        h_t, c, _ = step(x[:, t, :], c, *weights)
        found = backend.to_numpy(h)[:, t]
        np.testing.assert_allclose(found, backend.to_numpy(h_t), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("kind", ["step", "sequence"])
def test_separate_and_packed_weights_agree_exactly(kind, rng):
    separate = PAIRS[kind].draw(rng)
    weights = [separate[name] for name in ("W", "Wf", "Wr", "Wh")]
    packed = {name: separate[name] for name in PAIRS[f"{kind}, packed"].shapes} | {"W": np.hstack(weights)}
    draws = [rng.standard_normal(output.shape) for output in PAIRS[kind].outputs(separate)]
    outputs, _, (one,) = PAIRS[kind].run(separate, lambda k, _: draws[k])
    fast_outputs, _, (other,) = PAIRS[f"{kind}, packed"].run(packed, lambda k, _: draws[k])
    for found, expected in zip(fast_outputs, outputs, strict=True):
        np.testing.assert_array_equal(found, expected)
    one["W"] = np.hstack([one.pop(name) for name in ("W", "Wf", "Wr", "Wh")])
    assert one.keys() == other.keys()
    for name, gradient in one.items():
        np.testing.assert_array_equal(other[name], gradient, err_msg=name)


def test_the_advance_form_agrees(rng):
    arguments = PAIRS["sequence, packed"].draw(rng)
    h, cache = sru_forward_fast(**arguments)
    dh = rng.standard_normal(h.shape)
    for found, expected in zip(
        sru_backward_fast_advance(dh, cache), sru_backward_fast(dh, cache), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_a_star_import_brings_what_the_notebook_uses():
    scope = {}
    exec("from rnnx.notebooks.sru import *", scope)
    assert set(sru.__all__) == scope.keys() - {"__builtins__"}


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        (
            "sequence",
            {"Wr": np.zeros((D, H + 1))},
            "sru_forward: Wr has shape (3, 6); expected (D, H) = (3, 5). "
            "D is 3 in x (2, 4, 3); H is 5 in W (3, 5).",
        ),
        (
            "sequence, packed",
            {"W": np.zeros((D, 4 * H + 2))},
            "sru_forward_fast: W has shape (3, 22); expected (D, 4*H) = (3, 20). "
            "D is 3 in x (2, 4, 3); H is 5 in bf (5,).",
        ),
        (
            "step",
            {"prev_c": np.zeros((N + 1, H))},
            "sru_step_forward: prev_c has shape (3, 5); expected (N, H) = (2, H). N is 2 in x (2, 3).",
        ),
        (
            "step, packed",
            {"br": np.zeros((H, 1))},
            "sru_step_forward_fast: br has shape (5, 1); expected (H,) = (5,). H is 5 in prev_c (2, 5).",
        ),
    ],
)
def test_shapes_that_disagree(name, wrong, message):
    arguments = {key: np.zeros(shape) for key, shape in PAIRS[name].shapes.items()}
    with pytest.raises(rnnx.ShapeError) as caught:
        PAIRS[name].forward(**arguments | wrong)
    assert str(caught.value) == message


def test_other_bad_input():
    _, cache = sru_forward(*(np.zeros(shape) for shape in PAIRS["sequence"].shapes.values()))
    with pytest.raises(rnnx.ShapeError, match=r"sru_backward: dh has shape \(4, 2, 5\); expected \(2, 4"):
        sru_backward(np.zeros((T, N, H)), cache)
    with pytest.raises(rnnx.OptionError, match="sru_backward_fast_advance: cache is of sru_forward;"):
        sru_backward_fast_advance(np.zeros((N, T, H)), cache)
