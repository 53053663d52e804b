"""Peephole LSTMs with one deliberate error each in their backward pass."""

from dataclasses import dataclass

from rnnx.cells import PeepholeLSTM
from support.sabotage import Spoilt


@dataclass(frozen=True)
class NoPeepholeGradient(Spoilt, PeepholeLSTM):
    def spoil(self, tape, dx, dstate, grads):
        return dx, dstate, grads | {"pf": 0.0 * grads["pf"]}


@dataclass(frozen=True)
class OutputSawTheOldCell(PeepholeLSTM):
    """The gradient of po with c[t-1] in it, as those of pi and pf have, and not c[t]."""

    def finish(self, xp, params, steps):
        dx, grads = super().finish(xp, params, steps)
        do = self.blocks(steps.d.whole)[3]
        return dx, grads | {"po": xp.sum(do * steps.before("c").whole, axis=1)}


class Blind:
    """The gradient of the cell state without its paths through some peepholes."""

    def bind_backward(self, ops, params):
        return super().bind_backward(ops, {**params, **{name: 0.0 * params[name] for name in self.unseen}})


@dataclass(frozen=True)
class NoPathThroughTheInputAndForgetGates(Blind, PeepholeLSTM):
    unseen = ("pi", "pf")


@dataclass(frozen=True)
class NoPathThroughTheOutputGate(Blind, PeepholeLSTM):
    unseen = ("po",)


EVERYTHING = {"Wx", "Wh", "b", "pi", "pf", "po", "x", "state.h", "state.c"}

TENSORS = {
    NoPeepholeGradient: {"pf"},
    OutputSawTheOldCell: {"po"},
    NoPathThroughTheInputAndForgetGates: EVERYTHING,
    NoPathThroughTheOutputGate: EVERYTHING,
}
"""Every sabotaged cell and the tensors whose gradient it spoils."""
