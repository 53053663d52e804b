"""What the notebooks' forward functions hand to their backward functions."""

from dataclasses import dataclass
from typing import Any

from rnnx import checks
from rnnx.backends import Backend
from rnnx.errors import OptionError
from rnnx.typing import Array, Params, SequenceCell, State


@dataclass
class Cache:
    """One forward pass of a cell, time first; opaque to callers.

    Attributes
    ----------
    maker : str
        The function that made it.
    backend : Backend
    cell : SequenceCell
    params, x, state
        As they were passed to ``cell.forward``.
    tape : object or None
        Of that pass; None once a backward pass has used it, and then the forward pass is run again.
    """

    maker: str
    backend: Backend
    cell: SequenceCell
    params: Params
    x: Array
    state: State
    tape: Any

    def check(self, where: str, shape: tuple[int, ...], **gradients: Array) -> None:
        """The gradients have that shape, and the dtype and backend of the forward pass.

        Raises
        ------
        ShapeError, DtypeError, MixedArraysError
        """
        for name, value in gradients.items():
            checks.gradient(where, self.backend, name, value, shape, self.x.dtype)

    def backward(self, dy: Array | None, dstate: State = None) -> tuple[Array, State, dict[str, Array]]:
        """Return the gradients of x, of the initial state and of the parameters, as the cell does."""
        tape, self.tape = self.tape, None
        if tape is None:
            _, _, tape = self.cell.forward(self.params, self.x, self.state)
        return self.cell.backward(tape, dy, dstate)


def forward(
    maker: str, backend: Backend, cell: SequenceCell, params: Params, x: Array, state: State
) -> tuple[Array, State, Cache]:
    """Run a cell on x (T, N, D); return y (T, N, H), the final state and the cache."""
    y, final, tape = cell.forward(params, x, state)
    return y, final, Cache(maker, backend, cell, params, x, state, tape)


def of(where: str, cache: Any, maker: str) -> Cache:
    """The cache, if that function made it; else an OptionError."""
    if not isinstance(cache, Cache) or cache.maker != maker:
        found = f"of {cache.maker}" if isinstance(cache, Cache) else f"a {type(cache).__name__}"
        raise OptionError(f"{where}: cache is {found}; expected the one that {maker} returned.")
    return cache


def own(backend: Backend, a: Array) -> Array:
    """A copy, which shares no memory with a tape."""
    return backend.copy(a)


def batch_first(backend: Backend, a: Array) -> Array:
    """Array (T, N, ...) as a new (N, T, ...), which shares no memory with a tape."""
    return own(backend, backend.xp.permute_dims(a, (1, 0, 2)))


def time_first(backend: Backend, a: Array) -> Array:
    """Array (N, T, ...) as (T, N, ...)."""
    return backend.xp.permute_dims(a, (1, 0, 2))
