"""Traced pointwise bodies as one flat loop each, which Numba compiles to vector instructions.

A loop over arrays that may overlap is not vectorised, so an output that is one of the inputs is one argument,
not two. The source is written to a folder of the user's cache: Numba keeps machine code beside a file.
"""

import importlib.util
import math
import os
import sys
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from operator import attrgetter, is_
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import ModuleType
from typing import Any

import numba
import numpy as np

from rnnx.typing import Array, Kernel, Program

DTYPES = (np.dtype("float32"), np.dtype("float64"))
"""What is compiled; NumPy runs the rest, such as the complex numbers of the gradient check."""

FULL, COLUMN, ROW = range(3)
FLAT, ROWS, STRIDED = range(3)
_is_contiguous = attrgetter("flags.c_contiguous")

EXPRESSIONS = {
    "add": "{} + {}",
    "subtract": "{} - {}",
    "multiply": "{} * {}",
    "divide": "{} / {}",
    "negative": "-{}",
    "positive": "{}",
    "tanh": "tanh({})",
    "sqrt": "sqrt({})",
    # A NaN is neither above nor below 0, and goes through.
    "relu": "ZERO if {0} < ZERO else {0}",
    "sign": "ONE if {0} > ZERO else (-ONE if {0} < ZERO else {0})",
}
"""Python of every operation of a trace, on scalars of one type."""

HEADER = '''"""Made by rnnx; may be deleted at any time."""

from math import sqrt

import numba
from numpy import {dtype} as T
from rnnx.backends.numba_math import tanh{bits} as tanh
from rnnx.backends.numba_rows import row

ZERO, ONE = T(0.0), T(1.0)
'''

FUNCTION = """

@numba.njit({options}error_model="numpy", fastmath={{"contract"}})
def {name}({arguments}):
{body}
"""


RECURRENCE = """
import numba

@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def linear_recurrence(a, c, width, reverse):
    a, c = a.reshape(a.size), c.reshape(c.size)
    for i in range(a.size // width):
        t = a.size - (i + 1) * width if reverse else i * width
        factor, before, after = a[t : t + width], c[t : t + width], c[t + width : t + 2 * width]
        source, target = (after, before) if reverse else (before, after)
        for j in range(width):
            target[j] += factor[j] * source[j]
"""


def kernel(program: Program, dtype: Any) -> Kernel:
    """The program as ``kernel(*inputs, out=outputs)``; an input may be a column (R, 1) or a row (1, C)."""
    dtype = np.dtype(dtype)

    def kernel(*inputs: Array, out: tuple[Array, ...]) -> tuple[Array, ...]:
        same, shape = tuple(map(is_, out, inputs)), out[0].shape
        thin = tuple([FULL if x.shape == shape else ROW if x.shape[0] < shape[0] else COLUMN for x in inputs])
        own = [o for k, o in enumerate(out) if k >= len(same) or not same[k]] if True in same else out
        loop(program, dtype, same, thin, _layout((*inputs, *own), thin))(*inputs, *own)
        return out

    return kernel


@cache
def loop(
    program: Program, dtype: np.dtype, same: tuple[bool, ...], thin: tuple[int, ...], layout: int
) -> Callable[..., None]:
    """Compiled loop over the inputs and those outputs k that are not (``same[k]``) input k."""
    name = f"{program.name}_loop"
    options = "cache=True, nogil=True, "
    return load(name, header(dtype) + function(name, program, same, thin, layout, options))


def _layout(arrays: tuple[Array, ...], thin: tuple[int, ...]) -> int:
    """FLAT, one run of memory each, or ROWS, one run for each row, or STRIDED."""
    if not any(thin) and all(map(_is_contiguous, arrays)):
        return FLAT
    size = arrays[0].itemsize
    for x in arrays:
        if x.strides[-1] != size and x.shape[-1] != 1:
            return STRIDED
    return ROWS


@cache
def linear_recurrence() -> Callable[..., None]:
    """Compiled ``run(a, c, width, reverse)`` over contiguous arrays; a step is `width` entries."""
    return load("linear_recurrence", RECURRENCE)


