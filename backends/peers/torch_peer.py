"""PyTorch: torch.nn.RNN, LSTM and GRU on the CPU, differentiated by autograd."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from rnnx.backends.peers.base import Layer, Work

CELLS: Mapping[str, Any] = {
    "rnn": torch.nn.RNN,
    "rnn-relu": lambda D, H: torch.nn.RNN(D, H, nonlinearity="relu"),
    "lstm": torch.nn.LSTM,
    "gru": torch.nn.GRU,
}


def version() -> str:
    """Library and version."""
    return f"PyTorch {torch.__version__}"


def bind(cell: str, work: Work) -> Layer:
    """The layer with rnnx's weights: one bias of its two is zero, but for bn inside a GRU's reset."""
    H, params = work.dy.shape[-1], work.params
    layer = CELLS[cell](work.x.shape[-1], H)
    hidden_bias = np.zeros_like(params["b"])
    if "bn" in params:
        hidden_bias[2 * H :] = params["bn"]
    with torch.no_grad():
        values = params["Wx"].T, params["Wh"].T, params["b"], hidden_bias
        for parameter, value in zip(layer.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(value))
    x, dy = torch.tensor(work.x), torch.tensor(work.dy)
    state = [torch.tensor(value[None]) for value in work.state.values()]
    leaves = [value.clone().requires_grad_() for value in (x, *state)]
    sources = [*leaves, *layer.parameters()]

    def run(x: Any, *state: Any) -> Any:
        return layer(x, state if len(state) > 1 else state[0])[0]

    def forward() -> Any:
        with torch.inference_mode():
            return run(x, *state)

    def train() -> Any:
        return torch.autograd.grad(run(*leaves), sources, dy)

    def gradients(found: Any) -> dict[str, np.ndarray]:
        dx, *dstate, dWx, dWh, db, dbh = (value.numpy() for value in found)
        named = {"x": dx, "Wx": dWx.T, "Wh": dWh.T, "b": db}
        named |= {name: value[0] for name, value in zip(work.state, dstate, strict=True)}
        return named | ({"bn": dbh[2 * H :]} if "bn" in params else {})

    return Layer(forward, train, lambda y: y.numpy(), gradients)
