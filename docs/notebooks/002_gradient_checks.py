# %% [markdown]
# # LSTM: printed states, and gradients checked three times
#
# Functions on whole batches, batch first: x is (N, D) for one step and (N, T, D) for a sequence. All of them
# are adapters over rnnx's cells and keep the names, argument orders and results of the notebook's modules.
#
# Each gradient is checked with the notebook's own `eval_numerical_gradient_array`, then to tighter bounds: by
# central differences with one extrapolation, and by the complex step, which is exact to rounding.

# %%
import numpy as np

from rnnx.notebooks.gradient_check import eval_numerical_gradient_array, rel_error
from rnnx.notebooks.proof import Proof
from rnnx.notebooks.rnn_layers import lstm_backward, lstm_forward, lstm_step_backward, lstm_step_forward

rng = np.random.default_rng(231)
proof = Proof()


def spread(first, last, *shape):
    """Evenly spaced numbers."""
    return np.linspace(first, last, num=int(np.prod(shape))).reshape(shape)


def normal(**shapes):
    """Normal random numbers by name."""
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def check(what, forward, backward, arrays, fixed=()):
    """Check each gradient of a pair of functions; return the outputs, upstream gradients and gradients."""

    def outputs(**moved):
        return tuple(forward(*moved.values(), *fixed)[:-1])

    *found, cache = forward(*arrays.values(), *fixed)
    upstream = tuple(rng.standard_normal(output.shape) for output in found)
    gradients = dict(zip(arrays, backward(*upstream, cache), strict=True))
    worst = 0.0
    for name, value in arrays.items():
        numerical = sum(
            eval_numerical_gradient_array(
                lambda v, k=k, name=name: outputs(**arrays | {name: v})[k], value, dy
            )
            for k, dy in enumerate(upstream)
        )
        worst = max(worst, rel_error(numerical, gradients[name]))
    print(f"{what}: the notebook's check finds relative errors of {worst:.1e} and less")
    proof.gradients(what, outputs, arrays, upstream, gradients)
    return found, upstream, gradients


# %% [markdown]
# ## LSTM, one step
#
# The gates stand in the order i, f, o, g in `Wx (D, 4H)`, `Wh (H, 4H)` and `b (4H,)`.

# %%
N, D, H = 3, 4, 5
next_h, next_c, _ = lstm_step_forward(
    x=spread(-0.4, 1.2, N, D),
    prev_h=spread(-0.3, 0.7, N, H),
    prev_c=spread(-0.4, 0.9, N, H),
    Wx=spread(-2.1, 1.3, D, 4 * H),
    Wh=spread(-0.7, 2.2, H, 4 * H),
    b=spread(0.3, 0.7, 4 * H),
)
expected_h = [
    [0.24635157, 0.28610883, 0.32240467, 0.35525807, 0.38474904],
    [0.49223563, 0.55611431, 0.61507696, 0.66844003, 0.7159181],
    [0.56735664, 0.66310127, 0.74419266, 0.80889665, 0.858299],
]
expected_c = [
    [0.32986176, 0.39145139, 0.451556, 0.51014116, 0.56717407],
    [0.66382255, 0.76674007, 0.87195994, 0.97902709, 1.08751345],
    [0.74192008, 0.90592151, 1.07717006, 1.25120233, 1.42395676],
]
proof.difference("LSTM step: next_h as printed", expected_h, next_h, 1e-8)
proof.difference("LSTM step: next_c as printed", expected_c, next_c, 1e-8)

# %%
N, D, H = 4, 5, 6
lstm = {"Wx": (D, 4 * H), "Wh": (H, 4 * H), "b": (4 * H,)}
step = normal(x=(N, D), prev_h=(N, H), prev_c=(N, H), **lstm)
check("LSTM step", lstm_step_forward, lstm_step_backward, step)

# %% [markdown]
# ## LSTM, whole sequences
#
# From the cell state 0.

# %%
N, T, D, H = 2, 3, 5, 4
h, _ = lstm_forward(
    x=spread(-0.4, 0.6, N, T, D),
    h0=spread(-0.4, 0.8, N, H),
    Wx=spread(-0.2, 0.9, D, 4 * H),
    Wh=spread(-0.3, 0.6, H, 4 * H),
    b=spread(0.2, 0.7, 4 * H),
)
expected = [
    [
        [0.01764008, 0.01823233, 0.01882671, 0.0194232],
        [0.11287491, 0.12146228, 0.13018446, 0.13902939],
        [0.31358768, 0.33338627, 0.35304453, 0.37250975],
    ],
    [
        [0.45767879, 0.4761092, 0.4936887, 0.51041945],
        [0.6704845, 0.69350089, 0.71486014, 0.7346449],
        [0.81733511, 0.83677871, 0.85403753, 0.86935314],
    ],
]
proof.difference("LSTM: h as printed", expected, h, 1e-8)

# %%
N, T, D, H = 2, 10, 3, 6
lstm = {"Wx": (D, 4 * H), "Wh": (H, 4 * H), "b": (4 * H,)}
check("LSTM", lstm_forward, lstm_backward, normal(x=(N, T, D), h0=(N, H), **lstm))

# %% [markdown]
# ## Expected and found
#
# For each gradient, its largest relative error beside central differences, and beside the complex step.

# %%
proof.close()
