"""Gate blocks: named rows of a cell's pre-activations, in the order that its parameters have."""

from abc import abstractmethod
from functools import cached_property
from typing import ClassVar

from rnnx import checks
from rnnx.init import MemoryBias
from rnnx.typing import Array


class Gated:
    """A cell whose parameters have a block of H columns for every gate, in any order.

    A subclass is a frozen dataclass with the fields `hidden_size` and `gate_order`.

    Attributes
    ----------
    gates : tuple of str
        Names of the gate blocks in the default order.
    keeps : str
        Gate that keeps the old state where it is 1; a cell without one of that name has none.
    """

    hidden_size: int
    gate_order: tuple[str, ...] | str | None
    gates: ClassVar[tuple[str, ...]]
    keeps: ClassVar[str] = "f"

    def __post_init__(self) -> None:
        object.__setattr__(self, "gate_order", checks.gate_order(self, self.gate_order))

    @property
    def order(self) -> tuple[str, ...]:
        """Gate blocks as they stand in the parameters."""
        return tuple(self.gate_order or self.gates)

    @cached_property
    def rows(self) -> tuple[slice, ...]:
        """Rows of each gate block, in the order of `gates`."""
        H = self.hidden_size
        starts = [self.order.index(gate) * H for gate in self.gates]
        return tuple(slice(start, start + H) for start in starts)

    @property
    @abstractmethod
    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter by name."""

    @property
    def memory_biases(self) -> dict[str, MemoryBias]:
        """Rows of `b` that belong to the gate `keeps` and to the input gate i."""
        rows = dict(zip(self.gates, self.rows, strict=True))
        if self.keeps not in rows:
            return {}
        return {"b": MemoryBias(len(rows) * self.hidden_size, rows[self.keeps], rows.get("i"))}

    def gate_blocks(self, name: str) -> int:
        """Gate blocks that stand side by side on the last axis of a parameter."""
        all_gates = self.param_shapes[name][-1] == len(self.gates) * self.hidden_size
        return len(self.gates) if all_gates else 1

    def blocks(self, slab: Array) -> list[Array]:
        """Gate blocks (H, ...) of a slab (G*H, ...), in the order of `gates`."""
        return [slab[rows, ...] for rows in self.rows]
