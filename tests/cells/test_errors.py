"""What a user can pass wrongly to a cell: each error names the argument, what came and what is expected."""

import numpy as np
import pytest

import rnnx

PARAMS = rnnx.LSTM(3, 4).init()
X = np.zeros((5, 2, 3), np.float32)
STATE = rnnx.LSTMState(np.zeros((2, 4), np.float32), np.zeros((2, 4), np.float32))


def without(name):
    return {key: value for key, value in PARAMS.items() if key != name}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: rnnx.LSTM(0, 4),
            rnnx.OptionError,
            "LSTM: input_size is 0; expected an integer of at least 1.",
        ),
        (
            lambda: rnnx.GRU(3, 2.0),
            rnnx.OptionError,
            "GRU: hidden_size is 2.0; expected an integer of at least 1.",
        ),
        (
            lambda: rnnx.RNN(3, True),
            rnnx.OptionError,
            "RNN: hidden_size is True; expected an integer of at least 1.",
        ),
        (
            lambda: rnnx.RNN(3, 4, activation="sin"),
            rnnx.OptionError,
            "RNN: activation is 'sin'; expected one of tanh, relu, identity.",
        ),
        (
            lambda: rnnx.LSTM(3, 4, gate_order="ifgg"),
            rnnx.OptionError,
            "LSTM: gate_order is 'ifgg'; expected i, f, g, o, each once. For example \"ifgo\".",
        ),
        (
            lambda: rnnx.LSTM(3, 4).init(dtype="float33"),
            rnnx.DtypeError,
            "dtype is 'float33', which numpy does not have.",
        ),
    ],
)
def test_constructors(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("params", "x", "state", "error", "message"),
    [
        (
            PARAMS,
            X[0],
            None,
            rnnx.ShapeError,
            "LSTM.forward: x has shape (2, 3); expected (T, N, 3). For one step use LSTM.step.",
        ),
        (
            PARAMS,
            X[..., :2],
            None,
            rnnx.ShapeError,
            "LSTM.forward: x has shape (5, 2, 2); expected (T, N, 3).",
        ),
        (
            PARAMS,
            X.astype(np.float64),
            None,
            rnnx.DtypeError,
            "LSTM.forward: x has dtype float64; expected float32, that of the parameters. "
            "Convert it: rnnx.asarray(x, dtype=...).",
        ),
        (without("b"), X, None, rnnx.ShapeError, "LSTM.forward: params has Wx, Wh; expected Wx, Wh, b."),
        (
            PARAMS | {"Wh": PARAMS["Wh"].T},
            X,
            None,
            rnnx.ShapeError,
            "LSTM.forward: params['Wh'] has shape (16, 4); expected (4, 16).",
        ),
        (
            PARAMS | {"b": PARAMS["b"].astype(np.float64)},
            X,
            None,
            rnnx.DtypeError,
            "LSTM.forward: params['b'] has dtype float64; expected float32, that of the parameters.",
        ),
        ([PARAMS], X, None, rnnx.ShapeError, "LSTM.forward: params is a list; expected a dict of arrays"),
        (
            PARAMS,
            X,
            STATE.h,
            rnnx.ShapeError,
            "LSTM.forward: state is a ndarray; expected LSTMState(h, c). "
            "Pass a state as forward, step and init_state return it.",
        ),
        (
            PARAMS,
            X,
            (STATE.h,),
            rnnx.ShapeError,
            "LSTM.forward: state is a tuple of 1; expected LSTMState(h, c).",
        ),
        (
            PARAMS,
            X,
            STATE._replace(c=STATE.c[:1]),
            rnnx.ShapeError,
            "LSTM.forward: state.c has shape (1, 4); expected (2, 4).",
        ),
        (
            PARAMS,
            X,
            STATE._replace(h=STATE.h.astype(np.float64)),
            rnnx.DtypeError,
            "LSTM.forward: state.h has dtype float64; expected float32",
        ),
        (
            PARAMS,
            X.tolist(),
            None,
            rnnx.MixedArraysError,
            "LSTM.forward: x is a list; expected an array. Convert it: rnnx.asarray(x).",
        ),
    ],
)
def test_forward(params, x, state, error, message):
    with pytest.raises(error) as caught:
        rnnx.LSTM(3, 4).forward(params, x, state)
    assert str(caught.value).startswith(message)


def test_step():
    with pytest.raises(rnnx.ShapeError) as caught:
        rnnx.LSTM(3, 4).step(PARAMS, X)
    assert str(caught.value) == (
        "LSTM.step: x has shape (5, 2, 3); expected (N, 3). For a whole sequence use LSTM.forward."
    )


