"""SRU beside a plain NumPy loop of its steps, and beside rnnx's own LSTM: ratios of best times in float64.

    python tests/bench/sru_speed.py [ROUNDS]

The plain loop is the definition, written down step by step. What is compared takes turns, so that a load on
the machine meets both. With OPENBLAS_NUM_THREADS=1 NumPy's products have one thread.
"""

import sys
from collections.abc import Callable
from time import perf_counter

import numpy as np

import rnnx


def sigmoid(x):
    """Logistic function."""
    return 1.0 / (1.0 + np.exp(-x))


def plain_step(x, c, W, Wf, Wr, Wh, bf, br):
    """One step with the linear highway; x (N, D), c (N, H)."""
    candidate = x @ W
    f = sigmoid(x @ Wf + bf)
    r = sigmoid(x @ Wr + br)
    through = x @ Wh
    c_next = f * c + (1.0 - f) * candidate
    tanh_c = np.tanh(c_next)
    h = r * tanh_c + (1.0 - r) * through
    return h, c_next, (x, c, candidate, f, r, through, tanh_c)


def plain_forward(x, W, Wf, Wr, Wh, bf, br):
    """All steps of x (T, N, D), one after the other, from a state of zeros."""
    h, kept = np.zeros((*x.shape[:2], W.shape[1])), []
    c = np.zeros((x.shape[1], W.shape[1]))
    for t in range(x.shape[0]):
        h[t], c, step = plain_step(x[t], c, W, Wf, Wr, Wh, bf, br)
        kept.append(step)
    return h, c, kept


def best(rounds: int, *calls: Callable[[], object], in_a_row: int = 1) -> list[float]:
    """Shortest mean time of some calls in a row, in seconds, for each of the calls; they take turns."""
    times = [[] for _ in calls]
    for _ in range(rounds):
        for call, found in zip(calls, times, strict=True):
            start = perf_counter()
            for _ in range(in_a_row):
                call()
            found.append((perf_counter() - start) / in_a_row)
    return [min(found) for found in times]


def training_step(cell, T, N):
    """Forward and backward of one sequence, as a call."""
    rng = np.random.default_rng(0)
    params = cell.init(seed=0, dtype="float64")
    x, dy = rng.normal(size=(T, N, cell.input_size)), rng.normal(size=(T, N, cell.output_size))

    def call():
        _, _, tape = cell.forward(params, x)
        cell.backward(tape, dy)

    return call


def against_the_plain_loop(rounds: int) -> None:
    """The size of the notebooks' timing cell, which runs thousands of calls in a row."""
    T, N, D, H = 10, 2, 3, 6
    cell, rng = rnnx.SRU(D, H), np.random.default_rng(0)
    params, x = cell.init(seed=0, dtype="float64"), rng.normal(size=(T, N, D))
    matrices = [np.ascontiguousarray(block) for block in np.split(params["W"], 4, axis=1)]

    def plain():
        return plain_forward(x, *matrices, params["bf"], params["br"])

    def ours():
        return cell.forward(params, x)

    np.testing.assert_allclose(plain()[0], ours()[0], rtol=1e-12)
    plain_time, our_time = best(rounds, plain, ours, in_a_row=20)
    print(
        f"forward, N={N} D={D} T={T} H={H}: plain loop {1e6 * plain_time:.0f} us, "
        f"rnnx {1e6 * our_time:.0f} us, {plain_time / our_time:.1f} times as fast"
    )


def against_lstm(cell, T: int, N: int, rounds: int) -> None:
    """Forward and backward beside the LSTM of the same sizes."""
    lstm = rnnx.LSTM(cell.input_size, cell.hidden_size)
    lstm_time, sru_time = best(rounds, training_step(lstm, T, N), training_step(cell, T, N))
    print(
        f"forward and backward, {cell.highway} highway, D=H={cell.hidden_size} N={N} T={T}: "
        f"LSTM {1e3 * lstm_time:.1f} ms, SRU {1e3 * sru_time:.1f} ms, "
        f"{lstm_time / sru_time:.1f} times as fast"
    )


if __name__ == "__main__":
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    against_the_plain_loop(50 * rounds)
    against_lstm(rnnx.SRU(512, 512), 200, 1, rounds)
    against_lstm(rnnx.SRU(512, 512, highway="identity"), 100, 32, rounds)
