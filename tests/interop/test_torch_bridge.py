"""from_torch and to_torch: the same function on both sides, for every kind, depth and direction."""

import numpy as np
import pytest

import rnnx
from support.cells import check_array, make_case
from support.torchrnn import KINDS, TOLERANCE, assert_equal, make_module, names_of, run_cell, run_module

T, N, D, H = 6, 3, 5, 4


def check(torch, module, rng, backend, dtype, sizes=(T, N), lengths=None):
    """Compare a module with the cell that is made of it."""
    cell, params = rnnx.from_torch(module)
    assert params.keys() == cell.param_shapes.keys()
    for name, shape in cell.param_shapes.items():
        check_array(backend, params[name], shape, dtype)
    case = make_case(cell, rng, *sizes)
    expected = run_module(torch, module, case, lengths)
    found = run_cell(cell, params, case, backend, dtype, lengths)
    without = {name for name in params if name.rpartition(".")[2] in ("b", "bn")}
    assert found.keys() - expected.keys() == (set() if module.bias else without)
    assert_equal(found, expected, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_from_torch_computes_the_same(kind, layers, bidirectional, bias, dtype, rng, torch):
    options = {"num_layers": layers, "bidirectional": bidirectional, "bias": bias}
    module = make_module(torch, rng, kind, D, H, dtype, **options)
    with rnnx.use_backend("numpy") as backend:
        check(torch, module, rng, backend, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", KINDS)
def test_on_every_backend_with_lengths(kind, dtype, backend, rng, torch):
    module = make_module(torch, rng, kind, D, H, dtype, num_layers=2, bidirectional=True)
    check(torch, module, rng, backend, dtype, (7, 5), [3, 7, 1, 5, 3])


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (3, 1, 1, 6), (4, 2, 7, 1), (2, 5, 17, 9)])
@pytest.mark.parametrize("kind", KINDS)
def test_odd_sizes(kind, sizes, rng, torch):
    T, N, D, H = sizes
    module = make_module(torch, rng, kind, D, H, num_layers=2, bidirectional=True)
    with rnnx.use_backend("numpy") as backend:
        check(torch, module, rng, backend, "float64", (T, N))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_the_cell_is_the_simplest_one(kind, layers, bidirectional, torch, rng):
    module = make_module(torch, rng, kind, D, H, num_layers=layers, bidirectional=bidirectional)
    make = rnnx.REGISTRY[kind]
    expected = [make(D if k == 0 else H * (1 + bidirectional), H) for k in range(layers)]
    expected = [rnnx.Bidirectional(cell) if bidirectional else cell for cell in expected]
    expected = rnnx.Stack(*expected) if layers > 1 else expected[0]
    assert rnnx.from_torch(module)[0] == expected


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind, layers, bidirectional, bias, backend, rng, torch):
    options = {"num_layers": layers, "bidirectional": bidirectional, "bias": bias}
    module = make_module(torch, rng, kind, D, H, **options)
    cell, params = rnnx.from_torch(module)
    again = rnnx.to_torch(cell, params)
    assert type(again) is type(module)
    assert again.batch_first is False
    for parameter in again.parameters():
        assert parameter.dtype == torch.float64
        assert parameter.requires_grad
    case = make_case(cell, rng, T, N)
    expected = run_module(torch, module, case)
    found = run_module(torch, again, case)
    assert found.keys() >= expected.keys()
    assert_equal(found, expected, "float64")
    for prefix, suffix in names_of(again):  # all of the bias that can be is in bias_ih
        hidden = getattr(again, "bias_hh" + suffix).detach().numpy().copy()
        if kind == "gru":
            np.testing.assert_array_equal(hidden[2 * H :], backend.to_numpy(params[prefix + "bn"]))
            hidden[2 * H :] = 0.0
        assert not hidden.any()
    _, twice = rnnx.from_torch(again)
    for name, value in params.items():
        np.testing.assert_array_equal(backend.to_numpy(twice[name]), backend.to_numpy(value), err_msg=name)


@pytest.mark.parametrize(
    "cell",
    [
        rnnx.LSTM(D, H, gate_order="ogif"),
        rnnx.GRU(D, H, gate_order="nrz"),
        rnnx.Bidirectional(rnnx.GRU(D, H, gate_order="znr"), rnnx.GRU(D, H, gate_order="rnz")),
        rnnx.Stack(rnnx.LSTM(D, H, gate_order="gifo"), rnnx.LSTM(H, H)),
        rnnx.Stack(rnnx.RNN(D, H, activation="relu")),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_any_gate_order_becomes_torchs(cell, dtype, backend, rng, torch):
    case = make_case(cell, rng, T, N)
    case = case._replace(params={name: H**-0.5 * value for name, value in case.params.items()})
    params = case.on(backend, dtype).params
    module = rnnx.to_torch(cell, params)
    found, expected = run_cell(cell, params, case, backend, dtype), run_module(torch, module, case)
    assert_equal(found, {name: expected[name] for name in ("y", "final.h", "dx", "dstate.h")}, dtype)


def test_complex_numbers(rng, torch):
    module = make_module(torch, rng, "gru", D, H, "complex128", bidirectional=True)
    for parameter in module.parameters():
        parameter.data += 0.1j * parameter.data.flip(0)
    cell, params = rnnx.from_torch(module)
    x = rng.standard_normal((T, N, D)) + 0.1j
    y, _, _ = cell.forward(params, x)
    for made in (module, rnnx.to_torch(cell, params)):
        np.testing.assert_allclose(y, made(torch.tensor(x))[0].detach().numpy(), rtol=0, atol=1e-12)


def test_batch_first_changes_nothing(rng, torch):
    module = make_module(torch, rng, "lstm", D, H)
    first = torch.nn.LSTM(D, H, batch_first=True, dtype=torch.float64)
    first.load_state_dict(module.state_dict())
    (cell, params), (other, others) = rnnx.from_torch(module), rnnx.from_torch(first)
    assert cell == other
    for name, value in params.items():
        np.testing.assert_array_equal(others[name], value)


def test_dropout_between_the_layers_goes_along(rng, torch):
    cell, params = rnnx.from_torch(make_module(torch, rng, "gru", D, H, num_layers=2, dropout=0.25))
    assert cell.dropout == 0.25
    assert rnnx.to_torch(cell, params).dropout == 0.25


def test_nothing_is_shared(backend, rng, torch):
    module = make_module(torch, rng, "rnn", 1, 1)
    cell, params = rnnx.from_torch(module)
    before = {name: np.array(backend.to_numpy(value)) for name, value in params.items()}
    again = rnnx.to_torch(cell, params)
    for made in (module, again):
        for parameter in made.parameters():
            parameter.data.fill_(7.0)
    for name, value in params.items():
        np.testing.assert_array_equal(backend.to_numpy(value), before[name])


def test_no_random_number_of_torch_is_drawn(rng, torch):
    cell, params = rnnx.from_torch(make_module(torch, rng, "lstm", D, H))
    state = torch.random.get_rng_state()
    rnnx.to_torch(cell, params)
    assert torch.equal(torch.random.get_rng_state(), state)
