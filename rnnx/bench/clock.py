"""The clock of a turn."""

from collections.abc import Callable
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple


class Turn(NamedTuple):
    """What a turn measured.

    Attributes
    ----------
    seconds : float
        Median of the calls.
    calls : int
    cores : float
        Processor time of the whole process over the time that passed: how many cores it kept busy.
    """

    seconds: float
    calls: int
    cores: float


def turn(call: Callable[[], Any], seconds: float) -> Turn:
    """Call a function, which returns when its work is done, until that many seconds have passed.

    The first call finds the caches full of other processes' data, and is not counted; one more always is.
    """
    call()
    times: list[float] = []
    busy, start = process_time(), perf_counter()
    before = start
    while not times or before - start < seconds:
        call()
        now = perf_counter()
        times.append(now - before)
        before = now
    return Turn(median(times), len(times), (process_time() - busy) / (before - start))
