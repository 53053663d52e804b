"""Record what one step of a chain calls, so that a backend can compile its time loop.

A step gets slabs without memory, and operations that write down what they are asked to do. A step that does
more than calling operations on blocks, such as arithmetic of its own, cannot be captured, and stays what it
is: a Python function that is called once per time step.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from rnnx.backends import Backend
from rnnx.ops.pointwise import Pointwise
from rnnx.typing import Array, Block, Body, Kernel, Product, Script, State


class NotCapturable(TypeError):
    """The step does what a script has no word for."""


class Slab:
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


class Recorder:
    """Operations as those of `rnnx.ops.Workspace`, that write a script."""

    def __init__(self, backend: Backend, hidden: int) -> None:
        self.backend = backend
        self.hidden = hidden
        self.operands: list[Array] = []
        self.scratch: list[int] = []
        self.calls: list[Product | Body] = []

    def kernel(self, body: Pointwise) -> Kernel:
        def kernel(*inputs: Any, out: tuple[Any, ...]) -> tuple[Any, ...]:
            read = tuple(self._block(x) if isinstance(x, Slab) else self._operand(x) for x in inputs)
            written = tuple(map(self._block, out))
            if any(isinstance(block, Block) and block.stop != block.start + 1 for block in read + written):
                raise NotCapturable(f"{body.__name__} is called with several blocks as one")
            self.calls.append(Body(body.program, read, written))
            return out

        return kernel

    def operand(self, a: Array) -> Array:
        self.operands.append(a)
        return a

    def matmul(self, rows: int) -> Callable[[Array, Any, Any], Any]:
        return self._product(add=False)

    def matmul_add(self, rows: int) -> Callable[[Array, Any, Any], Any]:
        return self._product(add=True)

    def empty(self, rows: int) -> Slab:
        self.scratch.append(self._blocks(rows))
        return Slab(f"scratch {len(self.scratch) - 1}", 0, rows)

    def _product(self, add: bool) -> Callable[[Array, Any, Any], Any]:
        def product(a: Array, b: Any, out: Any) -> Any:
            self.calls.append(Product(self._operand(a), self._block(b), self._block(out), add))
            return out

        return product

    def _operand(self, a: Any) -> int:
        for number, operand in enumerate(self.operands):
            if operand is a:
                return number
        raise NotCapturable(f"a {type(a).__name__} is no operand of the step")

    def _block(self, slab: Any) -> Block:
        if not isinstance(slab, Slab):
            raise NotCapturable(f"a {type(slab).__name__} is no block of the step")
        name, start, stop = slab.block
        return Block(name, self._blocks(start), self._blocks(stop))

    def _blocks(self, rows: int) -> int:
        if rows % self.hidden:
            raise NotCapturable(f"{rows} rows are no whole blocks of {self.hidden}")
        return rows // self.hidden


@lru_cache(maxsize=256)
def script(cell: Any, backend: Backend, backward: bool) -> Script | None:
    """Script of a cell's step in either pass; None if the step cannot be captured."""
    recorder = Recorder(backend, cell.hidden_size)
    zero = backend.zeros((), "float32")  # only shapes matter
    params = {name: backend.xp.broadcast_to(zero, shape) for name, shape in cell.param_shapes.items()}
    pre, saved, prev, after = _slabs(cell)
    try:
        if backward:
            cell.bind_backward(recorder, params)(pre, saved, prev, after, _state(cell, "d"))
        else:
            cell.bind_forward(recorder, params)(pre, prev, after, saved)
    except (TypeError, AttributeError):  # a slab has no arithmetic and no methods
        return None
    name = f"{type(cell).__name__}_{'backward' if backward else 'forward'}".lower()
    return Script(name, tuple(recorder.calls), tuple(recorder.scratch))


def _slabs(cell: Any) -> tuple[Slab, Slab, State, State]:
    H = cell.hidden_size
    pre, saved = Slab("pre", 0, len(cell.gates) * H), Slab("saved", 0, cell.saved_blocks * H)
    return pre, saved, _state(cell, "prev"), _state(cell, "next")


def _state(cell: Any, slab: str) -> State:
    fields = range(len(cell.State._fields))
    return cell.State(*(Slab(f"{slab} {k}", 0, cell.hidden_size) for k in fields))
