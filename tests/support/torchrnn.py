"""Recurrent modules of torch with random weights, and what they compute, under the names that rnnx has."""

import numpy as np

from rnnx import states

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
KINDS = {
    "rnn": ("RNN", {}),
    "rnn-relu": ("RNN", {"nonlinearity": "relu"}),
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
}


def make_module(torch, rng, kind, D, H, dtype="float64", **options):
    """A module whose parameters are all random, its two biases too, so that no two blocks are alike."""
    name, own = KINDS[kind]
    module = getattr(torch.nn, name)(D, H, dtype=getattr(torch, dtype), **own, **options)
    for parameter in module.parameters():
        value = rng.uniform(0.2, 1.0, parameter.shape) * rng.choice([-1.0, 1.0], parameter.shape)
        parameter.data.copy_(torch.tensor(value * H**-0.5))
    return module


def names_of(module):
    """Prefix of each part's parameters in rnnx, with the end of their names in torch."""
    many, both = module.num_layers > 1, module.bidirectional
    for k in range(module.num_layers):
        layer = f"layers.{k}." if many else ""
        yield layer + "forward." * both, f"_l{k}"
        if both:
            yield layer + "backward.", f"_l{k}_reverse"


def gradients_of(module):
    """Gradients of a module's parameters by their names in rnnx; without biases none of theirs."""
    found = {}
    for prefix, suffix in names_of(module):
        found[prefix + "Wx"] = getattr(module, "weight_ih" + suffix).grad.T
        found[prefix + "Wh"] = getattr(module, "weight_hh" + suffix).grad.T
        if module.bias:
            found[prefix + "b"] = getattr(module, "bias_ih" + suffix).grad
            if type(module).__name__ == "GRU":
                found[prefix + "bn"] = getattr(module, "bias_hh" + suffix).grad[2 * module.hidden_size :]
    return found


def run_module(torch, module, case, lengths=None):
    """Outputs, final states and gradients, from a case of the cell that is made of the module."""
    dtype = next(module.parameters()).dtype
    fields = ("h", "c") if type(module).__name__ == "LSTM" else ("h",)

    def tensor(value):
        return torch.tensor(value, dtype=dtype)

    def stacked(state):
        leaves = [value for _, value in states.leaves(state)]
        return [tensor(np.stack(leaves[k :: len(fields)])) for k in range(len(fields))]

    x, starts = tensor(case.x).requires_grad_(), [s.requires_grad_() for s in stacked(case.state)]
    given = x
    if lengths is not None:
        given = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    y, finals = module(given, tuple(starts) if len(starts) > 1 else starts[0])
    if lengths is not None:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=len(case.x))
    finals = finals if len(starts) > 1 else (finals,)
    weights = [tensor(case.dy), *stacked(case.dstate)]
    sum((out * weight).sum() for out, weight in zip((y, *finals), weights, strict=True)).backward()
    found = {"y": y, "dx": x.grad} | gradients_of(module)
    for field, start, final in zip(fields, starts, finals, strict=True):
        found |= {f"final.{field}": final, f"dstate.{field}": start.grad}
    return {name: value.detach().numpy() for name, value in found.items()}


def run_cell(cell, params, case, backend, dtype, lengths=None):
    """The same of a cell with these parameters."""
    moved = case.on(backend, dtype)
    y, final, tape = cell.forward(params, moved.x, moved.state, lengths=lengths)
    dx, dstate, grads = cell.backward(tape, moved.dy, moved.dstate)
    found = {"y": y, "dx": dx} | grads
    found = {name: backend.to_numpy(value) for name, value in found.items()}
    for name, state in {"final": final, "dstate": dstate}.items():
        leaves = list(states.leaves(state, name))
        for field in {key.rpartition(".")[2] for key, _ in leaves}:
            own = [backend.to_numpy(value) for key, value in leaves if key.endswith(f".{field}")]
            found[f"{name}.{field}"] = np.stack(own)
    return found


def assert_equal(found, expected, dtype):
    """Each array is the one of its name, to the tolerance of the dtype, relative to its largest entry."""
    for name, value in expected.items():
        assert found[name].dtype == dtype, name
        allowed = TOLERANCE[dtype] * max(1.0, np.abs(value).max())
        np.testing.assert_allclose(found[name], value, rtol=0, atol=allowed, err_msg=name)
