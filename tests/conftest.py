"""One fixture runs a test on every backend that is present; the summary names those that ran and those that
did not.

``RNNX_REQUIRE_BACKENDS=numpy,torch`` turns a missing one of those into a failure.
"""

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # the arrays here are small

from collections import Counter

import numpy as np
import pytest

from rnnx import backends
from rnnx.errors import BackendError
from support.readonly import READ_ONLY
from support.required import REQUIRED

NAMES = ("numpy", "numpy-readonly", "strict", "torch", "cupy")

_ran: Counter[str] = Counter()
_absent: dict[str, str] = {}


def _find(name):
    return READ_ONLY if name == "numpy-readonly" else backends.resolve(name)


@pytest.fixture(params=NAMES)
def backend(request):
    """Every backend in turn, as the default backend."""
    name = request.param
    try:
        found = _find(name)
    except BackendError as error:
        _absent[name] = str(error)
        if name in REQUIRED:
            pytest.fail(f"RNNX_REQUIRE_BACKENDS names {name}: {error}")
        pytest.skip(f"{name} is not here; the summary says why")
    with backends.use_backend(found):
        yield found
    _ran[name] += 1


@pytest.fixture
def rng():
    """Host random numbers, the same in every run."""
    return np.random.default_rng(20240509)


@pytest.fixture
def torch():
    """PyTorch, as an oracle."""
    if "torch" in REQUIRED:
        import torch

        return torch
    return pytest.importorskip("torch", exc_type=ImportError)


def pytest_configure(config):
    unknown = set(REQUIRED) - set(NAMES)
    if unknown:
        raise pytest.UsageError(
            f"RNNX_REQUIRE_BACKENDS names {', '.join(sorted(unknown))}; known are {', '.join(NAMES)}"
        )


def pytest_terminal_summary(terminalreporter):
    reasons = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", ()))
    others = {reason: count for reason, count in reasons.items() if "the summary says why" not in reason}
    if others:
        terminalreporter.section("other skips")
        for reason, count in sorted(others.items()):
            terminalreporter.write_line(f"{count:4} {reason.removeprefix('Skipped: ')}")
    terminalreporter.section("backends")
    for name in NAMES:
        if name in _ran:
            terminalreporter.write_line(f"{name:15} ran {_ran[name]} tests")
        else:
            terminalreporter.write_line(
                f"{name:15} did not run: {_absent.get(name, 'no selected test takes a backend')}"
            )
