"""Operations of CuPy on the simulator, beside NumPy's."""

import numpy as np
import pytest

TOLERANCE = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-12}

REDUCTIONS = ("sum", "mean", "max", "min", "std", "var", "prod")
FUNCTIONS = ("exp", "expm1", "tanh", "log1p", "sqrt", "abs", "sign", "floor", "sin", "isfinite")


def set_slice(xp, a, b):
    c = a.copy()
    c[:, 2:4] = 0
    c += 1
    return c


def add_at(xp, a, b):
    c = xp.zeros(4, dtype=a.dtype)
    xp.add.at(c, xp.asarray([1, 1, 3]), 1.0)
    return c


def matmul_out(xp, a, b):
    out = xp.empty((5, 6), dtype=a.dtype)
    xp.matmul(a, b, out=out)
    return out


OPERATIONS = {
    "matmul": lambda xp, a, b: a @ b,
    "matmul of a transpose": lambda xp, a, b: a.T @ a,
    "matmul of two transposes": lambda xp, a, b: b.T @ a.T,
    "matmul of a slice": lambda xp, a, b: a[:, 1:5] @ b[1:5, ::2],
    "matmul, batched": lambda xp, a, b: xp.stack([a, 2 * a]) @ b,
    "matmul, batched on both sides": lambda xp, a, b: xp.stack([a, 2 * a]) @ xp.stack([b, -b]),
    "matmul, out": matmul_out,
    "matmul of nothing": lambda xp, a, b: a[:, :0] @ b[:0],
    "matrix by vector": lambda xp, a, b: a @ b[:, 0],
    "dot of vectors": lambda xp, a, b: a[0] @ b[:, 0],
    "einsum": lambda xp, a, b: xp.einsum("ij,jk->ik", a, b),
    "tensordot": lambda xp, a, b: xp.tensordot(a, b, 1),
    "argmax": lambda xp, a, b: xp.argmax(a, axis=1),
    "sum of many": lambda xp, a, b: xp.sum(xp.broadcast_to(a[:1, :1], (300, 1000)), axis=0),
    "cumsum": lambda xp, a, b: xp.cumsum(a, axis=1),
    "where": lambda xp, a, b: xp.where(a > 0, a, 0),
    "clip": lambda xp, a, b: xp.clip(a, -0.5, 0.5),
    "logaddexp": lambda xp, a, b: xp.logaddexp(a, 2 * a),
    "concatenate": lambda xp, a, b: xp.concatenate([a, a], axis=1),
    "stack": lambda xp, a, b: xp.stack([a, a], axis=1),
    "slice": lambda xp, a, b: a[:, 1:5:2],
    "reversed": lambda xp, a, b: a[::-1, ::-2],
    "take": lambda xp, a, b: xp.take(a, xp.asarray([0, 2, 2]), axis=0),
    "index by integers": lambda xp, a, b: a[xp.asarray([0, 2, 2])],
    "index by a mask": lambda xp, a, b: a[a > 0],
    "assign to a slice": set_slice,
    "add.at": add_at,
    "searchsorted": lambda xp, a, b: xp.searchsorted(xp.arange(5.0), xp.asarray([1.5])),
    "fill": lambda xp, a, b: xp.full((3, 2), 7, dtype=a.dtype),
    "astype": lambda xp, a, b: (10 * a).astype("int32"),
    "complex exp": lambda xp, a, b: xp.exp(a * 1j),
    "complex matmul": lambda xp, a, b: (a * 1j) @ (b + 2j * b),
    "matmul of integers": lambda xp, a, b: xp.arange(6).reshape(2, 3) @ xp.arange(6).reshape(3, 2),
}  # fmt: skip
OPERATIONS |= {f"{name} of all": lambda xp, a, b, name=name: getattr(xp, name)(a) for name in REDUCTIONS}
OPERATIONS |= {
    f"{name}, axis 0": lambda xp, a, b, name=name: getattr(xp, name)(a, axis=0) for name in REDUCTIONS
}
OPERATIONS |= {
    f"{name}, axis 1, kept": lambda xp, a, b, name=name: getattr(xp, name)(a, axis=1, keepdims=True)
    for name in REDUCTIONS
}
OPERATIONS |= {name: lambda xp, a, b, name=name: getattr(xp, name)(xp.abs(a)) for name in FUNCTIONS}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_equals_numpy(cp, rng, operation, dtype):
    a, b = (rng.standard_normal(shape).astype(dtype) for shape in ((5, 7), (7, 6)))
    expected = np.asarray(OPERATIONS[operation](np, a, b))
    result = OPERATIONS[operation](cp, cp.asarray(a), cp.asarray(b))
    assert isinstance(result, cp.ndarray)
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(cp.asnumpy(result), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("operation", ["matmul", "sum of all", "exp", "where", "stack", "astype"])
def test_equals_numpy_in_half_precision(cp, rng, operation):
    a, b = (rng.standard_normal(shape).astype("float16") for shape in ((5, 7), (7, 6)))
    expected = np.asarray(OPERATIONS[operation](np, a, b))
    result = OPERATIONS[operation](cp, cp.asarray(a), cp.asarray(b))
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(cp.asnumpy(result), expected, rtol=5e-3, atol=5e-3)


def test_gemm_adds_into_its_result(cp, rng):
    from cupy import cublas

    a, b, c = (rng.standard_normal(shape) for shape in ((5, 7), (7, 6), (5, 6)))
    out = cp.asarray(c)
    cublas.gemm("N", "N", cp.asarray(a), cp.asarray(b), out=out, alpha=2.0, beta=3.0)
    np.testing.assert_allclose(cp.asnumpy(out), 2 * a @ b + 3 * c, rtol=1e-12)


@pytest.mark.parametrize(
    "operation",
    [
        lambda cp, a: cp.sort(a),
        lambda cp, a: cp.random.standard_normal((2, 2)),
        lambda cp, a: cp.linalg.qr(a),
        lambda cp, a: cp.linalg.solve(a, a),
    ],
)
def test_what_is_not_simulated_raises(cp, operation):
    with pytest.raises((RuntimeError, ImportError)):
        operation(cp, cp.ones((2, 2)))
