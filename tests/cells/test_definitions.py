"""Cells that torch does not have, beside their definitions as a loop in torch, differentiated by autograd."""

import numpy as np
import pytest

import rnnx
from support.cells import make_case

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def peephole_lstm(torch, x, h, c, Wx, Wh, b, pi, pf, po):
    y = []
    for row in x:
        i, f, g, o = (row @ Wx + h @ Wh + b).chunk(4, dim=1)
        i, f = torch.sigmoid(i + pi * c), torch.sigmoid(f + pf * c)
        c = f * c + i * torch.tanh(g)
        h = torch.sigmoid(o + po * c) * torch.tanh(c)
        y.append(h)
    return torch.stack(y), h, c


def sru(torch, x, c, W, bf, br):
    y = []
    H = c.shape[1]
    for row in x:
        candidate, f, r, *linear = (row @ W).split(H, dim=1)
        f, r = torch.sigmoid(f + bf), torch.sigmoid(r + br)
        c = f * c + (1 - f) * candidate
        y.append(r * torch.tanh(c) + (1 - r) * (linear[0] if linear else row))
    return torch.stack(y), c


CELLS = {
    "lstm-peephole": (lambda D, H: rnnx.PeepholeLSTM(D, H), peephole_lstm),
    "sru": (lambda D, H: rnnx.SRU(D, H), sru),
    "sru-identity": (lambda D, H: rnnx.SRU(H, H, highway="identity"), sru),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("sizes", [(7, 3, 5, 4), (1, 2, 3, 5), (25, 8, 17, 33)])
def test_agrees_with_its_definition(name, dtype, sizes, backend, rng, torch):
    T, N, D, H = sizes
    make, definition = CELLS[name]
    cell = make(D, H)
    case = make_case(cell, rng, T, N)
    case = case._replace(params={key: H**-0.5 * value for key, value in case.params.items()})
    leaves = {"x": case.x} | case.state._asdict() | case.params
    leaves = {
        key: torch.tensor(v, dtype=getattr(torch, dtype), requires_grad=True) for key, v in leaves.items()
    }
    y, *finals = definition(torch, *leaves.values())
    upstream = (torch.tensor(value, dtype=y.dtype) for value in (case.dy, *case.dstate))
    sum((out * weight).sum() for out, weight in zip((y, *finals), upstream, strict=True)).backward()
    expected = {"y": y} | {f"final {k}": final for k, final in enumerate(finals)}
    expected |= {f"d{key}": value.grad for key, value in leaves.items()}

    moved = case.on(backend, dtype)
    y, final, tape = cell.forward(moved.params, moved.x, moved.state)
    dx, dstate, grads = cell.backward(tape, moved.dy, moved.dstate)
    found = {"y": y} | {f"final {k}": value for k, value in enumerate(final)} | {"dx": dx}
    found |= {f"d{key}": value for key, value in (dstate._asdict() | grads).items()}

    assert found.keys() == expected.keys()
    for key, value in expected.items():
        value = value.detach().numpy()
        allowed = TOLERANCE[dtype] * max(1.0, np.abs(value).max())
        np.testing.assert_allclose(backend.to_numpy(found[key]), value, rtol=0, atol=allowed, err_msg=key)
