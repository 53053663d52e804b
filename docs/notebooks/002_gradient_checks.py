# %% [markdown]
# # LSTM, SRU and TF-LSTM: printed states, and gradients checked three times
#
# Functions on whole batches, batch first: x is (N, D) for one step and (N, T, D) for a sequence. All of them
# are adapters over rnnx's cells and keep the names, argument orders and results of the notebook's modules.
#
# Each gradient is checked with the notebook's own `eval_numerical_gradient_array`, then to tighter bounds: by
# central differences with one extrapolation, and by the complex step, which is exact to rounding.

# %%
import numpy as np

from rnnx.notebooks import rnn_layers, sru, tflstm
from rnnx.notebooks.gradient_check import eval_numerical_gradient_array, rel_error
from rnnx.notebooks.proof import Proof

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
    worst, dy = 0.0, np.concatenate([gradient.ravel() for gradient in upstream])
    for name, value in arrays.items():

        def joined(moved, name=name):
            return np.concatenate([output.ravel() for output in outputs(**arrays | {name: moved})])

        worst = max(worst, rel_error(eval_numerical_gradient_array(joined, value, dy), gradients[name]))
    print(f"{what}: the notebook's check finds relative errors of {worst:.1e} and less")
    proof.gradients(what, outputs, arrays, upstream, gradients)
    return found, upstream, gradients


# %% [markdown]
# ## LSTM, one step
#
# The gates stand in the order i, f, o, g in `Wx (D, 4H)`, `Wh (H, 4H)` and `b (4H,)`.

