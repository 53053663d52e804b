"""Safetensors files with torch's names, written and read on either side, with torch and without."""

import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import rnnx
from rnnx.interop import load_torch, save_torch
from support.cells import check_array, make_case
from support.torchrnn import KINDS, TOLERANCE, assert_equal, make_module, run_cell, run_module

T, N, D, H = 6, 3, 5, 4
ACTIVATIONS = {"rnn": "tanh", "rnn-relu": "relu"}


def tensors(G=4, layers=1, directions=1, bias=True, dtype="float32", proj=None):
    """What a state_dict of torch would hold, by the documentation of torch.nn.LSTM."""
    found = {}
    for k in range(layers):
        for end in ("", "_reverse")[:directions]:
            below, rows = D if k == 0 else directions * H, G * H
            shapes = {"weight_ih": (rows, below), "weight_hh": (rows, H)}
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}
            shapes |= {"weight_hr": (proj, H)} if proj else {}
            for name, shape in shapes.items():
                values = np.linspace(-1, 1, int(np.prod(shape))) + 0.1 * len(found)
                found[f"{name}_l{k}{end}"] = values.reshape(shape).astype(dtype)
    return found


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("layers", [1, 2, 3, 11])
@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_names_and_shapes_tell_the_module(kind, layers, directions, bias, tmp_path):
    G = {"rnn": 1, "lstm": 4, "gru": 3}[kind]
    save_file(tensors(G, layers, directions, bias), tmp_path / "w.safetensors")
    cell, params = load_torch(tmp_path / "w.safetensors", activation="tanh" if kind == "rnn" else None)
    expected = [rnnx.REGISTRY[kind](D if k == 0 else H * directions, H) for k in range(layers)]
    expected = [rnnx.Bidirectional(cell) if directions == 2 else cell for cell in expected]
    assert cell == (rnnx.Stack(*expected) if layers > 1 else expected[0])
    assert {name: value.shape for name, value in params.items()} == cell.param_shapes
    save_torch(str(tmp_path / "again.safetensors"), cell, params)
    _, again = load_torch(tmp_path / "again.safetensors", activation="tanh" if kind == "rnn" else None)
    for name, value in params.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_files_of_torch(kind, layers, bidirectional, dtype, backend, rng, torch, tmp_path):
    import safetensors.torch

    module = make_module(torch, rng, kind, D, H, dtype, num_layers=layers, bidirectional=bidirectional)
    safetensors.torch.save_file(module.state_dict(), tmp_path / "torch.safetensors")
    cell, params = load_torch(tmp_path / "torch.safetensors", activation=ACTIVATIONS.get(kind))
    for name, shape in cell.param_shapes.items():
        check_array(backend, params[name], shape, dtype)
    case = make_case(cell, rng, T, N)
    expected = run_module(torch, module, case)
    assert_equal(run_cell(cell, params, case, backend, dtype), expected, dtype)

    save_torch(tmp_path / "rnnx.safetensors", cell, params)
    for parameter in module.parameters():
        parameter.data.zero_()
        parameter.grad = None
    module.load_state_dict(safetensors.torch.load_file(tmp_path / "rnnx.safetensors"))
    assert_equal(run_module(torch, module, case), expected, dtype)


def test_a_part_of_a_model(tmp_path):
    held = {"encoder." + name: value for name, value in tensors(3).items()}
    held |= {"rnn." + name: value for name, value in tensors(4).items()}
    held |= {"rnn_norm": np.zeros(2, "float16"), "head.weight": np.ones((2, 3), "int64")}
    save_file(held, tmp_path / "model.safetensors")
    assert load_torch(tmp_path / "model.safetensors", "encoder.")[0] == rnnx.GRU(D, H)
    cell, params = load_torch(tmp_path / "model.safetensors", prefix="rnn.")
    assert cell == rnnx.LSTM(D, H)
    np.testing.assert_array_equal(params["Wx"], held["rnn.weight_ih_l0"].T)
    save_torch(tmp_path / "part.safetensors", cell, params, prefix="a.b.")
    written = load_file(tmp_path / "part.safetensors")
    assert written.keys() == {"a.b." + name for name in tensors(4)}
    np.testing.assert_array_equal(written["a.b.weight_hh_l0"], held["rnn.weight_hh_l0"])
    assert written["a.b.weight_hh_l0"].dtype == np.float32
    assert not written["a.b.bias_hh_l0"].any()


