"""What holds for every cell and every container: the protocol of forward, backward and step."""

import dataclasses

import numpy as np
import pytest

import rnnx
from rnnx import states
from rnnx.cells import REGISTRY
from rnnx.containers import CONTAINERS
from rnnx.gates import Gated
from rnnx.steps import CHUNK
from support.cells import check_array, make_case

DTYPES = {"float32": 1e-5, "float64": 1e-12}
ALL = REGISTRY | CONTAINERS
T, N, D, H = 5, 2, 3, 4


@pytest.fixture(params=ALL)
def cell(request):
    return ALL[request.param](D, H)


@pytest.fixture(params=[name for name in ALL if ALL[name](D, H).causal])
def causal(request):
    return ALL[request.param](D, H)


@pytest.fixture(params=DTYPES)
def dtype(request):
    return request.param


def leaves(state):
    """Arrays of a state, in order."""
    return [value for _, value in states.leaves(state)]


def run(cell, case, steps=slice(None), state=None):
    """Forward and backward of some steps; everything that comes back, by name."""
    state = case.state if state is None else state
    y, final, tape = cell.forward(case.params, case.x[steps, ...], state)
    dx, dstate, grads = cell.backward(tape, case.dy[steps, ...], case.dstate)
    return {"y": y, "final": final, "dx": dx, "dstate": dstate, "grads": grads}


def test_equals_numpy_in_value_shape_dtype_and_device(cell, backend, rng, dtype):
    case = make_case(cell, rng, T, N)
    with rnnx.use_backend("numpy"):
        expected = run(cell, case)
    found = run(cell, case.on(backend, dtype))
    close = {"rtol": DTYPES[dtype], "atol": DTYPES[dtype]}
    features = cell.output_size
    np.testing.assert_allclose(
        check_array(backend, found["y"], (T, N, features), dtype), expected["y"], **close
    )
    np.testing.assert_allclose(check_array(backend, found["dx"], (T, N, D), dtype), expected["dx"], **close)
    for key in ("final", "dstate"):
        assert type(found[key]) is type(cell.state_sizes)
        for (name, value), wanted in zip(states.leaves(found[key], key), leaves(expected[key]), strict=True):
            host = check_array(backend, value, wanted.shape, dtype)
            np.testing.assert_allclose(host, wanted, err_msg=name, **close)
    assert found["grads"].keys() == cell.param_shapes.keys()
    for name, shape in cell.param_shapes.items():
        host = check_array(backend, found["grads"][name], shape, dtype)
        np.testing.assert_allclose(host, expected["grads"][name], err_msg=name, **close)


def test_equals_the_loop_of_steps(causal, backend, rng, dtype):
    case = make_case(causal, rng, T, N).on(backend, dtype)
    y, final, _ = causal.forward(case.params, case.x, case.state)
    state = case.state
    for t in range(T):
        row, state = causal.step(case.params, case.x[t, ...], state)
        host = check_array(backend, row, (N, causal.output_size), dtype)
        np.testing.assert_allclose(host, backend.to_numpy(y)[t], rtol=DTYPES[dtype], atol=DTYPES[dtype])
    for (name, one), other in zip(states.leaves(state), leaves(final), strict=True):
        one, other = backend.to_numpy(one), backend.to_numpy(other)
        np.testing.assert_allclose(one, other, rtol=DTYPES[dtype], atol=DTYPES[dtype], err_msg=name)


def test_without_a_tape_gives_the_same(cell, backend, rng, dtype):
    long = 2 * CHUNK + 3
    case = make_case(cell, rng, long, N).on(backend, dtype)
    case = case._replace(params={name: 0.3 * value for name, value in case.params.items()})
    y, final, _ = cell.forward(case.params, case.x, case.state)
    y_without, final_without, tape = cell.forward(case.params, case.x, case.state, training=False)
    assert tape is None
    host = check_array(backend, y_without, (long, N, cell.output_size), dtype)
    np.testing.assert_allclose(host, backend.to_numpy(y), rtol=DTYPES[dtype], atol=DTYPES[dtype])
    for one, other in zip(leaves(final_without), leaves(final), strict=True):
        host = check_array(backend, one, tuple(other.shape), dtype)
        np.testing.assert_allclose(host, backend.to_numpy(other), rtol=DTYPES[dtype], atol=DTYPES[dtype])


