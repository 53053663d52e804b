"""SRUs with one deliberate error each in their backward pass."""

from dataclasses import dataclass

from rnnx.cells import SRU
from rnnx.ops import pointwise, tanh
from support.sabotage import Spoilt


class OtherBodies:
    """An SRU with other backward bodies."""

    output_backward = gates_backward = None

    @property
    def bodies(self):
        gates, output, output_backward, gates_backward = super().bodies
        return gates, output, self.output_backward or output_backward, self.gates_backward or gates_backward


@pointwise
def without_one_minus_f(f, dc, c, c_next):
    return dc * f * (c - c_next), dc


@pointwise
def with_f_in_place_of_its_derivative(f, dc, c, c_next):
    return dc * (c - c_next), dc - dc * f


@pointwise
def without_the_highway(c, r, v, dh):
    tanh_c = tanh(c)
    dv = dh * (1.0 - r)
    return dh * r * (1.0 - tanh_c * tanh_c), dv * r * (tanh_c - v), 0.0 * dv


@pointwise
def without_the_highways_part_in_r(c, r, v, dh):
    tanh_c = tanh(c)
    dv = dh * (1.0 - r)
    return dh * r * (1.0 - tanh_c * tanh_c), dv * r * tanh_c, dv


@dataclass(frozen=True)
class InputGateForgotten(OtherBodies, SRU):
    """The candidate's gradient without its factor 1 - f."""

    gates_backward = without_one_minus_f


@dataclass(frozen=True)
class ForgetGateDerivativeForgotten(OtherBodies, SRU):
    """f's gradient without the factor f."""

    gates_backward = with_f_in_place_of_its_derivative


@dataclass(frozen=True)
class HighwayGradientMissing(OtherBodies, SRU):
    output_backward = without_the_highway


@dataclass(frozen=True)
class ResetGateSeesOnlyTheCell(OtherBodies, SRU):
    """r's gradient as if h = r tanh(c)."""

    output_backward = without_the_highways_part_in_r


class Standstill:
    """A backend whose linear recurrence does nothing."""

    def __init__(self, backend):
        self.backend = backend

    def __getattr__(self, name):
        return getattr(self.backend, name)

    def linear_recurrence(self, a, c, reverse=False):
        pass


@dataclass(frozen=True)
class CarryDropped(SRU):
    """Nothing goes back through time."""

    def run_backward(self, backend, record, dy, dstate):
        return super().run_backward(Standstill(backend), record, dy, dstate)


@dataclass(frozen=True)
class BiasesSwapped(Spoilt, SRU):
    def spoil(self, tape, dx, dstate, grads):
        return dx, dstate, grads | {"bf": grads["br"], "br": grads["bf"]}


TENSORS = {
    InputGateForgotten: {"W", "x"},
    ForgetGateDerivativeForgotten: {"W", "bf", "x"},
    HighwayGradientMissing: {"W", "x"},
    ResetGateSeesOnlyTheCell: {"W", "br", "x"},
    CarryDropped: {"W", "bf", "x", "state.c"},
    BiasesSwapped: {"bf", "br"},
}
"""Every sabotaged cell and the tensors whose gradient it spoils."""
