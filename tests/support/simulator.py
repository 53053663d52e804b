"""The simulator under CuPy, where this process runs on it: what it saw, for tests that count."""

from collections import Counter
from contextlib import contextmanager

import pytest

REASON = "launches and copies are counted by tests/cupysim, and this process does not run on it"


def require():
    """The simulator, or a skip."""
    cupysim = pytest.importorskip("cupysim", reason=REASON, exc_type=ImportError)
    if not cupysim.installed():
        pytest.skip(REASON)
    return cupysim


@contextmanager
def counted():
    """Count what the device was asked to do: by kind, copies also by direction (``"memcpy D2H"``).

    ``"alloc"`` is an array's memory, from CuPy's pool or, without one, from the device; what a pool asks of
    the device is not counted.
    """
    counts = Counter()
    with require().trace() as events:
        yield counts
    asked = "alloc" if any(kind == "alloc" for kind, *_ in events) else "malloc"
    for kind, what, *_ in events:
        if kind == asked:
            counts["alloc"] += 1
        elif kind not in ("malloc", "free"):
            counts[f"{kind} {what}" if kind == "memcpy" else kind] += 1
