# %% [markdown]
# # An RNN with a readout
#
# A recurrent layer reads T vectors, a readout maps each hidden state to an output, and half the squared error
# of all outputs is the loss:
#
#     h[t] = phi(x[t] Wxh + h[t-1] Whh)
#     y[t] = phi(h[t] Why)
#     loss = 0.5 sum (y - target)²
#
# phi is first the identity, then tanh. The gradients of all three matrices, of the input and of the initial
# state come from rnnx's backward passes; here they are compared, element by element, with two numerical ones.
# The test suite compares them with PyTorch's automatic differentiation besides.

# %%
import numpy as np

import rnnx
from rnnx.notebooks.proof import Proof

T = 10
proof = Proof()


# %% [markdown]
# ## One pass forward, one pass back
#
# Arrays are time first, (T, N, features). A single sequence is a batch of one. Neither layer has a bias here,
# so both get zeros.


# %%
def loss_and_gradients(activation, Wxh, Whh, Why, x, h0, target):
    """Return the loss and, by name, its gradient by every other array but the target."""
    rnn, readout = rnnx.RNN(*Wxh.shape, activation=activation), rnnx.Linear(*Why.shape)
    zeros = {size: np.zeros(size, x.dtype) for size in Why.shape}
    h, _, tape = rnn.forward({"Wx": Wxh, "Wh": Whh, "b": zeros[Why.shape[0]]}, x, rnnx.RNNState(h0))
    y, readout_tape = readout.forward({"W": Why, "b": zeros[Why.shape[1]]}, h)
    if activation == "tanh":
        y, tanh_tape = rnnx.Tanh().forward(y)
    loss, dy = rnnx.half_squared_error(y, target.astype(y.dtype))

    if activation == "tanh":
        dy = rnnx.Tanh().backward(tanh_tape, dy)
    dh, readout_grads = readout.backward(readout_tape, dy)
    dx, dstate, grads = rnn.backward(tape, dh)
    return loss, {"Wxh": grads["Wx"], "Whh": grads["Wh"], "Why": readout_grads["W"], "x": dx, "h0": dstate.h}


def problem(seed, nin, nh, nout, batch, low=0.0):
    """Return arrays with numbers in [low, 1), and a target."""
    rng = np.random.default_rng(seed)
    shapes = {"Wxh": (nin, nh), "Whh": (nh, nh), "Why": (nh, nout), "x": (T, batch, nin), "h0": (batch, nh)}
    return {name: rng.uniform(low, 1.0, shape) for name, shape in shapes.items()}, rng.uniform(
        size=(T, batch, nout)
    )


def check(what, activation, arrays, target):
    """Print the loss, and add a row to the table for each gradient."""

    def loss(**moved):
        return (loss_and_gradients(activation, **moved, target=target)[0],)

    found, gradients = loss_and_gradients(activation, **arrays, target=target)
    print(
        f"{what}: loss {found:.6g}, largest gradient {max(np.abs(g).max() for g in gradients.values()):.2g}"
    )
    proof.gradients(what, loss, arrays, (np.array(1.0),), gradients)
    return found, gradients


# %% [markdown]
# ## A single sequence, linear and tanh
#
# Without an activation the states grow with the largest eigenvalue of `Whh`, about 2 here, and so do the
# gradients, from step to step: they are millions after ten steps. Relative errors do not mind.

# %%
for activation in ("identity", "tanh"):
    arrays, target = problem(seed=0, nin=1, nh=4, nout=1, batch=1)
    check(f"{activation}, one sequence", activation, arrays, target)

# %% [markdown]
# ## Ten sequences at once
#
# All sequences of a batch share the weights, so the gradient of a weight is the sum over the batch. One pass
# over the batch and ten passes over one sequence each must agree.
#
# The weights have both signs here: with seven positive ones to a unit, tanh is so flat that the gradients are
# a millionth of the loss, and a difference of two losses has no digits left for them.

# %%
arrays, target = problem(seed=1, nin=3, nh=7, nout=1, batch=10, low=-1.0)
loss, gradients = check("tanh, ten sequences", "tanh", arrays, target)

weights = {name: arrays[name] for name in ("Wxh", "Whh", "Why")}
single = [
    loss_and_gradients("tanh", **weights, x=arrays["x"][:, [n]], h0=arrays["h0"][[n]], target=target[:, [n]])
    for n in range(10)
]
proof.difference("ten sequences: loss, one by one", loss, sum(found for found, _ in single), 1e-12)
for name in weights:
    one_by_one = sum(found[name] for _, found in single)
    proof.difference(f"ten sequences: d{name}, one by one", gradients[name], one_by_one, 1e-12)

# %% [markdown]
# ## Expected and found
#
# For each gradient, its largest relative error beside central differences, and beside the complex step.

# %%
proof.close()
