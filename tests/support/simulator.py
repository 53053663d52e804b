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
    """Count what the device was asked to do: by kind, and copies also by direction (``"memcpy D2H"``).

    ``"allocation"`` counts requests to CuPy's memory pool, whether it has to ask the device or not; without a
    pool, requests to the device.
    """
    import cupy

    class Allocations(cupy.cuda.MemoryHook):
        name = "allocations"

        def malloc_preprocess(self, **size):
            counts["allocation"] += 1

    counts = Counter()
    with require().trace() as events, Allocations():
        yield counts
    for kind, what, *_ in events:
        counts[f"{kind} {what}" if kind == "memcpy" else kind] += 1
    del counts["free"]
    counts["allocation"] = max(counts["allocation"], counts.pop("malloc", 0))
    for kind in [kind for kind, count in counts.items() if not count]:
        del counts[kind]
