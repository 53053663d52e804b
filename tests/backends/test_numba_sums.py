"""Sums over time steps: exact for whole numbers, on any number of threads, and on older machines."""

import numpy as np
import pytest

from rnnx.backends import host_threads, numba_sums
from rnnx.backends.numba_products import BLOCK, DEPTH, STRIP
from rnnx.columns import Columns
from rnnx.errors import ShapeError
from support.older_machines import passes_on_a_machine_with

pytestmark = pytest.mark.parametrize("backend", ["numba"], indirect=True)

DTYPES = "float32", "float64"
GUARD = 2**14
SHAPES = {  # steps and sequences of each slab
    "one": [(3, 8)],
    "odd": [(7, 13)],
    "deep": [(2 * DEPTH // 24 + 1, 24)],
    "wide": [(2, DEPTH + 20)],
    "pieces": [(5, 32), (3, 32), (1, 32)],
    "ragged": [(4, 20), (1, 9), (6, 8), (2, 3), (5, 1)],
}


def integers(rng, shape, dtype):
    """Numbers whose sums of products are exact, in whatever order."""
    return rng.integers(-4, 5, shape).astype(dtype)


def matrix(backend, rng, rows, sizes, dtype, draw=integers):
    """Columns of slabs, each a part of larger memory as in a piece."""
    return Columns(backend, [draw(rng, (T + 2, rows, N), dtype)[1:-1] for T, N in sizes])


@pytest.fixture
def garbage():
    """Makes memory whose content spoils every number that it comes into, with guards on both sides."""
    made = []

    def empty(shape, dtype):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        made.append(np.full(size + 2 * GUARD, 0xFF, "uint8"))
        return made[-1][GUARD:-GUARD].view(dtype).reshape(shape)

    yield empty
    for memory in made:
        assert (memory[:GUARD] == 0xFF).all()
        assert (memory[-GUARD:] == 0xFF).all()


@pytest.fixture(params=[1, 3])
def team(request, monkeypatch, blas):
    """Number of threads, which small sums use too."""
    monkeypatch.setattr(host_threads, "START", 1)
    blas.library.scipy_openblas_set_num_threads64_(request.param)
    return request.param


@pytest.mark.parametrize("sizes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_weight_gradients_are_exact(backend, rng, dtype, sizes, team, garbage):
    count = sum(T * N for T, N in sizes)
    for width, heights in ((1, (1,)), (5, (9, 8)), (70, (3, 33, 1)), (BLOCK // (DEPTH * 4) + 50, (20,))):
        d = matrix(backend, rng, width, sizes, dtype)
        seen = [matrix(backend, rng, height, sizes, dtype) for height in heights]
        x = integers(rng, (count, 11), dtype)
        seen += [Columns.of_rows(backend, x), Columns.of_rows(backend, np.repeat(x, 3, axis=1)[::-1, ::-2])]
        for bias in (False, True):
            found = numba_sums.weight_gradients(garbage, d, seen, bias)
            expected = [d.whole.sum(axis=1)] * bias + [a.whole @ d.whole.T for a in seen]
            for one, other in zip(found, expected, strict=True):
                assert one.dtype == dtype
                assert one.flags.c_contiguous
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("sizes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_input_gradients_are_exact(backend, rng, dtype, sizes, team, garbage):
    for inner, width in ((1, 1), (9, 5), (DEPTH + 30, 40), (20, BLOCK // (DEPTH * 4) + 50)):
        d = matrix(backend, rng, inner, sizes, dtype)
        W = integers(rng, (width, inner), dtype)
        for each in (W, np.asfortranarray(W), np.repeat(W, 2, axis=1)[::-1, ::-2]):
            found = numba_sums.input_gradient(garbage, each, d)
            assert found.dtype == dtype
            assert found.flags.c_contiguous
            np.testing.assert_array_equal(found, d.whole.T @ each.T)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_threads_nor_on_slabs(backend, rng, dtype, monkeypatch, blas):
    def draw(rng, shape, dtype):
        return rng.standard_normal(shape).astype(dtype)

    whole = {rows: draw(rng, (30, rows, 24), dtype) for rows in (3 * STRIP, 37)}
    W = draw(rng, (45, 3 * STRIP), dtype)
    monkeypatch.setattr(host_threads, "START", 1)
    results = []
    for threads in (1, 2, 3):
        blas.library.scipy_openblas_set_num_threads64_(threads)
        for cuts in ((), (1,), (7, 22)):
            d, h = (Columns(backend, np.split(slab, cuts)) for slab in whole.values())
            results.append([*backend.weight_gradients(d, [h], True), backend.input_gradient(W, d)])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(two, one)


def test_steps_of_few_sequences_and_other_dtypes_are_left_to_matmul(backend, rng):
    for dtype, sizes in (("float32", [(9, 7)]), ("complex128", [(3, 16)]), ("float64", [(0, 16)])):
        d, h = (matrix(backend, rng, rows, sizes, dtype) for rows in (6, 5))
        assert backend.weight_gradients(d, [h], False) is None
        assert backend.input_gradient(integers(rng, (4, 6), dtype), d) is None


def test_a_matrix_that_does_not_fit_is_refused(backend, rng):
    d, h = (matrix(backend, rng, rows, [(3, 16)], "float32") for rows in (6, 5))
    with pytest.raises(ShapeError, match="given a matrix of 5x48; the steps need 5x32"):
        backend.weight_gradients(matrix(backend, rng, 6, [(2, 16)], "float32"), [h], False)
    with pytest.raises(ShapeError, match="given a matrix of 6x4; the steps need 6x6"):
        backend.input_gradient(integers(rng, (6, 4), "float32"), d)


def test_a_blas_whose_threads_are_not_known_keeps_its_sums(backend, rng, monkeypatch):
    d, h = (matrix(backend, rng, rows, [(3, 16)], "float32") for rows in (6, 5))
    monkeypatch.setattr(host_threads, "threads", lambda: None)
    assert backend.weight_gradients(d, [h], False) is None
    assert backend.input_gradient(integers(rng, (4, 6), "float32"), d) is None


@pytest.mark.parametrize("features", ["", "+avx,+avx2,+fma"], ids=["oldest", "avx2"])
def test_sums_on_other_machines(backend, tmp_path, features):
    passes_on_a_machine_with(features, __file__, tmp_path)
