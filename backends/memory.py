"""Memory: what the host has, and the error that is raised where a device has too little."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnx.errors import MemoryLimitError

UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}

HOST = Path("/proc/meminfo")


def host() -> dict[str, int]:
    """Bytes ``free`` and ``total`` of the machine, as Linux tells them; empty elsewhere."""
    try:
        kibibytes = dict(re.findall(r"^(\w+): +(\d+) kB$", HOST.read_text("utf-8"), re.MULTILINE))
        return {"free": int(kibibytes["MemAvailable"]) * 2**10, "total": int(kibibytes["MemTotal"]) * 2**10}
    except (OSError, KeyError):
        return {}


def as_text(count: int) -> str:
    """Bytes in the largest unit that leaves at least 1, such as ``3.8 GiB``."""
    name, unit = max(
        ((name, unit) for name, unit in UNITS.items() if unit <= max(count, 1)), key=lambda pair: pair[1]
    )
    return f"{count} bytes" if unit == 1 else f"{count / unit:.1f} {name}"


def limit_error(
    where: str, device: str, asked: int, report: Mapping[str, int], sizes: Mapping[str, int]
) -> MemoryLimitError:
    """Make the error of a function that ran out of memory.

    Parameters
    ----------
    where : str
        The function.
    device : str
        Name of the backend.
    asked : int
        Bytes; 0 if unknown.
    report : mapping of str to int
        ``free`` and ``total`` bytes, if known.
    sizes : mapping of str to int
        Sizes of the call, by name.
    """
    free, total = report.get("free"), report.get("total")
    problem = f"{where}: {as_text(asked)} more were asked for" if asked else f"{where}: memory ran out"
    if free is None or total is None:
        problem += f" than there are on {device}." if asked else f" on {device}."
    else:
        problem += f", and {as_text(free)} of {as_text(total)} are free on {device}."
    *others, last = [f"{name} ({size})" for name, size in sizes.items()] or ["the sizes of the arrays"]
    hint = f"Lower {', '.join(others)} or {last}." if others else f"Lower {last}."
    return MemoryLimitError(problem, hint, asked, free, total, sizes)


class Computing:
    """See `Backend.computing`; a class, since a generator would take twice the time."""

    __slots__ = ("_backend", "_context", "_sizes", "_where")

    def __init__(self, backend: Any, where: str, sizes: dict[str, int]) -> None:
        self._backend, self._where, self._sizes = backend, where, sizes

    def __enter__(self) -> None:
        try:
            self._context = self._backend.untracked()
            self._context.__enter__()
        except Exception as error:  # what libraries raise for want of memory has no base class in common
            self._explain(error)
            raise

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        self._context.__exit__(kind, error, traceback)
        if isinstance(error, Exception):
            self._explain(error)

    def _explain(self, error: Exception) -> None:
        backend, asked = self._backend, self._backend.memory_asked(error)
        if asked is not None:
            report = backend.memory_report()
            raise limit_error(self._where, str(backend), asked, report, self._sizes) from error