def header(dtype: np.dtype) -> str:
    """What a generated source begins with."""
    return HEADER.format(dtype=dtype.name, bits=8 * dtype.itemsize)


def function(
    name: str,
    program: Program,
    same: tuple[bool, ...],
    thin: tuple[int, ...],
    layout: int,
    options: str = "",
) -> str:
    """Python of a loop over matrices of some layout: FLAT, ROWS or STRIDED.

    `thin` tells for each input whether it is FULL, (R, C), a COLUMN, (R, 1), or a ROW, (1, C).
    """
    own = [k for k in range(len(program.outputs)) if k >= len(same) or not same[k]]
    targets = [f"out{k}" if k in own else program.inputs[k] for k in range(len(program.outputs))]
    kinds = dict(zip(program.inputs, thin, strict=True)) | {f"out{k}": FULL for k in own}
    first = targets[0]
    views = [f"f_{name} = {name}.reshape({first}.size)" for name in kinds] if layout == FLAT else []
    loops = [f"for j in range({first}.size):"] if layout == FLAT else [f"for r in range({first}.shape[0]):"]
    place = {name: f"f_{name}[j]" for name in kinds}
    if layout != FLAT:
        for array, kind in kinds.items():
            place[array] = f"r_{array}" if kind == COLUMN else f"r_{array}[c]"
            loops.append(f"    r_{array} = {_row(array, kind, layout)}")
        loops.append(f"    for c in range({first}.shape[1]):")
    scalars = {name: f"s{name}" for name in program.inputs}
    lines = [f"{scalars[name]} = {place[name]}" for name in program.inputs]
    for step in program.instructions:
        words = [scalars.get(a, a) if isinstance(a, str) else constant(a) for a in step.arguments]
        lines.append(f"{step.target} = {EXPRESSIONS[step.operation].format(*words)}")
    lines += [f"{place[target]} = {value}" for target, value in zip(targets, program.outputs, strict=True)]
    return FUNCTION.format(
        options=options,
        name=name,
        arguments=", ".join(kinds),
        body="\n".join([f"    {line}" for line in (*views, *loops)] + [" " * 12 + line for line in lines]),
    )


def _row(name: str, kind: int, layout: int) -> str:
    """Row r of an array, or its number where it is a column."""
    if kind == COLUMN:
        return f"{name}[r, 0]"
    r = "0" if kind == ROW else "r"
    return f"row({name}, {r})" if layout == ROWS else f"{name}[{r}]"


def constant(value: float) -> str:
    """A number in the loop's own type: a bare 0.5 is a double, and would make the whole expression one."""
    return f"T({value!r})" if math.isfinite(value) else f'T("{value!r}")'


def folder() -> Path:
    """Where the sources and their machine code are kept: below ``XDG_CACHE_HOME``, by version of Numba."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "rnnx" / f"numba-{numba.__version__}"


@cache
def helpers() -> str:
    """Source of what generated code calls: Numba's cache does not see it change."""
    names = "math", "rows", "vectors", "microkernels", "copies", "tiles", "products", "team"
    here = Path(__file__).parent
    return "".join((here / f"numba_{name}.py").read_text("utf-8") for name in names)


def load(name: str, text: str) -> Callable[..., None]:
    """Function of that name in a generated source."""
    function: Callable[..., None] = getattr(module(name, text), name)
    return function


def module(name: str, text: str) -> ModuleType:
    """A generated source as a module, kept as a file of its own."""
    path = folder() / f"{name}_{sha256((text + helpers()).encode()).hexdigest()[:16]}.py"
    if not path.exists():
        write(path, text)
    own = f"rnnx_kernels_{path.stem}"
    spec = importlib.util.spec_from_file_location(own, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    found = importlib.util.module_from_spec(spec)
    sys.modules[own] = found  # Numba asks there for the module that a function is from
    spec.loader.exec_module(found)
    return found


def write(path: Path, text: str) -> None:
    """Write a file as a whole: other processes see all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False, encoding="utf-8") as file:
        file.write(text)
    os.replace(file.name, path)
