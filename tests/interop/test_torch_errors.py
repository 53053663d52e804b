"""What has no counterpart is refused on either side, with the reason."""

import warnings
from dataclasses import dataclass

import numpy as np
import pytest

import rnnx
from support.torchrnn import make_module

NO_COUNTERPART = (
    "has no counterpart; expected an RNN, LSTM or GRU, a Bidirectional of one, or a Stack of either."
)


def parametrized(torch):
    module = torch.nn.LSTM(3, 4)
    torch.nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")
    return module


def pruned(torch):
    from torch.nn.utils import prune

    module = torch.nn.LSTM(3, 4)
    prune.random_unstructured(module, "weight_hh_l0", 0.5)
    return module


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda t: 3,
            rnnx.OptionError,
            "module is a builtins.int; expected a torch.nn.RNN, LSTM or GRU, and no subclass. Pass",
        ),
        (lambda t: t.nn.LSTM, rnnx.OptionError, "module is a builtins.type; expected"),
        (
            lambda t: t.nn.LSTMCell(3, 4),
            rnnx.OptionError,
            "module is a torch.nn.modules.rnn.LSTMCell; expected",
        ),
        (
            lambda t: t.nn.Sequential(t.nn.GRU(3, 4)),
            rnnx.OptionError,
            "module is a torch.nn.modules.container.Sequential; expected",
        ),
        (
            lambda t: type("Mine", (t.nn.GRU,), {"__module__": "there"})(3, 4),
            rnnx.OptionError,
            "module is a there.Mine; expected",
        ),
        (parametrized, rnnx.OptionError, "module is a torch.nn.utils.parametrize.ParametrizedLSTM; expected"),
        (pruned, rnnx.OptionError, "module lacks weight_hh_l0 and holds weight_hh_l0_orig besides. Make its"),
        (
            lambda t: t.nn.LSTM(3, 4, proj_size=2),
            rnnx.OptionError,
            "module has proj_size=2; a projection of h is not supported.",
        ),
        (
            lambda t: t.nn.GRU(3, 4, dtype=t.bfloat16),
            rnnx.DtypeError,
            "weight_ih_l0 has dtype bfloat16; expected one of float32, float64, complex128. Convert",
        ),
        (lambda t: t.nn.GRU(3, 4).half(), rnnx.DtypeError, "weight_ih_l0 has dtype float16; expected"),
    ],
)
def test_modules(make, error, message, torch):
    with pytest.raises(error) as caught:
        rnnx.from_torch(make(torch))
    assert str(caught.value).startswith("from_torch: " + message)


def test_the_module_in_the_hint(torch, rng):
    module = torch.nn.Sequential(make_module(torch, rng, "gru", 3, 4), torch.nn.Identity())
    assert rnnx.from_torch(module[0])[0] == rnnx.GRU(3, 4)


def test_dropout_of_a_single_layer_does_nothing(torch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says so too
        module = torch.nn.GRU(3, 4, dropout=0.5)
    assert rnnx.from_torch(module)[0] == rnnx.GRU(3, 4)


@dataclass(frozen=True)
class Peephole(rnnx.LSTM):
    """A cell with parameters of its own."""


@dataclass(frozen=True, init=False)
class Residual(rnnx.Stack):
    """A stack that may compute something else."""


@dataclass(frozen=True)
class Wider(rnnx.LSTM):
    """An option that LSTM itself might get."""

    clip: float = 0.0


L, G = rnnx.LSTM(3, 4), rnnx.GRU(3, 4)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (
            rnnx.GRU(3, 4, reset_after=False),
            "the GRU resets h before the recurrent product, torch.nn.GRU resets",
        ),
        (
            rnnx.RNN(3, 4, activation="identity"),
            "the RNN's activation is 'identity'; torch.nn.RNN has tanh and",
        ),
        (Peephole(3, 4), f"Peephole {NO_COUNTERPART}"),
        (rnnx.Linear(3, 4), f"Linear {NO_COUNTERPART}"),
        (None, f"NoneType {NO_COUNTERPART}"),
        (Residual(L), f"Residual {NO_COUNTERPART}"),
        (rnnx.Stack(rnnx.Stack(L)), f"Stack {NO_COUNTERPART}"),
        (rnnx.Bidirectional(rnnx.Stack(L)), f"Stack {NO_COUNTERPART}"),
        (
            rnnx.Bidirectional(L, merge="sum"),
            "a Bidirectional sums its directions; torch sets them side by side.",
        ),
        (
            rnnx.Stack(L, rnnx.GRU(4, 4)),
            "layers.1 is GRU(input_size=4, hidden_size=4, reset_after=True, gate_order=('r', 'z', 'n'))",
        ),
        (rnnx.Stack(L, rnnx.LSTM(4, 5)), "layers.1 is LSTM(input_size=4, hidden_size=5"),
        (rnnx.Bidirectional(L, rnnx.LSTM(3, 5)), "backward is LSTM(input_size=3, hidden_size=5"),
        (
            rnnx.Stack(rnnx.RNN(3, 4), rnnx.RNN(4, 4, activation="relu")),
            "layers.1 is RNN(input_size=4, hidden_size=4, activation='relu'",
        ),
        (
            rnnx.Stack(rnnx.Bidirectional(L), rnnx.LSTM(8, 4)),
            "only some layers are Bidirectional; in torch all are, or none.",
        ),
    ],
    ids=str,
)
def test_cells(cell, message, torch):
    params = getattr(cell, "init", dict)()
    with pytest.raises(rnnx.OptionError) as caught:
        rnnx.to_torch(cell, params)
    assert str(caught.value).startswith(f"to_torch: {message}")


def test_an_option_that_torch_lacks(monkeypatch, torch):
    from rnnx.interop import torch_weights

    monkeypatch.setitem(torch_weights.CELLS, "lstm", Wider)
    assert type(rnnx.to_torch(Wider(3, 4), L.init())).__name__ == "LSTM"
    with pytest.raises(
        rnnx.OptionError, match=r"Wider\(.*clip=1.0\) has an option that torch.nn.Wider lacks"
    ):
        rnnx.to_torch(Wider(3, 4, clip=1.0), L.init())


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ([1, 2], rnnx.ShapeError, "params is a list; expected a dict of arrays, as from init."),
        (G.init(), rnnx.ShapeError, "params has Wx, Wh, b, bn; expected Wx, Wh, b."),
        (rnnx.LSTM(3, 5).init(), rnnx.ShapeError, "params['Wx'] has shape (3, 20); expected (3, 16)."),
        (
            L.init() | {"b": np.zeros(16)},
            rnnx.DtypeError,
            "params['b'] has dtype float64; expected float32, that of the parameters.",
        ),
        (L.init() | {"b": [0.0] * 16}, rnnx.MixedArraysError, "params['b'] is a list; expected an array."),
        (
            {name: value.astype("float16") for name, value in L.init().items()},
            rnnx.DtypeError,
            "params has dtype float16; expected one of float32, float64, complex128.",
        ),
    ],
)
def test_parameters(params, error, message, torch):
    with pytest.raises(error) as caught:
        rnnx.to_torch(L, params)
    assert str(caught.value).startswith(f"to_torch: {message}")
