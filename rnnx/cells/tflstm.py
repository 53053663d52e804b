"""Time-frequency LSTM: one LSTM moved over the bands of a spectrum, recurrent over time and over frequency.

A filter of F inputs is moved by S over the D inputs of a step: that makes B = (D - F) // S + 1 blocks, and
inputs behind the last one are not read. All blocks have the same weights. Block k at step t sees its own
window, its hidden state of the step before, and the hidden state of block k - 1 at the same step:

    a = x[t, k S : k S + F] Wx + h[t-1, k] Wh + h[t, k-1] Wk + b        with h[t, -1] = 0
    i = sigmoid(a_i + pi c[t-1, k])        input gate
    f = sigmoid(a_f + pf c[t-1, k])        forget gate
    g = tanh   (a_g)                       candidate
    c[t, k] = f c[t-1, k] + i g
    o = sigmoid(a_o + po c[t, k])          output gate
    h[t, k] = o tanh(c[t, k])

There is one cell state, and it is carried over time only. This is TensorFlow 1.15's TimeFreqLSTMCell with a
forget_bias of 0, after Sainath and Li, "Modeling time-frequency patterns with LSTM vs. convolutional
architectures for LVCSR tasks", Interspeech 2016, 813-817.

It differs from Li, Mohamed, Zweig and Gong, "LSTM time and frequency recurrence for automatic speech
recognition", ASRU 2015: there an LSTM first scans the bands of each step by itself, and an LSTM over time,
with weights of its own, reads what that gave. Here both recurrences meet in one set of gates.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from rnnx import checks, wavefront
from rnnx.backends import Backend
from rnnx.basecell import BaseCell
from rnnx.cells.lstm import lstm_backward, lstm_forward
from rnnx.cells.peephole_lstm import PEEPHOLES, peephole_lstm_backward, peephole_lstm_forward
from rnnx.errors import OptionError
from rnnx.gates import Gated
from rnnx.ops import Functional, Pointwise
from rnnx.typing import Array, Namespace, Params


class TFLSTMState(NamedTuple):
    """State of a `TFLSTM`: hidden and cell states of all blocks, side by side."""

    h: Array
    c: Array


@dataclass(frozen=True)
class TFLSTM(Gated, BaseCell):
    """TF-LSTM layer; parameters ``Wx (F, 4H)``, ``Wh Wk (H, 4H)``, ``b (4H,)``, ``pi pf po (H,)``.

    Its output (T, N, B*H) and its states (N, B*H) hold B blocks of H features side by side, block k in the
    columns k*H .. (k+1)*H - 1.

    Parameters
    ----------
    input_size, hidden_size : int
        D, and H of one block.
    filter_size, stride : int
        F, at most D, and S: B = (D - F) // S + 1.
    peepholes : bool
        Whether the gates look at the cell state.
    gate_order : sequence of str, optional
        Order of the gate blocks in the parameters; by default ``("i", "f", "g", "o")``, that of `LSTM`.

    Notes
    -----
    In a batch with `lengths`, a sequence that has ended goes on over zeros until the longest one ends. Its
    padding is not read, and what is computed there is neither returned nor differentiated.
    """

    input_size: int
    hidden_size: int
    filter_size: int
    stride: int
    peepholes: bool = True
    gate_order: tuple[str, ...] | str | None = None

    gates: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")

    def __post_init__(self) -> None:
        checks.sizes(self, "input_size", "hidden_size", "filter_size", "stride")
        if self.filter_size > self.input_size:
            raise OptionError(
                f"TFLSTM: filter_size is {self.filter_size}; expected at most input_size, {self.input_size}.",
                "A block sees filter_size inputs.",
            )
        super().__post_init__()

    @property
    def block_count(self) -> int:
        """B, the number of blocks."""
        return (self.input_size - self.filter_size) // self.stride + 1

    def features(self, k: int) -> slice:
        """Columns of block k in states and in y."""
        return slice(k * self.hidden_size, (k + 1) * self.hidden_size)

    def window(self, k: int) -> slice:
        """Columns of x that block k sees."""
        return slice(k * self.stride, k * self.stride + self.filter_size)

    @property
    def output_size(self) -> int:
        return self.block_count * self.hidden_size

    @property
    def state_sizes(self) -> TFLSTMState:
        return TFLSTMState(self.output_size, self.output_size)

    @property
    def state_hint(self) -> str:
        return (
            f"These are B = (D - F) // S + 1 = {self.block_count} blocks of H = {self.hidden_size} features."
        )

    @property
    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        F, H = self.filter_size, self.hidden_size
        peepholes = dict.fromkeys(PEEPHOLES if self.peepholes else (), (H,))
        return {"Wx": (F, 4 * H), "Wh": (H, 4 * H), "Wk": (H, 4 * H), "b": (4 * H,)} | peepholes

    @property
    def bodies(self) -> tuple[Pointwise, Pointwise]:
        """The pointwise bodies of both passes."""
        if self.peepholes:
            return peephole_lstm_forward, peephole_lstm_backward
        return lstm_forward, lstm_backward

    @property
    def analytic(self) -> bool:
        return all(body.analytic for body in self.bodies)

    @property
    def init_bound(self) -> float:
        return float(self.hidden_size**-0.5)

    def run(
        self,
        backend: Backend,
        params: Params,
        x: Array,
        state: TFLSTMState | None,
        lengths: np.ndarray | None,
        training: bool,
    ) -> tuple[Array, TFLSTMState, wavefront.Record | None]:
        start = self._zeros(backend, x.shape[1], x.dtype) if state is None else state
        return wavefront.forward(self, backend, params, x, start, lengths, training)

    def run_backward(
        self, backend: Backend, record: Any, dy: Array | None, dstate: TFLSTMState | None
    ) -> tuple[Array, TFLSTMState, dict[str, Array]]:
        return wavefront.backward(self, backend, record, dy, dstate)

    def run_step(
        self, backend: Backend, params: Params, x: Array, state: TFLSTMState
    ) -> tuple[Array, TFLSTMState]:
        WxT, WhT, WkT = (params[name].T for name in ("Wx", "Wh", "Wk"))
        gate = Functional(backend).kernel(self.bodies[0])
        hidden: list[Array] = []
        cells: list[Array] = []
        for k in range(self.block_count):
            own = self.features(k)
            pre = WxT @ x[:, self.window(k)].T + WhT @ state.h[:, own].T + params["b"][:, None]
            pre = pre + WkT @ hidden[-1] if hidden else pre
            *_, c, h = gate(*self.blocks(pre), state.c[:, own].T, *self.peephole_columns(params))
            hidden.append(h)
            cells.append(c)
        after = TFLSTMState(*(backend.xp.concat(blocks, axis=0).T for blocks in (hidden, cells)))
        return after.h, after

    def peephole_columns(self, params: Params) -> list[Array]:
        """pi, pf and po as columns; none without peepholes."""
        return [params[name][:, None] for name in PEEPHOLES] if self.peepholes else []

    def peephole_sums(self, xp: Namespace, d: Array, c: Array, c_next: Array) -> dict[str, Array]:
        """Gradients of the peepholes from some diagonals."""
        if not self.peepholes:
            return {}
        i, f, _, o = self.rows
        seen = {"pi": (i, c), "pf": (f, c), "po": (o, c_next)}
        return {name: xp.sum(d[:, rows, :] * cell, axis=(0, 2)) for name, (rows, cell) in seen.items()}
