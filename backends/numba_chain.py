"""A captured step printed as a whole time loop, so that small layers do not pay for Python at every step.

Threads share the loop. Each computes some columns, which are sequences, in memory of its own and by itself;
or, if there are too few, some rows of every block, and then they must meet (`rnnx.backends.meeting`).
"""

from collections.abc import Callable
from functools import cache
from inspect import signature
from typing import NamedTuple

import numpy as np

from rnnx.backends import numba_copies, numba_kernels, numba_tiles
from rnnx.backends.host_pool import LINE
from rnnx.backends.numba_step import (
    columns_of,
    end,
    indented,
    matrices_of,
    pack,
    packed,
    setup,
    step,
)
from rnnx.typing import Script

SIZES = ("apart", "fresh", "steps", "H", "N", "D", "blocks", "saved_blocks", "rows", "ring", "keep")
"""What a loop is called with first.

Whether each thread has columns of its own, whether the matrices are to be packed, sizes, and whether all
steps are kept. `pre` and `saved` have memory for `rows` steps, the states for `ring`; steps beyond use the
first again.
"""

FUNCTIONS = {
    "multiply": numba_tiles,
    "multiply_one": numba_tiles,
    "project": numba_tiles,
    "pack": numba_copies,
    "turn": numba_copies,
    "turn_back": numba_copies,
    "copy_columns": numba_copies,
}
"""What all loops of a dtype call, compiled once, and where it is."""

OWN = "rank", "counter", "idle", *FUNCTIONS
"""What each thread gets besides: among others, addresses of functions."""

SEQUENCES = "x", "y", "dy"

OF_A_STEP = {"pre": "blocks * H", "saved": "saved_blocks * H", "state": "2 * H"}
"""Numbers of a column in memory of one step; there are two states, before and after it. Else it is H."""

SOURCE = """
from numba import cfunc, njit
from numba.types import {dtype} as TYPE, Array, int32, int64, intp, void
from numpy import empty
from rnnx.backends.numba_microkernels import ROWS
from rnnx.backends.numba_rows import address, call, put, vector
from rnnx.backends.numba_team import meet, run_together

SIZE, LINE = {size}, {line}
{kernels}

@cfunc(int32(intp, intp, intp, intp, intp, intp), cache=True, error_model="numpy", fastmath={{"contract"}})
def job(words, range_m, range_n, a, b, position):
    table = vector(words, {words}, int64(0))
{unpack}
    B = H * N
    panels = (H + ROWS - 1) // ROWS
    first, last = panels * rank // team, panels * (rank + 1) // team
    met = 0
{pack}
    if apart:
        if fresh:
            meet(counter, team, idle)
        first, last, rank, team = 0, panels, 0, 1
    low, high = first * ROWS, min(last * ROWS, H)
{setup}
    for i in range(steps):
        t = {order}
        at, before, after = t % rows, t % ring, (t + 1) % ring
{body}
    if apart:
{end}
    return 0


@njit(int64({signature}), cache=True, nogil=True, error_model="numpy")
def {name}({arguments}):
    B = H * N
    panels = (H + ROWS - 1) // ROWS
    share = N // team if apart else N
    memory = empty({memory} + LINE // SIZE, TYPE)
    end = -(-address(memory) // LINE) * LINE
{places}
    tables = empty((team + 1, {width}), int64)
    tables[team, 0] = 0
    counter = address(tables) + team * {width} * 8
    for rank in range(team):
        left = rank * share if apart else 0
        table = tables[rank]
{fill}
    return run_together(job, execute, tables[:team]) + tables[team, 0] + memory.size
"""

OUTPUTS = """

@njit(int64({signature}), cache=True, nogil=True, error_model="numpy")
def outputs({arguments}):
    pre = empty((rows, blocks * H, N), TYPE)
    saved = empty((rows, saved_blocks * H, N), TYPE)
{states}
    {name}({passed})
{ends}
    return 0
"""
"""Entry of a forward loop that keeps nothing but y and the state after the last step."""