def test_sequential_calls_equal_one_long_call(causal, backend, rng):
    case = make_case(causal, rng, T, N).on(backend)
    whole = run(causal, case)
    first, second = slice(0, 2), slice(2, T)
    y1, middle, tape1 = causal.forward(case.params, case.x[first, ...], case.state)
    y2, final, tape2 = causal.forward(case.params, case.x[second, ...], middle)
    dx2, dmiddle, grads2 = causal.backward(tape2, case.dy[second, ...], case.dstate)
    dx1, dstate, grads1 = causal.backward(tape1, case.dy[first, ...], dmiddle)
    pieces = {"y": [y1, y2], "dx": [dx1, dx2]}
    for key, parts in pieces.items():
        joined = np.concatenate([backend.to_numpy(part) for part in parts])
        np.testing.assert_allclose(joined, backend.to_numpy(whole[key]), rtol=1e-12, atol=1e-12, err_msg=key)
    for key, state in {"final": final, "dstate": dstate}.items():
        for one, other in zip(leaves(state), leaves(whole[key]), strict=True):
            one, other = backend.to_numpy(one), backend.to_numpy(other)
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12, err_msg=key)
    for name, total in whole["grads"].items():
        both = backend.to_numpy(grads1[name]) + backend.to_numpy(grads2[name])
        np.testing.assert_allclose(both, backend.to_numpy(total), rtol=1e-12, atol=1e-12, err_msg=name)


def test_writes_to_no_argument(cell, backend, rng):
    host = make_case(cell, rng, T, N)
    case = host.on(backend)
    run(cell, case)
    if cell.causal:
        cell.step(case.params, case.x[0, ...], case.state)
    for name, value in host.params.items():
        np.testing.assert_array_equal(backend.to_numpy(case.params[name]), value, err_msg=name)
    for name in ("x", "dy"):
        np.testing.assert_array_equal(
            backend.to_numpy(getattr(case, name)), getattr(host, name), err_msg=name
        )
    for name in ("state", "dstate"):
        for found, value in zip(leaves(getattr(case, name)), leaves(getattr(host, name)), strict=True):
            np.testing.assert_array_equal(backend.to_numpy(found), value, err_msg=name)


def test_is_repeatable(cell, backend, rng):
    case = make_case(cell, rng, T, N).on(backend, "float32")
    one, other = run(cell, case), run(cell, case)
    np.testing.assert_array_equal(backend.to_numpy(one["y"]), backend.to_numpy(other["y"]))
    for name, value in one["grads"].items():
        np.testing.assert_array_equal(backend.to_numpy(value), backend.to_numpy(other["grads"][name]), name)


def test_no_state_is_a_state_of_zeros(cell, backend, rng):
    case = make_case(cell, rng, T, N).on(backend, "float32")
    zeros = cell.init_state(N, "float32")
    for size, value in zip(leaves(cell.state_sizes), leaves(zeros), strict=True):
        assert not check_array(backend, value, (N, size), "float32").any()
    with_zeros, _, _ = cell.forward(case.params, case.x, zeros)
    without, _, _ = cell.forward(case.params, case.x)
    np.testing.assert_array_equal(backend.to_numpy(with_zeros), backend.to_numpy(without))
    if cell.causal:
        row, _ = cell.step(case.params, case.x[0, ...])
        np.testing.assert_allclose(backend.to_numpy(row), backend.to_numpy(without)[0], rtol=1e-5, atol=1e-6)


