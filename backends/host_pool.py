"""Memory of the host that is used again: fresh pages from the system cost as much time as a small layer."""

import weakref
from collections import defaultdict
from typing import Any

import numpy as np

LEAST = 2**16
"""Bytes from which on arrays come from here: less is the business of NumPy and the C library."""

LINE = 2**6
"""Bytes that arrays begin at a multiple of: a cache line, so that a vector of that size is in one."""

KEPT = 2**26
"""Bytes that are kept for later arrays at most."""

PAGE = 2**12
"""Bytes that sizes are rounded up to, so that nearly equal arrays share blocks."""


class _Lease(weakref.ref[np.ndarray]):
    """A reference to an array that knows its memory."""

    __slots__ = ("block",)
    block: np.ndarray


class Pool:
    """Blocks of memory; one is free again when the array made of it and all its views are gone."""

    def __init__(self) -> None:
        self._free: defaultdict[int, list[np.ndarray]] = defaultdict(list)
        self._leases: dict[int, _Lease] = {}

    def empty(self, shape: tuple[int, ...], dtype: np.dtype, count: int) -> np.ndarray:
        """Array of arbitrary content, with so many entries."""
        block = self._block(-(-count * dtype.itemsize // PAGE) * PAGE)
        # What is no array ends NumPy's chain of bases: so every view holds `array`, not `block`.
        array: np.ndarray = np.frombuffer(memoryview(block.data), dtype, count)
        lease = _Lease(array, self._take_back)
        lease.block = block
        self._leases[id(lease)] = lease
        return array.reshape(shape)

    def _block(self, size: int) -> np.ndarray:
        """A block of that size, or one that waits and is up to a quarter larger."""
        sizes = [size]
        if not self._free.get(size):
            sizes = [
                each for each, blocks in list(self._free.items()) if blocks and size <= each <= 1.25 * size
            ]
        try:
            return self._free[min(sizes)].pop()
        except (ValueError, IndexError):  # none waits, or another thread has it by now
            memory = np.empty(size + LINE, np.uint8)
            return memory[-memory.ctypes.data % LINE :][:size]

    def kept(self) -> int:
        """Bytes that wait for an array."""
        return sum(size * len(blocks) for size, blocks in list(self._free.items()))

    def clear(self) -> None:
        """Give what waits back to the system."""
        self._free.clear()

    def _take_back(self, lease: Any) -> None:
        del self._leases[id(lease)]
        size = lease.block.size
        if size > KEPT:
            return
        if self.kept() + size > KEPT:
            self.clear()
        self._free[size].append(lease.block)


pool = Pool()
