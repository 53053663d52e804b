"""Notebook 000 beside torch's autograd: linear and tanh RNN with readout, single sequences and batches."""

import numpy as np
import pytest

import rnnx
from rnnx.gradient_check.problem import draw

T = 6


def gradients(activation, params, x, h0, target):
    """Loss and gradients of ``y = phi(h Why)``, half squared error, time first; x (T, N, D)."""
    W = params["Why"]
    cell = rnnx.RNN(x.shape[2], W.shape[0], activation=activation)
    readout, phi = rnnx.Linear(*W.shape), rnnx.Tanh()
    zeros = rnnx.get_backend().zeros
    weights = {"Wx": params["Wxh"], "Wh": params["Whh"], "b": zeros((W.shape[0],), x.dtype)}
    h, _, tape = cell.forward(weights, x, rnnx.RNNState(h0))
    y, readout_tape = readout.forward({"W": W, "b": zeros((W.shape[1],), x.dtype)}, h)
    if activation == "tanh":
        y, phi_tape = phi.forward(y)
    loss, dy = rnnx.half_squared_error(y, target)
    if activation == "tanh":
        dy = phi.backward(phi_tape, dy)
    dh, dreadout = readout.backward(readout_tape, dy)
    dx, dstate, grads = cell.backward(tape, dh)
    return loss, {"Wxh": grads["Wx"], "Whh": grads["Wh"], "Why": dreadout["W"], "x": dx, "h0": dstate.h}


def automatic(torch, activation, host, target):
    """The same by torch: one sequence (T, D) and h0 (H,), or a batch."""
    phi = torch.tanh if activation == "tanh" else lambda a: a
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in host.items()}
    h, loss = leaves["h0"], 0.0
    for t in range(T):
        h = phi(leaves["x"][t] @ leaves["Wxh"] + h @ leaves["Whh"])
        loss = loss + 0.5 * ((phi(h @ leaves["Why"]) - torch.tensor(target[t])) ** 2).sum()
    loss.backward()
    return float(loss.detach()), {name: leaf.grad.numpy() for name, leaf in leaves.items()}


@pytest.mark.parametrize("activation", ["identity", "tanh"])
@pytest.mark.parametrize(("batch", "nin", "nh", "nout"), [(None, 1, 4, 2), (5, 3, 7, 1)])
def test_gradients_beside_autograd(activation, batch, nin, nh, nout, backend, rng, torch):
    N = () if batch is None else (batch,)
    shapes = {"Wxh": (nin, nh), "Whh": (nh, nh), "Why": (nh, nout), "x": (T, *N, nin), "h0": (*N, nh)}
    host = {name: draw(rng, shape) for name, shape in shapes.items()}
    target = draw(rng, (T, *N, nout))
    loss, expected = automatic(torch, activation, host, target)

    moved = {name: backend.asarray(value) for name, value in host.items()}
    x, h0 = moved.pop("x"), moved.pop("h0")
    if batch is None:  # a batch of one
        x, h0, target = x[:, None, :], h0[None, :], target[:, None, :]
    found_loss, found = gradients(activation, moved, x, h0, backend.asarray(target))
    assert float(backend.to_numpy(found_loss)) == pytest.approx(loss, rel=1e-12)
    for name, wanted in expected.items():
        value = backend.to_numpy(found[name]).reshape(wanted.shape)
        assert backend.holds(found[name])
        np.testing.assert_allclose(value, wanted, rtol=1e-10, atol=1e-12 * np.abs(wanted).max(), err_msg=name)


@pytest.mark.parametrize("activation", ["identity", "tanh"])
def test_a_batch_is_the_sum_of_its_sequences(activation, rng):
    shapes = {"Wxh": (3, 7), "Whh": (7, 7), "Why": (7, 2)}
    params = {name: draw(rng, shape) for name, shape in shapes.items()}
    x, h0, target = draw(rng, (T, 4, 3)), draw(rng, (4, 7)), draw(rng, (T, 4, 2))
    loss, whole = gradients(activation, params, x, h0, target)
    single = [
        gradients(activation, params, x[:, k : k + 1], h0[k : k + 1], target[:, k : k + 1]) for k in range(4)
    ]
    assert sum(value for value, _ in single) == pytest.approx(loss, rel=1e-12)
    for name in shapes:
        np.testing.assert_allclose(whole[name], sum(found[name] for _, found in single), rtol=1e-10)
    np.testing.assert_allclose(whole["x"], np.concatenate([found["x"] for _, found in single], 1), rtol=1e-10)
