"""Vector instructions of the machine that Numba compiles for.

Vectors are those of `llvmlite.ir`: the compiler makes them instructions of the machine that it runs on, also
where it has shorter ones. Addresses are integers.
"""

from collections.abc import Mapping
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.codegen import get_host_cpu_features

INDEX = ir.IntType(64)


def machine() -> Mapping[str, bool]:
    """Features of the processor that Numba compiles for, which its settings can change."""
    found = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    return {name[1:]: name[0] == "+" for name in found.split(",") if name}


FEATURES = machine()
VECTOR = 64 if FEATURES.get("avx512f") else 32 if FEATURES.get("avx2") else 16
"""Bytes of a vector."""

WIDE = 2 if VECTOR == 64 or FEATURES.get("neon") else 1
"""Vectors side by side in a tile: its rows times as many have to be in the machine's registers."""

MASKS = VECTOR > 16
"""Whether the machine reads a part of a vector at once; else a loop over numbers does that."""


class Vectors:
    """Makes instructions on vectors of one kind."""

    def __init__(self, builder: Any, kind: Any, lanes: int) -> None:
        self.builder = builder
        self.scalar = ir.FloatType() if kind == types.float32 else ir.DoubleType()
        self.size = kind.bitwidth // 8
        self.lanes = lanes
        self.kind = ir.VectorType(self.scalar, lanes)
        self.zero = ir.Constant(self.kind, [0.0] * lanes)
        self._mask = ir.VectorType(ir.IntType(1), lanes)
        self._align = ir.Constant(ir.IntType(32), self.size)
        self._suffix = f"v{lanes}f{kind.bitwidth}"

    def _function(self, name: str, result: Any, arguments: list[Any]) -> Any:
        return cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(result, arguments), name)

    def address(self, base: Any, number: Any, step: Any = None) -> Any:
        """Of the number, ``step`` apart or side by side, after an address."""
        if step is not None:
            number = self.builder.mul(number, step)
        return self.builder.add(base, self.builder.mul(number, ir.Constant(INDEX, self.size)))

    def repeat(self, scalar: Any, kind: Any) -> Any:
        """A scalar in all lanes of a vector."""
        empty = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(empty, scalar, ir.Constant(ir.IntType(32), 0))
        places = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, empty, places)

    def broadcast(self, address: Any) -> Any:
        """The number at an address, in all lanes."""
        pointer = self.builder.inttoptr(address, self.scalar.as_pointer())
        return self.repeat(self.builder.load(pointer), self.kind)

    def mask(self, first: int, number: Any, relation: str = "<") -> Any:
        """Of lanes ``first, first + 1, ...``, those below a number, or in another relation to it."""
        kind = ir.VectorType(INDEX, self.lanes)
        places = ir.Constant(kind, [first + lane for lane in range(self.lanes)])
        return self.builder.icmp_signed(relation, places, self.repeat(number, kind))

    def load(self, address: Any, mask: Any = None) -> Any:
        """The vector at an address; zero where it is masked out."""
        pointer = self.builder.inttoptr(address, self.kind.as_pointer())
        if mask is None:
            return self.builder.load(pointer, align=self.size)
        kinds = [pointer.type, self._align.type, self._mask, self.kind]
        function = self._function(f"llvm.masked.load.{self._suffix}.p0", self.kind, kinds)
        return self.builder.call(function, [pointer, self._align, mask, self.zero])

    def store(self, vector: Any, address: Any, mask: Any = None) -> None:
        """Write the lanes that are not masked out."""
        pointer = self.builder.inttoptr(address, self.kind.as_pointer())
        if mask is None:
            self.builder.store(vector, pointer, align=self.size)
            return
        kinds = [self.kind, pointer.type, self._align.type, self._mask]
        function = self._function(f"llvm.masked.store.{self._suffix}.p0", ir.VoidType(), kinds)
        self.builder.call(function, [vector, pointer, self._align, mask])

    def add_product(self, sums: Any, a: Any, b: Any) -> None:
        """``sums += a * b`` in a variable, rounded once where the machine can."""
        function = self._function(f"llvm.fmuladd.{self._suffix}", self.kind, [self.kind] * 3)
        self.builder.store(self.builder.call(function, [a, b, self.builder.load(sums)]), sums)

    def shuffled(self, a: Any, b: Any) -> list[Any]:
        """``a[0], b[0], a[1], b[1], ...``, as two vectors."""
        pairs = [lane + self.lanes * later for lane in range(self.lanes) for later in (0, 1)]
        kind = ir.VectorType(ir.IntType(32), self.lanes)
        halves = pairs[: self.lanes], pairs[self.lanes :]
        return [self.builder.shuffle_vector(a, b, ir.Constant(kind, half)) for half in halves]

    def total(self, vector: Any) -> Any:
        """Sum of the lanes."""
        lanes = self.lanes
        while lanes > 1:
            lanes //= 2
            halves = [
                ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(first, first + lanes)))
                for first in (0, lanes)
            ]
            low, high = (self.builder.shuffle_vector(vector, vector, half) for half in halves)
            vector = self.builder.fadd(low, high)
        return self.builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    def variable(self) -> Any:
        """A variable that begins with zeros."""
        return cgutils.alloca_once_value(self.builder, self.zero)