def test_without_torch(tmp_path):
    save_file(tensors(3, layers=2, directions=2, dtype="float64"), tmp_path / "w.safetensors")
    code = """
import sys
sys.modules["torch"] = None  # every import of it fails
import rnnx, rnnx.interop
cell, params = rnnx.interop.load_torch("w.safetensors")
print(cell.forward(params, rnnx.asarray([[[1.0] * 5]]))[0].shape)
rnnx.interop.save_torch("again.safetensors", cell, params)
for call in (lambda: rnnx.from_torch(3), lambda: rnnx.to_torch(cell, params)):
    try:
        call()
    except rnnx.BackendError as error:
        print(error)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RNNX_")}
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    missing = (
        "torch cannot be used: the package 'torch' is not installed. Run: pip install \"rnnx[torch]\".\n"
    )
    assert run.stdout == "(1, 1, 8)\n" + 2 * missing
    (cell, params), (other, others) = (
        load_torch(tmp_path / f"{name}.safetensors") for name in ("w", "again")
    )
    assert cell == other
    for name, value in params.items():
        np.testing.assert_array_equal(others[name], value, err_msg=name)


def changed(**changes):
    """A file's tensors with some replaced or, where None, left out."""
    found = tensors(4) | changes
    return {name: value for name, value in found.items() if value is not None}