TILES = """
from numba import cfunc
from numba.types import int64, void
from rnnx.backends import numba_copies, numba_tiles

"""

FUNCTION = """

@cfunc(void({kinds}), cache=True, error_model="numpy")
def {name}({arguments}):
    {module}.{name}(ZERO, {arguments})
"""


class Compiled(NamedTuple):
    """A compiled loop: its entries, and addresses of what each thread runs and of what that calls."""

    call: Callable[..., int]
    outputs: Callable[..., int] | None
    job: int
    functions: tuple[int, ...]


@cache
def time_loop(script: Script, states: int, dtype: np.dtype) -> Compiled:
    """Compiled loop over the steps of a script; see `arrays` for what it is called with."""
    module = numba_kernels.module(script.name, source(script, states, dtype))
    outputs = getattr(module, "outputs", None)
    return Compiled(getattr(module, script.name), outputs, module.job.address, functions(dtype))


@cache
def functions(dtype: np.dtype) -> tuple[int, ...]:
    """Addresses of the functions that all loops call."""
    text = numba_kernels.header(dtype) + TILES
    for name, module in FUNCTIONS.items():
        _, *arguments = signature(getattr(module, name).py_func).parameters
        kinds, own = ", ".join(["int64"] * len(arguments)), module.__name__.rpartition(".")[2]
        text += FUNCTION.format(name=name, module=own, kinds=kinds, arguments=", ".join(arguments))
    found = numba_kernels.module(f"tiles_{dtype.name}", text)
    return tuple(getattr(found, name).address for name in FUNCTIONS)


def arrays(script: Script, states: int) -> dict[str, str]:
    """Arrays that a loop takes, with their types."""
    backward = script.backward
    axes = {f"matrix{k}": 2 for k, _, _ in matrices_of(script)} | {
        f"column{k}": 2 for k in columns_of(script)
    }
    axes |= {"dy": 3} if backward else {"Wx": 2, "bias": 1, "x": 3, "y": 3}
    kinds = {name: f'Array(TYPE, {n}, "A", readonly={name != "y"})' for name, n in axes.items()}
    kinds |= {"packed": "TYPE[::1]"}
    kinds |= dict.fromkeys(("pre", "saved", *(f"state{k}" for k in range(states))), "TYPE[:, :, ::1]")
    return kinds | dict.fromkeys((f"d{k}" for k in range(states if backward else 0)), "TYPE[:, ::1]")


