"""Long short-term memory, with a forget gate and without peepholes.

    i = sigmoid(x[t] Wx_i + h[t-1] Wh_i + b_i)        input gate
    f = sigmoid(x[t] Wx_f + h[t-1] Wh_f + b_f)        forget gate
    g = tanh   (x[t] Wx_g + h[t-1] Wh_g + b_g)        candidate
    o = sigmoid(x[t] Wx_o + h[t-1] Wh_o + b_o)        output gate
    c[t] = f c[t-1] + i g
    h[t] = o tanh(c[t])

Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9 (1997), 1735-1780; the forget gate:
Gers, Schmidhuber and Cummins, "Learning to forget", Neural Computation 12 (2000), 2451-2471.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from rnnx.ops import Ops, Pointwise, Workspace, pointwise, sigmoid, tanh
from rnnx.stepcell import StepCell
from rnnx.typing import Array, Params


class LSTMState(NamedTuple):
    """State of an `LSTM`: hidden and cell state."""

    h: Array
    c: Array


@pointwise
def lstm_forward(i, f, g, o, c):
    i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
    c_next = f * c + i * g
    return i, f, g, o, c_next, o * tanh(c_next)


@pointwise
def lstm_backward(i, f, g, o, dc, c, c_next, dh):
    tanh_c = tanh(c_next)
    dc = dc + dh * o * (1.0 - tanh_c * tanh_c)
    di = dc * g * (i * (1.0 - i))
    df = dc * c * (f * (1.0 - f))
    dg = dc * i * (1.0 - g * g)
    do = dh * tanh_c * (o * (1.0 - o))
    return di, df, dg, do, dc * f


@dataclass(frozen=True)
class LSTM(StepCell):
    """LSTM layer; parameters ``Wx (D, 4H)``, ``Wh (H, 4H)``, ``b (4H,)``.

    Parameters
    ----------
    input_size, hidden_size : int
        D and H.
    gate_order : sequence of str, optional
        Order of the gate blocks in the parameters; by default ``("i", "f", "g", "o")``, PyTorch's and
        cuDNN's.
    """

    input_size: int
    hidden_size: int
    gate_order: tuple[str, ...] | str | None = None

    gates: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")
    State: ClassVar[type[LSTMState]] = LSTMState

    @property
    def bodies(self) -> tuple[Pointwise, Pointwise]:
        return lstm_forward, lstm_backward

    def bind_forward(
        self, ops: Ops, params: Params
    ) -> Callable[[Array, LSTMState, LSTMState, Array], LSTMState]:
        WhT = ops.operand(params["Wh"].T)
        recur, gate = ops.matmul_add(4 * self.hidden_size), ops.kernel(lstm_forward)

        def step(pre: Array, prev: LSTMState, after: LSTMState, saved: Array) -> LSTMState:
            gates = self.blocks(recur(WhT, prev.h, pre))
            *_, c, h = gate(*gates, prev.c, out=(*gates, after.c, after.h))
            return LSTMState(h, c)

        return step

    def bind_backward(
        self, ops: Workspace, params: Params
    ) -> Callable[[Array, Array, LSTMState, LSTMState, LSTMState], None]:
        Wh = ops.operand(params["Wh"])
        recur, gate = ops.matmul(self.hidden_size), ops.kernel(lstm_backward)

        def step(pre: Array, saved: Array, prev: LSTMState, after: LSTMState, d: LSTMState) -> None:
            gates = self.blocks(pre)
            gate(*gates, d.c, prev.c, after.c, d.h, out=(*gates, d.c))
            recur(Wh, pre, d.h)

        return step