WRONG = {
    "no recurrent weights": ({"fc.weight": np.ones(3)}, "holds no RNN, LSTM or GRU: it lacks weight_ih_l0. "),
    "nothing": ({}, "holds no RNN, LSTM or GRU: it lacks weight_ih_l0. Save it with safetensors.torch"),
    "a prefix": (
        {"rnn." + name: value for name, value in tensors(4).items()},
        "it lacks weight_ih_l0. Try prefix='rnn.'.",
    ),
    "a projection": (tensors(4, proj=2), "it holds weight_hr_l0, a projection of h, which is not supported."),
    "one bias only": (changed(bias_hh_l0=None), "it lacks bias_hh_l0."),
    "no recurrence": (changed(weight_hh_l0=None), "it lacks weight_hh_l0."),
    "more": (changed(weight_ih_l1=np.ones(3)), "it holds weight_ih_l1 besides."),
    "half a direction": (
        changed(weight_hh_l0_reverse=np.ones((16, 4))),
        "it lacks bias_hh_l0_reverse, bias_ih_l0_reverse, weight_ih_l0_reverse.",
    ),
    "a layer left out": (
        changed(weight_hh_l2=np.ones((16, 4))),
        "it lacks bias_hh_l1, bias_ih_l1, weight_hh_l1, weight_ih_l1 and holds weight_hh_l2 besides.",
    ),
    "a bias's shape": (
        changed(bias_ih_l0=np.ones(15, "f4")),
        "it holds bias_ih_l0 of shape (15,), where (16,) is expected.",
    ),
    "a weight's rank": (
        changed(weight_ih_l0=np.ones((16, 5, 1), "f4")),
        "it holds weight_ih_l0 of shape (16, 5, 1), where a matrix is expected.",
    ),
    "no units": (
        changed(weight_hh_l0=np.ones((0, 0), "f4")),
        "it holds weight_hh_l0 of shape (0, 0), where a matrix is expected.",
    ),
    "two gates": (
        changed(weight_hh_l0=np.ones((8, 4), "f4")),
        "it holds weight_hh_l0 of shape (8, 4), where (H, H), (3H, H) or (4H, H) is expected.",
    ),
    "a float16": (tensors(4, dtype="float16"), "weight_ih_l0 is F16; expected all of F32, or all of F64."),
    "two dtypes": (changed(bias_hh_l0=np.ones(16)), "bias_hh_l0 is F64; expected all of F32, or all of F64."),
    "a NaN": (
        changed(bias_hh_l0=np.full(16, np.nan, "f4")),
        "bias_hh_l0 holds values that are not finite.",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_one_clear_sentence(name, tmp_path):
    held, expected = WRONG[name]
    save_file(held, tmp_path / "w.safetensors")
    with pytest.raises(rnnx.DataError) as caught:
        load_torch(tmp_path / "w.safetensors")
    assert expected in str(caught.value)
    assert str(caught.value).startswith(repr(str(tmp_path / "w.safetensors")))
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_wrong_prefix(tmp_path):
    save_file(tensors(4), tmp_path / "w.safetensors")
    with pytest.raises(
        rnnx.DataError, match=r"at the prefix 'lstm\.': it lacks weight_ih_l0\. Try prefix=''"
    ):
        load_torch(tmp_path / "w.safetensors", "lstm.")


@pytest.mark.parametrize(
    "spoil",
    [lambda data: data[:-3], lambda data: data[:5], lambda data: b"", lambda data: b"PK\x03\x04" * 99],
)
def test_a_broken_file(spoil, tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(tensors(4), path)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(
        rnnx.DataError, match=r"is cut short or no safetensors file: .*safetensors\.torch"
    ) as caught:
        load_torch(path)
    assert "\n" not in str(caught.value)


def test_any_spoilt_byte_is_an_error_of_ours_or_harmless(tmp_path, rng):
    path = tmp_path / "w.safetensors"
    save_file(tensors(1), path)
    whole, refused = path.read_bytes(), []
    for place in range(0, 8 + int.from_bytes(whole[:8], "little"), 3):
        path.write_bytes(whole[:place] + bytes([rng.integers(256)]) + whole[place + 1 :])
        try:
            load_torch(path, activation="tanh")
        except rnnx.DataError as error:
            refused.append(str(error))
    assert len(refused) > 20
    assert all(str(path) in message for message in refused)


def test_no_file(tmp_path):
    with pytest.raises(rnnx.DataError, match=r"There is no file '.*none'"):
        load_torch(tmp_path / "none")
    with pytest.raises(rnnx.DataError, match="is no file"):
        load_torch(tmp_path)
    cell = rnnx.RNN(2, 3)
    with pytest.raises(FileNotFoundError):
        save_torch(tmp_path / "none" / "w.safetensors", cell, cell.init())


@pytest.mark.parametrize(
    ("blocks", "activation", "message"),
    [
        (
            1,
            None,
            "load_torch: activation is None; '.*' holds RNN weights, which need one of tanh, relu. It is",
        ),
        (
            1,
            "identity",
            "load_torch: activation is 'identity'; '.*' holds RNN weights, which need one of tanh",
        ),
        (4, "tanh", "load_torch: activation is 'tanh'; '.*' holds LSTM weights, which have none."),
    ],
)
def test_activation(blocks, activation, message, tmp_path):
    save_file(tensors(blocks), tmp_path / "w.safetensors")
    with pytest.raises(rnnx.OptionError, match=message):
        load_torch(tmp_path / "w.safetensors", activation=activation)


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path, cell = tmp_path / "w.safetensors", rnnx.GRU(2, 3)
    save_torch(path, cell, cell.init())
    before = path.read_bytes()
    with pytest.raises(
        rnnx.DtypeError, match="save_torch: params has dtype complex128; expected one of float32"
    ):
        save_torch(path, cell, cell.init(dtype="complex128"))
    with pytest.raises(rnnx.OptionError, match="save_torch: the GRU resets h"):
        save_torch(path, rnnx.GRU(2, 3, reset_after=False), cell.init())
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["w.safetensors"]
