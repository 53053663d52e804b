# %% [markdown]
# # RNN and LSTM layers, step by step and whole
#
# Four functions of an RNN and two of an LSTM step: a step forward and back, and for the RNN also a whole
# sequence. What a step does:
#
#     next_h = tanh(x Wx + prev_h Wh + b)                                        RNN
#     i, f, o, g = blocks of x Wx + prev_h Wh + b, through sigmoid (g: tanh)     LSTM
#     next_c = f prev_c + i g,    next_h = o tanh(next_c)

# %%
import numpy as np

from rnnx.notebooks.proof import Proof
from rnnx.notebooks.rnn_layers import (
    lstm_step_backward,
    lstm_step_forward,
    rnn_backward,
    rnn_forward,
    rnn_step_backward,
    rnn_step_forward,
    sigmoid,
)

rng = np.random.default_rng(3)
proof = Proof()
N, T, D, H = 3, 6, 4, 5


def normal(**shapes):
    """Normal random numbers by name."""
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def check(what, forward, backward, arrays):
    """Check each gradient of a pair of functions."""
    *found, cache = forward(**arrays)
    upstream = tuple(rng.standard_normal(output.shape) for output in found)
    gradients = dict(zip(arrays, backward(*upstream, cache), strict=True))
    proof.gradients(what, lambda **moved: tuple(forward(**moved)[:-1]), arrays, upstream, gradients)


# %% [markdown]
# ## One step
#
# The sigmoid is computed through tanh, so large arguments cannot overflow.

# %%
rnn = {"Wx": (D, H), "Wh": (H, H), "b": (H,)}
lstm = {"Wx": (D, 4 * H), "Wh": (H, 4 * H), "b": (4 * H,)}
check("RNN step", rnn_step_forward, rnn_step_backward, normal(x=(N, D), prev_h=(N, H), **rnn))
check(
    "LSTM step", lstm_step_forward, lstm_step_backward, normal(x=(N, D), prev_h=(N, H), prev_c=(N, H), **lstm)
)
proof.difference("sigmoid(-1000, 0, 1000)", [0.0, 0.5, 1.0], sigmoid(np.array([-1000.0, 0.0, 1000.0])), 0.0)

# %% [markdown]
# ## A whole sequence is a loop of steps
#
# Forward, each step starts from the state that the step before left. Backward, each step hands the gradient
# of its own start to the step before, and the gradients of the weights add up.

# %%
arrays = normal(x=(N, T, D), h0=(N, H), **rnn)
check("RNN", rnn_forward, rnn_backward, arrays)

x, h0, *weights = arrays.values()
h, cache = rnn_forward(**arrays)
states, caches = [h0], []
for t in range(T):
    next_h, step_cache = rnn_step_forward(x[:, t], states[-1], *weights)
    states.append(next_h)
    caches.append(step_cache)
proof.difference("RNN: h, by steps", np.stack(states[1:], 1), h, 1e-14)

dh = rng.standard_normal(h.shape)
whole = rnn_backward(dh, cache)
carried, steps, sums = np.zeros((N, H)), [], [np.zeros_like(w) for w in weights]
for t in reversed(range(T)):
    dx_t, carried, *gradients = rnn_step_backward(dh[:, t] + carried, caches[t])
    steps.insert(0, dx_t)
    sums = [total + gradient for total, gradient in zip(sums, gradients, strict=True)]
for name, value, wanted in zip(arrays, (np.stack(steps, 1), carried, *sums), whole, strict=True):
    proof.difference(f"RNN: d{name}, by steps", wanted, value, 1e-13)

# %% [markdown]
# ## A cache serves again
#
# Nothing is written to: not to the arguments, and not to what a cache holds. A second backward pass with the
# same cache runs the forward pass once more and returns the same numbers.

# %%
before = {name: value.copy() for name, value in arrays.items()}
again = rnn_backward(dh, cache)
largest = max(float(np.max(np.abs(a - b))) for a, b in zip(whole, again, strict=True))
proof.at_most("RNN: all gradients, a second time", 0.0, largest)
moved = max(float(np.max(np.abs(arrays[name] - value))) for name, value in before.items())
proof.at_most("RNN: change of the arguments", 0.0, moved)

# %% [markdown]
# ## Expected and found
#
# For each gradient, its largest relative error beside central differences, and beside the complex step.

# %%
proof.close()
