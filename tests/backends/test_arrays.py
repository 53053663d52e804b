"""Arrays between backends: how they pass, which one they belong to, and what is said when they do not fit."""

import numpy as np
import pytest

import rnnx
from rnnx import backends
from rnnx.errors import BackendError, MixedArraysError

SOURCES = ("numpy", "numba", "strict", "torch", "cupy")


def resolve(name):
    try:
        return backends.resolve(name)
    except BackendError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "bool"])
@pytest.mark.parametrize("source", SOURCES)
def test_arrays_pass_between_all_backends(backend, source, dtype, rng):
    values = rng.integers(0, 2, size=(2, 3)).astype(dtype)
    with rnnx.use_backend(resolve(source)) as origin:
        there = rnnx.asarray(values)
        assert origin.holds(there)
        assert there.dtype == origin.dtype(dtype)
    here = rnnx.asarray(there)
    assert backend.holds(here)
    assert here.dtype == backend.dtype(dtype)
    back = rnnx.to_numpy(here)
    assert type(back) is np.ndarray
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, values)
    np.testing.assert_array_equal(rnnx.to_numpy(there), values)
    if dtype != "bool":
        assert rnnx.asarray(there, dtype="float32").dtype == backend.dtype("float32")
        assert rnnx.asarray(there, dtype=backend.xp.float64).dtype == backend.dtype("float64")


@pytest.mark.parametrize("values", [[[1.0, 2.0], [3.0, 4.0]], 5.0, (), np.float32(0.5), [True, False]])
def test_sequences_and_scalars_become_arrays(backend, values):
    array = rnnx.asarray(values, dtype="float32")
    assert backend.holds(array)
    assert array.dtype == backend.dtype("float32")
    np.testing.assert_array_equal(rnnx.to_numpy(array), np.asarray(values, "float32"))


@pytest.mark.parametrize("name", SOURCES)
def test_an_array_that_fits_is_not_copied(name):
    with rnnx.use_backend(resolve(name)) as backend, backend.untracked():
        array = rnnx.asarray(np.zeros((2, 2)), "float32")
        again = rnnx.asarray(array)
        again[0, 0] = 1.0
        assert rnnx.to_numpy(array)[0, 0] == 1.0


def mixed(arrays, where="LSTM.forward"):
    with pytest.raises(MixedArraysError) as caught:
        backends.of(arrays, where)
    assert isinstance(caught.value, TypeError)
    return caught.value


@pytest.mark.parametrize(("first", "second"), [("numpy", "torch"), ("torch", "strict"), ("numpy", "strict")])
def test_mixed_libraries(first, second):
    one, other = resolve(first), resolve(second)
    arrays = {"params['Wx']": one.asarray([1.0]), "b": one.asarray([1.0]), "x": other.asarray([2.0])}
    error = mixed(arrays)
    assert error.problem == (
        f"LSTM.forward: params['Wx'] is on {first}, b is on {first}, x is on {second};"
        " expected all arrays in one library on one device."
    )
    assert error.hint == f'Move it: with rnnx.use_backend("{first}"): x = rnnx.asarray(x).'
    exec(
        error.hint.removeprefix("Move it: ").removesuffix("."), {"rnnx": rnnx}, arrays
    )  # what the hint says, done
    assert backends.of(arrays, "LSTM.forward") is one


def test_mixed_devices_of_one_library():
    arrays = {"x": resolve("strict").asarray([1.0]), "state.h": resolve("strict:CPU_DEVICE").asarray([1.0])}
    error = mixed(arrays)
    assert "x is on strict, state.h is on strict:CPU_DEVICE" in error.problem
    assert 'use_backend("strict"): state.h = rnnx.asarray(state.h)' in error.hint


@pytest.mark.parametrize(
    ("value", "kind"), [([1.0], "list"), (None, "NoneType"), ("x", "str"), (1.0, "float")]
)
def test_what_is_no_array(backend, value, kind):
    error = mixed({"b": backend.asarray([1.0]), "x": value})
    assert error.problem == f"LSTM.forward: x is a {kind}; expected an array."
    assert error.hint == "Convert it: rnnx.asarray(x)."


def test_a_cell_names_its_arguments():
    cell = rnnx.RNN(3, 4)
    with rnnx.use_backend("strict"):
        x = rnnx.asarray(np.ones((2, 1, 3), "float32"))
    with pytest.raises(MixedArraysError, match=r"RNN\.forward: params\['Wx'\] is on numpy.* x is on strict"):
        cell.forward(cell.init(), x)


def test_arrays_decide_where_a_function_runs(backend):
    array = backend.asarray([1.0])
    with rnnx.use_backend("numpy" if backend.name == "strict" else "strict"):
        assert backends.of({"x": array}, "f").xp is backend.xp
