"""`rnnx train --text` beside a plain NumPy loop, on one text: steps per second and the smoothed loss.

    python tests/bench/charlm_speed.py TEXT [STEPS]

The loop is the algorithm of Karpathy's min-char-rnn.py (2015), written down as it is explained: one
character at a time, a dict of columns per window, one-hot columns, float64. Both train in the setting of
that file: a simple recurrent layer of 100 units, windows of 25 characters, batch 1, Adagrad with 0.1, every
element of the gradient clipped to ±5. The loop runs on the characters that the trainer trains on, the first
nine tenths of the text.
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


def plain_loop(ids, size, steps):
    """Return (steps per second, smoothed loss in nats per window)."""
    rng = np.random.default_rng(0)
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


def trainer(text, steps):
    """Return the same of the library's own trainer, evaluations included."""
    options = dict(cell="rnn", hidden=HIDDEN, embedding=0, dropout=0.0, window=WINDOW, batch=1, steps=steps)
    options |= dict(optimizer="adagrad", learning_rate=RATE, clip_value=LIMIT)
    run = Trainer(TrainConfig.for_data(len(text), text=True, **options), TextTask(text, WINDOW, 1))
    start = perf_counter()
    run.run()
    return steps / (perf_counter() - start), run.smoothed


def main():
    """Print both, and the ratio."""
    text = corpus.read_stream(Path(sys.argv[1]))
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 7500
    task = TextTask(text, WINDOW, 1)
    plain, plain_loss = plain_loop(task.train, len(task.vocabulary), steps)
    ours, our_loss = trainer(text, steps)
    for name, speed, loss in (("plain NumPy loop", plain, plain_loss), ("rnnx", ours, our_loss)):
        print(f"{name:17} {speed:6.0f} steps per second, smoothed loss {loss:6.2f} nats per window")
    print(f"ratio {ours / plain:.2f}")


if __name__ == "__main__":
    main()
