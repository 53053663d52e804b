"""The numerical gradients that the notebooks import."""

import numpy as np
import pytest

import rnnx
from rnnx.notebooks.gradient_check import eval_numerical_gradient, eval_numerical_gradient_array, rel_error
from support.cells import check_array


def test_of_a_scalar_function(backend, rng):
    host = rng.standard_normal((2, 3))
    x = backend.asarray(host)
    found = eval_numerical_gradient(lambda x: backend.xp.sum(x * x * x), x)
    np.testing.assert_allclose(check_array(backend, found, (2, 3), "float64"), 3.0 * host**2, rtol=1e-8)
    by_number = eval_numerical_gradient(lambda x: float(np.sum(backend.to_numpy(x) ** 3)), x)
    np.testing.assert_allclose(backend.to_numpy(by_number), backend.to_numpy(found), rtol=1e-8)


def test_of_an_array_function(backend, rng):
    host, df = rng.standard_normal((2, 3)), rng.standard_normal((4, 3))
    W = backend.asarray(rng.standard_normal((4, 2)))
    x = backend.asarray(host)
    found = eval_numerical_gradient_array(lambda x: W @ x, x, backend.asarray(df))
    expected = backend.to_numpy(W).T @ df
    np.testing.assert_allclose(check_array(backend, found, (2, 3), "float64"), expected, rtol=1e-8)
    np.testing.assert_array_equal(backend.to_numpy(x), host)


def test_the_step_is_the_one_given():
    x = np.array([1.0])
    assert eval_numerical_gradient(lambda x: x[0] ** 3, x, 0.5) == pytest.approx(3.25)
    assert eval_numerical_gradient_array(lambda x: x**3, x, x, h=0.5) == pytest.approx(3.25)


def test_rel_error(backend):
    x, y = backend.asarray([1.0, 0.0, 2.0, -1.0]), backend.asarray([1.0, 1e-9, 1.0, -1.0])
    assert rel_error(x, y) == pytest.approx(1.0 / 3.0)
    assert rel_error(x, -x) == 1.0
    assert rel_error(backend.asarray([0.0]), backend.asarray([1e-9])) == pytest.approx(0.1)
    assert np.isnan(rel_error(x, backend.asarray([1.0, float("nan"), 2.0, -1.0])))


def test_bad_input():
    x, df = np.zeros((2, 3)), np.zeros((3, 2))
    with pytest.raises(
        rnnx.ShapeError, match=r"df has shape \(3, 2\); expected \(2, 3\). That of what f ret"
    ):
        eval_numerical_gradient_array(lambda x: x, x, df)
    with pytest.raises(rnnx.ShapeError, match=r"rel_error: y has shape \(3,\); expected \(2, 3\). That of x"):
        rel_error(x, x[0])
    with pytest.raises(rnnx.MixedArraysError, match="rel_error: y is a float; expected an array"):
        rel_error(x, 1.0)
    with pytest.raises(rnnx.DtypeError, match="eval_numerical_gradient: x has dtype int64"):
        eval_numerical_gradient(np.sum, np.zeros(2, np.int64))
