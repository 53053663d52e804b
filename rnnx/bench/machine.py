"""What machine it is, as far as times depend on it."""

import os
import platform
from pathlib import Path
from typing import Any

from rnnx import backends
from rnnx.backends import memory
from rnnx.bench.process import THREADS

PREFIXES = (
    "OPENBLAS_",
    "GOTO_",
    "OMP_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "BLIS_",
    "XLA_",
    "TF_XLA_",
    "TF_ENABLE_ONEDNN",
)
"""Of environment variables that change how a library works, besides those of `THREADS`."""


def describe() -> dict[str, Any]:
    """Processor, cores, load, memory, system, and the versions of what rnnx's backends need."""
    affinity = getattr(os, "sched_getaffinity", None)
    load = os.getloadavg() if hasattr(os, "getloadavg") else None
    return {
        "processor": _processor(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "load": load and round(load[0], 2),
        "memory": memory.host().get("total"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": backends.installed(),
    }


def settings(environment: dict[str, str]) -> dict[str, str]:
    """Variables of the workers' environment that change their threads or the code that they choose."""
    return {
        name: value
        for name, value in sorted(environment.items())
        if name in THREADS or name.startswith(PREFIXES)
    }


def _processor() -> str:
    """Name of the processor; only Linux needs a file for it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
