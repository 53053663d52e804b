"""Notebook 001: its printed numbers, and each partial derivative by the complex step."""

import numpy as np
import pytest

import rnnx
from rnnx.notebooks.scalar_lstm import candidate, cell_state, da_dV, dh_ds, dh_dV, ds_da, output
from support.cells import check_array

ONES = [1, 1]
STEP = 1e-30


def test_the_printed_numbers(backend):
    one, two = backend.asarray(1.0), backend.asarray(2.0)
    ones = backend.asarray([1.0, 1.0])
    assert check_array(backend, ds_da(two), (), "float64") == 2.0
    assert check_array(backend, ds_da(one), (), "float64") == 1.0
    found = check_array(backend, dh_ds(one, backend.asarray(1.9998)), (), "float64")
    assert found == pytest.approx(0.07067807364430378, rel=1e-14)
    found = check_array(backend, da_dV(ones, ones, ones, ones, one), (2,), "float64")
    np.testing.assert_allclose(found, [0.00018158, 0.00018158], rtol=0, atol=5e-9)
    found = check_array(backend, dh_dV(ones, ones, ones, ones, one, one, one, one, one), (2,), "float64")
    np.testing.assert_allclose(found, [1.28312511e-05, 1.28312511e-05], rtol=0, atol=5e-14)


def test_numbers_and_lists_are_arguments_too(backend):
    found = check_array(backend, dh_dV(ONES, ONES, ONES, ONES, 1, 1, 1, 1, 1), (2,), "float64")
    np.testing.assert_allclose(found, [1.28312511e-05] * 2, rtol=0, atol=5e-14)


def test_every_partial_derivative_by_the_complex_step(rng):
    V, x = rng.standard_normal((2, 3))
    U, h_prev = 0.3 * rng.standard_normal((2, 4))
    b, i, f, o, s_prev = (np.asarray(v) for v in rng.standard_normal(5))
    a = candidate(V, x, U, h_prev, b)
    s = cell_state(i, a, f, s_prev)

    def imaginary(function, value):
        return np.imag(function(value + 1j * STEP)) / STEP

    cast = [np.asarray(v, np.complex128) for v in (x, U, h_prev, b, i, f, o, s_prev)]
    xc, Uc, hc, bc, ic, fc, oc, sc = cast
    assert ds_da(i) == pytest.approx(imaginary(lambda a: cell_state(ic, a, fc, sc), a), rel=1e-12)
    assert dh_ds(o, s) == pytest.approx(imaginary(lambda s: output(oc, s), s), rel=1e-12)
    for k in range(3):
        moved = V + 1j * STEP * np.eye(3)[k]
        a_moved = candidate(moved, xc, Uc, hc, bc)
        h_moved = output(oc, cell_state(ic, a_moved, fc, sc))
        assert da_dV(V, x, U, h_prev, b)[k] == pytest.approx(np.imag(a_moved) / STEP, rel=1e-12)
        found = dh_dV(V, x, U, h_prev, b, f, i, o, s_prev)[k]
        assert found == pytest.approx(np.imag(h_moved) / STEP, rel=1e-12)
        assert found == pytest.approx(dh_ds(o, s) * ds_da(i) * da_dV(V, x, U, h_prev, b)[k], rel=1e-12)


def test_bad_input():
    with pytest.raises(rnnx.ShapeError, match=r"candidate: x has shape \(3,\); expected \(2,\)"):
        candidate(ONES, [1, 1, 1], ONES, ONES, 1)
    with pytest.raises(rnnx.ShapeError, match=r"candidate: h_prev has shape \(1,\); expected \(2,\)"):
        dh_dV(ONES, ONES, ONES, [1], 1, 1, 1, 1, 1)
