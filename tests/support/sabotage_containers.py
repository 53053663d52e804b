"""Containers with one deliberate error each: a check that passes one of them is none."""

from dataclasses import dataclass

import rnnx
from rnnx.containers import Bidirectional, Stack
from support.sabotage import DoubledBias, WrongSign


@dataclass(frozen=True)
class FinalAtTheWrongEnd(Bidirectional):
    """The reverse direction's final state is taken after its first step, at the sequence's end."""

    def run(self, backend, params, x, state, lengths, training, dropout_seed=None):
        y, final, record = super().run(backend, params, x, state, lengths, training, dropout_seed)
        features = self.members["forward"].output_size
        ends = [int(length) - 1 for length in lengths] if lengths is not None else [-1] * x.shape[1]
        wrong = backend.xp.stack([y[end, n, features:] for n, end in enumerate(ends)])
        return y, final._replace(backward=rnnx.RNNState(wrong)), record


@dataclass(frozen=True)
class SplitSwapped(Bidirectional):
    """The two halves of the upstream gradient go to each other's direction."""

    def run_backward(self, backend, record, dy, dstate):
        half = self.members["forward"].output_size
        if dy is not None:
            dy = backend.xp.concat([dy[:, :, half:], dy[:, :, :half]], axis=2)
        return super().run_backward(backend, record, dy, dstate)


@dataclass(frozen=True)
class NotTurnedBack(Bidirectional):
    """The gradient of the reversed input is added as it is."""

    def run_backward(self, backend, record, dy, dstate):
        turned = record.reverse
        calls = []

        def reverse(x):
            calls.append(None)
            return x if len(calls) == 1 + (dy is not None) else turned(x)

        return super().run_backward(backend, record._replace(reverse=reverse), dy, dstate)


@dataclass(frozen=True)
class TurnedAtTheFullLength(Bidirectional):
    """The gradient of y is turned round at T, not at each sequence's own length."""

    def run_backward(self, backend, record, dy, dstate):
        turned, xp = record.reverse, backend.xp
        calls = []

        def reverse(x):
            calls.append(None)
            return xp.flip(x, axis=0) if len(calls) == 1 and dy is not None else turned(x)

        return super().run_backward(backend, record._replace(reverse=reverse), dy, dstate)


class LayersSwapped(Stack):
    """The gradients of the final states go to each other's layer."""

    def run_backward(self, backend, record, dy, dstate):
        return super().run_backward(backend, record, dy, None if dstate is None else dstate[::-1])


def middle(kind):
    """Three bidirectional layers; the reverse direction of the one in the middle is that kind."""
    return Stack(
        Bidirectional(rnnx.RNN(2, 2)),
        Bidirectional(rnnx.RNN(4, 2), kind(4, 2)),
        Bidirectional(rnnx.RNN(4, 2)),
    )


def of(direction, own):
    """Tensors of a member that is a simple recurrent layer."""
    return {f"{direction}.{name}" for name in own}


RNN = ("Wx", "Wh", "b")
BOTH = of("forward", RNN) | of("backward", RNN)
STATES = {"state.forward.h", "state.backward.h"}
LOWER = (
    of("layers.0.forward", RNN) | of("layers.0.backward", RNN) | {"state.0.forward.h", "state.0.backward.h"}
)

TENSORS = {
    "wrong bias in the middle": (middle(DoubledBias), {"layers.1.backward.b"}),
    "wrong sign in the middle": (middle(WrongSign), LOWER | {"x"}),
    "final at the wrong end": (
        FinalAtTheWrongEnd(rnnx.RNN(3, 2)),
        of("backward", RNN) | {"x", "state.backward.h"},
    ),
    "split swapped": (SplitSwapped(rnnx.RNN(3, 2)), BOTH | STATES | {"x"}),
    "not turned back": (NotTurnedBack(rnnx.RNN(3, 2)), {"x"}),
    "layers swapped": (
        LayersSwapped(rnnx.RNN(3, 2), rnnx.RNN(2, 2)),
        {f"layers.{k}.{name}" for k in range(2) for name in RNN} | {"state.0.h", "state.1.h", "x"},
    ),
}
"""Every wrong container and the tensors whose gradient it spoils: these and no others must be reported."""

RAGGED = {
    "turned at the full length": (
        TurnedAtTheFullLength(rnnx.RNN(3, 2)),
        of("backward", RNN) | {"x", "state.backward.h"},
    ),
}
"""Those whose error shows only where sequences have different lengths."""
