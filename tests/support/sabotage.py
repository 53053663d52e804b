"""Cells with one deliberate error each in their backward pass: a check that passes one of them is none."""

from dataclasses import dataclass, replace
from functools import cache

from rnnx import gradcheck
from rnnx.backends import of
from rnnx.cells import GRU, LSTM, RNN, LSTMState


class Spoilt:
    """Changes what the true `backward` returns."""

    def backward(self, tape, dy=None, dstate=None):
        kept = replace(tape)  # the true pass empties the tape
        dx, dstate, grads = super().backward(tape, dy, self.received(dstate))
        return self.spoil(kept, dx, dstate, dict(grads))

    def received(self, dstate):
        return dstate

    def spoil(self, tape, dx, dstate, grads):
        return dx, dstate, grads


class SpoiltStep:
    """Changes what one step of the true backward pass does: `before` and `behind` it."""

    def bind_backward(self, ops, params):
        true = super().bind_backward(ops, params)

        def step(pre, saved, prev, after, d):
            kept = self.before(pre, saved, prev, after, d)
            true(pre, saved, prev, after, d)
            self.behind(kept, pre, saved, prev, after, d)

        return step

    def before(self, pre, saved, prev, after, d):
        return None

    def behind(self, kept, pre, saved, prev, after, d):
        pass


@dataclass(frozen=True)
class ZeroedGate(SpoiltStep, LSTM):
    def behind(self, kept, pre, saved, prev, after, d):
        self.blocks(pre)[1][...] = 0.0


@dataclass(frozen=True)
class UnshiftedH(LSTM):
    def finish(self, xp, params, steps):
        dx, grads = super().finish(xp, params, steps)
        return dx, grads | {"Wh": steps.after("h").whole @ steps.d.whole.T}


@dataclass(frozen=True)
class StartsFromWeights(Spoilt, LSTM):
    def spoil(self, tape, dx, dstate, grads):
        return dx, dstate, grads | {"Wx": grads["Wx"] + tape.record.params["Wx"]}


@dataclass(frozen=True)
class SwappedStates(Spoilt, LSTM):
    def spoil(self, tape, dx, dstate, grads):
        return dx, LSTMState(dstate.c, dstate.h), grads


@dataclass(frozen=True)
class NoHiddenCarry(SpoiltStep, LSTM):
    def behind(self, kept, pre, saved, prev, after, d):
        d.h[...] = 0.0


@dataclass(frozen=True)
class NoCellCarry(SpoiltStep, LSTM):
    def behind(self, kept, pre, saved, prev, after, d):
        d.c[...] = 0.0


@dataclass(frozen=True)
class ForgottenSigmoidDerivative(SpoiltStep, LSTM):
    def before(self, pre, saved, prev, after, d):
        o = self.blocks(pre)[3]
        return o * (1.0 - o)

    def behind(self, kept, pre, saved, prev, after, d):
        self.blocks(pre)[3][...] /= kept


@dataclass(frozen=True)
class IgnoresFinalCell(Spoilt, LSTM):
    def received(self, dstate):
        return None if dstate is None else LSTMState(dstate.h, None)


@dataclass(frozen=True)
class NoInitialStateGradient(Spoilt, LSTM):
    def spoil(self, tape, dx, dstate, grads):
        return dx, LSTMState(0.0 * dstate.h, dstate.c), grads


@dataclass(frozen=True)
class DoubledBias(Spoilt, LSTM):
    def spoil(self, tape, dx, dstate, grads):
        return dx, dstate, grads | {"b": 2.0 * grads["b"]}


@dataclass(frozen=True)
class MeanOverTime(Spoilt, RNN):
    def spoil(self, tape, dx, dstate, grads):
        return dx, dstate, grads | {"Wx": grads["Wx"] / tape.steps}


@dataclass(frozen=True)
class TransposedWeight(Spoilt, RNN):
    def spoil(self, tape, dx, dstate, grads):
        return dx, dstate, grads | {"Wh": grads["Wh"].T}


@dataclass(frozen=True)
class WrongSign(Spoilt, RNN):
    def spoil(self, tape, dx, dstate, grads):
        return -dx, dstate, grads


@dataclass(frozen=True)
class ShiftedInputGradient(Spoilt, RNN):
    def spoil(self, tape, dx, dstate, grads):
        xp = tape.backend.xp
        return xp.concat([dx[1:, ...], dx[:1, ...]]), dstate, grads


@dataclass(frozen=True)
class WrongShape(Spoilt, RNN):
    def spoil(self, tape, dx, dstate, grads):
        return dx, dstate, grads | {"b": grads["b"][None, :]}


@dataclass(frozen=True)
class NotANumber(Spoilt, RNN):
    def spoil(self, tape, dx, dstate, grads):
        return dx, dstate, grads | {"b": grads["b"] * float("nan")}


@dataclass(frozen=True)
class ResetForgotten(GRU):
    """The gradient of the hidden part of n without the reset gate that it passes through."""

    def finish(self, xp, params, steps):
        steps.saved = steps.d.rows(self.rows[2])
        return super().finish(xp, params, steps)


