"""Stacks and both directions beside torch.nn.RNN, LSTM and GRU, packed sequences included."""

import numpy as np
import pytest

import rnnx
from rnnx import states
from support.cells import make_case

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
T, D, H = 7, 3, 4
LENGTHS = {"full": [7, 7, 7, 7, 7], "ragged": [3, 7, 1, 5, 3]}
KINDS = {
    "rnn": (rnnx.RNN, "RNN", {}),
    "rnn-relu": (lambda D, H: rnnx.RNN(D, H, activation="relu"), "RNN", {"nonlinearity": "relu"}),
    "lstm": (rnnx.LSTM, "LSTM", {}),
    "gru": (rnnx.GRU, "GRU", {}),
}


def stack(make, layers, directions):
    """Stack of the same shape as a module of torch.nn."""

    def layer(size):
        return rnnx.Bidirectional(make(size, H)) if directions == 2 else make(size, H)

    return rnnx.Stack(layer(D), *(layer(directions * H) for _ in range(layers - 1)))


def suffixes(layers, directions):
    """Name of each cell here, with the end of its parameters' names in torch."""
    for k in range(layers):
        if directions == 1:
            yield f"layers.{k}", f"l{k}"
        else:
            yield f"layers.{k}.forward", f"l{k}"
            yield f"layers.{k}.backward", f"l{k}_reverse"


def single_states(state, directions):
    """States of the single cells, in torch's order."""
    return [cell for layer in state for cell in (layer if directions == 2 else [layer])]


def in_torch(module, params, names):
    """Copy parameters into a torch module; a GRU's bn is the part of its second bias that the rest lacks."""
    for ours, theirs in names:
        hidden_bias = np.zeros_like(params[f"{ours}.b"])
        if f"{ours}.bn" in params:
            hidden_bias[2 * H :] = params[f"{ours}.bn"]
        values = {
            "weight_ih": params[f"{ours}.Wx"].T,
            "weight_hh": params[f"{ours}.Wh"].T,
            "bias_ih": params[f"{ours}.b"],
            "bias_hh": hidden_bias,
        }
        for name, value in values.items():
            parameter = getattr(module, f"{name}_{theirs}")
            parameter.data.copy_(parameter.new_tensor(value))


def gradients_of(module, names):
    """Gradients of a torch module by our names."""
    found = {}
    for ours, theirs in names:
        found[f"{ours}.Wx"] = getattr(module, f"weight_ih_{theirs}").grad.T
        found[f"{ours}.Wh"] = getattr(module, f"weight_hh_{theirs}").grad.T
        found[f"{ours}.b"] = getattr(module, f"bias_ih_{theirs}").grad
        if type(module).__name__ == "GRU":
            found[f"{ours}.bn"] = getattr(module, f"bias_hh_{theirs}").grad[2 * H :]
    return found


def run_torch(torch, module, case, dtype, directions, lengths):
    """Outputs, final states and gradients of inputs and initial states, by name."""

    def tensor(value):
        return torch.tensor(value, dtype=getattr(torch, dtype))

    fields = case.state[0]._fields if directions == 1 else case.state[0].forward._fields

    def stacked(state):
        cells = single_states(state, directions)
        return [tensor(np.stack([getattr(cell, field) for cell in cells])) for field in fields]

    x, starts = tensor(case.x).requires_grad_(), [s.requires_grad_() for s in stacked(case.state)]
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    y, finals = module(packed, tuple(starts) if len(starts) > 1 else starts[0])
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=T)
    finals = finals if len(starts) > 1 else (finals,)
    weights = [tensor(case.dy), *stacked(case.dstate)]
    sum((out * weight).sum() for out, weight in zip((y, *finals), weights, strict=True)).backward()
    found = {"y": y, "dx": x.grad}
    for field, start, final in zip(fields, starts, finals, strict=True):
        found |= {f"final {field}": final, f"dstate {field}": start.grad}
    return {name: value.detach().numpy() for name, value in found.items()}


def run_here(cell, case, backend, directions, lengths):
    y, final, tape = cell.forward(case.params, case.x, case.state, lengths=lengths)
    dx, dstate, grads = cell.backward(tape, case.dy, case.dstate)
    found = {"y": backend.to_numpy(y), "dx": backend.to_numpy(dx)}
    for name, state in {"final": final, "dstate": dstate}.items():
        cells = single_states(state, directions)
        for field in cells[0]._fields:
            values = [backend.to_numpy(getattr(cell, field)) for cell in cells]
            found[f"{name} {field}"] = np.stack(values)
    return found, {name: backend.to_numpy(value) for name, value in grads.items()}


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_torch(kind, layers, directions, dtype, lengths, backend, rng, torch):
    make, name, options = KINDS[kind]
    cell, lengths = stack(make, layers, directions), LENGTHS[lengths]
    module = getattr(torch.nn, name)(D, H, layers, bidirectional=directions == 2, **options)
    module, names = module.to(getattr(torch, dtype)), list(suffixes(layers, directions))
    case = make_case(cell, rng, T, len(lengths))
    case = case._replace(params={key: H**-0.5 * value for key, value in case.params.items()})
    in_torch(module, case.params, names)
    expected = run_torch(torch, module, case, dtype, directions, lengths)
    expected |= {key: value.numpy() for key, value in gradients_of(module, names).items()}
    found, grads = run_here(cell, case.on(backend, dtype), backend, directions, lengths)
    found |= grads
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        allowed = TOLERANCE[dtype] * max(1.0, np.abs(value).max())
        assert found[key].dtype == dtype
        np.testing.assert_allclose(found[key], value, rtol=0, atol=allowed, err_msg=key)


def test_a_stack_of_one_is_its_cell(backend, rng):
    cell = rnnx.GRU(D, H)
    case = make_case(cell, rng, T, 2).on(backend)
    one, _, _ = cell.forward(case.params, case.x, case.state)
    params = {f"layers.0.{name}": value for name, value in case.params.items()}
    other, (final,), _ = rnnx.Stack(cell).forward(params, case.x, (case.state,))
    np.testing.assert_array_equal(backend.to_numpy(one), backend.to_numpy(other))
    assert dict(states.leaves(final)).keys() == {"state.h"}
