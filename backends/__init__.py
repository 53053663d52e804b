"""Array libraries and devices: the only place that names one. Importable as `rnnx.backends` only."""

if __name__ != "rnnx.backends":
    raise ImportError(
        f"This package is rnnx.backends; it was imported as {__name__!r}. Write: import rnnx.backends."
    )

from rnnx.backends.base import Backend, BackendStatus
from rnnx.backends.packages import installed
from rnnx.backends.registry import (
    asarray,
    available_backends,
    get_backend,
    memory_report,
    names,
    of,
    resolve,
    set_backend,
    to_numpy,
    use_backend,
)

__all__ = [
    "Backend",
    "BackendStatus",
    "asarray",
    "available_backends",
    "get_backend",
    "installed",
    "memory_report",
    "names",
    "of",
    "resolve",
    "set_backend",
    "to_numpy",
    "use_backend",
]
