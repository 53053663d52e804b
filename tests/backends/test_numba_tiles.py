"""Products and transpositions of compiled loops: exact for whole numbers, here and on older machines."""

import ctypes

import numpy as np
import pytest

from rnnx.backends import numba_chain
from support.older_machines import passes_on_a_machine_with

pytestmark = pytest.mark.parametrize("backend", ["numba"], indirect=True)

DTYPES = "float32", "float64"
ROWS = 8


def function(dtype, name):
    """A compiled function of addresses and other integers."""
    address = numba_chain.functions(np.dtype(dtype))[list(numba_chain.FUNCTIONS).index(name)]

    def call(*arguments):
        values = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments]
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(values))
        kind(address)(*values)

    return call


def integers(rng, shape, dtype):
    """Numbers whose sums of products are exact, in whatever order."""
    return rng.integers(-8, 9, shape).astype(dtype)


LAYOUTS = {
    "rows": np.ascontiguousarray,
    "columns": np.asfortranarray,
    "strided": lambda a: np.repeat(np.repeat(a, 2, axis=0), 3, axis=1)[::2, ::3],
    "backwards": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
}


def packed(a, blocks, height, first=0, last=None):
    """A matrix as panels."""
    panels = -(-height // ROWS)
    found = np.full(blocks * panels * ROWS * a.shape[1], np.nan, a.dtype)
    last = panels if last is None else last
    inner = a.shape[1]
    function(a.dtype, "pack")(a, *a.strides, found, blocks, height, first, last, inner, 0, inner)
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_packed_panels_are_the_matrix(backend, rng, dtype, layout):
    for blocks, height, inner in ((1, 1, 1), (3, 8, 5), (2, 13, 7), (1, 70, 3)):
        a = LAYOUTS[layout](integers(rng, (blocks * height, inner), dtype))
        panels = -(-height // ROWS)
        expected = np.zeros((blocks, panels * ROWS, inner), dtype)
        expected[:, :height] = a.reshape(blocks, height, inner)
        expected = expected.reshape(blocks, panels, ROWS, inner).swapaxes(2, 3)
        found = packed(a, blocks, height)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found.reshape(expected.shape), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_are_exact_for_any_number_of_columns(backend, rng, dtype):
    for blocks, height, inner in ((1, 5, 3), (4, 20, 9), (2, 8, 130)):
        a = integers(rng, (blocks * height, inner), dtype)
        panels = packed(a, blocks, height)
        for columns in (*range(1, 41), 64, 70, 100):
            b, start = (
                integers(rng, (inner, columns), dtype),
                integers(rng, (blocks * height, columns), dtype),
            )
            sizes = blocks, height, 0, -(-height // ROWS), inner
            for add in (0, 1):
                out = start.copy()
                function(dtype, "multiply")(panels, *sizes, b, columns, out, add)
                np.testing.assert_array_equal(out, a @ b + add * start, err_msg=f"{columns} columns")


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_product_of_some_panels_leaves_the_other_rows_alone(backend, rng, dtype):
    blocks, height, inner = 3, 20, 4
    a = integers(rng, (blocks * height, inner), dtype)
    panels = packed(a, blocks, height, 1, 3)
    for columns in (1, 2, 5, 40):
        b, out = integers(rng, (inner, columns), dtype), np.full((blocks, height, columns), 99.0, dtype)
        function(dtype, "multiply")(panels, blocks, height, 1, 3, inner, b, columns, out, 0)
        np.testing.assert_array_equal(out[:, :8], 99.0)
        np.testing.assert_array_equal(out[:, 8:], (a @ b).reshape(out.shape)[:, 8:])


def test_a_product_larger_than_a_core_s_cache(backend, rng):
    a, b = integers(rng, (16, 1100), "float32"), integers(rng, (1100, 200), "float32")
    out = np.empty((16, 200), "float32")
    function("float32", "multiply")(packed(a, 2, 8), 2, 8, 0, 1, 1100, b, 200, out, 0)
    np.testing.assert_array_equal(out, a @ b)


@pytest.mark.parametrize("layout", ["rows", "columns"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_products_with_one_column(backend, rng, dtype, layout):
    for height, inner in ((1, 1), (80, 37), (123, 130), (128, 8), (1024, 30), (1040, 80)):
        a = LAYOUTS[layout](integers(rng, (height, inner + 1), dtype))[:, 1:]
        b, start = integers(rng, (inner,), dtype), integers(rng, (height + 40,), dtype)
        for add in (0, 1):
            out = start.copy()
            function(dtype, "multiply_one")(a, *a.strides, height, inner, b, out[20:], add)
            expected = start.copy()
            expected[20:-20] = a @ b + add * start[20:-20]
            np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_column_gives_the_same_bits_wherever_the_matrix_lies(backend, rng, dtype):
    height, inner = 96, 31
    values, b = rng.standard_normal((inner, height)).astype(dtype), rng.standard_normal(inner).astype(dtype)
    found = []
    for offset in range(17):
        room = np.empty(values.size + offset + 16, dtype)
        room = room[-room.ctypes.data % 64 // room.itemsize + offset :][: values.size]
        a, out = room.reshape(inner, height).T, np.full(height, np.nan, dtype)
        a[...] = values.T
        function(dtype, "multiply_one")(a, *a.strides, height, inner, b, out, 0)
        found.append(out)
    np.testing.assert_allclose(found[0], values.T @ b, rtol=1e-4 if dtype == "float32" else 1e-12)
    for out in found[1:]:
        np.testing.assert_array_equal(out, found[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_projection_of_one_sequence(backend, rng, dtype):
    for D, blocks, height, steps in ((1, 1, 3, 1), (5, 3, 20, 8), (7, 4, 41, 6)):
        x, W = integers(rng, (steps, D), dtype), integers(rng, (D, blocks * height), dtype)
        bias = integers(rng, (2 * blocks * height,), dtype)[::2]
        panel = np.full((D, ROWS), np.nan, dtype)
        function(dtype, "turn")(x, *x.strides, panel, 0, D, steps, ROWS, 0)
        np.testing.assert_array_equal(panel[:, :steps], x.T)
        out = np.full((steps, blocks * height), 99.0, dtype)
        weights = W, blocks * height, bias, bias.strides[0]
        function(dtype, "project")(panel, steps, D, *weights, blocks * height, out)
        np.testing.assert_array_equal(out, x @ W + bias)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_turned_and_turned_back(backend, rng, dtype):
    for batch, D in ((1, 1), (3, 40), (20, 7)):
        wide = rng.standard_normal((batch, 2 * D)).astype(dtype)
        for x in (wide[:, :D], wide[:, ::2], wide[::-1, ::-2]):
            out = np.ones((D, batch + 2), dtype)
            function(dtype, "turn")(x, *x.strides, out, 0, D, batch, batch + 2, 1)
            np.testing.assert_array_equal(out[:, :batch], x.T + np.ones((), dtype))
            np.testing.assert_array_equal(out[:, batch:], 1.0)
        y = np.zeros((batch, D), dtype)
        function(dtype, "turn_back")(np.ascontiguousarray(wide[:, :D].T), y, *y.strides, 0, D, batch)
        np.testing.assert_array_equal(y, wide[:, :D])


@pytest.mark.parametrize("dtype", DTYPES)
def test_copied_columns(backend, rng, dtype):
    for blocks, height, left, columns, width in ((1, 1, 0, 8, 8), (3, 5, 16, 16, 40), (2, 7, 8, 24, 33)):
        rows = blocks, height, height // 2, height
        some = np.s_[:, height // 2 :]
        whole = rng.standard_normal((blocks, height, width)).astype(dtype)
        own, copy = np.zeros((blocks, height, columns), dtype), function(dtype, "copy_columns")
        copy(whole[..., left:], width, own, columns, *rows, columns)
        expected = np.zeros_like(own)
        expected[some] = whole[some][..., left : left + columns]
        np.testing.assert_array_equal(own, expected)
        back = np.zeros_like(whole)
        copy(own, columns, back[..., left:], width, *rows, columns)
        expected = np.zeros_like(whole)
        expected[some][..., left : left + columns] = own[some]
        np.testing.assert_array_equal(back, expected)


@pytest.mark.parametrize("features", ["", "+avx,+avx2,+fma"], ids=["oldest", "avx2"])
def test_products_on_other_machines(backend, tmp_path, features):
    passes_on_a_machine_with(features, __file__, tmp_path)
