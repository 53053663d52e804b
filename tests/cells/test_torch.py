"""Outputs, final states and all gradients of the cells beside torch.nn.RNN, LSTM and GRU."""

import numpy as np
import pytest

import rnnx
from support.cells import make_case

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
CELLS = {
    "rnn": (lambda D, H: rnnx.RNN(D, H), lambda t, D, H: t.nn.RNN(D, H)),
    "rnn-relu": (
        lambda D, H: rnnx.RNN(D, H, activation="relu"),
        lambda t, D, H: t.nn.RNN(D, H, nonlinearity="relu"),
    ),
    "lstm": (lambda D, H: rnnx.LSTM(D, H), lambda t, D, H: t.nn.LSTM(D, H)),
    "gru": (lambda D, H: rnnx.GRU(D, H), lambda t, D, H: t.nn.GRU(D, H)),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("sizes", [(7, 3, 5, 4), (1, 2, 3, 5), (25, 8, 17, 33)])
def test_agrees_with_torch(name, dtype, sizes, backend, rng, torch):
    T, N, D, H = sizes
    cell, layer = CELLS[name][0](D, H), CELLS[name][1](torch, D, H).to(getattr(torch, dtype))
    case = make_case(cell, rng, T, N)
    scale = H**-0.5
    case = case._replace(params={key: scale * value for key, value in case.params.items()})
    _load(torch, layer, case.params)

    def tensor(value, grad=False):
        return torch.tensor(value, dtype=getattr(torch, dtype), requires_grad=grad)

    x, states = tensor(case.x, True), [tensor(value[None], True) for value in case.state]
    y, finals = layer(x, tuple(states) if len(states) > 1 else states[0])
    finals = finals if len(states) > 1 else (finals,)
    weights = [tensor(case.dy), *(tensor(value[None]) for value in case.dstate)]
    sum((out * weight).sum() for out, weight in zip((y, *finals), weights, strict=True)).backward()
    expected = {"y": y, "dx": x.grad}
    expected |= {f"final.{field}": value[0] for field, value in zip(cell.State._fields, finals, strict=True)}
    expected |= {f"d{field}": value.grad[0] for field, value in zip(cell.State._fields, states, strict=True)}
    expected |= _gradients(layer, H)

    moved = case.on(backend, dtype)
    y, final, tape = cell.forward(moved.params, moved.x, moved.state)
    dx, dstate, grads = cell.backward(tape, moved.dy, moved.dstate)
    found = {"y": y, "dx": dx} | grads
    found |= {f"final.{field}": value for field, value in zip(cell.State._fields, final, strict=True)}
    found |= {f"d{field}": value for field, value in zip(cell.State._fields, dstate, strict=True)}

    assert found.keys() == expected.keys()
    for key, value in expected.items():
        value = value.detach().numpy()
        allowed = TOLERANCE[dtype] * max(1.0, np.abs(value).max())
        np.testing.assert_allclose(backend.to_numpy(found[key]), value, rtol=0, atol=allowed, err_msg=key)


def _load(torch, layer, params):
    """Give a torch layer the parameters: one bias of its two is zero, but for bn inside a GRU's reset."""
    H = params["Wh"].shape[0]
    hidden_bias = np.zeros_like(params["b"])
    if "bn" in params:
        hidden_bias[2 * H :] = params["bn"]
    values = (params["Wx"].T, params["Wh"].T, params["b"], hidden_bias)
    with torch.no_grad():
        for parameter, value in zip(layer.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(value))


def _gradients(layer, H):
    Wx, Wh, b, bh = (parameter.grad for parameter in layer.parameters())
    reset = {"bn": bh[2 * H :]} if type(layer).__name__ == "GRU" else {}
    return {"Wx": Wx.T, "Wh": Wh.T, "b": b} | reset
