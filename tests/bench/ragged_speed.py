"""A ragged batch by `lengths=`, where ended sequences leave the products, beside a loop with masks.

    OPENBLAS_NUM_THREADS=1 python tests/bench/ragged_speed.py [CELL [ROUNDS]]

N=64, D=H=256, T=100, lengths uniform in 1 .. T, NumPy, float32: forward, then all gradients. The loop with
masks runs the same hooks of the cell over the full rectangle, and a sequence that has ended keeps its state.
Both give the same numbers, which is asserted; they take turns.
"""

import os
import sys
from statistics import median
from time import perf_counter

import numpy as np

import rnnx
from rnnx import steps
from rnnx.cells import REGISTRY
from rnnx.ops import Operands, Workspace
from rnnx.projection import Projection
from rnnx.ragged import Segment

T, N, D, H = 100, 64, 256, 256


def masked(cell, params, x, dy, lengths):
    """Return y and the gradients of x and the parameters by a loop over the full rectangle."""
    backend = rnnx.get_backend()
    ended = np.arange(T)[:, None] >= lengths
    whole = Segment(0, T, N)
    record = steps.Record(params, x, [whole], [])
    pre = Projection(cell, backend, record).of(whole)
    saved = np.empty((T, cell.saved_blocks * H, N), x.dtype)
    states = tuple(np.empty((T + 1, H, N), x.dtype) for _ in cell.State._fields)
    piece = steps.Piece(whole, pre, saved, states)
    for buffer in states:
        buffer[0] = 0.0
    step = cell.bind_forward(Workspace(Operands(backend, N, T), H, N, x.dtype), params)
    for t in range(T):
        prev, after = piece.state(cell, t), piece.state(cell, t + 1)
        step(pre[t], prev, after, saved[t])
        for old, new in zip(prev, after, strict=True):
            np.copyto(new, old, where=ended[t])
    y = np.where(ended[..., None], np.float32(0.0), np.swapaxes(states[0][1:], 1, 2))
    d = cell.State._make([np.zeros((H, N), x.dtype) for _ in cell.State._fields])
    kept = [np.empty((H, N), x.dtype) for _ in cell.State._fields]
    step = cell.bind_backward(Workspace(Operands(backend, N, T), H, N, x.dtype), params)
    upstream = np.swapaxes(dy, 1, 2)
    for t in reversed(range(T)):
        d[0][...] += np.where(ended[t], np.float32(0.0), upstream[t])
        for part, store in zip(d, kept, strict=True):
            np.multiply(part, ended[t], store)
            part *= ~ended[t]
        step(pre[t], saved[t], piece.state(cell, t), piece.state(cell, t + 1), d)
        for part, store in zip(d, kept, strict=True):
            part += store
    sums = steps.Sums(cell, backend, record)
    sums.add(piece)
    return y, *sums.result()


def alive_only(cell, params, x, dy, lengths):
    """Return the same by the library's own loop."""
    y, _, tape = cell.forward(params, x, lengths=lengths)
    dx, _, grads = cell.backward(tape, dy)
    return y, dx, grads


def check(cell, arguments):
    """Both loops give the same."""
    (y, dx, grads), (other, dother, others) = (loop(cell, *arguments) for loop in (masked, alive_only))
    for one, two in [(y, other), (dx, dother), *((grads[name], others[name]) for name in grads)]:
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-4 * max(1.0, np.abs(one).max()))


def main():
    """Print both times and their ratio."""
    name = sys.argv[1] if len(sys.argv) > 1 else "lstm"
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 15
    threads = os.environ["OPENBLAS_NUM_THREADS"]
    cell, rng = REGISTRY[name](D, H), np.random.default_rng(0)
    params = cell.init(0)
    lengths = rng.integers(1, T + 1, N)
    x, dy = (rng.standard_normal((T, N, size), dtype=np.float32) for size in (D, H))
    arguments = params, x, dy, lengths
    check(cell, arguments)
    times = {loop: [] for loop in (masked, alive_only)}
    for _ in range(rounds):
        for loop, values in times.items():
            start = perf_counter()
            loop(cell, *arguments)
            values.append(perf_counter() - start)
    print(f"{name}: T={T}, N={N}, D={D}, H={H}, mean length {lengths.mean():.1f}, {threads} thread(s)")
    for loop, values in times.items():
        print(f"{loop.__name__:10} least {min(values) * 1e3:6.1f} ms, median {median(values) * 1e3:6.1f} ms")
    least = min(times[masked]) / min(times[alive_only])
    middle = median(a / b for a, b in zip(*times.values(), strict=True))
    print(f"masked / alive only: {least:.2f} by the least, {middle:.2f} by the median of the rounds")


if __name__ == "__main__":
    main()
