"""The threads of the OpenBLAS inside NumPy, for loops and sums that are compiled here.

A second pool of threads beside that of BLAS is no way: after a product its threads look for the next one for
a tenth of a second, and whoever shares their cores then gets half of them. So loops run on these very
threads, by the function that OpenBLAS itself starts its work with:

    int exec_blas(BLASLONG count, blas_queue_t *queue);

which runs each item of a queue on a thread of its own, the first one on the caller's, and returns when all
have ended. It is no public interface. What is used of an item, nine words of 64 bits, begins with the
routine, has its argument fourth and the next item ninth; the rest, zero, asks for nothing else
(``common_thread.h``, ``driver/others/blas_server.c``). It was tried with the releases in the wheels of NumPy
2.0 to 2.4. With any other OpenBLAS, and on other systems than Linux, loops run on one thread.
"""

import ctypes
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

KNOWN = (0, 3, 27), (0, 3, 31)
"""First and last release of OpenBLAS whose queue is known."""

START = 250_000
"""Operations that a core does in about the time that it takes to start another thread."""


class Threads(NamedTuple):
    """Addresses of the function that starts work on threads and of one that offers a core to others."""

    library: ctypes.CDLL
    execute: int
    idle: int

    def number(self) -> int:
        """How many threads BLAS was given."""
        found: int = self.library.scipy_openblas_get_num_threads64_()
        return found

    def core(self) -> str:
        """What OpenBLAS calls the processor that it runs on."""
        return _text(self.library.scipy_openblas_get_corename64_)


@cache
def threads() -> Threads | None:
    """The threads of NumPy's BLAS; None where it is not an OpenBLAS whose queue is known."""
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    for path in (Path(np.__file__).parent.parent / "numpy.libs").glob("*openblas64_*"):
        library = ctypes.CDLL(str(path))
        names = "get_num_threads", "get_config", "get_corename"
        own = ["exec_blas", *(f"scipy_openblas_{name}64_" for name in names)]
        if all(hasattr(library, name) for name in own) and _is_known(library):
            idle = ctypes.CDLL(None).sched_yield
            return Threads(library, _address(library.exec_blas), _address(idle))
    return None


def team(work: int, most: int) -> tuple[int, int, int]:
    """Addresses of both functions, and how many threads so many operations are worth.

    That is one, without addresses, where the threads are not known.
    """
    known = threads() if work >= 2 * START else None
    if known is None:
        return 0, 0, 1
    return known.execute, known.idle, max(min(known.number(), work // START, most), 1)


def _is_known(library: ctypes.CDLL) -> bool:
    text = _text(library.scipy_openblas_get_config64_)
    found = re.match(r"OpenBLAS (\d+)\.(\d+)\.(\d+)", text)
    return (
        found is not None
        and "USE_OPENMP" not in text
        and KNOWN[0] <= tuple(map(int, found.groups())) <= KNOWN[1]
    )


def _text(function: Any) -> str:
    function.restype = ctypes.c_char_p
    found: bytes = function()
    return found.decode()


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0
