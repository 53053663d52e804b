"""Threads that run compiled code together, and how those that share a step wait for each other.

A function is started on all of them by the address of a function that does so (`rnnx.backends.host_threads`).
"""

# mypy: disable-error-code="untyped-decorator"

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from rnnx.backends.numba_rows import address, call

PATIENCE = 2000
"""Times that a thread looks whether the others have come, until it offers its core to other threads."""

WORDS = 64
"""Numbers of 64 bits for each thread's item of a queue: more than it has."""

INTEGER = ir.IntType(64)


@intrinsic
def arrive(typing_context: Any, address: Any) -> Any:
    """Count one more at an address; what was written before is seen by those who then see the count."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], INTEGER.as_pointer())
        return builder.atomic_rmw("add", pointer, ir.Constant(INTEGER, 1), "seq_cst")

    return types.int64(types.int64), generate


@intrinsic
def arrived(typing_context: Any, address: Any) -> Any:
    """Count at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], INTEGER.as_pointer())
        return builder.load_atomic(pointer, "seq_cst", 8)

    return types.int64(types.int64), generate


@numba.njit(error_model="numpy")
def meet(counter: Any, expected: Any, idle: Any) -> None:
    """Wait until that many arrivals were counted, one's own among them."""
    arrive(counter)
    looked = 0
    while arrived(counter) < expected:
        looked += 1
        if looked > PATIENCE:
            call(idle)


@numba.njit(error_model="numpy")
def run_together(job: Any, execute: Any, tables: Any) -> Any:
    """Run a job once for each row of tables, all at the same time, and return when all have ended."""
    size, rows = tables.shape[1] * 8, address(tables)
    count = tables.shape[0]
    if count == 1:
        call(job, rows, 0, 0, 0, 0, 0)
        return tables[0, 0]
    # See `rnnx.backends.host_threads` for what is where.
    queue = np.zeros((count, WORDS), np.int64)
    start = address(queue)
    for k in range(count):
        queue[k, 0] = job
        queue[k, 3] = rows + k * size
        if k + 1 < count:
            queue[k, 8] = start + (k + 1) * WORDS * 8
    call(execute, count, start)
    return tables[0, 0] + queue[0, 0]  # so that both live until here
