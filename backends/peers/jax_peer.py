"""JAX: the formulas in a scan over time, compiled by XLA for the CPU, differentiated by JAX."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rnnx.backends.peers.base import Layer, Work, threads

if (_threads := threads()) is not None:
    os.environ.setdefault("PJRT_NPROC", str(_threads))  # read where XLA makes its thread pool
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp

sigmoid, tanh = jax.nn.sigmoid, jnp.tanh


def version() -> str:
    """Library and version."""
    return f"JAX {jax.__version__}"


def _lstm(params: Any, a: Any, state: Any) -> Any:
    h, c = state
    i, f, g, o = jnp.split(a + h @ params["Wh"], 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def _gru(params: Any, a: Any, state: Any) -> Any:
    (h,) = state
    r, z, n = jnp.split(a, 3, -1)
    ur, uz, un = jnp.split(h @ params["Wh"], 3, -1)
    r, z = sigmoid(r + ur), sigmoid(z + uz)
    n = tanh(n + r * (un + params["bn"]))
    return ((1.0 - z) * n + z * h,)


def _gru_before(params: Any, a: Any, state: Any) -> Any:
    (h,), H = state, params["Wh"].shape[0]
    gates, n = a[:, : 2 * H], a[:, 2 * H :]
    r, z = jnp.split(sigmoid(gates + h @ params["Wh"][:, : 2 * H]), 2, -1)
    n = tanh(n + (r * h) @ params["Wh"][:, 2 * H :])
    return ((1.0 - z) * n + z * h,)


def _rnn(activation: Callable[[Any], Any]) -> Callable[[Any, Any, Any], Any]:
    return lambda params, a, state: (activation(a + state[0] @ params["Wh"]),)


CELLS: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    "rnn": _rnn(tanh),
    "rnn-relu": _rnn(jax.nn.relu),
    "rnn-identity": _rnn(lambda a: a),
    "lstm": _lstm,
    "gru": _gru,
    "gru-reset-before": _gru_before,
}


def bind(cell: str, work: Work) -> Layer:
    """The formula of that cell, with the input's product before the scan."""
    step = CELLS[cell]

    def outputs(params: Any, x: Any, state: Any) -> Any:
        def scanned(state: Any, a: Any) -> Any:
            state = step(params, a, state)
            return state, state[0]

        return jax.lax.scan(scanned, state, x @ params["Wx"] + params["b"])[1]

    def derived(params: Any, x: Any, state: Any, dy: Any) -> Any:
        y, pull = jax.vjp(outputs, params, x, state)
        return y, pull(dy)

    state = tuple(map(jnp.asarray, work.state.values()))  # no dict: JAX sorts the keys of one
    arguments = {name: jnp.asarray(value) for name, value in work.params.items()}, jnp.asarray(work.x), state
    dy = jnp.asarray(work.dy)
    run, both = jax.jit(outputs), jax.jit(derived)

    def gradients(found: Any) -> dict[str, np.ndarray]:
        dparams, dx, dstate = found[1]
        named = {"x": dx, **dparams, **dict(zip(work.state, dstate, strict=True))}
        return {name: np.asarray(value) for name, value in named.items()}

    return Layer(
        lambda: jax.block_until_ready(run(*arguments)),
        lambda: jax.block_until_ready(both(*arguments, dy)),
        np.asarray,
        gradients,
    )
