"""Activations as layers of their own, to stand behind a `rnnx.Linear`."""

from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from rnnx import backends, checks
from rnnx.backends import Backend
from rnnx.cells.rnn import rnn_tanh_backward, rnn_tanh_forward
from rnnx.typing import Array


class TanhTape(NamedTuple):
    """What `Tanh.backward` needs of its forward pass."""

    backend: Backend
    y: Array


@dataclass(frozen=True)
class Tanh:
    """Hyperbolic tangent, element by element; no parameters."""

    def forward(self, x: Array) -> tuple[Array, TanhTape]:
        """Map x to ``tanh(x)``.

        Parameters
        ----------
        x : (...) array

        Returns
        -------
        y : (...) array
        tape : TanhTape
            It holds y: do not write to that. A tape may serve any number of backward passes.

        Raises
        ------
        DtypeError, MixedArraysError
        """
        backend = backends.of({"x": x}, "Tanh.forward")
        checks.floating("Tanh.forward", "x", backend.xp, x.dtype)
        with backend.computing("Tanh.forward", numbers=prod(x.shape)):
            (y,) = rnn_tanh_forward(x)
        return y, TanhTape(backend, y)

    def backward(self, tape: TanhTape, dy: Array) -> Array:
        """Return the gradient of x, ``dy (1 - y²)``.

        Parameters
        ----------
        tape : TanhTape
        dy : (...) array
            Gradient of y.

        Raises
        ------
        ShapeError, DtypeError, MixedArraysError
        """
        checks.gradient("Tanh.backward", tape.backend, "dy", dy, tuple(tape.y.shape), tape.y.dtype)
        with tape.backend.computing("Tanh.backward", numbers=prod(dy.shape)):
            (dx,) = rnn_tanh_backward(dy, tape.y)
        return dx
