"""Mistakes that libraries have shipped in the backward pass of an LSTM, each rebuilt in a few lines of NumPy.

thinc 9.1.1 had four of them at once: the gradients of the gates were never stored on one path; on the other,
the gradients of the weights started from the weights; h and c were taken for each other; and the h that
multiplies the recurrent weight's gradient was not the one before the step.
"""

from functools import partial
from typing import NamedTuple

import numpy as np

GATES = ("i", "f", "g", "o")


class LSTMOutput(NamedTuple):
    y: np.ndarray
    final_h: np.ndarray
    final_c: np.ndarray


def sigmoid(a):
    return 0.5 * np.tanh(0.5 * a) + 0.5


def lstm(x, h, c, Wx, Wh, b):
    """A plain LSTM, time first."""
    steps = []
    for t in range(len(x)):
        i, f, g, o = np.split(x[t] @ Wx + h @ Wh + b, 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        after = f * c + i * g
        steps.append((x[t], h, c, i, f, g, o, after))
        h, c = o * np.tanh(after), after
    y = np.stack([o * np.tanh(after) for *_, o, after in steps])
    return LSTMOutput(y, h, c), (steps, Wx, Wh, b)


def lstm_backward(upstream, cache, bug=None):
    """Its backward pass, with one of the mistakes below or with none."""
    steps, Wx, Wh, b = cache
    dy, dh, dc = upstream
    dx, dWx, dWh, db = [], np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)
    if bug == "starts from the weights":
        dWx, dWh = dWx + Wx, dWh + Wh
    for t, (x, h, c, i, f, g, o, after) in reversed(list(enumerate(steps))):
        dh, tanh_c = dh + dy[t], np.tanh(after)
        dc = dc + dh * o * (1.0 - tanh_c**2)
        slope = 1.0 if bug == "sigmoid's derivative forgotten" else o * (1.0 - o)
        di, df, dg, do = dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2), dh * tanh_c * slope
        da = np.concatenate([di, df, dg, do], axis=1)
        if bug == "gates never stored":
            da = np.zeros_like(da)
        left = {"h not shifted": o * tanh_c, "h and c swapped": c}.get(bug, h)
        of_bias = np.concatenate([di, di, dg, di], axis=1) if bug == "bias of another gate" else da
        dWx, dWh, db = dWx + x.T @ da, dWh + left.T @ da, db + of_bias.sum(axis=0)
        dx.insert(0, da @ Wx.T)
        dh, dc = da @ Wh.T, dc * f
    if bug == "averaged over time":
        dWx = dWx / len(steps)
    return {"x": np.stack(dx), "h": dh, "c": dc, "Wx": dWx, "Wh": dWh, "b": db}


def lstm_inputs(rng, T=4, N=2, D=3, H=5):
    shapes = {"x": (T, N, D), "h": (N, H), "c": (N, H), "Wx": (D, 4 * H), "Wh": (H, 4 * H), "b": (4 * H,)}
    return {name: rng.uniform(-1.0, 1.0, shape) for name, shape in shapes.items()}


LSTM_BUGS = {
    "gates never stored": ({"x", "h", "Wx", "Wh", "b", "c"}, "Wx", "It is zero where it is wrong"),
    "starts from the weights": ({"Wx", "Wh"}, "Wx", "The tensor itself is added to it"),
    "h and c swapped": ({"Wh"}, "Wh", "c is taken for h."),
    "h not shifted": ({"Wh"}, "Wh", "final_h is taken for h."),
    "bias of another gate": ({"b"}, "b", "Gate f has the gradient of gate i."),
    "sigmoid's derivative forgotten": ({"x", "h", "c", "Wx", "Wh", "b"}, "Wh", "more than 4 times too large"),
    "averaged over time": ({"Wx"}, "Wx", "It is averaged over time instead of summed."),
}
"""By name: the tensors whose gradients are wrong, one of them, and what its hint says."""

LAYERS, DIRECTIONS = 3, ("forward", "backward")


def deep(x, **params):
    """Three bidirectional layers of simple recurrent units, outputs of both directions side by side."""
    caches = []
    for k in range(LAYERS):
        outputs = []
        for name in DIRECTIONS:
            W, R = params[f"layers.{k}.{name}.Wx"], params[f"layers.{k}.{name}.Wh"]
            order = range(len(x)) if name == "forward" else range(len(x) - 1, -1, -1)
            states, state = [None] * len(x), np.zeros((x.shape[1], len(R)), x.dtype)
            for t in order:
                before, state = state, np.tanh(x[t] @ W + state @ R)
                states[t] = before, state
            outputs.append(np.stack([after for _, after in states]))
            caches.append((x, W, R, states, list(order)))
        x = np.concatenate(outputs, axis=2)
    return x, caches


def deep_backward(dy, caches, wrong_layer=None):
    """Its backward pass; a wrong layer takes the forward direction's half for both."""
    gradients = {}
    for k in reversed(range(LAYERS)):
        halves, dx = np.split(dy, 2, axis=2), 0.0
        if k == wrong_layer:
            halves = [halves[0], halves[0]]
        for name, half, cache in zip(DIRECTIONS, halves, caches[2 * k : 2 * k + 2], strict=True):
            x, W, R, states, order = cache
            dW, dR, dinput, carry = np.zeros_like(W), np.zeros_like(R), np.zeros_like(x), 0.0
            for t in reversed(order):
                before, after = states[t]
                da = (half[t] + carry) * (1.0 - after**2)
                dW, dR, carry = dW + x[t].T @ da, dR + before.T @ da, da @ R.T
                dinput[t] = da @ W.T
            gradients |= {f"layers.{k}.{name}.Wx": dW, f"layers.{k}.{name}.Wh": dR}
            dx = dx + dinput
        dy = dx
    return gradients | {"x": dy}


def deep_inputs(rng, T=3, N=2, D=2, H=2):
    inputs, size = {"x": rng.uniform(-1.0, 1.0, (T, N, D))}, D
    for k in range(LAYERS):
        for name in DIRECTIONS:
            inputs[f"layers.{k}.{name}.Wx"] = rng.uniform(-1.0, 1.0, (size, H))
            inputs[f"layers.{k}.{name}.Wh"] = rng.uniform(-1.0, 1.0, (H, H))
        size = 2 * H
    return inputs


def with_bug(bug):
    """The LSTM's backward pass with one mistake."""
    return partial(lstm_backward, bug=bug)
