"""Tests of a file again, compiled as for a machine with fewer instructions."""

import os
import platform
import subprocess
import sys

import pytest


def passes_on_a_machine_with(features, path, folder):
    """Run the tests of a file, but for those of "machines", in another process with a cache of its own."""
    if platform.machine().lower() not in ("x86_64", "amd64"):  # the features are of x86-64 machines
        pytest.skip("an x86-64 machine has older ones to compile for")
    settings = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": features, "XDG_CACHE_HOME": str(folder)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path, "-k", "not machines"]
    done = subprocess.run(
        command, env=os.environ | settings, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
