"""The whole character model: gradients element by element, masks, steps and its errors."""

import numpy as np
import pytest

from rnnx.backends import use_backend
from rnnx.cells import REGISTRY
from rnnx.charlm.model import CharModel
from rnnx.errors import MixedArraysError, OptionError, ShapeError, TapeConsumed
from rnnx.gradient_check.problem import draw
from support.complexstep import complex_step

V, H, T, N = 5, 3, 4, 2
ANALYTIC = [name for name, make in REGISTRY.items() if make(2, 2).analytic]


def trap(model, rng):
    """Non-zero parameters, ids that repeat, a non-zero state, and upstream gradients of everything."""
    params = {name: draw(rng, shape) for name, shape in model.param_shapes.items()}
    state, dstate = ([draw(rng, (N, size)) for size in model.recurrent.state_sizes] for _ in range(2))
    ids = rng.integers(0, model.vocabulary_size, (T, N))
    return params, ids, state, draw(rng, (T, N, model.vocabulary_size)), dstate


@pytest.mark.parametrize("embedding", [0, 4])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("cell", ANALYTIC)
def test_every_gradient_by_the_complex_step(rng, cell, embedding, dropout):
    model = CharModel(V, cell, H, embedding, dropout)
    params, ids, state, dlogits, dstate = trap(model, rng)
    make = model.recurrent.state_sizes._make

    def masks():
        return np.random.default_rng(3)

    def loss(point):
        states = make([point[f"state.{k}"] for k in range(len(state))])
        weights = {name: point[name] for name in params}
        logits, after, _ = model.forward(weights, ids, states, generator=masks())
        return np.sum(dlogits * logits) + sum(np.sum(d * s) for d, s in zip(dstate, after, strict=True))

    expected = complex_step(loss, params | {f"state.{k}": s for k, s in enumerate(state)})
    _, _, tape = model.forward(params, ids, make(state), generator=masks())
    found_state, grads = model.backward(tape, dlogits, make(dstate))
    assert grads.keys() == params.keys()
    for name, value in grads.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-12, atol=1e-13, err_msg=name)
    for k, value in enumerate(found_state):
        np.testing.assert_allclose(
            value, expected[f"state.{k}"], rtol=1e-12, atol=1e-13, err_msg=f"state.{k}"
        )


@pytest.mark.parametrize("embedding", [0, 4])
def test_every_backend_gives_the_same(backend, rng, embedding):
    model = CharModel(V, "lstm", H, embedding, 0.5)
    params, ids, state, dlogits, dstate = trap(model, rng)
    make = model.recurrent.state_sizes._make

    def run(device):
        def move(x):
            return device.asarray(x, dtype="float64")

        with use_backend(device):
            logits, after, tape = model.forward(
                {name: move(p) for name, p in params.items()},
                ids,
                make(map(move, state)),
                generator=np.random.default_rng(3),
            )
            before, grads = model.backward(tape, move(dlogits), make(map(move, dstate)))
        arrays = {"logits": logits, "h": after.h, "c": after.c, "dh": before.h, "dc": before.c} | grads
        assert all(device.holds(x) and x.dtype == device.dtype("float64") for x in arrays.values())
        return {name: device.to_numpy(x) for name, x in arrays.items()}

    with use_backend("numpy") as numpy:
        expected = run(numpy)
    for name, value in run(backend).items():
        assert value.shape == expected[name].shape
        np.testing.assert_allclose(value, expected[name], rtol=1e-12, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("embedding", [0, 4])
def test_steps_equal_a_sequence(backend, rng, embedding):
    model = CharModel(V, "gru", H, embedding, 0.5)
    params = model.init(1, "float64")
    ids = rng.integers(0, V, (T, N))
    logits, after, tape = model.forward(params, ids, training=False)
    assert tape is None
    state = None
    for t in range(T):
        step, state = model.step(params, ids[t], state)
        np.testing.assert_allclose(backend.to_numpy(step), backend.to_numpy(logits[t, ...]), rtol=1e-12)
    np.testing.assert_allclose(backend.to_numpy(state.h), backend.to_numpy(after.h), rtol=1e-12)


def test_parameters_have_seeds_of_their_own(backend):
    model = CharModel(6, "lstm", 6, 6)
    params = model.init(0)
    host = {name: backend.to_numpy(p) for name, p in params.items()}
    assert {name: p.shape for name, p in host.items()} == model.param_shapes
    assert all(backend.holds(p) and p.dtype == backend.dtype("float32") for p in params.values())
    assert not np.allclose(host["head.W"].ravel()[:36], host["cell.Wx"].ravel()[:36])
    bias = host["cell.b"].reshape(4, 6).mean(axis=1)
    assert bias[1] > 0.5 > np.abs(np.delete(bias, 1)).max()  # only the forget gate starts open
    again = model.init(0)
    assert all(np.array_equal(host[name], backend.to_numpy(again[name])) for name in host)
    other = backend.to_numpy(model.init(1)["head.W"])
    assert not np.array_equal(host["head.W"], other)


def test_the_forget_gates_of_lstms_start_open_and_that_of_sru_does_not():
    peephole, sru = CharModel(6, "lstm-peephole", 50, 6).init(0), CharModel(6, "sru", 50, 6).init(0)
    gates = [*peephole["cell.b"].reshape(4, 50), sru["cell.bf"], sru["cell.br"]]
    assert [round(float(bias.mean())) for bias in gates] == [0, 1, 0, 0, 0, 0]


def test_dropout_is_off_without_a_generator_and_without_training(rng):
    model = CharModel(V, "gru", H, 4, 0.5)
    params, ids = model.init(), rng.integers(0, V, (T, N))
    plain, _, _ = model.forward(params, ids)
    quiet, _, _ = model.forward(params, ids, generator=np.random.default_rng(0), training=False)
    dropped, _, _ = model.forward(params, ids, generator=np.random.default_rng(0))
    np.testing.assert_array_equal(plain, quiet)
    assert not np.allclose(plain, dropped)


def test_errors(rng):
    model = CharModel(V, "rnn", H, 0)
    params, ids = model.init(), rng.integers(0, V, (T, N))
    logits, _, tape = model.forward(params, ids)
    model.backward(tape, logits)
    with pytest.raises(TapeConsumed):
        model.backward(tape, logits)
    with pytest.raises(OptionError, match="no tape"):
        model.backward(None, logits)
    with pytest.raises(ShapeError, match=r"\(4,\); expected \(T, N\).* CharModel\.step"):
        model.forward(params, ids[:, 0])
    with pytest.raises(ShapeError, match=r"CharModel\.forward"):
        model.step(params, ids)
    with pytest.raises(OptionError, match="5"):
        model.forward(params, np.full((T, N), V))
    with pytest.raises(ShapeError, match=r"head\.b"):
        model.forward({name: p for name, p in params.items() if name != "head.b"}, ids)
    with pytest.raises(ShapeError, match="extra"):
        model.forward(params | {"extra": params["head.b"]}, ids)
    with use_backend("strict") as strict:
        moved = params | {"head.b": strict.asarray(params["head.b"])}
    with pytest.raises(MixedArraysError, match="strict"):
        model.forward(moved, ids)
    for bad in ({"cell": "lstn"}, {"hidden_size": 0}, {"embedding_size": -1}, {"dropout": 1.0}):
        with pytest.raises(OptionError, match=str(next(iter(bad.values())))):
            CharModel(V, **bad)
