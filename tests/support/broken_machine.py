"""A new process whose CuPy is the installed wheel, on a machine that is broken in one way."""

import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from support.required import REQUIRED

STUB = Path(__file__).with_name("libcuda_stub.c")
WHEELS = ("cupy-cuda12x", "cupy-cuda13x")

LOCATIONS = ("CONDA_PREFIX", "CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "RNNX_REQUIRE_BACKENDS")
"""Variables that would let another CUDA in, or the outcome of these tests."""

HIDE_LIBRARIES = """
import site
site.getsitepackages, site.ENABLE_USER_SITE = (lambda: []), False  # CUDA's libraries from PyPI are there
import cupy
cupy.cuda.runtime.getDeviceCount = lambda: 1
"""

REPORT = """
import json, sys
from rnnx import set_backend
from rnnx.errors import BackendError
try:
    set_backend("cupy")
except BackendError as error:
    raised = [error.problem, error.hint]
else:
    raised = None
from typer.testing import CliRunner
from rnnx.cli.app import app
text = CliRunner().invoke(app, ["doctor", "--backend", "cupy"])
found = CliRunner().invoke(app, ["doctor", "--backend", "cupy", "--json"])
json.dump({"raised": raised, "text": text.output, "status": text.exit_code, "json": found.stdout}, sys.stdout)
"""


def what_is_missing():
    """What these tests need and do not find here, as one sentence; empty if all is there."""
    missing = [] if shutil.which("gcc") else ["gcc"]
    if not installed_wheel():
        missing.append("a CuPy wheel")
    if sys.platform != "linux":
        missing.append("Linux")
    return f"These tests need {' and '.join(missing)}." if missing else ""


def is_required():
    """Whether this run must not skip these tests: a workstation with a GPU may lack gcc, CI may not."""
    return "cupy" in REQUIRED and bool(not installed_wheel() or os.environ.get("CI"))


def installed_wheel():
    """Name of the installed CuPy wheel, or an empty string."""
    for name in WHEELS:
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        return name
    return ""


def build(library, *sources):
    """Compile C sources into a shared library; none makes one that holds nothing."""
    library.parent.mkdir(parents=True, exist_ok=True)
    command = [
        "gcc",
        "-shared",
        "-fPIC",
        "-w",
        "-o",
        str(library),
        "-x",
        "c",
        *map(str, sources or ["/dev/null"]),
    ]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)


def examine(folders, prelude="", paths=(), **environment):
    """Run `set_backend` and ``rnnx doctor`` in a new process.

    Parameters
    ----------
    folders : sequence of Path
        Where shared libraries are looked for first.
    prelude : str
        Python that runs before.
    paths : sequence of Path
        Where Python packages are looked for first.
    environment : str
        Variables.

    Returns
    -------
    dict
        ``raised`` (problem and hint, or None), ``text`` and ``json`` (of doctor), ``status``.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in LOCATIONS}
    searched = [*map(str, folders), *filter(None, [inherited.get("LD_LIBRARY_PATH")])]
    path = os.pathsep.join([*map(str, paths), *filter(None, [inherited.get("PYTHONPATH")])])
    run = subprocess.run(
        [sys.executable, "-c", prelude + REPORT],
        env=inherited | {"LD_LIBRARY_PATH": ":".join(searched), "PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def system_cuda():
    """Where a CUDA of the system is, which no environment variable hides; empty if there is none."""
    found = [*Path("/usr/local").glob("cuda*"), *Path("/usr/lib").glob("*/libnvrtc.so*")]
    return ", ".join(map(str, found))
