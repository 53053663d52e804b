"""The machine in machine/*.cpp: built once, loaded, and asked what was asked of it."""

import ctypes
import hashlib
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cupysim.requirements import COMPILER, SimulatorError

FOLDER = Path(__file__).parent / "machine"
COUNTERS = (
    "launch", "h2d", "d2h", "d2d", "p2p", "memset", "malloc", "free", "sync", "gemm", "hostalloc",
    "graphlaunch", "captured",
)  # fmt: skip
"""In the order of ``enum Counter`` of machine.h."""

library: Any = None
"""The loaded library; None until the simulator is installed."""

_lists: list[list[tuple[Any, ...]]] = []  # of the traces that are active, the innermost last


def cache_folder() -> Path:
    """The folder that holds what was compiled; it may be deleted at any time."""
    named = os.environ.get("CUPYSIM_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnnx-cupysim"


def compile_library(command: list[str], target: Path, source: str = "") -> None:
    """Run g++, which may read the source from its standard input.

    The target appears whole or not at all, also where two processes make the same one.

    Raises
    ------
    SimulatorError
        The compiler's own words.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        made = Path(scratch, target.name)
        run = subprocess.run(
            [COMPILER, *command, "-o", str(made)], capture_output=True, input=source, text=True
        )
        if run.returncode:
            raise SimulatorError(run.stderr)
        os.replace(made, target)


def load() -> None:
    """Build the library, if there is none of this source, and load it."""
    global library
    sources = sorted(FOLDER.glob("*.cpp"))
    text = b"".join(path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.is_file())
    tag = hashlib.sha256(text + f"{sys.version} {COMPILER}".encode()).hexdigest()[:16]
    target = cache_folder() / f"machine-{tag}.so"
    if not target.exists():
        include = sysconfig.get_path("include")
        options = ["-std=c++17", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", f"-I{include}"]
        try:
            compile_library([*options, *map(str, sources), "-ldl"], target)
        except SimulatorError as error:
            reason = (str(error).strip().splitlines() or ["it said nothing"])[0]
            raise SimulatorError(
                f"The CuPy simulator cannot be built with {COMPILER}: {reason}."
                " On Debian: apt install g++ python3-dev."
            ) from error
        except OSError as error:
            raise SimulatorError(
                f"The CuPy simulator cannot write to its cache, {cache_folder()}: {error.strerror}. "
                "Set CUPYSIM_CACHE to another folder."
            ) from error
    library = ctypes.PyDLL(str(target))  # keeps Python's lock, and raises what a call left raised
    library.cupysim_classes.argtypes = [ctypes.py_object] * 2
    library.cupysim_trace.argtypes = [ctypes.py_object]
    library.cupysim_configure.argtypes = [ctypes.c_int] * 4 + [ctypes.c_size_t] * 2
    library.cupysim_counter.restype = ctypes.c_longlong


def counters() -> dict[str, int]:
    """How often each thing was asked of the machine since the counters were reset."""
    return {name: library.cupysim_counter(number) for number, name in enumerate(COUNTERS)}


def reset_counters() -> None:
    library.cupysim_reset_counters()


@contextmanager
def trace() -> Iterator[list[tuple[Any, ...]]]:
    """Collect what is asked of the machine inside the with block, in a list of tuples.

    ========================================================  ===============================================
    ('launch', kernel, blocks, threads)                       a kernel; threads of each block
    ('gemm', m, n, k, batch)                                  a product of cuBLAS, in its column-major terms
    ('memcpy', 'H2D' or 'D2H' or 'D2D' or 'P2P', bytes)       a copy; P2P: between two devices
    ('memset', bytes)                                         a fill of cudaMemset (array.fill is a launch)
    ('sync', 'device' or 'stream' or 'event')                 the host waits
    ('alloc', bytes)                                          an array's memory, taken from CuPy's pool
    ('malloc', bytes), ('free', bytes), ('hostalloc', bytes)  memory of CUDA itself, such as the pool takes
    ('graphlaunch', operations)                               a captured graph
    ========================================================  ===============================================

    While a stream is captured, what is captured is listed, and not what the graph then does.
    """
    from cupy.cuda import MemoryHook

    class PoolHook(MemoryHook):
        name = f"cupysim {len(_lists)}"

        def malloc_preprocess(self, **asked: int) -> None:
            if _lists[-1] is events:
                events.append(("alloc", asked["size"]))

    events: list[tuple[Any, ...]] = []
    _lists.append(events)
    library.cupysim_trace(events)
    try:
        with PoolHook():
            yield events
    finally:
        _lists.pop()
        outer = _lists[-1] if _lists else None
        library.cupysim_trace(outer)
        if outer is not None:
            outer.extend(events)
