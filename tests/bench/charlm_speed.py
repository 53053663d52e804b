"""`rnnx train --text` beside a plain NumPy loop, on one text: windows per second and the smoothed loss.

    python tests/bench/charlm_speed.py TEXT [STEPS [SEEDS]]

The loop is the algorithm of Karpathy's min-char-rnn.py (2015), written down as it is explained: one
character at a time, a dict of columns per window, one-hot columns, float64. Both train in the setting of
that file, on the whole text: a simple recurrent layer of 100 units, windows of 25 characters, batch 1,
Adagrad with 0.1, every element of the gradient clipped to ±5. Weights start as each has them: normal with
0.01, uniform in ±0.1.
"""

import sys
from math import log
from pathlib import Path
from time import perf_counter

import numpy as np

from rnnx.charlm import corpus
from rnnx.charlm.config import TrainConfig
from rnnx.charlm.task import TextTask
from rnnx.charlm.trainer import Trainer

HIDDEN, WINDOW, RATE, LIMIT = 100, 25, 0.1, 5.0


def plain_loop(ids, size, steps, seed):
    """Return (windows per second, smoothed loss in nats per window)."""
    rng = np.random.default_rng(seed)
    shapes = {
        "xh": (HIDDEN, size),
        "hh": (HIDDEN, HIDDEN),
        "hy": (size, HIDDEN),
        "bh": (HIDDEN, 1),
        "by": (size, 1),
    }
    w = {k: rng.standard_normal(s) * 0.01 if k[0] != "b" else np.zeros(s) for k, s in shapes.items()}
    memory = {k: np.zeros(s) for k, s in shapes.items()}
    smoothed, p, carried = log(size) * WINDOW, 0, np.zeros((HIDDEN, 1))
    start = perf_counter()
    for step in range(steps):
        if p + WINDOW + 1 >= len(ids) or step == 0:
            carried, p = np.zeros((HIDDEN, 1)), 0
        loss, d, carried = window_gradients(w, ids[p : p + WINDOW], ids[p + 1 : p + WINDOW + 1], carried)
        smoothed = 0.999 * smoothed + 0.001 * loss
        for k in w:
            memory[k] += d[k] * d[k]
            w[k] -= RATE * d[k] / np.sqrt(memory[k] + 1e-8)
        p += WINDOW
    return steps / (perf_counter() - start), smoothed


def window_gradients(w, inputs, targets, carried):
    """Return the loss of a window in nats, the clipped gradients, and the last hidden state."""
    x, h, p = {}, {-1: carried}, {}
    loss = 0.0
    for t, (now, following) in enumerate(zip(inputs, targets, strict=True)):
        x[t] = np.zeros((w["xh"].shape[1], 1))
        x[t][now] = 1.0
        h[t] = np.tanh(w["xh"] @ x[t] + w["hh"] @ h[t - 1] + w["bh"])
        scores = np.exp(w["hy"] @ h[t] + w["by"])
        p[t] = scores / np.sum(scores)
        loss -= np.log(p[t][following, 0])
    d = {k: np.zeros_like(v) for k, v in w.items()}
    from_after = np.zeros_like(carried)
    for t in reversed(range(len(inputs))):
        dy = np.copy(p[t])
        dy[targets[t]] -= 1.0
        d["hy"] += dy @ h[t].T
        d["by"] += dy
        da = (1.0 - h[t] * h[t]) * (w["hy"].T @ dy + from_after)
        d["bh"] += da
        d["xh"] += da @ x[t].T
        d["hh"] += da @ h[t - 1].T
        from_after = w["hh"].T @ da
    return loss, {k: np.clip(v, -LIMIT, LIMIT) for k, v in d.items()}, h[len(inputs) - 1]


def trainer(text, steps, seed):
    """Return the same of the library's own trainer."""
    options = dict(cell="rnn", hidden=HIDDEN, embedding=0, dropout=0.0, window=WINDOW, batch=1, held_out=0.0)
    options |= dict(optimizer="adagrad", learning_rate=RATE, clip_value=LIMIT, steps=steps, seed=seed)
    config = TrainConfig.for_data(len(text), text=True, **options)
    run = Trainer(config, TextTask(text, WINDOW, 1, held_out=0.0))
    start = perf_counter()
    run.run()
    return steps / (perf_counter() - start), run.smoothed


def main():
    """Print both for each seed, and the mean of each column."""
    text = corpus.read_stream(Path(sys.argv[1]))
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 7500
    seeds = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    vocabulary = corpus.Vocabulary.from_text(text)
    ids, rows = vocabulary.encode(text), []
    print(f"{steps} windows of {len(ids):,} characters; plain loop | rnnx: windows per second, smoothed loss")
    for seed in range(seeds):
        rows.append((*plain_loop(ids, len(vocabulary), steps, seed), *trainer(text, steps, seed)))
        show(f"seed {seed}", rows[-1])
    show("mean", np.mean(rows, axis=0))


def show(name, row):
    """Print a line of the table."""
    plain, plain_loss, ours, our_loss = row
    speeds = f"{plain:6.0f} {plain_loss:6.2f} | {ours:6.0f} {our_loss:6.2f}"
    print(f"{name:7} {speeds} | {ours / plain:.2f} times as fast", flush=True)


if __name__ == "__main__":
    main()