def test_missing_upstream_gradients_count_as_zeros(cell, backend, rng):
    case = make_case(cell, rng, T, N).on(backend)
    zero_dy = 0.0 * case.dy
    zero_state = states.transform(lambda _, value: 0.0 * value, cell.state_sizes, case.dstate)

    def gradients(dy, dstate):
        _, _, tape = cell.forward(case.params, case.x, case.state)
        dx, dinitial, grads = cell.backward(tape, dy, dstate)
        return [backend.to_numpy(value) for value in (dx, *leaves(dinitial), *grads.values())]

    nothing = states.transform(lambda _: None, cell.state_sizes)
    for given, filled in (
        ((case.dy, None), (case.dy, zero_state)),
        ((None, case.dstate), (zero_dy, case.dstate)),
        ((None, None), (zero_dy, zero_state)),
        ((case.dy, nothing), (case.dy, zero_state)),
    ):
        for one, other in zip(gradients(*given), gradients(*filled), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_tape_serves_once(cell, backend, rng):
    case = make_case(cell, rng, T, N).on(backend)
    _, _, tape = cell.forward(case.params, case.x, case.state)
    cell.backward(tape, case.dy)
    with pytest.raises(rnnx.TapeConsumed, match=r"served a backward pass already.*Run forward again"):
        cell.backward(tape, case.dy)


@pytest.mark.parametrize(("steps", "batch"), [(0, 2), (3, 0)])
def test_empty_sequences_and_batches(cell, backend, rng, steps, batch):
    case = make_case(cell, rng, steps, batch).on(backend)
    found = run(cell, case)
    assert tuple(found["y"].shape) == (steps, batch, cell.output_size)
    assert tuple(found["dx"].shape) == (steps, batch, D)
    for name, value in found["grads"].items():
        assert not backend.to_numpy(value).any(), name
    if steps == 0:
        for one, other in zip(leaves(found["final"]), leaves(case.state), strict=True):
            np.testing.assert_array_equal(backend.to_numpy(one), backend.to_numpy(other))
    y, _, _ = cell.forward(case.params, case.x, case.state, training=False)
    assert tuple(y.shape) == (steps, batch, cell.output_size)


@pytest.mark.parametrize("name", [name for name in REGISTRY if isinstance(REGISTRY[name](D, H), Gated)])
def test_any_gate_order_gives_the_same(name, backend, rng):
    cell = REGISTRY[name](D, H)
    case = make_case(cell, rng, T, N)
    order = tuple(reversed(cell.gates))
    blocks = {gate: slice(k * H, (k + 1) * H) for k, gate in enumerate(cell.gates)}

    def reorder(value):
        if value.shape[-1] != len(order) * H or value.shape == (H,):
            return value
        return np.concatenate([value[..., blocks[gate]] for gate in order], axis=-1)

    other = dataclasses.replace(cell, gate_order="".join(order))
    expected = run(cell, case.on(backend))
    moved = case._replace(params={name: reorder(value) for name, value in case.params.items()}).on(backend)
    found = run(other, moved)
    np.testing.assert_allclose(
        backend.to_numpy(found["y"]), backend.to_numpy(expected["y"]), rtol=1e-13, atol=1e-14
    )
    for name, value in expected["grads"].items():
        np.testing.assert_allclose(
            backend.to_numpy(found["grads"][name]),
            reorder(backend.to_numpy(value)),
            rtol=1e-12,
            atol=1e-13,
            err_msg=name,
        )


def test_init_is_the_same_on_every_backend(cell, backend, dtype):
    params = cell.init(seed=3, dtype=dtype)
    with rnnx.use_backend("numpy"):
        expected = cell.init(seed=3, dtype=dtype)
    assert params.keys() == expected.keys() == cell.param_shapes.keys()
    for name, shape in cell.param_shapes.items():
        host = check_array(backend, params[name], shape, dtype)
        np.testing.assert_array_equal(host, expected[name], err_msg=name)
        assert np.abs(host).max() <= H**-0.5
        assert np.unique(host).size == host.size, "all drawn"


def test_init_depends_on_the_seed_and_the_name():
    params, other = rnnx.RNN(4, 4).init(seed=0), rnnx.RNN(4, 4).init(seed=1)
    assert not np.array_equal(params["Wx"], other["Wx"])
    assert not np.array_equal(params["Wx"], params["Wh"])


def test_complex_parameters_on_numpy(cell, rng):
    if not cell.analytic:
        pytest.skip("relu is not analytic")
    case = make_case(cell, rng, T, N)
    found = run(cell, case.on(rnnx.backends.resolve("numpy"), "complex128"))
    expected = run(cell, case)
    for name, value in found["grads"].items():
        assert value.dtype == np.complex128
        np.testing.assert_allclose(value.real, expected["grads"][name], rtol=1e-12, atol=1e-13)
        assert not value.imag.any()
