"""What every backend does alike: products, kernels, scatter-add, dtypes, memory."""

import numpy as np
import pytest

from rnnx import backends
from rnnx.errors import DtypeError
from rnnx.ops import pointwise, relu, sign, sqrt, tanh

TOLERANCE = {"float32": 1e-5, "float64": 1e-13}


@pytest.fixture(params=TOLERANCE)
def dtype(request):
    return request.param


@pytest.fixture
def move(backend, dtype):
    """A writeable array on the backend from one on the host."""

    def move_array(values):
        array = backend.empty(values.shape, dtype)
        with backend.untracked():
            array[...] = backend.asarray(values, dtype)
        return array

    return move_array


def check(backend, x, expected, dtype):
    assert backend.holds(x)
    assert x.dtype == backend.dtype(dtype)
    assert tuple(x.shape) == expected.shape
    np.testing.assert_allclose(
        backend.to_numpy(x), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype], err_msg=backend.name
    )


LAYOUTS = {
    "contiguous": lambda a: a,
    "transposed": lambda a: a.T,
    "columns, transposed": lambda a: a[:, 2:5].T,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sizes", [(6, 4), (7, 1), (1, 3), (1, 1)])
def test_products(backend, move, dtype, rng, layout, sizes):
    inner, columns = sizes
    host = rng.normal(size=(inner, 6) if layout != "contiguous" else (6, inner))
    a_host, a = LAYOUTS[layout](host), LAYOUTS[layout](move(host))
    b_host = rng.normal(size=(inner, columns))
    b, shape = move(b_host), (a_host.shape[0], columns)
    slab_host = rng.normal(size=(3, *shape))
    slab = move(slab_host)
    with backend.untracked():
        found = backend.matmul(shape, slab.dtype)(a, b, slab[1, ...])
        check(backend, found, a_host @ b_host, dtype)
        found = backend.matmul_add(shape, slab.dtype)(a, b, slab[2, ...])
        check(backend, found, slab_host[2] + a_host @ b_host, dtype)
    expected = np.stack([slab_host[0], a_host @ b_host, slab_host[2] + a_host @ b_host])
    check(backend, slab, expected, dtype)
    check(backend, a, a_host, dtype)
    check(backend, b, b_host, dtype)


def test_products_are_bound_once_and_used_often(backend, move, dtype, rng):
    a, b = rng.normal(size=(4, 3)), rng.normal(size=(3, 2))
    total = move(np.zeros((4, 2)))
    add = backend.matmul_add((4, 2), total.dtype)
    with backend.untracked():
        for k in range(3):
            add(move(a * k), move(b), total)
    check(backend, total, 3.0 * a @ b, dtype)


def test_products_of_an_empty_batch(backend, move, dtype):
    a, b, out = move(np.ones((4, 3))), move(np.ones((3, 0))), move(np.ones((4, 0)))
    with backend.untracked():
        check(backend, backend.matmul((4, 0), out.dtype)(a, b, out), np.ones((4, 0)), dtype)
        check(backend, backend.matmul_add((4, 0), out.dtype)(a, b, out), np.ones((4, 0)), dtype)


@pointwise
def mixture(a, b, c):
    return relu(a) - b, a * b + tanh(c), sign(b) / (2.0 + sqrt(c * c)), -a, a * b + tanh(c), c


def mixture_on_the_host(a, b, c):
    second = a * b + np.tanh(c)
    return np.maximum(a, 0.0) - b, second, np.sign(b) / (2.0 + np.sqrt(c * c)), -a, second, c


@pytest.mark.parametrize("shared", [(), (0,), (0, 1, 2)])
def test_kernel(backend, move, dtype, rng, shared):
    host = [rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), rng.normal(size=(4, 3))]
    inputs = [move(x) for x in host]
    out = tuple(inputs[k] if k in shared else move(np.full((4, 3), np.nan)) for k in range(6))
    with backend.untracked():
        kernel = backend.kernel(mixture.program, (4, 3), inputs[0].dtype)
        results = kernel(*inputs, out=out)
    for result, target, expected in zip(results, out, mixture_on_the_host(*host), strict=True):
        check(backend, result, expected, dtype)
        check(backend, target, expected, dtype)
    for k in {0, 1, 2} - set(shared):
        check(backend, inputs[k], host[k], dtype)


@pytest.mark.parametrize("sizes", [(4, 3), (1, 3), (4, 1)])
@pytest.mark.parametrize("thin", ["column", "row"])
def test_kernel_takes_a_column_or_a_row(backend, move, dtype, rng, thin, sizes):
    shape = (sizes[0], 1) if thin == "column" else (1, sizes[1])
    a, b, c = rng.normal(size=sizes), rng.normal(size=shape), rng.normal(size=sizes)
    out = tuple(move(np.zeros(sizes)) for _ in range(6))
    with backend.untracked():
        backend.kernel(mixture.program, sizes, out[0].dtype)(move(a), move(b), move(c), out=out)
    for result, expected in zip(out, mixture_on_the_host(a, np.broadcast_to(b, sizes), c), strict=True):
        check(backend, result, expected, dtype)


