"""A character model: embedding, recurrent cell, dropout, linear head.

    x[t] = E[ids[t]]                             embedding, or one-hot characters
    h    = cell(x)
    logits[t] = dropout(h[t]) W + b

Dropout outside of the recurrence only: Zaremba, Sutskever and Vinyals, "Recurrent neural network
regularization", 2014; here not on the embedding, where it cost accuracy on names at every rate tried.
Forget-gate bias of 1 at the start: Jozefowicz, Zaremba and Sutskever, "An empirical exploration of recurrent
network architectures", ICML 2015.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from rnnx import backends, checks
from rnnx.backends import Backend
from rnnx.basecell import BaseCell
from rnnx.cells import REGISTRY
from rnnx.errors import OptionError, ShapeError
from rnnx.gates import Gated
from rnnx.init import child_seed
from rnnx.layers import Dropout, Embedding, Linear
from rnnx.typing import Array, Params, State

FORGET_BIAS = 1.0


class CharTape(NamedTuple):
    """What `CharModel.backward` needs of the forward pass."""

    embedding: Any
    cell: Any
    mask: Array | None
    head: Any


@dataclass(frozen=True)
class CharModel:
    """A model of the next character.

    Its parameters are ``embedding.W (V, E)``, those of the cell as ``cell.*``, ``head.W (H, V)`` and
    ``head.b (V,)``.

    Parameters
    ----------
    vocabulary_size : int
        V.
    cell : str
        Name of the recurrent cell in `rnnx.REGISTRY`.
    hidden_size : int
        H.
    embedding_size : int
        E; 0 for one-hot characters, of size V and without an ``embedding.W``.
    dropout : float
        Rate on the cell's outputs, in [0, 1).
    """

    vocabulary_size: int
    cell: str = "gru"
    hidden_size: int = 320
    embedding_size: int = 64
    dropout: float = 0.4

    def __post_init__(self) -> None:
        checks.sizes(self, "vocabulary_size", "hidden_size")
        if self.embedding_size != 0:
            checks.sizes(self, "embedding_size")
        if self.cell not in REGISTRY:
            raise OptionError(f"CharModel: cell is {self.cell!r}; expected one of {', '.join(REGISTRY)}.")
        checks.numbers(self, dropout=1.0)

    @cached_property
    def embedding(self) -> Embedding | None:
        """The embedding layer; None for one-hot characters."""
        return Embedding(self.vocabulary_size, self.embedding_size) if self.embedding_size else None

    @cached_property
    def recurrent(self) -> BaseCell:
        """The recurrent cell."""
        return REGISTRY[self.cell](self.embedding_size or self.vocabulary_size, self.hidden_size)

    @cached_property
    def head(self) -> Linear:
        """The layer that makes logits of hidden states."""
        return Linear(self.recurrent.output_size, self.vocabulary_size)

    @cached_property
    def _dropout(self) -> Dropout:
        return Dropout(self.dropout)

    @cached_property
    def _names(self) -> dict[str, dict[str, str]]:
        """Each part's own parameter names, with their names in the whole model."""
        parts = {"embedding": self.embedding, "cell": self.recurrent, "head": self.head}
        return {
            part: {name: f"{part}.{name}" for name in layer.param_shapes}
            for part, layer in parts.items()
            if layer is not None
        }

    @property
    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter by dotted name."""
        parts = {"embedding": self.embedding, "cell": self.recurrent, "head": self.head}
        return {
            f"{part}.{name}": shape
            for part, layer in parts.items()
            if layer is not None
            for name, shape in layer.param_shapes.items()
        }

    def init(self, seed: int = 0, dtype: str = "float32") -> dict[str, Array]:
        """Draw the parameters as each part does, and add 1 to the bias of a forget gate f.

        Each part has a child seed of its own, and in it each parameter: the same numbers on every backend.
        They live on the default backend.
        """
        forgets = isinstance(self.recurrent, Gated) and "f" in self.recurrent.gates
        params: dict[str, Array] = {}
        for part, layer in (("embedding", self.embedding), ("cell", self.recurrent), ("head", self.head)):
            if layer is not None:
                options: dict[str, Any] = {"forget_bias": FORGET_BIAS} if part == "cell" and forgets else {}
                drawn = layer.init(child_seed(seed, part), dtype, **options)
                params |= {f"{part}.{name}": value for name, value in drawn.items()}
        return params

    def init_state(self, batch: int, dtype: str = "float32") -> State:
        """Make a state of zeros on the default backend."""
        return self.recurrent.init_state(batch, dtype)

    def forward(
        self,
        params: Params,
        ids: Any,
        state: State = None,
        *,
        generator: np.random.Generator | None = None,
        training: bool = True,
    ) -> tuple[Array, State, CharTape | None]:
        """Score the character that follows each one of a batch of sequences.

        Parameters
        ----------
        params : mapping of str to array
            As from `init`; one dtype, one device.
        ids : (T, N) integers on the host
            Characters, each in 0 .. V - 1.
        state : NamedTuple of (N, H) arrays, optional
            State before the first step; zeros by default.
        generator : numpy.random.Generator, optional
            Draws the dropout mask; without it, and with ``training=False``, dropout is off.
        training : bool
            Whether to keep a tape for `backward`.

        Returns
        -------
        logits : (T, N, V) array
            Unnormalised log-probabilities.
        state : NamedTuple of (N, H) arrays
            State after the last step.
        tape : CharTape or None

        Raises
        ------
        ShapeError, DtypeError, MixedArraysError, OptionError
        """
        parts = self._parts("forward", params)
        if np.ndim(ids) != 2:
            raise ShapeError(
                f"CharModel.forward: ids has shape {np.shape(ids)}; expected (T, N).",
                "For one step use CharModel.step.",
            )
        x, embedding = self._embed(parts, ids)
        h, state, cell = self.recurrent.forward(parts["cell"], x, state, training=training)
        mask = None
        if generator is not None and training:
            h, mask = self._dropout.forward(h, generator)
        logits, head = self.head.forward(parts["head"], h)
        return logits, state, CharTape(embedding, cell, mask, head) if training else None

    def backward(
        self, tape: CharTape | None, dlogits: Array, dstate: State = None
    ) -> tuple[State, dict[str, Array]]:
        """Backpropagate through the sequence of a tape, and consume the tape.

        Parameters
        ----------
        tape : CharTape
            From `forward` with ``training=True``.
        dlogits : (T, N, V) array
            Gradient of the logits.
        dstate : NamedTuple of (N, H) arrays, optional
            Gradient of the final state.

        Returns
        -------
        dstate : NamedTuple of (N, H) arrays
            Gradient of the initial state.
        grads : dict of str to array
            Gradients of the parameters, by their names.

        Raises
        ------
        TapeConsumed, OptionError, ShapeError, DtypeError, MixedArraysError
        """
        if tape is None:
            raise OptionError(
                "CharModel.backward: there is no tape.", "Call forward with training=True and pass its tape."
            )
        dh, head = self.head.backward(tape.head, dlogits)
        dh = self._dropout.backward(tape.mask, dh)
        dx, dstate, cell = self.recurrent.backward(tape.cell, dh, dstate)
        grads: dict[str, Array] = {}
        if self.embedding is not None:
            grads |= self._renamed("embedding", self.embedding.backward(tape.embedding, dx))
        return dstate, grads | self._renamed("cell", cell) | self._renamed("head", head)

    def step(self, params: Params, ids: Any, state: State = None) -> tuple[Array, State]:
        """Score the character that follows, for one step of every sequence and without dropout.

        Parameters
        ----------
        params : mapping of str to array
        ids : (N,) integers on the host
        state : NamedTuple of (N, H) arrays, optional
            Zeros by default.

        Returns
        -------
        logits : (N, V) array
        state : NamedTuple of (N, H) arrays
        """
        parts = self._parts("step", params)
        if np.ndim(ids) != 1:
            raise ShapeError(
                f"CharModel.step: ids has shape {np.shape(ids)}; expected (N,).",
                "For whole sequences use CharModel.forward.",
            )
        x, _ = self._embed(parts, ids)
        h, state = self.recurrent.step(parts["cell"], x, state)
        return self.head.forward(parts["head"], h)[0], state

    def _parts(self, method: str, params: Params) -> dict[str, dict[str, Array]]:
        """The parameters of each part under its own names."""
        try:
            parts = {
                part: {own: params[name] for own, name in names.items()}
                for part, names in self._names.items()
            }
        except KeyError:
            parts = {}
        if sum(map(len, parts.values())) != len(params):
            raise ShapeError(
                f"CharModel.{method}: params has {', '.join(params)}; "
                f"expected {', '.join(self.param_shapes)}."
            )
        return parts

    def _renamed(self, part: str, grads: dict[str, Array]) -> dict[str, Array]:
        names = self._names[part]
        return {names[own]: value for own, value in grads.items()}

    def _embed(self, parts: dict[str, dict[str, Array]], ids: Any) -> tuple[Array, Any]:
        if self.embedding is not None:
            return self.embedding.forward(parts["embedding"], ids)
        bias: Array = parts["head"]["b"]
        return one_hot(
            backends.of({"params['head.b']": bias}, "CharModel"), ids, self.vocabulary_size, bias.dtype
        ), None


def one_hot(backend: Backend, ids: Any, size: int, dtype: Any) -> Array:
    """Ids (...) on the host as one-hot rows (..., size) on a backend's device."""
    xp = backend.xp
    chosen = checks.ids("CharModel", "ids", checks.on_host("CharModel", "ids", ids, "integers"), size)
    each = xp.arange(size, dtype=xp.int64, device=backend.device)
    return xp.astype(backend.asarray(chosen[..., None]) == each, dtype)
