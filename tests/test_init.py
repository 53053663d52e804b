"""Initialisers: what each one draws, where, and that it is the same on every backend."""

import numpy as np
import pytest

import rnnx
from rnnx.cells import REGISTRY
from rnnx.init import INITIALISERS, child_seed, generator
from support.cells import check_array

D, H = 5, 4
MATRICES = {"Wh": "orthogonal", "Wx": "glorot", "b": "zeros"}


def blocks(cell, matrix):
    """Gate blocks of a parameter by name."""
    return {gate: matrix[..., rows] for gate, rows in zip(cell.gates, cell.rows, strict=True)}


@pytest.mark.parametrize("name", REGISTRY)
def test_the_default_is_torchs_uniform(name):
    cell = REGISTRY[name](D, H)
    for key, value in cell.init(7, "float64").items():
        expected = generator(7, key).uniform(-(H**-0.5), H**-0.5, cell.param_shapes[key])
        np.testing.assert_array_equal(value, expected, err_msg=key)


@pytest.mark.parametrize("name", REGISTRY)
def test_orthogonal_glorot_and_zeros(name, backend):
    cell = REGISTRY[name](D, H)
    params = cell.init(3, "float64", weights=MATRICES)
    with rnnx.use_backend("numpy"):
        expected = cell.init(3, "float64", weights=MATRICES)
    host = {key: check_array(backend, params[key], cell.param_shapes[key], "float64") for key in params}
    for key, value in expected.items():
        np.testing.assert_array_equal(host[key], value, err_msg=key)
    for block in blocks(cell, host["Wh"]).values():
        np.testing.assert_allclose(block.T @ block, np.eye(H), atol=1e-14)
    assert len({block.tobytes() for block in blocks(cell, host["Wh"]).values()}) == len(cell.gates)
    bound = (6.0 / (D + H)) ** 0.5
    assert 0.8 * bound < np.abs(host["Wx"]).max() <= bound
    assert not host["b"].any()


def test_orthogonal_matrices_that_are_not_square():
    for sizes in ((7, 3), (3, 7)):
        Wx = rnnx.GRU(*sizes).init(0, "float64", weights={"Wx": "orthogonal"})["Wx"]
        for block in np.split(Wx, 3, axis=1):
            small = block.T @ block if sizes[0] > sizes[1] else block @ block.T
            np.testing.assert_allclose(small, np.eye(3), atol=1e-14)


def test_orthogonal_matrices_are_spread_evenly():
    Wh = rnnx.RNN(1, 2).init
    angles = [Wh(seed, "float64", weights={"Wh": "orthogonal"})["Wh"] for seed in range(400)]
    signs = np.mean(np.sign(angles), axis=0)
    assert np.abs(signs).max() < 0.15, "QR without its signs fixed favours one of them"
    assert abs(np.mean([np.linalg.det(matrix) for matrix in angles])) < 0.15


@pytest.mark.parametrize("order", ["ifgo", "gofi"])
def test_the_forget_bias_is_added_to_the_forget_gate(order, backend):
    cell = rnnx.LSTM(D, H, gate_order=order)
    plain, changed = (cell.init(2, **options) for options in ({}, {"forget_bias": 1.5}))
    for key in plain:
        difference = backend.to_numpy(changed[key]) - backend.to_numpy(plain[key])
        if key == "b":
            difference = blocks(cell, difference)
            np.testing.assert_allclose(difference.pop("f"), 1.5, rtol=1e-6)
            assert not any(value.any() for value in difference.values())
        else:
            assert not difference.any(), key
        assert check_array(backend, changed[key], cell.param_shapes[key], "float32") is not None
    zeros = cell.init(2, weights={"b": "zeros"}, forget_bias=-1)
    np.testing.assert_array_equal(blocks(cell, backend.to_numpy(zeros["b"]))["f"], -1.0)


def test_chrono_spreads_the_memories_of_units(backend):
    cell, longest = rnnx.LSTM(D, 2000), 500.0
    plain, params = (cell.init(4, "float64", **options) for options in ({}, {"chrono": longest}))
    b, before = (blocks(cell, backend.to_numpy(each["b"])) for each in (params, plain))
    memory = np.exp(b["f"])
    assert 1.0 <= memory.min() < 5.0 < 480.0 < memory.max() <= longest - 1.0
    assert abs(memory.mean() - 0.5 * longest) < 15.0, "uniform in 1 .. T - 1"
    np.testing.assert_array_equal(b["i"], -b["f"])
    for gate in "go":
        np.testing.assert_array_equal(b[gate], before[gate])
    with rnnx.use_backend("numpy"):
        np.testing.assert_array_equal(backend.to_numpy(params["b"]), cell.init(4, "float64", chrono=500)["b"])