def test_functional_kernel_writes_to_nothing(backend, dtype, rng):
    host = [rng.normal(size=(4, 3)) for _ in range(3)]
    inputs = [backend.asarray(x, dtype) for x in host]
    results = backend.functional_kernel(mixture.program)(*inputs)
    assert not any(result is x for result in results for x in inputs)
    for result, expected in zip(results, mixture_on_the_host(*host), strict=True):
        check(backend, result, expected, dtype)
    for x, before in zip(inputs, host, strict=True):
        check(backend, x, before, dtype)
    for result, expected in zip(mixture(*inputs), mixture_on_the_host(*host), strict=True):
        check(backend, result, expected, dtype)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("sizes", [(5, 2, 3), (4, 1, 7), (6, 3, 1), (1, 2, 3), (0, 2, 3), (3, 0, 2)])
def test_linear_recurrence(backend, move, dtype, rng, sizes, reverse):
    T, N, H = sizes
    a, c = rng.normal(size=(T, N, H)), rng.normal(size=(T + 1, N, H))
    expected = c.copy()
    for t in reversed(range(T)) if reverse else range(T):
        source, target = (t + 1, t) if reverse else (t, t + 1)
        expected[target] += a[t] * expected[source]
    slab = move(np.zeros((3, (T + 1) * N, H)))
    with backend.untracked():
        slab[1, ...] = move(c.reshape(-1, H))
        wide = move(np.repeat(a.reshape(-1, H), 2, axis=1))
        for factor in (move(a.reshape(-1, H)), wide[:, ::2]):
            found = slab[1, ...]
            found[...] = move(c.reshape(-1, H))
            assert backend.linear_recurrence(factor, found, reverse=reverse) is None
            check(backend, found, expected.reshape(-1, H), dtype)
            check(backend, factor, a.reshape(-1, H), dtype)
    assert not backend.to_numpy(slab)[::2].any(), "written beside the array"


def scatter_add_on_the_host(ids, rows, size):
    total = np.zeros((size, rows.shape[1]))
    np.add.at(total, ids, rows)
    return total


@pytest.mark.parametrize(
    ("ids", "size"), [([2, 0, 2, 2, 4], 5), ([0], 1), ([3, 3, 3], 6), ([0, 1, 2, 3], 4), ([], 3)]
)
def test_scatter_add(backend, dtype, rng, ids, size):
    ids = np.array(ids, dtype="int64")
    rows = rng.normal(size=(ids.size, 3))
    found = backend.scatter_add(backend.asarray(ids), backend.asarray(rows, dtype), size)
    check(backend, found, scatter_add_on_the_host(ids, rows, size), dtype)


def test_scatter_add_has_a_fixed_order(backend, rng):
    ids = backend.asarray(rng.integers(0, 5, size=200))
    rows = backend.asarray(rng.normal(size=(200, 4)) * 10.0 ** rng.integers(-6, 6, size=(200, 1)), "float32")
    first = backend.to_numpy(backend.scatter_add(ids, rows, 5))
    for _ in range(5):
        np.testing.assert_array_equal(backend.to_numpy(backend.scatter_add(ids, rows, 5)), first)


def test_empty_and_zeros(backend, dtype):
    assert tuple(backend.empty((2, 3), dtype).shape) == (2, 3)
    assert backend.empty((2, 3), dtype).dtype == backend.dtype(dtype)
    check(backend, backend.zeros((2, 0), dtype), np.zeros((2, 0)), dtype)
    check(backend, backend.zeros((2, 3), backend.dtype(dtype)), np.zeros((2, 3)), dtype)


@pytest.mark.parametrize("name", ["float31", "", "pi", "sin", "float", "asarray", "object", "str"])
def test_unknown_dtype(backend, name):
    with pytest.raises(DtypeError) as caught:
        backend.asarray([1.0], name)
    assert caught.value.problem == f"dtype is {name!r}, which {backend.name} does not have."
    assert caught.value.hint == 'Use "float32" or "float64".'


def test_dtypes_by_name(backend):
    names = ["float32", "float64", "int32", "int64", "bool"]
    for name in names + ["complex128"] * backend.complex:
        assert backend.asarray([0, 1], name).dtype == backend.dtype(name)
        assert backend.dtype(backend.dtype(name)) == backend.dtype(name)
    assert backend.dtype(None) is None


def test_frozen_arrays_keep_their_values(backend):
    array = backend.freeze(backend.zeros((2,), "float32"))
    np.testing.assert_array_equal(backend.to_numpy(array), [0.0, 0.0])


def test_numpy_refuses_to_write_to_a_frozen_array():
    array = backends.resolve("numpy").freeze(np.zeros(2))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1.0


def test_memory_report(backend):
    report = backend.memory_report()
    assert set(report) <= {"used", "held", "free", "total"}
    assert all(type(size) is int and size >= 0 for size in report.values())
    assert report.get("used", 0) <= report.get("held", 0)
    assert report.get("free", 0) <= report.get("total", 0)


def test_synchronize(backend):
    assert backend.synchronize() is None


def test_a_backend_shows_its_name(backend):
    assert str(backend) == f"{backend}" == backend.name


def test_holds(backend):
    assert backend.holds(backend.zeros((1,), "float32"))
    for other in ([1.0], 1.0, None, "x", backend):
        assert not backend.holds(other)
    strangers = [backends.resolve("strict" if backend.holds(np.zeros(1)) else "numpy")]
    for stranger in strangers:
        assert not backend.holds(stranger.zeros((1,), "float32"))
        assert not stranger.holds(backend.zeros((1,), "float32"))