@dataclass(frozen=True)
class NoDirectCarry(SpoiltStep, GRU):
    """The path h[t] = ... + z h[t-1] that no weight is on."""

    def before(self, pre, saved, prev, after, d):
        return d.h * self.blocks(pre)[1]

    def behind(self, kept, pre, saved, prev, after, d):
        d.h[...] -= kept


@dataclass(frozen=True)
class SwappedGates(Spoilt, GRU):
    def spoil(self, tape, dx, dstate, grads):
        H, b = self.hidden_size, grads["b"]
        swapped = tape.backend.xp.concat([b[H : 2 * H], b[:H], b[2 * H :]])
        return dx, dstate, grads | {"b": swapped}


@dataclass(frozen=True)
class NoHiddenBiasGradient(Spoilt, GRU):
    def spoil(self, tape, dx, dstate, grads):
        return dx, dstate, grads | {"bn": 0.0 * grads["bn"]}


@dataclass(frozen=True)
class ClippedGradients(Spoilt, LSTM):
    """Clipping belongs to the trainer: in a backward pass it is a wrong gradient wherever it acts."""

    def spoil(self, tape, dx, dstate, grads):
        return dx, dstate, grads | {"Wh": tape_namespace(grads["Wh"]).clip(grads["Wh"], -5.0, 5.0)}


@dataclass(frozen=True)
class ClippedCarry(SpoiltStep, RNN):
    def behind(self, kept, pre, saved, prev, after, d):
        d.h[...] = tape_namespace(d.h).clip(d.h, -5.0, 5.0)


@dataclass(frozen=True)
class WrongWithoutState(RNN):
    def forward(self, params, x, state=None, *, training=True):
        y, final, tape = super().forward(params, x, state, training=training)
        if tape is not None:
            seen[id(tape)] = state is None, tape
        return y, final, tape

    def backward(self, tape, dy=None, dstate=None):
        doubled, _ = seen[id(tape)]
        dx, dstate, grads = super().backward(tape, dy, dstate)
        return (2.0 * dx if doubled else dx), dstate, grads


@dataclass(frozen=True)
class FlooredDerivative(SpoiltStep, LSTM):
    """The output gate's derivative is never less than 0.01, as if that were harmless in saturation."""

    def before(self, pre, saved, prev, after, d):
        o = self.blocks(pre)[3]
        true = o * (1.0 - o)
        return tape_namespace(true).clip(true, 0.01, None) / true

    def behind(self, kept, pre, saved, prev, after, d):
        self.blocks(pre)[3][...] *= kept


@dataclass(frozen=True)
class ExtraKey(Spoilt, RNN):
    def spoil(self, tape, dx, dstate, grads):
        return dx, dstate, grads | {"bh": grads["b"]}


@dataclass(frozen=True)
class MissingKey(Spoilt, RNN):
    def spoil(self, tape, dx, dstate, grads):
        return dx, dstate, {name: value for name, value in grads.items() if name != "b"}


@dataclass(frozen=True)
class OtherInference(RNN):
    """Not what was trained."""

    def forward(self, params, x, state=None, *, training=True):
        return super().forward(params, x if training else 1.01 * x, state, training=training)


@dataclass(frozen=True)
class OtherStep(RNN):
    def step(self, params, x, state=None):
        return super().step(params, 1.01 * x, state)


seen = {}


def tape_namespace(x):
    return of({"x": x}, "sabotage").xp


TENSORS = {
    ZeroedGate: {"Wx", "Wh", "b", "x"},
    UnshiftedH: {"Wh"},
    StartsFromWeights: {"Wx"},
    SwappedStates: {"state.h", "state.c"},
    NoHiddenCarry: {"Wx", "Wh", "b", "x", "state.h", "state.c"},
    NoCellCarry: {"Wx", "Wh", "b", "x", "state.h", "state.c"},
    ForgottenSigmoidDerivative: {"Wx", "Wh", "b", "x"},
    IgnoresFinalCell: {"Wx", "Wh", "b", "x", "state.h", "state.c"},
    NoInitialStateGradient: {"state.h"},
    DoubledBias: {"b"},
    MeanOverTime: {"Wx"},
    TransposedWeight: {"Wh"},
    WrongSign: {"x"},
    ShiftedInputGradient: {"x"},
    WrongShape: {"b"},
    NotANumber: {"b"},
    ResetForgotten: {"Wh", "bn"},
    NoDirectCarry: {"Wx", "Wh", "b", "bn", "x", "state.h"},
    SwappedGates: {"b"},
    NoHiddenBiasGradient: {"bn"},
    ClippedGradients: {"Wh"},
    ClippedCarry: {"Wx", "Wh", "b", "x", "state.h"},
    WrongWithoutState: {"x"},
    FlooredDerivative: {"Wx", "Wh", "b", "x"},
    ExtraKey: {"bh"},
    MissingKey: {"b"},
    OtherInference: {"y", "final.h"},
    OtherStep: {"y", "final.h"},
}
"""Every sabotaged cell and the tensors whose gradient it spoils: these and no others must be reported."""


@cache
def checked(cell):
    """The report on a small one, made once for all tests."""
    return gradcheck(cell(3, 4))
