"""A training step with checkpoints beside one without.

    OPENBLAS_NUM_THREADS=1 python tests/bench/checkpoint_speed.py [BACKEND]

Float32; both run in turn, and the ratio of the medians counts.
"""

import sys
from statistics import median
from time import perf_counter

import numpy as np

import rnnx

ROUNDS = 9


def main():
    """Print the ratios."""
    rnnx.set_backend(sys.argv[1] if len(sys.argv) > 1 else "numpy")
    for kind in (rnnx.RNN, rnnx.LSTM, rnnx.GRU):
        for T, N, D, H in ((100, 32, 64, 128), (400, 16, 128, 256)):
            cell, rng = kind(D, H), np.random.default_rng(0)
            params = cell.init()
            x, dy = (rng.standard_normal((T, N, size), "float32") for size in (D, H))
            times = {None: [], round(T**0.5): []}
            for _ in range(ROUNDS + 1):
                for every, measured in times.items():
                    start = perf_counter()
                    _, _, tape = cell.forward(params, x, checkpoint_every=every)
                    cell.backward(tape, dy)
                    measured.append(perf_counter() - start)
            without, with_them = (1e3 * median(measured[1:]) for measured in times.values())
            sizes = f"T={T} N={N} D={D} H={H} K={round(T**0.5)}"
            print(f"{kind.__name__:5} {sizes:32} {without:8.2f} {with_them:8.2f} {with_them / without:5.2f}")


if __name__ == "__main__":
    main()
