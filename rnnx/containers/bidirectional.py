"""Two cells over the same sequence, one of them from its end to its start.

    forward[t]  = the first cell's output after x[0], ..., x[t]
    backward[t] = the second cell's output after x[L-1], ..., x[t]
    y[t] = (forward[t], backward[t]) side by side, or their sum

L is the sequence's own length: the reverse direction starts at its last step, and its final state is the one
after step 0.

Schuster and Paliwal, "Bidirectional recurrent neural networks", IEEE Transactions on Signal Processing 45
(1997), 2673-2681.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from rnnx.backends import Backend
from rnnx.containers.base import Container, cell_of
from rnnx.errors import OptionError
from rnnx.ragged import reversal
from rnnx.typing import Array, Params, SequenceCell, State

MERGES = ("concat", "sum")


class BidirectionalState(NamedTuple):
    """States of both directions; the final one of `backward` is that after step 0."""

    forward: Any
    backward: Any


class BidirectionalRecord(NamedTuple):
    """What the backward pass needs: the tapes of both cells, and how a sequence is turned round."""

    forward: Any
    backward: Any
    reverse: Callable[[Array], Array]


@dataclass(frozen=True)
class Bidirectional(Container):
    """Both directions of time; parameters ``forward.Wx``, ``backward.Wx``, ...

    y[t] depends on the whole sequence, so there is no `step`. Without a tape too, both directions' outputs
    are held for all T.

    Parameters
    ----------
    cell : SequenceCell
        From the start to the end.
    reverse : SequenceCell, optional
        From the end to the start; by default a cell like the first one, with parameters of its own.
    merge : {"concat", "sum"}
        Whether y holds both outputs side by side, the forward direction's first, or their sum.

    Examples
    --------
    >>> import rnnx
    >>> rnnx.Bidirectional(rnnx.LSTM(3, 5)).output_size
    10
    """

    cell: SequenceCell
    reverse: SequenceCell | None = None
    merge: str = "concat"

    def __post_init__(self) -> None:
        first = cell_of("Bidirectional", "cell", self.cell)
        second = first if self.reverse is None else cell_of("Bidirectional", "reverse", self.reverse)
        object.__setattr__(self, "reverse", second)
        if self.merge not in MERGES:
            raise OptionError(f"Bidirectional: merge is {self.merge!r}; expected one of {', '.join(MERGES)}.")
        if second.input_size != first.input_size:
            raise OptionError(
                f"Bidirectional: reverse.input_size is {second.input_size}; expected {first.input_size}, "
                "the input_size of cell."
            )
        if self.merge == "sum" and second.output_size != first.output_size:
            raise OptionError(
                f"Bidirectional: reverse.output_size is {second.output_size}; expected {first.output_size}, "
                "the output_size of cell, to sum them.",
                'Or use merge="concat".',
            )

    @cached_property
    def members(self) -> dict[str, SequenceCell]:
        return {"forward": self.cell, "backward": self.reverse or self.cell}

    @property
    def input_size(self) -> int:  # type: ignore[override]
        return self.cell.input_size

    @property
    def output_size(self) -> int:
        sizes = [cell.output_size for cell in self.members.values()]
        return sum(sizes) if self.merge == "concat" else sizes[0]

    @property
    def state_sizes(self) -> BidirectionalState:
        return BidirectionalState(*(cell.state_sizes for cell in self.members.values()))

    @property
    def causal(self) -> bool:
        return False

    def run(
        self,
        backend: Backend,
        params: Params,
        x: Array,
        state: State,
        lengths: np.ndarray | None,
        training: bool,
        dropout_seed: int | None = None,
    ) -> tuple[Array, BidirectionalState, BidirectionalRecord | None]:
        xp = backend.xp
        before, after = (None, None) if state is None else state
        reverse = reversal(backend, x.shape[0], x.shape[1], lengths)
        rest = lengths, training, dropout_seed
        y_forward, final_forward, tape_forward = self._run_member("forward", params, x, before, *rest)
        y_backward, final_backward, tape_backward = self._run_member(
            "backward", params, reverse(x), after, *rest
        )
        y_backward = reverse(y_backward)
        y = y_forward + y_backward if self.merge == "sum" else xp.concat([y_forward, y_backward], axis=2)
        final = BidirectionalState(final_forward, final_backward)
        return y, final, BidirectionalRecord(tape_forward, tape_backward, reverse) if training else None

    def run_backward(
        self, backend: Backend, record: Any, dy: Array | None, dstate: State
    ) -> tuple[Array, State, dict[str, Array]]:
        forward, backward = self.members.values()
        dfinal_forward, dfinal_backward = (None, None) if dstate is None else dstate
        dy_forward = dy_backward = dy
        if dy is not None and self.merge == "concat":
            dy_forward = dy[:, :, : forward.output_size]
            dy_backward = dy[:, :, forward.output_size :]
        if dy_backward is not None:
            dy_backward = record.reverse(dy_backward)
        dx_forward, dinitial_forward, grads = forward.backward(record.forward, dy_forward, dfinal_forward)
        dx_backward, dinitial_backward, others = backward.backward(
            record.backward, dy_backward, dfinal_backward
        )
        return (
            dx_forward + record.reverse(dx_backward),
            BidirectionalState(dinitial_forward, dinitial_backward),
            self._renamed("forward", grads) | self._renamed("backward", others),
        )

    def run_step(self, backend: Backend, params: Params, x: Array, state: State) -> tuple[Array, State]:
        raise NotImplementedError("step refuses before")
