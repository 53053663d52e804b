"""One fixture runs a test on every backend that is present; the summary names those that ran and those that
did not.

``RNNX_REQUIRE_BACKENDS=numpy,torch`` turns a missing one of those into a failure. ``RNNX_CUPYSIM=1`` runs
CuPy on two simulated devices (cupysim/README.md), and of the tests only those that then run on it.
"""

import json
import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # the arrays here are small

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import cupysim
from rnnx import backends
from rnnx.errors import BackendError
from support.readonly import READ_ONLY
from support.required import REQUIRED

NAMES = ("numpy", "numpy-readonly", "numba", "strict", "torch", "cupy")

_ran: Counter[str] = Counter()
_absent: dict[str, str] = {}

SIMULATED = os.environ.get("RNNX_CUPYSIM", "") not in ("", "0")
SIMULATOR_TESTS = Path(cupysim.__file__).parent
collect_ignore = [] if SIMULATED else [str(SIMULATOR_TESTS)]
_no_simulator: str | None = None
if SIMULATED:
    os.environ.setdefault("CUPYSIM_DEVICES", "2")
    try:
        cupysim.install()
    except cupysim.SimulatorError as error:
        _no_simulator = str(error)


def _find(name):
    if name == "cupy" and _no_simulator is not None:
        raise BackendError(_no_simulator)
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
def simulator():
    """The CuPy simulator, to trace with; only with ``RNNX_CUPYSIM=1``."""
    if not cupysim.installed():
        pytest.skip(_no_simulator or "runs with RNNX_CUPYSIM=1 only")
    return cupysim


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
    if _no_simulator is not None and "cupy" in REQUIRED:
        raise pytest.UsageError(f"RNNX_REQUIRE_BACKENDS names cupy: {_no_simulator}")


def _runs_on_simulator(item):
    """Whether a test takes the backend cupy, or the simulator, or is one of the simulator's own."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    own = SIMULATOR_TESTS in item.path.parents
    named = any(isinstance(value, str) and value == "cupy" for value in parameters.values())
    takes = named and parameters.get("backend", "cupy") == "cupy"
    return takes or "simulator" in item.fixturenames or own


def pytest_collection_modifyitems(config, items):
    if not SIMULATED:
        return
    chosen = [item for item in items if _runs_on_simulator(item)]
    config.hook.pytest_deselected(items=[item for item in items if not _runs_on_simulator(item)])
    items[:] = chosen
    for item in chosen:
        if _no_simulator is not None and SIMULATOR_TESTS in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=_no_simulator))


def pytest_sessionfinish(session):
    """Write every CUDA program that this run compiled to ``$CUPYSIM_PROGRAMS``, for support/nvrtc.py."""
    target = os.environ.get("CUPYSIM_PROGRAMS")
    if target and cupysim.installed():
        programs = [(program.source, program.names, program.options) for program in cupysim.programs()]
        Path(target).write_text(json.dumps(programs), encoding="utf-8")


def pytest_terminal_summary(terminalreporter):
    reasons = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", ()))
    others = {reason: count for reason, count in reasons.items() if "the summary says why" not in reason}
    if others:
        terminalreporter.section("other skips")
        for reason, count in sorted(others.items()):
            terminalreporter.write_line(f"{count:4} {reason.removeprefix('Skipped: ')}")
    terminalreporter.section("backends")
    for name in ("cupy",) if SIMULATED else NAMES:
        if name in _ran:
            where = f" (CuPy {cupysim.version()} on the simulator)" if SIMULATED else ""
            terminalreporter.write_line(f"{name:15} ran {_ran[name]} tests{where}")
        else:
            terminalreporter.write_line(
                f"{name:15} did not run: {_absent.get(name, 'no selected test takes a backend')}"
            )
