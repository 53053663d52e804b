"""A stub of CuPy in place of CuPy, a machine in any state, also a broken one; and the threads of BLAS."""

import sys
from importlib import metadata, util
from types import SimpleNamespace

import pytest

from rnnx.backends import host_threads, registry
from rnnx.backends.numpy_loop import PrintedLoop
from support.cupy_stub import stubs_of

# These import what is compiled by Numba. Without it they are not there, as the summary's line for numba says;
# where RNNX_REQUIRE_BACKENDS names it, `test_numba.py` fails.
collect_ignore_glob = [] if util.find_spec("numba") else ["test_numba_*.py"]

OWN = ("rnnx.backends.cupy_backend", "rnnx.backends.cupy_diagnosis")
LIBRARY = ("cupy", "array_api_compat.cupy", "cuda", "cuda.pathfinder")


@pytest.fixture
def put(monkeypatch):
    """A function that puts a machine in place of this one."""

    def forget():
        for name in (*OWN, *LIBRARY):
            sys.modules.pop(name, None)

    before = {name: sys.modules[name] for name in (*OWN, *LIBRARY) if name in sys.modules}
    monkeypatch.setattr(registry, "_made", {})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("RNNX_REQUIRE_BACKENDS", raising=False)
    forget()

    def put_machine(machine, **modules):
        forget()

        def distribution(name):
            if name not in machine.wheels:
                raise metadata.PackageNotFoundError(name)
            return SimpleNamespace(version="14.2.0")

        monkeypatch.setattr(metadata, "distribution", distribution)
        sys.modules.update(stubs_of(machine) | modules)

    yield put_machine
    forget()
    sys.modules.update(before)


@pytest.fixture
def blas():
    """NumPy's BLAS; its number of threads is put back afterwards."""
    known = host_threads.threads()
    if known is None:  # another system, or another BLAS: there rnnx leaves its threads alone
        pytest.skip("BLAS has no threads of a kind that is known")
    before = known.number()
    yield known
    known.library.scipy_openblas_set_num_threads64_(before)


@pytest.fixture
def loops(monkeypatch):
    """Numbers of steps that printed loops have run."""
    seen, run = [], PrintedLoop.run

    def seen_run(self, steps, *arrays, **others):
        seen.append(steps)
        run(self, steps, *arrays, **others)

    monkeypatch.setattr(PrintedLoop, "run", seen_run)
    return seen
