"""Operations that every formula is written in."""

from rnnx.ops.over_time import input_gradient, weight_gradients
from rnnx.ops.pointwise import Pointwise, pointwise, relu, sigmoid, sign, sqrt, tanh
from rnnx.ops.workspace import Functional, Operands, Ops, Workspace

__all__ = [
    "Functional",
    "Operands",
    "Ops",
    "Pointwise",
    "Workspace",
    "input_gradient",
    "pointwise",
    "relu",
    "sigmoid",
    "sign",
    "sqrt",
    "tanh",
    "weight_gradients",
]
