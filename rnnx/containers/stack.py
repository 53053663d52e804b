"""A stack of layers: each one's outputs are the next one's inputs.

    x0 = x
    x1 = layers[0](x0)
    x2 = layers[1](dropout(x1)), ...
    y  = the outputs of the last one

El Hihi and Bengio, "Hierarchical recurrent neural networks for long-term dependencies", NIPS 1995; dropout
between the layers only: Zaremba, Sutskever and Vinyals, "Recurrent neural network regularization", 2014.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from rnnx import checks, states
from rnnx.backends import Backend
from rnnx.containers.base import Container, cell_of
from rnnx.errors import OptionError
from rnnx.init import generator
from rnnx.layers import Dropout
from rnnx.steps import CHUNK
from rnnx.typing import Array, Params, SequenceCell, State


class LayerRecord(NamedTuple):
    """What the backward pass needs of one layer: the mask on its input, and its tape."""

    mask: Array | None
    tape: Any


@dataclass(frozen=True, init=False)
class Stack(Container):
    """Layers on top of each other; parameters ``layers.0.Wx``, ``layers.1.Wx``, ...

    Its state is a plain tuple of the layers' states.

    Parameters
    ----------
    *cells : SequenceCell
        From the input up; each one's `input_size` is the `output_size` of the one before it.
    dropout : float
        Rate between the layers, in 0 <= dropout < 1. It acts where `forward` is given a `dropout_seed`.

    Examples
    --------
    >>> import rnnx
    >>> stack = rnnx.Stack(rnnx.LSTM(3, 8), rnnx.Bidirectional(rnnx.GRU(8, 5)))
    >>> stack.output_size, list(stack.param_shapes)[-1]
    (10, 'layers.1.backward.bn')
    """

    cells: tuple[SequenceCell, ...]
    dropout: float

    def __init__(self, *cells: SequenceCell, dropout: float = 0.0) -> None:
        if not cells:
            raise OptionError("Stack: it was given no cells; expected at least one.", "Stack(cell, cell).")
        for k, cell in enumerate(cells):
            cell_of("Stack", f"cells[{k}]", cell)
        for k, (below, above) in enumerate(pairwise(cells)):
            if above.input_size != below.output_size:
                raise OptionError(
                    f"Stack: cells[{k + 1}].input_size is {above.input_size}; expected {below.output_size}, "
                    f"the output_size of cells[{k}]."
                )
        object.__setattr__(self, "cells", cells)
        object.__setattr__(self, "dropout", dropout)
        checks.numbers(self, dropout=1.0)

    @property
    def input_size(self) -> int:  # type: ignore[override]
        return self.cells[0].input_size

    @property
    def output_size(self) -> int:
        return self.cells[-1].output_size

    @property
    def state_sizes(self) -> tuple[Any, ...]:
        return tuple(cell.state_sizes for cell in self.cells)

    @property
    def causal(self) -> bool:
        return all(cell.causal for cell in self.cells)

    @cached_property
    def members(self) -> dict[str, SequenceCell]:
        return {f"layers.{k}": cell for k, cell in enumerate(self.cells)}

    @cached_property
    def _between(self) -> Dropout:
        return Dropout(self.dropout)

    def run(
        self,
        backend: Backend,
        params: Params,
        x: Array,
        state: State,
        lengths: np.ndarray | None,
        training: bool,
        dropout_seed: int | None = None,
    ) -> tuple[Array, State, list[LayerRecord] | None]:
        if not training and self.causal:
            return self._in_chunks(backend, params, x, state, lengths)
        seed = dropout_seed if training else None
        finals, records = [], []
        for k, prefix in enumerate(self.members):
            mask = None
            if k and seed is not None:
                x, mask = self._between.forward(x, generator(seed, f"dropout.{k}"))
            before = None if state is None else state[k]
            x, final, tape = self._run_member(prefix, params, x, before, lengths, training, seed)
            finals.append(final)
            records.append(LayerRecord(mask, tape))
        return x, tuple(finals), records if training else None

    def _in_chunks(
        self, backend: Backend, params: Params, x: Array, state: State, lengths: np.ndarray | None
    ) -> tuple[Array, State, None]:
        """All layers over some steps at a time, so that the memory beyond y does not grow with T."""
        xp, (T, N, _) = backend.xp, x.shape
        y = (backend.empty if lengths is None else backend.zeros)((T, N, self.output_size), x.dtype)
        state = self._zeros(backend, N, x.dtype) if state is None else state
        for start in range(0, T, CHUNK):
            stop, alive, own = min(start + CHUNK, T), N, None
            if lengths is not None:
                own = np.minimum(lengths - start, stop - start)
                alive = int(np.count_nonzero(own > 0))
                own = own[:alive]
            rows, finals = x[start:stop, :alive, :], []
            before = states.transform(lambda _, s, n=alive: s[:n, ...], self.state_sizes, state)
            for (prefix, _), layer in zip(self.members.items(), before, strict=True):
                rows, final, _ = self._run_member(prefix, params, rows, layer, own, False, None)
                finals.append(final)
            y[start:stop, :alive, :] = rows
            state = states.transform(
                lambda _, s, final, n=alive: xp.concat([final, s[n:, ...]], axis=0),
                self.state_sizes,
                state,
                tuple(finals),
            )
        return y, state, None

    def run_backward(
        self, backend: Backend, record: Any, dy: Array | None, dstate: State
    ) -> tuple[Array, State, dict[str, Array]]:
        grads: dict[str, Array] = {}
        dinitial = []
        for k, (prefix, cell) in reversed(list(enumerate(self.members.items()))):
            mask, tape = record.pop()
            after = None if dstate is None else dstate[k]
            dy, before, own = cell.backward(tape, dy, after)
            if mask is not None:
                dy = self._between.backward(mask, dy)
            dinitial.append(before)
            grads |= self._renamed(prefix, own)
        return dy, tuple(reversed(dinitial)), {name: grads[name] for name in self.param_shapes}

    def run_step(self, backend: Backend, params: Params, x: Array, state: State) -> tuple[Array, State]:
        after = []
        for (prefix, cell), before in zip(self.members.items(), state, strict=True):
            x, now = cell.step(self._own(prefix, params), x, before)
            after.append(now)
        return x, tuple(after)
