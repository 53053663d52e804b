"""TF-LSTMs with one deliberate error each in their backward pass."""

from dataclasses import dataclass

from rnnx.cells import TFLSTM, TFLSTMState
from rnnx.cells.peephole_lstm import peephole_lstm_forward
from rnnx.ops import pointwise, tanh
from support.sabotage import Spoilt


@dataclass(frozen=True)
class Overlapping(TFLSTM):
    """Blocks of two inputs that share one of them; of 4 inputs, one block has neighbours on both sides."""

    filter_size: int = 2
    stride: int = 1


class Damaged:
    """Changes the record that the true backward pass runs on."""

    def run_backward(self, backend, record, dy, dstate):
        H = self.hidden_size
        self.damage(record.weights[:H, :], record.weights[H : 2 * H, :], backend.xp)
        return super().run_backward(backend, record, dy, dstate)


@dataclass(frozen=True)
class NoCarryOverTime(Damaged, Overlapping):
    def damage(self, Wh, Wk, xp):
        Wh[...] = 0.0


@dataclass(frozen=True)
class NoCarryOverFrequency(Damaged, Overlapping):
    def damage(self, Wh, Wk, xp):
        Wk[...] = 0.0


@dataclass(frozen=True)
class SwappedCarries(Damaged, Overlapping):
    def damage(self, Wh, Wk, xp):
        kept = xp.asarray(Wh, copy=True)
        Wh[...] = Wk
        Wk[...] = kept


@pointwise
def no_cell_carry(i, f, g, o, dc, c, c_next, dh, pi, pf, po):
    tanh_c = tanh(c_next)
    do = dh * tanh_c * (o * (1.0 - o))
    dc = dc + dh * o * (1.0 - tanh_c * tanh_c) + do * po
    di = dc * g * (i * (1.0 - i))
    df = dc * c * (f * (1.0 - f))
    dg = dc * i * (1.0 - g * g)
    return di, df, dg, do, di * pi + df * pf


@pointwise
def no_peephole_carry(i, f, g, o, dc, c, c_next, dh, pi, pf, po):
    tanh_c = tanh(c_next)
    do = dh * tanh_c * (o * (1.0 - o))
    dc = dc + dh * o * (1.0 - tanh_c * tanh_c) + do * po
    di = dc * g * (i * (1.0 - i))
    df = dc * c * (f * (1.0 - f))
    dg = dc * i * (1.0 - g * g)
    return di, df, dg, do, dc * f


@dataclass(frozen=True)
class NoCellCarryOverTime(Overlapping):
    @property
    def bodies(self):
        return peephole_lstm_forward, no_cell_carry


@dataclass(frozen=True)
class NoCarryThroughPeepholes(Overlapping):
    @property
    def bodies(self):
        return peephole_lstm_forward, no_peephole_carry


@dataclass(frozen=True)
class WkWithOwnBlock(Spoilt, Overlapping):
    """Wk's gradient with h[t, k] in place of h[t, k-1]."""

    def spoil(self, tape, dx, dstate, grads):
        record, xp = tape.record, tape.backend.xp
        h = record.operands[1:, : self.hidden_size, :]
        wrong = xp.sum(h @ xp.matrix_transpose(record.gates), axis=0)
        return dx, dstate, grads | {"Wk": wrong}


@dataclass(frozen=True)
class WkOfOneBlock(Spoilt, Overlapping):
    """The sum over blocks stops at the first one that has a block below it."""

    def spoil(self, tape, dx, dstate, grads):
        record, xp, H, N = tape.record, tape.backend.xp, self.hidden_size, tape.batch
        below = record.operands[:-1, H : 2 * H, N : 2 * N]
        wrong = xp.sum(below @ xp.matrix_transpose(record.gates[:, :, N : 2 * N]), axis=0)
        return dx, dstate, grads | {"Wk": wrong}


@dataclass(frozen=True)
class OverlapNotSummed(Spoilt, Overlapping):
    """Where windows overlap, the last block's gradient of x stands alone."""

    def spoil(self, tape, dx, dstate, grads):
        record, xp, N = tape.record, tape.backend.xp, tape.batch
        for k in range(self.block_count):
            d = record.gates[k : k + tape.steps, :, k * N : (k + 1) * N]
            dx[:, :, self.window(k)] = xp.matrix_transpose(record.params["Wx"] @ d)
        return dx, dstate, grads


@dataclass(frozen=True)
class PeepholeOnTheOldCell(Spoilt, Overlapping):
    """The output gate's, which looks at c[t]."""

    def spoil(self, tape, dx, dstate, grads):
        record, o = tape.record, self.rows[3]
        wrong = tape.backend.xp.sum(record.gates[:, o, :] * record.c[:-1, ...], axis=(0, 2))
        return dx, dstate, grads | {"po": wrong}


@dataclass(frozen=True)
class BiasOfOneBlock(Spoilt, Overlapping):
    def spoil(self, tape, dx, dstate, grads):
        wrong = tape.backend.xp.sum(tape.record.gates[:, :, : tape.batch], axis=(0, 2))
        return dx, dstate, grads | {"b": wrong}


@dataclass(frozen=True)
class BlocksReversed(Spoilt, Overlapping):
    """The gradients of the initial hidden states, each at another block."""

    def spoil(self, tape, dx, dstate, grads):
        blocks = [dstate.h[:, self.features(k)] for k in reversed(range(self.block_count))]
        return dx, TFLSTMState(tape.backend.xp.concat(blocks, axis=1), dstate.c), grads


@dataclass(frozen=True)
class IgnoresFinalCells(Spoilt, Overlapping):
    def received(self, dstate):
        return None if dstate is None else TFLSTMState(dstate.h, None)


ALL = {"Wx", "Wh", "Wk", "b", "pi", "pf", "po", "x", "state.h", "state.c"}

TENSORS = {
    NoCarryOverTime: ALL,
    NoCarryOverFrequency: ALL,
    SwappedCarries: ALL,
    NoCellCarryOverTime: ALL,
    NoCarryThroughPeepholes: ALL,
    WkWithOwnBlock: {"Wk"},
    WkOfOneBlock: {"Wk"},
    OverlapNotSummed: {"x"},
    PeepholeOnTheOldCell: {"po"},
    BiasOfOneBlock: {"b"},
    BlocksReversed: {"state.h"},
    IgnoresFinalCells: ALL,
}
"""Every sabotaged cell and the tensors whose gradient it spoils: with 4 inputs, these and no others."""
