import numpy as np
import pytest

import rnnx
from rnnx.errors import DtypeError, MixedArraysError, ShapeError
from support.cells import check_array
from support.complexstep import complex_step

TOLERANCE = {"float32": 1e-6, "float64": 1e-15}


@pytest.mark.parametrize("shape", [(), (4,), (3, 2, 5), (0, 3)], ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_tanh_is_that_of_torch(backend, rng, torch, dtype, shape):
    host, dy = 2.0 * rng.standard_normal(shape), rng.standard_normal(shape)
    x = torch.tensor(host, requires_grad=True)
    expected = torch.tanh(x)
    expected.backward(torch.tensor(dy))

    y, tape = rnnx.Tanh().forward(backend.asarray(host, dtype))
    found = {"y": y, "dx": rnnx.Tanh().backward(tape, backend.asarray(dy, dtype))}
    for name, value in {"y": expected.detach(), "dx": x.grad}.items():
        values = check_array(backend, found[name], shape, dtype)
        np.testing.assert_allclose(values, value.numpy(), rtol=0, atol=TOLERANCE[dtype], err_msg=name)


def test_tanh_gradient_by_complex_step(rng):
    x, dy = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    _, tape = rnnx.Tanh().forward(x)
    expected = complex_step(lambda point: np.sum(dy * rnnx.Tanh().forward(point["x"])[0]), {"x": x})
    for _ in range(2):  # a tape serves again
        np.testing.assert_allclose(rnnx.Tanh().backward(tape, dy), expected["x"], rtol=1e-14)


def test_bad_input():
    x = np.zeros((2, 3))
    _, tape = rnnx.Tanh().forward(x)
    with pytest.raises(ShapeError, match=r"Tanh.backward: dy has shape \(3,\); expected \(2, 3\)"):
        rnnx.Tanh().backward(tape, x[0])
    with pytest.raises(DtypeError, match=r"Tanh.backward: dy has dtype float32; expected float64"):
        rnnx.Tanh().backward(tape, x.astype(np.float32))
    with pytest.raises(DtypeError, match=r"Tanh.forward: x has dtype int64; expected floating numbers"):
        rnnx.Tanh().forward(np.zeros(2, np.int64))
    with pytest.raises(MixedArraysError, match=r"Tanh.forward: x is a list"):
        rnnx.Tanh().forward([1.0])
