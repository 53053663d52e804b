"""Threads: those that BLAS was given and no others, also where torch is loaded beside."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys, time
import numpy as np
import torch  # its own threads must stay idle
import rnnx

rnnx.set_backend(sys.argv[1])
cell = rnnx.LSTM(64, 256)
params = cell.init()
x = np.random.default_rng(0).standard_normal((20, 48, 64), "float32")

def train():
    y, _, tape = cell.forward(params, x)
    return cell.backward(tape, y)[2]["Wh"]

for _ in range(3):
    train()
wall, processor = time.perf_counter(), time.process_time()
while time.perf_counter() - wall < 0.4:
    found = train()
wall, processor = time.perf_counter() - wall, time.process_time() - processor
print(json.dumps({"cores": processor / wall, "sum": float(np.abs(found).sum())}))
"""


def run(backend, threads):
    """Results of the program with that many threads of BLAS."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": str(threads), "RNNX_BACKEND": "numpy"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, backend],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("backend", ["numba"], indirect=True)
def test_a_training_step_uses_the_threads_of_blas_alone(backend, torch):
    one, two = (run(backend.name, threads) for threads in (1, 2))
    assert one["cores"] < 1.15
    assert two["cores"] < 2.15
    assert two["sum"] == pytest.approx(one["sum"], rel=1e-4)
