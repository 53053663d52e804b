"""A time loop as one Python function, printed from the script of a step, for NumPy.

It has the step's products and ufuncs, and nothing between them: the views of all steps come from iterators,
and nothing is called that does not compute. To call a step, and from there its kernels and products, takes a
sixth of the time of a small layer.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate, repeat
from typing import Any, ClassVar, NamedTuple

import numpy as np

from rnnx.backends import printing
from rnnx.backends.merging import SCRATCH, Place, Printer, view
from rnnx.typing import Array, Block, Body, Product, Script

MEMORY = "m"
"""Array of the blocks that a script calls scratch: they last as long as a step."""

KEPT = "pre", "saved"
"""What is kept of every step besides states."""


class Printed(NamedTuple):
    """The function of a loop, how many blocks of memory it works in, and how many its products have."""

    run: Callable[..., None]
    memory: int
    scratch: int
    products: list[int]


class PrintedLoop:
    """A printed loop with its matrices; see `Backend.bind_loop`.

    Parameters
    ----------
    script : Script
    hidden : int
        H.
    operands : list of array
    dtype : dtype
    product : callable
        Returns the product for results of a shape.
    """

    projects: ClassVar[bool] = False

    def __init__(
        self,
        script: Script,
        hidden: int,
        operands: list[Array],
        dtype: np.dtype,
        product: Callable[[int, int], Callable[..., Array]],
    ) -> None:
        self._printed = printed(script, dtype)
        self._hidden, self._operands, self._dtype, self._product = hidden, operands, dtype, product
        self._columns, self._bound = -1, tuple[Any, ...]()

    def run(
        self,
        steps: int,
        pre: Array,
        saved: Array,
        states: tuple[Array, ...],
        x: Array | None = None,
        d: tuple[Array, ...] = (),
        dy: Array | None = None,
    ) -> None:
        """Run so many steps."""
        if pre.shape[2] != self._columns:
            self._bind(pre.shape[2])
        self._printed.run(*self._bound, steps, pre, saved, states, d, dy)

    def _bind(self, columns: int) -> None:
        """Make what every step of so many sequences needs."""
        H, (_, memory, scratch, products) = self._hidden, self._printed
        own = np.empty(((memory + scratch) * H, columns), self._dtype)
        bound = [self._product(blocks * H, columns) for blocks in products]
        self._columns = columns
        self._bound = H, own[: memory * H], own[memory * H :], bound, self._operands


@lru_cache(maxsize=256)
def printed(script: Script, dtype: np.dtype) -> Printed:
    """The loop of a script for arrays of that dtype."""
    # A ufunc takes an array of no dimensions in two thirds of the time that it takes a Python number.
    constants: dict[float, str] = {}
    source = Source(script, lambda value: constants.setdefault(value, f"c{len(constants)}"))
    scope = printing.in_place_scope(np, dtype, constants) | {"repeat": repeat}
    run = printing.compile_source(source.text, source.name, scope)
    return Printed(run, sum(script.scratch), source.scratch, source.products)


class Source:
    """The source of a loop.

    Attributes
    ----------
    name : str
        Of the function.
    text : str
    scratch : int
        Number of blocks that bodies and sums of products work in.
    products : list of int
        Blocks of each product's result.
    """

    def __init__(self, script: Script, constant: Callable[[float], str]) -> None:
        self.name = f"{script.name}_loop"  # no name of an operation
        self.scratch = 0
        self.products: list[int] = []
        self._script, self._constant = script, constant
        self._starts = list(accumulate(script.scratch, initial=0))
        self._spans: dict[tuple[str, int, int], str] = {}
        self._fixed: dict[str, str] = {}
        self.text = self._loop()

    def _loop(self) -> str:
        body = []
        if self._script.backward:
            d = self._view("d_0", 0, 1)
            body.append(f"if above is not None: add({d}, above, {d})")
        for call in self._script.calls:
            body += self._product(call) if isinstance(call, Product) else self._body(call)
        first, each, last = self._steps()
        targets, sources = zip(*each, strict=True)
        lines = [
            *[f"{name} = {value}" for name, value in self._fixed.items()],
            *first,
            f"for {', '.join(targets)}, in zip({', '.join(sources)}):",
            *["    " + line for line in [*body, *last] or ["pass"]],
        ]
        head = f"def {self.name}(H, m, s, products, operands, steps, pre, saved, states, d, dy):"
        return "\n    ".join([head, *lines])

    def _product(self, call: Product) -> list[str]:
        number, blocks = len(self.products), call.out.stop - call.out.start
        self.products.append(blocks)
        product, a = self._value("product", number), self._value("operand", call.a)
        b, out = self._view(*self._rows(call.b)), self._view(*self._rows(call.out))
        if not call.add:
            return [f"{product}({a}, {b}, {out})"]
        self.scratch = max(self.scratch, blocks)
        summand = self._view(SCRATCH, 0, blocks)
        return [f"{product}({a}, {b}, {summand})", f"add({out}, {summand}, {out})"]

    def _body(self, call: Body) -> list[str]:
        inputs, outputs = list(map(self._place, call.inputs)), list(map(self._place, call.outputs))
        printer = Printer(call.program, inputs, outputs, self._constant)
        lines = printer.source()
        self.scratch = max(self.scratch, printer.rows)
        for span in sorted(printer.spans):
            self._view(*span)
        return lines

    def _place(self, at: Block | int) -> Place:
        if isinstance(at, int):
            return Place(self._value("operand", at), None)
        array, first, _ = self._rows(at)
        return Place(array, first)

    def _rows(self, block: Block) -> tuple[str, int, int]:
        """Array of a block, and the numbers of its first and behind its last H rows there."""
        slab, _, number = block.slab.partition(" ")
        if slab != "scratch":
            return f"{slab}_{number}" if number else slab, block.start, block.stop
        start = self._starts[int(number)]
        return MEMORY, start + block.start, start + block.stop

    def _value(self, kind: str, number: int) -> str:
        """Name of a product or an operand."""
        name = f"{kind}_{number}"
        self._fixed[name] = f"{kind}s[{number}]"
        return name

    def _view(self, array: str, first: int, last: int) -> str:
        """Name of a view of some blocks."""
        name, (kind, _, number) = view(array, first, last), array.partition("_")
        if kind == "d":
            self._fixed[name] = f"d[{number}]"
        elif array in (MEMORY, SCRATCH):
            self._fixed[name] = f"{array}[{first} * H : {last} * H]"
        else:
            self._spans[array, first, last] = name
        return name

    def _steps(self) -> tuple[list[str], list[tuple[str, str]], list[str]]:
        """Lines before the first step; what a step gets, by name; and the last lines of a step."""
        backward = self._script.backward
        order = "::-1" if backward else ":"
        first, each, last = [], [], []
        if not any(array == "pre" for array, *_ in self._spans):  # of all else there may be more rows
            each.append(("_", "range(steps)"))
        for (array, start, stop), name in sorted(self._spans.items()):
            if array in KEPT:
                each.append((name, f"{array}[{order}, {start} * H : {stop} * H]"))
        if backward:
            each.append(("above", "repeat(None, steps) if dy is None else dy.mT[::-1]"))
        sooner, later = ("next", "prev") if backward else ("prev", "next")
        for k in sorted({array.partition("_")[2] for array, *_ in self._spans if array not in KEPT}):
            before, after = (self._spans.get((f"{slab}_{k}", 0, 1)) for slab in (sooner, later))
            if after is None:
                each.append((str(before), f"states[{k}][{order}]"))
                continue
            first += [f"each_{k} = iter(states[{k}][{order}])", f"{before or '_'} = next(each_{k})"]
            each.append((after, f"each_{k}"))
            last += [f"{before} = {after}"] if before else []
        return first, each, last
