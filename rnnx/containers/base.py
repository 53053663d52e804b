"""What stacks and directions share: members under dotted names, each with a seed of its own."""

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from rnnx import checks
from rnnx.basecell import BaseCell, Tape
from rnnx.errors import OptionError
from rnnx.init import MemoryBias, child_seed
from rnnx.typing import Array, Params, SequenceCell, State


def cell_of(where: str, name: str, value: Any) -> SequenceCell:
    """Return the value; it is a cell."""
    if isinstance(value, type) or not hasattr(value, "param_shapes"):
        found = f"a {type(value).__name__}" if isinstance(value, list | tuple | dict) else repr(value)
        raise OptionError(f"{where}: {name} is {found}; expected a cell, such as rnnx.LSTM(3, 5).")
    cell: SequenceCell = value
    return cell


class Container(BaseCell):
    """A cell made of cells.

    It runs its members by their own `forward`, `backward` and `step`, so that whatever is a
    `rnnx.typing.SequenceCell` can be one.
    """

    @property
    @abstractmethod
    def members(self) -> dict[str, SequenceCell]:
        """Cells by the prefix that the names of their parameters have here."""

    @cached_property
    def _names(self) -> dict[str, dict[str, str]]:
        """Each member's own parameter names, with their names here."""
        return {
            prefix: {name: f"{prefix}.{name}" for name in cell.param_shapes}
            for prefix, cell in self.members.items()
        }

    @property
    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            f"{prefix}.{name}": shape
            for prefix, cell in self.members.items()
            for name, shape in cell.param_shapes.items()
        }

    @property
    def analytic(self) -> bool:
        return all(cell.analytic for cell in self.members.values())

    @property
    def memory_biases(self) -> dict[str, MemoryBias]:
        return {
            f"{prefix}.{name}": bias
            for prefix, cell in self.members.items()
            for name, bias in getattr(cell, "memory_biases", {}).items()
        }

    def _draw(self, seed: int, dtype: str, chosen: Mapping[str, str]) -> dict[str, Array]:
        """Parameters as each member draws them, from a child seed of its prefix: equal members differ."""
        params: dict[str, Array] = {}
        for prefix, cell in self.members.items():
            own = {name: chosen[full] for name, full in self._names[prefix].items() if full in chosen}
            options: dict[str, Any] = {"weights": own} if own else {}
            drawn = cell.init(child_seed(seed, prefix), dtype, **options)
            params |= {f"{prefix}.{name}": value for name, value in drawn.items()}
        return params

    def forward(
        self,
        params: Params,
        x: Array,
        state: State = None,
        *,
        lengths: Any = None,
        training: bool = True,
        dropout_seed: int | None = None,
    ) -> tuple[Array, State, Tape | None]:
        """Run the sequences, as every cell does, and drop out between the layers of stacks.

        Parameters
        ----------
        params, x, state, lengths, training
            As of every cell.
        dropout_seed : int, optional
            Of the masks of every stack in here that has a dropout rate, drawn on the host: the same on every
            backend. Without it, and with ``training=False``, nothing is dropped. With `lengths`, masks are
            drawn for the batch sorted longest first.

        Returns
        -------
        y : (T, N, output_size) array
        state : tuple
        tape : Tape or None

        Raises
        ------
        ShapeError, DtypeError, MixedArraysError, OptionError
        """
        if dropout_seed is not None:
            checks.seed(f"{type(self).__name__}.forward", "dropout_seed", dropout_seed)
        return self._forward(params, x, state, lengths, training, dropout_seed=dropout_seed)

    def _run_member(
        self,
        prefix: str,
        params: Params,
        x: Array,
        state: State,
        lengths: np.ndarray | None,
        training: bool,
        dropout_seed: int | None,
    ) -> tuple[Array, State, Any]:
        cell, own = self.members[prefix], self._own(prefix, params)
        if dropout_seed is None or not isinstance(cell, Container):
            return cell.forward(own, x, state, lengths=lengths, training=training)
        seed = child_seed(dropout_seed, prefix)
        return cell.forward(own, x, state, lengths=lengths, training=training, dropout_seed=seed)

    def _own(self, prefix: str, params: Params) -> dict[str, Array]:
        """Parameters of a member by its own names."""
        return {own: params[name] for own, name in self._names[prefix].items()}

    def _renamed(self, prefix: str, grads: Params) -> dict[str, Array]:
        """Gradients of a member by their names here."""
        names = self._names[prefix]
        return {names[own]: value for own, value in grads.items()}
