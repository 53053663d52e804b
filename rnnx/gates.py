"""Gate blocks: named rows of a cell's pre-activations, in the order that its parameters have."""

from functools import cached_property
from typing import ClassVar

from rnnx import checks
from rnnx.typing import Array


class Gated:
    """A cell whose parameters have a block of H columns for every gate, in any order.

    A subclass is a frozen dataclass with the fields `hidden_size` and `gate_order`.

    Attributes
    ----------
    gates : tuple of str
        Names of the gate blocks in the default order.
    """

    hidden_size: int
    gate_order: tuple[str, ...] | str | None
    gates: ClassVar[tuple[str, ...]]

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

    def blocks(self, slab: Array) -> list[Array]:
        """Gate blocks (H, ...) of a slab (G*H, ...), in the order of `gates`."""
        return [slab[rows, ...] for rows in self.rows]