def source(script: Script, states: int, dtype: np.dtype) -> str:
    """Python of the loop."""
    kinds = arrays(script, states)
    given = ["job", "execute", *OWN[2:], "team", *SIZES]
    words = [*OWN, "team", *SIZES, "left", "width"]
    values = {"N": "share", "rows": "1 if apart else rows", "ring": "2 if apart else ring", "width": "N"}
    unpack = [f"{name} = table[{place}]" for place, name in enumerate(words)]
    fill = [f"table[{place}] = {values.get(name, name)}" for place, name in enumerate(words)]
    places, used = ["place = -(-address(packed) // LINE) * LINE"], ["0"]

    def pass_on(name: str, value: str) -> None:
        unpack.append(f"{name} = table[{len(words)}]")
        fill.append(f"table[{len(words)}] = {value}")
        words.append(name)

    def pass_vector(name: str, data: str, size: str) -> None:
        pass_on(f"{name}_data", data)
        pass_on(f"{name}_size", size)
        unpack.append(f"{name} = vector({name}_data, {name}_size, ZERO)")

    def make(name: str, size: str, needed: str = "1") -> None:
        """Memory in the loop, of a size for each column, if needed."""
        places.extend([f"own_{name} = end", f"end += {needed} * {size} * N * SIZE"])
        used.append(f"{needed} * {size} * N")

    for name, kind in kinds.items():
        if '"A"' in kind:
            batch = f" + left * {name}.strides[1]" if name in SEQUENCES else ""
            pass_on(f"{name}_data", f"address({name}){batch}")
            for axis in range(int(kind.split(", ")[1])):
                pass_on(f"{name}_{axis}", f"{name}.strides[{axis}]")
        elif name != "packed":
            size = OF_A_STEP.get(name.rstrip("0123456789"), "H")
            make(name, size, "apart")
            data = f"own_{name} + {size} * left * SIZE if apart else address({name})"
            pass_vector(name, data, f"{size} * share if apart else {name}.size")
            pass_on(f"whole_{name}", f"address({name})")
    above = "dy" if script.backward else "y"  # there may be none
    pass_on(f"{above}_size", f"{above}.size")
    for name, (blocks, inner) in packed(script).items():
        places += [f"{name} = place", f"place += {blocks} * {inner} * panels * ROWS * SIZE"]
        pass_on(f"{name}_data", name)
    own = {f"scratch{k}": f"{blocks} * H" for k, blocks in enumerate(script.scratch)}
    own |= {f"spread{k}": "H" for k in columns_of(script)}
    if not script.backward:
        own["turned"] = "2 * (D + 1) * (ROWS if N == 1 else 1)"
    for name, size in own.items():
        make(name, size)
        pass_vector(name, f"own_{name} + {size} * left * SIZE", f"{size} * share")
    for k in columns_of(script):
        spread = f"put(own_spread{k}, (first + h) * share + n, column{k}[h, 0])"
        places += ["for first in range(0, H * (team if apart else 1), H):"]  # of each thread's own
        places += ["    for h in range(H):", "        for n in range(share):", indented(3, [spread])]
    kernels, body = step(script, states)
    text = numba_kernels.header(dtype) + SOURCE.format(
        dtype=dtype.name,
        size=dtype.itemsize,
        line=LINE,
        name=script.name,
        kernels="\n".join(kernels),
        signature=", ".join(["int64"] * len(given) + list(kinds.values())),
        arguments=", ".join([*given, *kinds]),
        words=len(words),
        width=-(-len(words) // 8) * 8,  # whole cache lines
        memory=" + ".join(used),
        order="steps - 1 - i" if script.backward else "i",
        unpack=indented(1, unpack),
        places=indented(1, places),
        fill=indented(2, fill),
        pack=indented(1, pack(script)),
        setup=indented(1, setup(script, states)),
        body=indented(2, body),
        end=indented(2, end(script, states)),
    )
    return text if script.backward else text + _outputs(script, states, given, kinds)


def _outputs(script: Script, states: int, given: list[str], kinds: dict[str, str]) -> str:
    """Python of the entry for outputs alone, which is given the states before and after all steps."""
    own = {"pre", "saved", *(f"state{k}" for k in range(states))}
    passed = {name: kind for name, kind in kinds.items() if name not in own}
    passed |= {f"start{k}": 'Array(TYPE, 2, "A", readonly=True)' for k in range(states)}
    passed |= {f"end{k}": "TYPE[:, ::1]" for k in range(states)}
    begin, finish = [], []
    for k in range(states):
        begin += [
            f"state{k} = empty((ring, H, N), TYPE)",
            "for h in range(H):",
            "    for n in range(N):",
            f"        state{k}[0, h, n] = start{k}[n, h] if start{k}.size else ZERO",
        ]
        finish += [
            "for n in range(N):",
            "    for h in range(H):",
            f"        end{k}[n, h] = state{k}[steps % ring, h, n]",
        ]
    return OUTPUTS.format(
        signature=", ".join(["int64"] * len(given) + list(passed.values())),
        arguments=", ".join([*given, *passed]),
        name=script.name,
        passed=", ".join([*given, *kinds]),
        states=indented(1, begin),
        ends=indented(1, finish),
    )
