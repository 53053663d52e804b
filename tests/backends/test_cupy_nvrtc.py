"""Every kernel of the cells and optimisers, compiled for real GPUs by NVIDIA's compiler; no GPU is needed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rnnx.backends import cupy_kernels
from support.nvrtc import LAYOUTS
from support.programs import BODIES

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_120")
"""From the oldest that CUDA 13 compiles for (Turing) over Ampere and Hopper to Blackwell."""

INSTALL = "pip install nvidia-cuda-nvrtc nvidia-cuda-runtime cupy-cuda13x"


def compile_with(*options):
    """What the assembler reports of every kernel, by name, dtype and layout."""
    process = subprocess.run(
        [sys.executable, "-m", "support.nvrtc", *options],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout)
    if "missing" in report:
        reason = f"no compiler for GPUs here ({report['missing']}): {INSTALL}"
        if "cupy" in os.environ.get("RNNX_REQUIRE_BACKENDS", ""):
            pytest.fail(f"RNNX_REQUIRE_BACKENDS names cupy: {reason}")
        pytest.skip(reason)
    return report["kernels"]


def spilling(kernels):
    return {name: found for name, found in kernels.items() if found["stores"] or found["loads"]}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_kernel_compiles_and_none_spills(architecture):
    kernels = compile_with(f"-arch={architecture}")
    names = {cupy_kernels.print_kernel(body.program).name for body in BODIES.values()}
    assert len(names) == len(BODIES), "two bodies of one name"
    names.add(cupy_kernels.LINEAR_RECURRENCE.name)
    assert kernels.keys() == {
        f"{name}, {dtype}, {layout}"
        for name in names
        for dtype in ("float32", "float64")
        for layout in LAYOUTS
    }
    assert spilling(kernels) == {}


def test_a_kernel_without_enough_registers_is_seen_to_spill():
    assert spilling(compile_with("-arch=sm_90", "-maxrregcount=16"))
