"""Simple recurrent layer, with one state h.

    h[t] = phi(x[t] Wx + h[t-1] Wh + b),    phi in tanh, relu, identity

Elman, "Finding structure in time", Cognitive Science 14 (1990), 179-211.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from rnnx.errors import OptionError
from rnnx.ops import Ops, Pointwise, Workspace, pointwise, relu, sign, tanh
from rnnx.stepcell import StepCell
from rnnx.typing import Array, Params


class RNNState(NamedTuple):
    """State of an `RNN`."""

    h: Array


@pointwise
def rnn_tanh_forward(a):
    return tanh(a)


@pointwise
def rnn_tanh_backward(dh, h):
    return dh * (1.0 - h * h)


@pointwise
def rnn_relu_forward(a):
    return relu(a)


@pointwise
def rnn_relu_backward(dh, h):
    return dh * sign(h)


@pointwise
def rnn_identity_forward(a):
    return a


@pointwise
def rnn_identity_backward(dh, h):
    return dh


ACTIVATIONS = {
    "tanh": (rnn_tanh_forward, rnn_tanh_backward),
    "relu": (rnn_relu_forward, rnn_relu_backward),
    "identity": (rnn_identity_forward, rnn_identity_backward),
}


@dataclass(frozen=True)
class RNN(StepCell):
    """Simple recurrent layer; parameters ``Wx (D, H)``, ``Wh (H, H)``, ``b (H,)``.

    Parameters
    ----------
    input_size, hidden_size : int
        D and H.
    activation : {"tanh", "relu", "identity"}
        At a pre-activation of exactly 0, relu's gradient is 0, as in PyTorch.
    gate_order : sequence of str, optional
        Only ``("h",)``; there for the protocol's sake.
    """

    input_size: int
    hidden_size: int
    activation: str = "tanh"
    gate_order: tuple[str, ...] | str | None = None

    gates: ClassVar[tuple[str, ...]] = ("h",)
    State: ClassVar[type[RNNState]] = RNNState

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.activation not in ACTIVATIONS:
            raise OptionError(
                f"RNN: activation is {self.activation!r}; expected one of {', '.join(ACTIVATIONS)}."
            )

    @property
    def bodies(self) -> tuple[Pointwise, Pointwise]:
        return ACTIVATIONS[self.activation]

    def bind_forward(
        self, ops: Ops, params: Params
    ) -> Callable[[Array, RNNState, RNNState, Array], RNNState]:
        WhT = ops.operand(params["Wh"].T)
        recur, activate = ops.matmul_add(self.hidden_size), ops.kernel(self.bodies[0])

        def step(pre: Array, prev: RNNState, after: RNNState, saved: Array) -> RNNState:
            return RNNState(*activate(recur(WhT, prev.h, pre), out=(after.h,)))

        return step

    def bind_backward(
        self, ops: Workspace, params: Params
    ) -> Callable[[Array, Array, RNNState, RNNState, RNNState], None]:
        Wh = ops.operand(params["Wh"])
        recur, activate = ops.matmul(self.hidden_size), ops.kernel(self.bodies[1])

        def step(pre: Array, saved: Array, prev: RNNState, after: RNNState, d: RNNState) -> None:
            activate(d.h, after.h, out=(pre,))
            recur(Wh, pre, d.h)

        return step
