# %% [markdown]
# # Names, character by character, and an LSTM on one matrix
#
# First a recurrent network that predicts the next character of a list of town names, trained with Adagrad in
# windows of 25 characters, and used to make up new names. Then an LSTM whose biases and weights stand in one
# matrix, with two checks of its backward pass.

# %%
import contextlib
import io
from collections import Counter
from importlib.resources import files

import numpy as np

from rnnx.notebooks.batched_lstm import LSTM, checkBatchGradient, checkSequentialMatchesBatch
from rnnx.notebooks.min_char_rnn import MinCharRNN, loss_and_gradients
from rnnx.notebooks.proof import Proof

rng = np.random.default_rng(4)
proof = Proof()

# %% [markdown]
# ## The text
#
# The names of 7,513 places in Mexico, one a line, which rnnx brings along. The characters are sorted, so that
# each has the same number in every run.

# %%
text = files("rnnx.data").joinpath("towns.txt").read_text(encoding="utf-8")
chars = sorted(set(text))
number = {char: k for k, char in enumerate(chars)}
ids = np.array([number[char] for char in text])
print(f"{len(text)} characters, {len(chars)} different ones")

# %% [markdown]
# ## Gradients of a small model
#
# Every element, before the clipping.

# %%
small = MinCharRNN(6, 5)
arrays = {name: rng.uniform(-1, 1, value.shape) for name, value in small.params.items()}
window = [0, 3, 5, 1, 1, 2]
h0 = rng.uniform(-1, 1, (5, 1))


def loss(**params):
    start = h0.astype(params["Wxh"].dtype)
    return (loss_and_gradients(params, window[:-1], window[1:], start)[0],)


_, gradients, _ = loss_and_gradients(arrays, window[:-1], window[1:], h0)
proof.gradients("character RNN", loss, arrays, (np.array(1.0),), gradients)

# %% [markdown]
# ## Training
#
# A thousand windows take about a second. The loss of a window is in nats, the sum over its 25 characters;
# before training it is 25 times the logarithm of the number of characters. Between two stretches of training
# the gradient check looks at ten elements of each gradient: both values agree to about nine decimals, so the
# relative error of the tiny ones is large.

# %%
model = MinCharRNN(len(chars), hidden_size=100, seed=0)
start = 25 * np.log(len(chars))
largest = 0.0
for windows in (1, 500, 500):
    smooth_loss = model.train(ids, windows)
    with contextlib.redirect_stdout(io.StringIO()):
        rows = model.gradCheck(ids[:25], ids[1:26], model.hprev)
    largest = max(largest, *(abs(row.numerical - row.analytic) for row in rows))
    sample = "".join(chars[k] for k in model.sample(model.hprev, ids[0], 60))
    print(f"after {model.n} windows, smoothed loss {smooth_loss:.2f}: {sample!r}")
proof.at_most("character RNN: gradCheck, largest difference", 1e-7, largest)
proof.at_most(f"character RNN: smoothed loss, {start:.0f} at first", 90.0, float(smooth_loss))

# %% [markdown]
# ## An LSTM on one matrix
#
# Row 0 of `WLSTM` holds the biases, then come the rows of the input, then those of the hidden state; gates in
# the order i, f, o, g. The forget gates start with a bias of 3, so that they are open: the cell remembers at
# first.

# %%
n, b, D, H = 5, 3, 10, 4
WLSTM = LSTM.init(D, H)
print("mean bias of i, f, o, g:", WLSTM[0].reshape(4, H).mean(1))
shapes = {"X": (n, b, D), "c0": (b, H), "h0": (b, H)}
arrays = {name: rng.standard_normal(shape) for name, shape in shapes.items()} | {"WLSTM": WLSTM}
*outputs, cache = LSTM.forward(**arrays)
upstream = tuple(rng.standard_normal(output.shape) for output in outputs)
dH, dcn, dhn = upstream
gradients = dict(zip(("X", "WLSTM", "c0", "h0"), LSTM.backward(dH, cache, dcn, dhn), strict=True))
proof.gradients("LSTM", lambda **moved: LSTM.forward(**moved)[:-1], arrays, upstream, gradients)

# %% [markdown]
# ## Its two checks
#
# The first compares one pass over the sequence with one pass for each step. The second prints a line for each
# of 414 elements, with a status word: OK, VAL SMALL WARNING, WARNING or NOTOK.

# %%
agree = checkSequentialMatchesBatch()
proof.at_most("LSTM: results that differ between one pass and steps", 0.0, list(agree.values()).count(False))

lines = io.StringIO()
with contextlib.redirect_stdout(lines):
    rows = checkBatchGradient()
print(*lines.getvalue().splitlines()[:3], "...", sep="\n")
words = Counter(row.status for row in rows)
print(dict(words))
proof.at_most(f"LSTM: elements of {len(rows)} that are not OK", 0.0, len(rows) - words["OK"])

# %% [markdown]
# ## Expected and found
#
# For each gradient, its largest relative error beside central differences, and beside the complex step.

# %%
proof.close()
