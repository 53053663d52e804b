"""Base class of what has parameters: their shapes, and how they are drawn."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property

from rnnx import init as initialisers
from rnnx.init import MemoryBias
from rnnx.typing import Array


class Parametrised(ABC):
    """Parameters by name; a subclass says their shapes."""

    @property
    @abstractmethod
    def output_size(self) -> int:
        """Features of y."""

    @property
    @abstractmethod
    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter by name."""

    @cached_property
    def known_shapes(self) -> dict[str, tuple[int, ...]]:
        """`param_shapes`, made once."""
        return self.param_shapes

    @property
    def init_bound(self) -> float:
        """Bound of the uniform distribution that `init` draws from: 1/sqrt(H), as in torch.nn."""
        return float(self.output_size**-0.5)

    @property
    def memory_biases(self) -> dict[str, MemoryBias]:
        """Biases of the gates that keep the old state, by parameter; none by default."""
        return {}

    def gate_blocks(self, name: str) -> int:
        """Gate blocks that stand side by side on the last axis of a parameter."""
        return 1

    def init(
        self,
        seed: int = 0,
        dtype: str = "float32",
        *,
        weights: Mapping[str, str] | None = None,
        forget_bias: float | None = None,
        chrono: float | None = None,
    ) -> dict[str, Array]:
        """Draw the parameters.

        Parameters
        ----------
        seed : int
            One child seed per parameter name, drawn on the host: the same numbers on every backend.
        dtype : str
            ``"float32"``, ``"float64"`` or ``"complex128"``.
        weights : mapping of str to str, optional
            Initialisers by parameter, such as ``{"Wh": "orthogonal", "b": "zeros"}``. A name stands for all
            parameters that end in it (``"Wh"`` for ``"layers.0.Wh"``); the longest one that fits decides.

            - ``"uniform"``, the default: in ±1/sqrt(H), as torch.nn draws them.
            - ``"glorot"``: uniform in ±sqrt(6 / (inputs + outputs)) of one gate block.
            - ``"orthogonal"``: each gate block has orthonormal columns, or rows if it has fewer of these.
            - ``"zeros"``.
        forget_bias : float, optional
            Added to the bias of the gate that keeps the old state: f of an LSTM, z of a GRU.
        chrono : float, optional
            Longest dependency to expect, in steps, above 2: the bias of that gate becomes
            ``log(uniform(1, chrono - 1))``, so that units forget after about that many steps, and the bias of
            an input gate i the negative of it.

        Returns
        -------
        dict of str to array
            On the default backend, by name.

        Raises
        ------
        OptionError, DtypeError
        """
        where = f"{type(self).__name__}.init"
        chosen = initialisers.assigned(where, self.param_shapes, weights or {})
        drawn = self._draw(seed, dtype, chosen)
        return initialisers.memory(where, self.memory_biases, drawn, seed, forget_bias, chrono)

    def _draw(self, seed: int, dtype: str, chosen: Mapping[str, str]) -> dict[str, Array]:
        """Parameters by their chosen initialisers, uniform where none is chosen."""
        slots = {
            name: initialisers.Slot(shape, self.gate_blocks(name), self.init_bound)
            for name, shape in self.param_shapes.items()
        }
        return initialisers.draw(slots, chosen, seed, dtype)
