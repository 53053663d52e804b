"""The real CuPy on a CPU: README.md tells how.

Call `install` before the first ``import cupy``, in a process of its own.
"""

import importlib
import os
import sys
from pathlib import Path
from types import SimpleNamespace

from cupysim import capsules, cublas, machine_library, nvrtc
from cupysim.machine_library import cache_folder, counters, reset_counters, trace
from cupysim.nvrtc import programs
from cupysim.requirements import SimulatorError, require_all, require_wheel

__all__ = [
    "SimulatorError",
    "cache_folder",
    "configure",
    "counters",
    "install",
    "installed",
    "programs",
    "replaced",
    "reset_counters",
    "settings",
    "trace",
    "version",
]

replaced: list[str] = []
"""Names of the functions of CuPy's modules that the machine stands in for."""

_settings = {
    "devices": 1,
    "lazy": False,
    "reverse": False,
    "poison": True,
    "redzone": 256,
    "capacity": 16 << 30,
}
FIXED = ("devices", "redzone")
"""What cannot change: CuPy counts the devices once, and memory that is in use has its guarded zones."""


def installed() -> bool:
    """Whether CuPy runs on the simulator in this process."""
    return machine_library.library is not None


def version() -> str:
    """The version of CuPy that runs on the simulator."""
    return require_wheel()


def install(pool: bool = True, lazy: bool = False, redzone: int = 256, poison: bool = True) -> None:
    """Let CuPy run on a CPU in this process.

    Parameters
    ----------
    pool : bool
        Whether CuPy takes its memory from its pool. Without, each array is guarded and poisoned for itself.
    lazy : bool
        Whether work waits in its stream until the host synchronises, so that a missing synchronisation shows.
    redzone : int
        Guarded bytes on each side of each allocation, at most 512.
    poison : bool
        Whether fresh memory is filled with ones, which are NaN in floats.

    The environment says otherwise: ``CUPYSIM_POOL=0``, ``CUPYSIM_LAZY=1``, ``CUPYSIM_REVERSE=1`` (blocks and
    threads run from the last to the first), ``CUPYSIM_DEVICES=2``, ``CUPYSIM_CACHE`` (a folder for what is
    compiled).

    Raises
    ------
    SimulatorError
        Something that it needs is missing, or CuPy is imported already.
    """
    if installed():
        raise SimulatorError("The CuPy simulator is installed in this process already.")
    require_all()
    # nvrtc.py keeps what is compiled, under names that hold for any checkout; CuPy itself need not.
    os.environ["CUPY_CACHE_IN_MEMORY"] = "1"
    os.environ["CUPY_ACCELERATORS"] = ""  # CUB and cuTENSOR are not simulated
    machine_library.load()
    _redirect()
    _settings.update(devices=_device_count(), redzone=redzone)
    configure(
        lazy=_switch("CUPYSIM_LAZY", lazy),
        reverse=_switch("CUPYSIM_REVERSE", False),
        poison=poison,
    )
    _find_libraries()
    import cupy

    if not _switch("CUPYSIM_POOL", pool):
        cupy.cuda.set_allocator(None)


def configure(**changed: bool | int) -> None:
    """Change settings of the machine while it runs.

    Parameters
    ----------
    **changed
        ``lazy``, ``reverse``, ``poison``, ``capacity`` (bytes of memory of each device).
    """
    unknown = changed.keys() - settings().keys()
    if unknown:
        raise SimulatorError(f"The CuPy simulator has no setting {', '.join(sorted(unknown))}.")
    _settings.update(changed)
    machine_library.library.cupysim_configure(*(int(value) for value in _settings.values()))


def settings() -> dict[str, bool | int]:
    """The settings that `configure` takes."""
    return {name: value for name, value in _settings.items() if name not in FIXED}


def _device_count() -> int:
    value = os.environ.get("CUPYSIM_DEVICES") or "1"
    if value not in tuple("12345678"):
        raise SimulatorError(f"CUPYSIM_DEVICES is {value!r}; expected a number from 1 to 8.")
    return int(value)


def _switch(variable: str, default: bool) -> bool:
    value = os.environ.get(variable, "")
    if value not in ("", "0", "1"):
        raise SimulatorError(f"{variable} is {value!r}; expected 0 or 1.")
    return default if value == "" else value == "1"


def _redirect() -> None:
    """Put the machine, g++ and the loops in the places of CUDA, NVRTC and cuBLAS."""
    driver = importlib.import_module("cupy_backends.cuda.api.driver")
    runtime = importlib.import_module("cupy_backends.cuda.api.runtime")
    replaced.extend(capsules.redirect(driver, machine_library.library, "driver_"))
    replaced.extend(capsules.redirect(runtime, machine_library.library, "runtime_"))
    machine_library.library.cupysim_classes(runtime.CUDARuntimeError, runtime.PointerAttributes)
    nvrtc.replace(importlib.import_module("cupy_backends.cuda.libs.nvrtc"))
    libraries = importlib.import_module("cupy_backends.cuda.libs")
    sys.modules[cublas.NAME] = libraries.cublas = cublas.make_module()


def _find_libraries() -> None:
    """Let the finder of NVIDIA's libraries find those that are stood in for, and the simulator's headers."""
    pathfinder = importlib.import_module("cuda.pathfinder")
    load, here = pathfinder.load_nvidia_dynamic_lib, Path(__file__).parent

    def load_nvidia_dynamic_lib(name):
        if name not in ("nvrtc", "cublas"):
            return load(name)
        return SimpleNamespace(abs_path=str(here / f"{name}.py"), found_via="cupysim")

    pathfinder.load_nvidia_dynamic_lib = load_nvidia_dynamic_lib
    pathfinder.find_nvidia_header_directory = lambda *names, **options: str(here / "device")
