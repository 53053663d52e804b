"""Long short-term memory with peepholes: the gates look at the cell state.

    i = sigmoid(x[t] Wx_i + h[t-1] Wh_i + pi c[t-1] + b_i)        input gate
    f = sigmoid(x[t] Wx_f + h[t-1] Wh_f + pf c[t-1] + b_f)        forget gate
    g = tanh   (x[t] Wx_g + h[t-1] Wh_g + b_g)                    candidate
    c[t] = f c[t-1] + i g
    o = sigmoid(x[t] Wx_o + h[t-1] Wh_o + po c[t] + b_o)          output gate
    h[t] = o tanh(c[t])

The peepholes are diagonal: each unit's gates look at its own cell alone. The output gate looks at the new
cell state.

Gers, Schraudolph and Schmidhuber, "Learning precise timing with LSTM recurrent networks", Journal of Machine
Learning Research 3 (2002), 115-143.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from rnnx.cells.lstm import LSTMState
from rnnx.ops import Ops, Pointwise, Workspace, pointwise, sigmoid, tanh
from rnnx.stepcell import StepCell
from rnnx.steps import Steps
from rnnx.typing import Array, Namespace, Params

PEEPHOLES = ("pi", "pf", "po")


@pointwise
def peephole_lstm_forward(i, f, g, o, c, pi, pf, po):
    i, f, g = sigmoid(i + pi * c), sigmoid(f + pf * c), tanh(g)
    c_next = f * c + i * g
    o = sigmoid(o + po * c_next)
    return i, f, g, o, c_next, o * tanh(c_next)


@pointwise
def peephole_lstm_backward(i, f, g, o, dc, c, c_next, dh, pi, pf, po):
    tanh_c = tanh(c_next)
    do = dh * tanh_c * (o * (1.0 - o))
    dc = dc + dh * o * (1.0 - tanh_c * tanh_c) + do * po
    di = dc * g * (i * (1.0 - i))
    df = dc * c * (f * (1.0 - f))
    dg = dc * i * (1.0 - g * g)
    return di, df, dg, do, dc * f + di * pi + df * pf


@dataclass(frozen=True)
class PeepholeLSTM(StepCell):
    """LSTM layer with peepholes; parameters ``Wx (D, 4H)``, ``Wh (H, 4H)``, ``b (4H,)``, ``pi pf po (H,)``.

    Parameters
    ----------
    input_size, hidden_size : int
        D and H.
    gate_order : sequence of str, optional
        Order of the gate blocks in the parameters; by default ``("i", "f", "g", "o")``, that of `LSTM`.
    """

    input_size: int
    hidden_size: int
    gate_order: tuple[str, ...] | str | None = None

    gates: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")
    State: ClassVar[type[LSTMState]] = LSTMState

    @property
    def bodies(self) -> tuple[Pointwise, Pointwise]:
        return peephole_lstm_forward, peephole_lstm_backward

    @property
    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        return super().param_shapes | dict.fromkeys(PEEPHOLES, (self.hidden_size,))

    def bind_forward(
        self, ops: Ops, params: Params
    ) -> Callable[[Array, LSTMState, LSTMState, Array], LSTMState]:
        WhT = ops.operand(params["Wh"].T)
        pi, pf, po = (ops.operand(params[name][:, None]) for name in PEEPHOLES)
        recur, gate = ops.matmul_add(4 * self.hidden_size), ops.kernel(peephole_lstm_forward)

        def step(pre: Array, prev: LSTMState, after: LSTMState, saved: Array) -> LSTMState:
            gates = self.blocks(recur(WhT, prev.h, pre))
            *_, c, h = gate(*gates, prev.c, pi, pf, po, out=(*gates, after.c, after.h))
            return LSTMState(h, c)

        return step

    def bind_backward(
        self, ops: Workspace, params: Params
    ) -> Callable[[Array, Array, LSTMState, LSTMState, LSTMState], None]:
        Wh = ops.operand(params["Wh"])
        pi, pf, po = (ops.operand(params[name][:, None]) for name in PEEPHOLES)
        recur, gate = ops.matmul(self.hidden_size), ops.kernel(peephole_lstm_backward)

        def step(pre: Array, saved: Array, prev: LSTMState, after: LSTMState, d: LSTMState) -> None:
            gates = self.blocks(pre)
            gate(*gates, d.c, prev.c, after.c, d.h, pi, pf, po, out=(*gates, d.c))
            recur(Wh, pre, d.h)

        return step

    def finish(self, xp: Namespace, params: Params, steps: Steps) -> tuple[Array, dict[str, Array]]:
        dx, grads = super().finish(xp, params, steps)
        d, (i, f, _, o) = steps.d, self.rows
        c, c_next = steps.before("c"), steps.after("c")
        grads |= {
            name: xp.sum(d.rows(gate).whole * seen.whole, axis=1)
            for name, gate, seen in zip(PEEPHOLES, (i, f, o), (c, c, c_next), strict=True)
        }
        return dx, grads
