"""What the simulator needs of the machine that it runs on; each thing that is missing is one sentence."""

import os
import platform
import shutil
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

CHECKED = {"cupy-cuda13x": ("14.2.0",), "cupy-cuda12x": ("14.2.0",)}
"""Versions of CuPy, by distribution, that the simulator was checked with.

The first one is advised. The simulator stands in for functions that CuPy's modules export to each other
only, so another version may have others.
"""

COMPILER = os.environ.get("CXX", "g++")


class SimulatorError(RuntimeError):
    """The simulator cannot run here, or cannot do what was asked."""


def require_all() -> str:
    """Return the version of CuPy, or raise `SimulatorError` with the first thing that is missing."""
    require_platform()
    version = require_wheel()
    require_compiler()
    require_python_headers()
    if "cupy" in sys.modules:
        raise SimulatorError(
            "CuPy is imported already; the simulator must be installed before the first `import cupy`."
        )
    return version


def require_platform() -> None:
    here = f"{platform.system()} on {platform.machine()}"
    if here != "Linux on x86_64":
        raise SimulatorError(f"The CuPy simulator runs on Linux on x86_64; this is {here}.")


def require_wheel() -> str:
    advised, versions = next(iter(CHECKED.items()))
    command = f"pip install {advised}=={versions[-1]}"
    found = installed_wheels()
    if not found:
        raise SimulatorError(
            f"The CuPy simulator runs the CuPy wheel, which is not installed; run: {command}."
        )
    if len(found) > 1:
        raise SimulatorError(f"Two CuPy wheels are installed, {' and '.join(found)}; uninstall one of them.")
    [(name, version)] = found.items()
    if version not in CHECKED.get(name, ()):
        checked = " and ".join(f"{known} {', '.join(versions)}" for known, versions in CHECKED.items())
        raise SimulatorError(
            f"The CuPy simulator was not checked with {name} {version}, only with {checked}; run: {command}."
        )
    return version


def installed_wheels() -> dict[str, str]:
    """Versions of what installs the package ``cupy``, by distribution."""
    found = {}
    for name in ("cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def require_compiler() -> None:
    if shutil.which(COMPILER) is None:
        raise SimulatorError(
            f"The CuPy simulator compiles kernels with {COMPILER}, which is not installed"
            " (Debian and Ubuntu: apt install g++)."
        )


def require_python_headers() -> None:
    folder = sysconfig.get_path("include")
    if not Path(folder, "Python.h").is_file():
        raise SimulatorError(
            f"The CuPy simulator needs Python's headers, and there is no Python.h in {folder}"
            " (Debian and Ubuntu: apt install python3-dev)."
        )
