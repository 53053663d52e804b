"""A training step of a stack of three bidirectional LSTMs on NumPy, beside torch.nn.LSTM in the same run.

    OPENBLAS_NUM_THREADS=2 python tests/bench/stack_speed.py [ROUNDS]

T=100, N=32, D=H=128, float32: forward, then the gradients of x and of all parameters. torch gets as many
threads as OPENBLAS_NUM_THREADS says. The two take turns, so that the machine's other work meets both.
"""

import os
import sys
from statistics import median
from time import perf_counter

import numpy as np
import torch

import rnnx

T, N, D, H, LAYERS = 100, 32, 128, 128, 3


def ours(rng):
    """Return a training step of rnnx's stack."""
    sizes = [D] + [2 * H] * (LAYERS - 1)
    cell = rnnx.Stack(*(rnnx.Bidirectional(rnnx.LSTM(size, H)) for size in sizes))
    params = cell.init(0)
    x = rng.standard_normal((T, N, D), dtype=np.float32)
    dy = rng.standard_normal((T, N, 2 * H), dtype=np.float32)

    def step():
        _, _, tape = cell.forward(params, x)
        cell.backward(tape, dy)

    return step


def torchs(rng):
    """Return the same of torch."""
    module = torch.nn.LSTM(D, H, LAYERS, bidirectional=True)
    x = torch.from_numpy(rng.standard_normal((T, N, D), dtype=np.float32)).requires_grad_()
    dy = torch.from_numpy(rng.standard_normal((T, N, 2 * H), dtype=np.float32))
    inputs = [x, *module.parameters()]

    def step():
        y, _ = module(x)
        torch.autograd.grad(y, inputs, dy)

    return step


def seconds(step):
    """Seconds of one call."""
    start = perf_counter()
    step()
    return perf_counter() - start


def main():
    """Print both times, and their ratio by minima and by medians."""
    threads = int(os.environ["OPENBLAS_NUM_THREADS"])
    torch.set_num_threads(threads)
    steps = {"rnnx": ours(np.random.default_rng(0)), "torch": torchs(np.random.default_rng(0))}
    for step in steps.values():
        step()
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    times = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(seconds(step))
    print(f"{LAYERS} bidirectional LSTMs, T={T}, N={N}, D=H={H}, {threads} thread(s), {rounds} rounds")
    for name, values in times.items():
        print(f"{name:6} least {min(values) * 1e3:7.1f} ms, median {median(values) * 1e3:7.1f} ms")
    least = min(times["rnnx"]) / min(times["torch"])
    middle = median(a / b for a, b in zip(*times.values(), strict=True))
    print(f"rnnx / torch: {least:.2f} by the least, {middle:.2f} by the median of the rounds")


if __name__ == "__main__":
    main()