@pytest.mark.parametrize(
    ("dy", "dstate", "error", "message"),
    [
        (X, None, rnnx.ShapeError, "LSTM.backward: dy has shape (5, 2, 3); expected (5, 2, 4)."),
        (
            np.zeros((5, 2, 4)),
            None,
            rnnx.DtypeError,
            "LSTM.backward: dy has dtype float64; expected float32, that of the parameters.",
        ),
        (None, STATE.h, rnnx.ShapeError, "LSTM.backward: dstate is a ndarray; expected LSTMState(h, c)."),
        (
            None,
            STATE._replace(c=STATE.c.T),
            rnnx.ShapeError,
            "LSTM.backward: dstate.c has shape (4, 2); expected (2, 4).",
        ),
        ([1.0], None, rnnx.MixedArraysError, "LSTM.backward: dy is a list; expected an array."),
    ],
)
def test_backward(dy, dstate, error, message):
    cell = rnnx.LSTM(3, 4)
    _, _, tape = cell.forward(PARAMS, X)
    with pytest.raises(error) as caught:
        cell.backward(tape, dy, dstate)
    assert str(caught.value).startswith(message)
    dx, _, _ = cell.backward(tape)
    assert not dx.any(), "the tape is still there after an error"


def test_a_tape_belongs_to_its_cell():
    cell = rnnx.LSTM(3, 4)
    _, _, tape = cell.forward(PARAMS, X)
    with pytest.raises(
        rnnx.OptionError, match=r"LSTM.backward: the tape is of LSTM\(.*not of LSTM\(.*'o', 'f'"
    ):
        rnnx.LSTM(3, 4, gate_order="ofig").backward(tape)
    with pytest.raises(rnnx.OptionError, match=r"GRU.backward: the tape is of LSTM"):
        rnnx.GRU(3, 4).backward(tape)
    with pytest.raises(rnnx.OptionError, match=r"LSTM.backward: tape is a str"):
        cell.backward("tape")
    dx, _, _ = cell.backward(tape)
    assert not dx.any(), "the tape is still there"


@pytest.mark.parametrize(("dtype", "given"), [("int32", "int32"), ("bool", "bool")])
def test_parameters_are_floating(dtype, given):
    with pytest.raises(rnnx.DtypeError, match=f"dtype is '{given}'; expected one of floating numbers"):
        rnnx.RNN(3, 4).init(dtype=dtype)
    params = {name: value.astype(dtype) for name, value in PARAMS.items()}
    with pytest.raises(rnnx.DtypeError, match=rf"params\['Wx'\] has dtype {given}; expected floating"):
        rnnx.LSTM(3, 4).forward(params, X.astype(dtype))


@pytest.mark.parametrize("seed", [-1, 1.5, True])
def test_seeds(seed):
    with pytest.raises(rnnx.OptionError, match=f"The seed is {seed!r}; expected an integer of at least 0"):
        rnnx.RNN(3, 4).init(seed=seed)


def test_sizes_may_be_numpy_integers():
    cell = rnnx.LSTM(np.int64(3), np.int32(4))
    assert cell == rnnx.LSTM(3, 4)
    assert type(cell.input_size) is int


def test_backward_without_a_tape():
    cell = rnnx.LSTM(3, 4)
    _, _, tape = cell.forward(PARAMS, X, training=False)
    with pytest.raises(rnnx.OptionError, match=r"there is no tape.*training=True"):
        cell.backward(tape)


def test_errors_are_the_built_in_ones_too():
    assert issubclass(rnnx.ShapeError, ValueError)
    assert issubclass(rnnx.DtypeError, TypeError)
    assert issubclass(rnnx.MixedArraysError, TypeError)
    assert issubclass(rnnx.BackendError, RuntimeError)
    assert issubclass(rnnx.TapeConsumed, RuntimeError)


@pytest.mark.parametrize("library", ["strict", "torch"])
def test_mixed_libraries(library):
    if library == "torch":
        pytest.importorskip("torch", exc_type=ImportError)
    cell = rnnx.LSTM(3, 4)
    with rnnx.use_backend(library):
        x, dy = rnnx.asarray(X), rnnx.asarray(np.zeros((5, 2, 4), np.float32))
    with pytest.raises(rnnx.MixedArraysError) as caught:
        cell.forward(PARAMS, x)
    assert "LSTM.forward: params['Wx'] is on numpy" in str(caught.value)
    assert f"x is on {library}" in str(caught.value)
    assert "rnnx.asarray(x)" in str(caught.value)
    _, _, tape = cell.forward(PARAMS, X)
    with pytest.raises(rnnx.MixedArraysError, match=f"dy is on {library}, the tape is on numpy"):
        cell.backward(tape, dy)
