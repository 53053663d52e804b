"""A captured step printed as a whole time loop, so that small layers do not pay for Python at every step."""

from collections.abc import Callable
from functools import cache

import numpy as np

from rnnx.backends import numba_kernels
from rnnx.typing import Block, Body, Product, Script

MATRIX = 'Array(TYPE, 2, "A", readonly=True)'

SOURCE = """
from numba.types import {dtype} as TYPE, Array, int64, void
{kernels}

@numba.njit({signature}, cache=True, nogil=True, error_model="numpy", fastmath={{"contract"}})
def {name}(gemm, gemv, steps, H, N, blocks, saved_blocks, {arguments}):
    B = H * N
{setup}
    for i in range(steps):
        t = {order}
{body}
"""


@cache
def time_loop(script: Script, states: int, operands: int, dtype: np.dtype) -> Callable[..., None]:
    """Compiled loop over the steps of a script; see `arguments` for what it is called with."""
    return numba_kernels.load(script.name, source(script, states, operands, dtype))


def arguments(script: Script, states: int, operands: int) -> dict[str, str]:
    """Arrays that a loop takes, with their types: those of all steps, those of one, and what is only read."""
    names = dict.fromkeys(("pre", "saved", *(f"state{k}" for k in range(states))), "TYPE[:, :, ::1]")
    if _is_backward(script):
        names |= dict.fromkeys((f"d{k}" for k in range(states)), "TYPE[:, ::1]")
    names |= dict.fromkeys((f"scratch{k}" for k in range(len(script.scratch))), "TYPE[:, ::1]")
    columns = columns_of(script)
    for k in range(operands):
        names[f"operand{k}"] = 'Array(TYPE, 2, "C", readonly=True)' if k in columns else MATRIX
    return names | ({"dy": 'Array(TYPE, 3, "A", readonly=True)'} if _is_backward(script) else {})


def source(script: Script, states: int, operands: int, dtype: np.dtype) -> str:
    """Python of the loop."""
    names = arguments(script, states, operands)
    flat = [name for name, kind in names.items() if kind != MATRIX and name != "dy"]
    setup = [f"{name} = {name}.reshape({name}.size)" for name in flat]
    kernels: list[str] = []
    body: list[str] = []
    if _is_backward(script):  # an empty dy is none
        body += [
            "for n in range(dy.shape[1]):",
            "    for h in range(H):",
            "        d0[h * N + n] += dy[t, n, h]",
        ]
    for number, call in enumerate(script.calls):
        if isinstance(call, Product):
            a, b, out = f"operand{call.a}", _view(call.b), _view(call.out)
            inner = f"{call.b.stop - call.b.start} * H"
            body.append(
                f"product(gemm, gemv, {a}, {b}, {out}, {inner}, N, ONE, {'ONE' if call.add else 'ZERO'})"
            )
        else:
            name, text, passed = _kernel(call, number)
            kernels.append(text)
            body.append(f"{name}({', '.join(passed)})")
    return numba_kernels.header(dtype) + SOURCE.format(
        dtype=dtype.name,
        name=script.name,
        kernels="\n".join(kernels),
        signature=f"void(int64, int64, int64, int64, int64, int64, int64, {', '.join(names.values())})",
        arguments=", ".join(names),
        setup="\n".join("    " + line for line in setup),
        order="steps - 1 - i" if _is_backward(script) else "i",
        body="\n".join("        " + line for line in body),
    )


@cache
def columns_of(script: Script) -> frozenset[int]:
    """Operands that are columns; a loop takes them spread over the batch, (H, N), so that it stays flat."""
    bodies = (call for call in script.calls if isinstance(call, Body))
    return frozenset(x for body in bodies for x in body.inputs if isinstance(x, int))


def _kernel(call: Body, number: int) -> tuple[str, str, list[str]]:
    """Name and source of a body's loop, and the arrays that it is called with."""
    same = tuple(out == read for out, read in zip(call.outputs, call.inputs, strict=False))
    own = [out for k, out in enumerate(call.outputs) if k >= len(same) or not same[k]]
    passed = [_view(x) if isinstance(x, Block) else f"operand{x}" for x in (*call.inputs, *own)]
    thin = (numba_kernels.FULL,) * len(call.inputs)
    name = f"body{number}"
    return name, numba_kernels.function(name, call.program, same, thin, numba_kernels.FLAT), passed


def _view(block: Block) -> str:
    """The block at step t, as a contiguous vector."""
    slab, _, number = block.slab.partition(" ")
    first, last = f"{block.start} * B", f"{block.stop} * B"
    if slab == "pre":
        return f"pre[t * blocks * B + {first} : t * blocks * B + {last}]"
    if slab == "saved":
        return f"saved[t * saved_blocks * B + {first} : t * saved_blocks * B + {last}]"
    if slab in ("prev", "next"):
        row = "t" if slab == "prev" else "(t + 1)"
        return f"state{number}[{row} * B : {row} * B + B]"
    return f"{slab}{number}[{first} : {last}]"


def _is_backward(script: Script) -> bool:
    return script.name.endswith("_backward")