# %%
N, D, H = 3, 4, 5
next_h, next_c, _ = rnn_layers.lstm_step_forward(
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
check("LSTM step", rnn_layers.lstm_step_forward, rnn_layers.lstm_step_backward, step)

# %% [markdown]
# ## LSTM, whole sequences
#
# From the cell state 0.

# %%
N, T, D, H = 2, 3, 5, 4
h, _ = rnn_layers.lstm_forward(
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
check("LSTM", rnn_layers.lstm_forward, rnn_layers.lstm_backward, normal(x=(N, T, D), h0=(N, H), **lstm))

# %% [markdown]
# ## SRU, one step and whole sequences
#
# No gate of a simple recurrent unit looks at a state:
#
#     f = sigmoid(x Wf + bf),  r = sigmoid(x Wr + br)
#     c = f prev_c + (1 - f) (x W)
#     h = r tanh(c) + (1 - r) (x Wh)

# %%
N, T, D, H = 2, 10, 3, 6
weights = dict.fromkeys(["W", "Wf", "Wr", "Wh"], (D, H)) | {"bf": (H,), "br": (H,)}
step = normal(x=(4, D), prev_c=(4, H), **weights)
(next_h, next_c), (dnext_h, dnext_c), step_gradients = check(
    "SRU step", sru.sru_step_forward, sru.sru_step_backward, step
)
sequence = normal(x=(N, T, D), **weights)
(h,), (dh,), gradients = check("SRU", sru.sru_forward, sru.sru_backward, sequence)

c, by_steps = np.zeros((N, H)), []
for t in range(T):
    h_t, c, _ = sru.sru_step_forward(sequence["x"][:, t], c, *list(sequence.values())[1:])
    by_steps.append(h_t)
proof.difference("SRU: h, by steps", np.stack(by_steps, 1), h, 1e-14)

# %% [markdown]
# ## SRU on one packed matrix
#
# `[W, Wf, Wr, Wh]` side by side give the same numbers, not only nearly the same, in one product. The
# `advance` form of the backward pass takes the products out of the loop; rnnx's backward pass always does.


# %%
def pack(arrays):
    """The four matrices of a dict as one, and the rest behind it."""
    four = np.hstack([arrays[name] for name in ("W", "Wf", "Wr", "Wh")])
    before = {name: value for name, value in arrays.items() if name in ("x", "prev_c")}
    return before | {"W": four, "bf": arrays["bf"], "br": arrays["br"]}


def largest_difference(found, expected):
    """Over two sequences of arrays."""
    return max(float(np.max(np.abs(a - b))) for a, b in zip(found, expected, strict=True))


*found, cache = sru.sru_step_forward_fast(**pack(step))
proof.at_most("SRU step, packed: outputs", 0.0, largest_difference(found, (next_h, next_c)))
packed = pack(step_gradients).values()
found = sru.sru_step_backward_fast(dnext_h, dnext_c, cache)
proof.at_most("SRU step, packed: gradients", 0.0, largest_difference(found, packed))

found, cache = sru.sru_forward_fast(**pack(sequence))
proof.at_most("SRU, packed: h", 0.0, largest_difference([found], [h]))
packed = pack(gradients).values()
proof.at_most("SRU, packed: gradients", 0.0, largest_difference(sru.sru_backward_fast(dh, cache), packed))
found = sru.sru_backward_fast_advance(dh, cache)
proof.at_most("SRU, packed, advance: gradients", 0.0, largest_difference(found, packed))

# %% [markdown]
# ## SRU, the inputs of the comparison with Kaldi
#
# The states that the notebook printed here are lost, so the definition, written out, stands in for them.


# %%
def plain_sru(x, W, bf, br):
    """The definition, step by step."""
    W, Wf, Wr, Wh = np.split(W, 4, axis=1)
    c, states = np.zeros((x.shape[0], W.shape[1])), []
    for x_t in x.transpose(1, 0, 2):
        f, r = rnn_layers.sigmoid(x_t @ Wf + bf), rnn_layers.sigmoid(x_t @ Wr + br)
        c = f * c + (1 - f) * (x_t @ W)
        states.append(r * np.tanh(c) + (1 - r) * (x_t @ Wh))
    return np.stack(states, axis=1)


N, T, D, H = 2, 3, 3, 3
kaldi = {"x": spread(-0.4, 0.6, N, T, D), "W": spread(-0.2, 0.9, D, 4 * H)}
kaldi |= {"bf": spread(0.2, 0.7, H), "br": spread(0.2, 0.7, H)}
h, cache = sru.sru_forward_fast(**kaldi)
dh = spread(-0.6, 0.6, N, T, H)
gradients = dict(zip(kaldi, sru.sru_backward_fast_advance(dh, cache), strict=True))
print("h, steps below one another:", h.transpose(1, 0, 2).reshape(-1, H).round(8), sep="\n")
print("dbf", gradients["bf"].round(8), "dbr", gradients["br"].round(8))
proof.difference("SRU, inputs of Kaldi: h", plain_sru(**kaldi), h, 1e-15)
proof.gradients("SRU, inputs of Kaldi", lambda **moved: (plain_sru(**moved),), kaldi, (dh,), gradients)

# %% [markdown]
# ## TF-LSTM
#
# A filter of F inputs is moved over the D inputs of a step by S at a time. Each of its `B = (D - F) // S + 1`
# places is a block with a state of its own. All blocks share the weights, and a block sees its own state one
# step before and that of the block below at the same step. i and f have peepholes at the cell state before
# the step, o at the one after it.
#
# The definition is a loop over time and, in it, over the blocks. rnnx goes along diagonals instead: blocks
# with equal t + k do not depend on one another.


# %%
def plain_tflstm(x, h0, Wx, Wh, Wk, b, pi, pf, po, order):
    """The definition."""
    B = (x.shape[2] - F) // S + 1
    h, c, states = np.split(h0, B, axis=1), [0.0] * B, []
    for x_t in x.transpose(1, 0, 2):
        below = np.zeros((x.shape[0], Wh.shape[0]))
        for k in range(B):
            a = x_t[:, k * S : k * S + F] @ Wx + h[k] @ Wh + below @ Wk + b
            a = dict(zip(order, np.split(a, 4, axis=1), strict=True))
            i, f = rnn_layers.sigmoid(a["i"] + pi * c[k]), rnn_layers.sigmoid(a["f"] + pf * c[k])
            c[k] = f * c[k] + i * np.tanh(a["g"])
            below = h[k] = rnn_layers.sigmoid(a["o"] + po * c[k]) * np.tanh(c[k])
        states.append(np.concatenate(h, axis=1))
    return np.stack(states, axis=1)


F, S, H = 2, 1, 3
shared = {"Wx": (F, 4 * H), "Wh": (H, 4 * H), "Wk": (H, 4 * H), "b": (4 * H,)}
shared |= dict.fromkeys(["pi", "pf", "po"], (H,))
N, D, B = 4, 5, 4
step = normal(x=(N, D), prev_h=(N, B * H), prev_c=(N, B * H), **shared)
check(
    "TF-LSTM step",
    tflstm.tflstm_forward_origin_step_pp,
    tflstm.tflstm_backward_advance_origin_step_pp,
    step,
    fixed=(F, S, H),
)

# %% [markdown]
# Whole sequences, with the gates in the order i, f, o, g, and with Kaldi's, g, i, f, o.

# %%
N, T, D, B = 2, 10, 3, 2
sequence = normal(x=(N, T, D), h0=(N, B * H), **shared)
for what, forward, backward, order in (
    ("TF-LSTM", tflstm.tflstm_forward_origin2_pp, tflstm.tflstm_backward_pp, "ifog"),
    ("TF-LSTM, unfold", tflstm.tflstm_forward_origin2_pp_unfold, tflstm.tflstm_backward_pp_advance, "gifo"),
):
    (h,), _, _ = check(what, forward, backward, sequence, fixed=(F, S, H))
    proof.difference(f"{what}: h, double loop", plain_tflstm(**sequence, order=order), h, 1e-12)

# %% [markdown]
# The inputs of the comparison with Kaldi.

# %%
N, T = 2, 3
kaldi = {"x": spread(-0.4, 0.6, N, T, D), "h0": np.zeros((N, B * H)), "Wx": spread(-0.2, 0.9, F, 4 * H)}
kaldi |= {"Wh": spread(-0.3, 0.8, H, 4 * H), "Wk": spread(-0.4, 0.7, H, 4 * H), "b": spread(0.2, 0.7, 4 * H)}
kaldi |= {"pi": spread(0.1, 0.6, H), "pf": spread(0.2, 0.7, H), "po": spread(0.3, 0.8, H)}
h, cache = tflstm.tflstm_forward_origin2_pp_unfold(**kaldi, F=F, S=S, H=H)
dh = spread(-0.6, 0.6, N, T, B * H)
gradients = dict(zip(kaldi, tflstm.tflstm_backward_pp_advance(dh, cache), strict=True))
print("h, steps below one another:", h.transpose(1, 0, 2).reshape(-1, B * H).round(8), sep="\n")
print("dpi", gradients["pi"].round(8), "dpf", gradients["pf"].round(8), "dpo", gradients["po"].round(8))


def double_loop(**moved):
    return (plain_tflstm(**moved, order="gifo"),)


proof.difference("TF-LSTM, inputs of Kaldi: h", double_loop(**kaldi)[0], h, 1e-15)
proof.gradients("TF-LSTM, inputs of Kaldi", double_loop, kaldi, (dh,), gradients)

# %% [markdown]
# ## Expected and found
#
# For each gradient, its largest relative error beside central differences, and beside the complex step.

# %%
proof.close()
