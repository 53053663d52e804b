"""Products that NumPy's backend computes in parts."""

import numpy as np
import pytest

import rnnx
from rnnx.backends import small_products
from support.cells import make_case

pytestmark = pytest.mark.parametrize("backend", ["numpy"], indirect=True)


@pytest.fixture
def one_thread(monkeypatch, blas):
    """One thread of a BLAS that multiplies small matrices without copying them, or said to be one."""
    monkeypatch.setattr(small_products, "CORES", (blas.core(),))
    small_products._blas.cache_clear()
    blas.library.scipy_openblas_set_num_threads64_(1)
    yield blas
    small_products._blas.cache_clear()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_in_parts_are_exact(backend, rng, dtype, one_thread):
    for rows, inner, columns in ((1024, 256, 16), (1030, 400, 3), (1031, 300, 7), (16, 2000, 40)):
        a = rng.integers(-8, 9, (rows, inner)).astype(dtype)
        b, start = (rng.integers(-8, 9, (size, columns)).astype(dtype) for size in (inner, rows))
        expected = a @ b
        assert small_products.may_gain(rows, columns) is (rows > 16)
        for layout in (a, np.asfortranarray(a)):
            out = np.empty_like(start)
            assert backend.matmul(out.shape, dtype)(layout, b, out) is out
            np.testing.assert_array_equal(out, expected)
            wide = np.zeros((rows, 2 * columns), dtype)
            backend.matmul(out.shape, dtype)(layout, b, wide[:, ::2])
            np.testing.assert_array_equal(wide[:, ::2], expected)
            out = start.copy()
            assert backend.matmul_add(out.shape, dtype)(layout, b, out) is out
            np.testing.assert_array_equal(out, expected + start)
            steps = backend.matmul_steps(layout, np.stack([b, -b, 2 * b]))
            assert steps.dtype == dtype
            np.testing.assert_array_equal(steps, np.stack([expected, -expected, 2 * expected]))


def test_what_is_cut(backend):
    for rows, inner, columns, parts in ((1024, 256, 16, 8), (100, 100, 100, 0), (1024, 256, 1000, 0)):
        found = small_products.cut(np.zeros((rows, inner)), columns)
        assert (found is None) == (parts == 0)
        if parts:
            assert found.shape == (parts, rows // parts, inner)
    assert small_products.cut(np.zeros((256, 1024)).T, 16) is None
    assert small_products.cut(np.zeros((1031, 1000)), 2) is None  # a prime number of rows


def test_several_threads_share_a_product_but_not_one_of_few_columns(backend, one_thread):
    for threads, columns in ((1, 1000), (2, 8), (3, 4)):
        one_thread.library.scipy_openblas_set_num_threads64_(threads)
        assert one_thread.number() == threads
        assert small_products.may_gain(1024, columns)
        assert threads == 1 or not small_products.may_gain(1024, columns + 1)
        assert not small_products.may_gain(1024, 1)


def test_another_processor_gets_whole_products(backend, monkeypatch, one_thread):
    monkeypatch.setattr(small_products, "CORES", ())
    small_products._blas.cache_clear()
    assert not small_products.may_gain(1024, 16)


def test_a_layer_in_parts_agrees_with_one_in_whole_products(backend, rng, monkeypatch, one_thread):
    cell = rnnx.LSTM(40, 256)
    case = make_case(cell, rng, 24, 4)
    case = case._replace(params={key: 0.05 * value for key, value in case.params.items()}).on(backend)

    def run():
        y, _, tape = cell.forward(case.params, case.x, case.state)
        dx, _, grads = cell.backward(tape, case.dy)
        return [y, dx, *grads.values()]

    cuts = []
    monkeypatch.setattr(
        small_products, "cut", lambda a, n, cut=small_products.cut: cuts.append(cut(a, n)) or cuts[-1]
    )
    found = run()
    assert sum(parts is not None for parts in cuts) >= 2
    monkeypatch.setattr(small_products, "may_gain", lambda rows, columns: False)
    for one, other in zip(found, run(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)
