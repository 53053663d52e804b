"""Record what one step of a chain calls, so that a backend can run its time loop as one function.

A step gets slabs without memory, and operations that write down what they are asked to do. A step that does
anything else with blocks, such as arithmetic of its own, cannot be captured, and stays what it is: a Python
function that is called once per time step. So does one that calls something else the second time.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from rnnx.backends import Backend
from rnnx.ops.pointwise import Pointwise
from rnnx.typing import Array, Block, Body, Kernel, Params, Product, Script, State

PLAIN = bool | int | float | str | None
"""Values that a step may decide by."""

KEY = "_captured"
"""Where a cell keeps its scripts."""


class NotCapturable(TypeError):
    """The step does what a script has no word for."""


class Blank:
    """What a step gets in place of an array: it has no values, so nothing can be decided by them."""

    __slots__ = ()

    def __bool__(self) -> bool:
        raise NotCapturable("a step decides by values")

    def __eq__(self, other: object) -> bool:
        raise NotCapturable("a step compares values")

    def __array__(self, *arguments: Any, **options: Any) -> Any:
        raise NotCapturable("a step takes values to NumPy")


class Slab(Blank):
    """A block of rows without memory: it can be sliced along its rows, and nothing else."""

    __slots__ = ("block",)

    def __init__(self, slab: str, start: int, stop: int) -> None:
        self.block = slab, start, stop

    def __getitem__(self, key: Any) -> "Slab":
        rows = key[0] if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis else key
        if not isinstance(rows, slice) or rows.step is not None:
            raise NotCapturable(f"a block is indexed by {key!r}")
        slab, start, stop = self.block
        first, last, _ = rows.indices(stop - start)
        return Slab(slab, start + first, start + last)


class Operand(Blank):
    """A matrix or a column of a step, by its number: a step can hand it to operations, and nothing else."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


class Recorder:
    """Operations as those of `rnnx.ops.Workspace`, that write a script.

    Attributes
    ----------
    bound : list of tuple
        What was asked for, in that order: the same step calls the same.
    operands : list of array
    scratch : list of int
        Blocks of each memory that was asked for.
    calls : list of Product or Body
        What the step has called.
    """

    def __init__(self, backend: Backend, hidden: int) -> None:
        self.backend = backend
        self.hidden = hidden
        self.bound: list[tuple[Any, ...]] = []
        self.operands: list[Array] = []
        self.scratch: list[int] = []
        self.calls: list[Product | Body] = []

    def kernel(self, body: Pointwise) -> Kernel:
        self.bound.append(("kernel", body.program))

        def kernel(*inputs: Any, out: tuple[Any, ...]) -> tuple[Any, ...]:
            read = tuple(self._block(x) if isinstance(x, Slab) else self._operand(x) for x in inputs)
            written = tuple(map(self._block, out))
            if any(isinstance(block, Block) and block.stop != block.start + 1 for block in read + written):
                raise NotCapturable(f"{body.__name__} is called with several blocks as one")
            self.calls.append(Body(body.program, read, written))
            return out

        return kernel

    def operand(self, a: Array) -> Operand:
        self.bound.append(("operand", a.shape))
        self.operands.append(a)
        return Operand(len(self.operands) - 1)

    def matmul(self, rows: int) -> Callable[[Operand, Any, Any], Any]:
        return self._product(rows, add=False)

    def matmul_add(self, rows: int) -> Callable[[Operand, Any, Any], Any]:
        return self._product(rows, add=True)

    def empty(self, rows: int) -> Slab:
        self.bound.append(("empty", rows))
        self.scratch.append(self._blocks(rows))
        return Slab(f"scratch {len(self.scratch) - 1}", 0, rows)

    def _product(self, rows: int, add: bool) -> Callable[[Operand, Any, Any], Any]:
        self.bound.append(("product", rows, add))

        def product(a: Operand, b: Any, out: Any) -> Any:
            self.calls.append(Product(self._operand(a), self._block(b), self._block(out), add))
            return out

        return product

    def _operand(self, a: Any) -> int:
        if not isinstance(a, Operand):
            raise NotCapturable(f"a {type(a).__name__} is no operand of the step")
        return a.number

    def _block(self, slab: Any) -> Block:
        if not isinstance(slab, Slab):
            raise NotCapturable(f"a {type(slab).__name__} is no block of the step")
        name, start, stop = slab.block
        return Block(name, self._blocks(start), self._blocks(stop))

    def _blocks(self, rows: int) -> int:
        if rows % self.hidden:
            raise NotCapturable(f"{rows} rows are no whole blocks of {self.hidden}")
        return rows // self.hidden


def captured(
    cell: Any, backend: Backend, params: Params, backward: bool
) -> tuple[Script | None, list[Array]]:
    """Script of a cell's step in either pass, None if the step cannot be captured, and its operands.

    The script is kept with the cell, and used as long as the same is bound and the step is the same code.
    """
    recorder = Recorder(backend, cell.hidden_size)
    try:
        step = (cell.bind_backward if backward else cell.bind_forward)(recorder, params)
        recorder.bound += _own(step)
    except Exception:  # if it is no fault of the recorder's, it will come again where the step is called
        return None, []
    known = cell.__dict__.setdefault(KEY, {})
    found = known.get(backward)
    if found is None or found[0] != recorder.bound:
        found = known[backward] = recorder.bound, _script(cell, recorder, step, backward)
    return found[1], recorder.operands


def _own(step: Any) -> list[tuple[Any, ...]]:
    """Code of a step, and the plain values that it has from its hook."""
    values = [cell.cell_contents for cell in getattr(step, "__closure__", None) or ()]
    return [("step", getattr(step, "__code__", None)), *[(x,) for x in values if isinstance(x, PLAIN)]]


def _script(cell: Any, recorder: Recorder, step: Callable[..., Any], backward: bool) -> Script | None:
    H = cell.hidden_size
    pre, saved = Slab("pre", 0, len(cell.gates) * H), Slab("saved", 0, cell.saved_blocks * H)
    prev, after = _state(cell, "prev"), _state(cell, "next")
    found = []
    for _ in range(2):
        recorder.calls = []
        try:
            step(*(pre, saved, prev, after, _state(cell, "d")) if backward else (pre, prev, after, saved))
        except Exception:  # whatever a library makes of a block without memory
            return None
        found.append(tuple(recorder.calls))
    if found[0] != found[1]:
        return None
    name = re.sub(r"\W", "_", type(cell).__name__.lower())
    name += "_backward" if backward else "_forward"
    return _shared(Script(name, found[0], tuple(recorder.scratch)))


@lru_cache(maxsize=256)
def _shared(script: Script) -> Script:
    """The first one that is equal: what is kept for it is found without a comparison."""
    return script


def _state(cell: Any, slab: str) -> State:
    fields = range(len(cell.State._fields))
    return cell.State(*(Slab(f"{slab} {k}", 0, cell.hidden_size) for k in fields))