def test_chrono_of_a_gru_is_on_its_update_gate():
    cell = rnnx.GRU(D, H)
    b, before = (blocks(cell, cell.init(4, **options)["b"]) for options in ({"chrono": 50}, {}))
    assert ((np.exp(b["z"]) >= 1.0) & (np.exp(b["z"]) <= 49.0)).all()
    for gate in "rn":
        np.testing.assert_array_equal(b[gate], before[gate])


def test_a_unit_of_chrono_forgets_after_the_steps_that_it_was_drawn_for():
    cell = rnnx.LSTM(1, 1)
    params = cell.init(0, "float64", weights=dict.fromkeys(("Wx", "Wh", "b"), "zeros"), chrono=100)
    steps = 1.0 + np.exp(params["b"][1])
    _, state, _ = cell.forward(params, np.zeros((round(steps), 1, 1)), rnnx.LSTMState(*2 * [np.ones((1, 1))]))
    np.testing.assert_allclose(state.c[0, 0], np.exp(-1.0), rtol=0.05)


def test_stacks_take_them_by_the_end_of_a_name_and_the_longest_decides(backend):
    cell = rnnx.Stack(rnnx.Bidirectional(rnnx.LSTM(D, H)), rnnx.GRU(2 * H, H))
    weights = {"Wh": "orthogonal", "layers.1.Wh": "zeros", "backward.b": "zeros"}
    params = {
        name: backend.to_numpy(value) for name, value in cell.init(1, "float64", weights=weights).items()
    }
    plain = {name: backend.to_numpy(value) for name, value in cell.init(1, "float64").items()}
    for way in ("forward", "backward"):
        block = params[f"layers.0.{way}.Wh"][:, :H]
        np.testing.assert_allclose(block.T @ block, np.eye(H), atol=1e-14)
    changed = {name for name in plain if not np.array_equal(params[name], plain[name])}
    assert changed == {"layers.0.forward.Wh", "layers.0.backward.Wh", "layers.1.Wh", "layers.0.backward.b"}
    assert not params["layers.1.Wh"].any()
    assert not params["layers.0.backward.b"].any()


def test_a_stack_draws_what_its_members_draw_from_child_seeds():
    lower, upper = rnnx.LSTM(D, H), rnnx.GRU(H, 3)
    options = {"weights": {"Wx": "glorot"}}
    params = rnnx.Stack(lower, upper).init(9, **options)
    for k, cell in enumerate((lower, upper)):
        for name, value in cell.init(child_seed(9, f"layers.{k}"), **options).items():
            np.testing.assert_array_equal(params[f"layers.{k}.{name}"], value)


def test_stacks_have_forget_gates_where_their_members_have():
    cell = rnnx.Stack(rnnx.Bidirectional(rnnx.LSTM(D, H)), rnnx.RNN(2 * H, H), rnnx.GRU(H, H))
    for option in ({"forget_bias": 1.0}, {"chrono": 40}):
        params, plain = cell.init(1, "float64", **option), cell.init(1, "float64")
        changed = {name for name in plain if not np.array_equal(params[name], plain[name])}
        assert changed == {"layers.0.forward.b", "layers.0.backward.b", "layers.2.b"}
    params = cell.init(1, chrono=40)
    assert not np.array_equal(params["layers.0.forward.b"], params["layers.0.backward.b"])


@pytest.mark.parametrize(
    ("cell", "options", "message"),
    [
        (
            rnnx.LSTM(D, H),
            {"weights": "orthogonal"},
            "LSTM.init: weights is 'orthogonal'; expected initialisers by parameter. Such as",
        ),
        (
            rnnx.LSTM(D, H),
            {"weights": {"Wk": "zeros"}},
            "LSTM.init: weights has 'Wk'; expected names of parameters: Wx, Wh, b.",
        ),
        (
            rnnx.LSTM(D, H),
            {"weights": {"Wh": "ortho"}},
            f"LSTM.init: weights['Wh'] is 'ortho'; expected one of {', '.join(INITIALISERS)}.",
        ),
        (
            rnnx.Stack(rnnx.RNN(D, H)),
            {"weights": {"b": "glorot"}},
            "Stack.init: layers.0.b of shape (4,) cannot be glorot; expected a matrix.",
        ),
        (
            rnnx.LSTM(D, H),
            {"forget_bias": "one"},
            "LSTM.init: forget_bias is 'one'; expected a finite number.",
        ),
        (rnnx.LSTM(D, H), {"chrono": 2}, "LSTM.init: chrono is 2; expected a number of steps above 2."),
        (
            rnnx.LSTM(D, H),
            {"chrono": 9, "forget_bias": 1.0},
            "LSTM.init: forget_bias and chrono are both given; expected one of them.",
        ),
        (
            rnnx.Stack(rnnx.RNN(D, H)),
            {"chrono": 9},
            "Stack.init: chrono is given, but Stack has no gate that keeps its state.",
        ),
    ],
)
def test_wrong_options(cell, options, message):
    with pytest.raises(rnnx.OptionError) as caught:
        cell.init(**options)
    assert str(caught.value).startswith(message)
