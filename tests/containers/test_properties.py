"""Containers of any shape: ragged batches and gradients, over sizes, depths, directions and lengths."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnx
from rnnx import states
from rnnx.cells import REGISTRY
from support.cells import alone, make_case

SMOOTH = [name for name in REGISTRY if name != "rnn-relu"]
few = settings(max_examples=25, deadline=None, derandomize=True, database=None)
STEP = 1e-30


@st.composite
def cells(draw, input_size=None, depth=2):
    """A cell, or stacks and directions of cells."""
    D = draw(st.integers(1, 3)) if input_size is None else input_size
    kind = draw(st.sampled_from(["cell", "stack", "concat", "sum"] if depth else ["cell"]))
    if kind == "cell":
        return REGISTRY[draw(st.sampled_from(SMOOTH))](D, draw(st.integers(1, 3)))
    below = draw(cells(D, depth - 1))
    if kind == "stack":
        return rnnx.Stack(below, draw(cells(below.output_size, depth - 1)))
    if kind == "sum":
        return rnnx.Bidirectional(below, merge="sum")
    return rnnx.Bidirectional(below, draw(cells(D, depth - 1)))


@st.composite
def problems(draw):
    """A cell, random arrays, and lengths."""
    cell, steps, batch = draw(cells()), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    lengths = draw(st.lists(st.integers(1, steps), min_size=batch, max_size=batch))
    case = make_case(cell, np.random.default_rng(draw(st.integers(0, 99))), steps, batch)
    return cell, case._replace(params={name: 0.5 * value for name, value in case.params.items()}), lengths


def values(state):
    return [value for _, value in states.leaves(state)]


@few
@given(problems())
def test_each_sequence_is_as_if_it_ran_alone(problem):
    cell, case, lengths = problem
    expected = alone(cell, case, lengths)
    y, final, tape = cell.forward(case.params, case.x, case.state, lengths=lengths)
    dx, dstate, grads = cell.backward(tape, case.dy, case.dstate)
    close = {"rtol": 1e-10, "atol": 1e-10}
    np.testing.assert_allclose(y, expected["y"], **close)
    np.testing.assert_allclose(dx, expected["dx"], **close)
    for key, state in {"final": final, "dstate": dstate}.items():
        for rows, found in zip(expected[key], values(state), strict=True):
            np.testing.assert_allclose(found, np.stack(rows), err_msg=key, **close)
    for name, value in expected["grads"].items():
        np.testing.assert_allclose(grads[name], value, err_msg=name, **close)


@few
@given(problems(), st.integers(0, 99))
def test_gradients_agree_with_the_complex_step_along_a_direction(problem, seed):
    cell, case, lengths = problem
    rng = np.random.default_rng(seed)
    tensors = case.params | {"x": case.x} | dict(states.leaves(case.state))
    direction = {name: rng.standard_normal(value.shape) for name, value in tensors.items()}
    moved = {name: value + 1j * STEP * direction[name] for name, value in tensors.items()}
    state = states.from_leaves(cell.state_sizes, (moved[name] for name, _ in states.leaves(case.state)))
    params = {name: moved[name] for name in case.params}
    y, final, _ = cell.forward(params, moved["x"], state, lengths=lengths)
    outputs, weights = [y, *values(final)], [case.dy, *values(case.dstate)]
    expected = sum(np.sum(out * weight) for out, weight in zip(outputs, weights, strict=True)).imag / STEP

    _, _, tape = cell.forward(case.params, case.x, case.state, lengths=lengths)
    dx, dstate, grads = cell.backward(tape, case.dy, case.dstate)
    products = {
        name: np.sum(value * direction[name])
        for name, value in (grads | {"x": dx} | dict(states.leaves(dstate))).items()
    }
    scale = sum(abs(product) for product in products.values())
    np.testing.assert_allclose(sum(products.values()), expected, rtol=0, atol=1e-12 * max(1.0, scale))
