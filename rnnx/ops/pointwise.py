"""Pointwise bodies: plain functions of scalars, traced once and bound by each backend to its own arrays."""

import inspect
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from rnnx import backends
from rnnx.typing import Array, Instruction, Program

ANALYTIC = frozenset({"add", "subtract", "multiply", "divide", "negative", "positive", "tanh", "sqrt"})
"""Operations that are complex differentiable, so that the complex step applies."""


class Scalar:
    """A symbolic scalar: an operation on it appends one instruction to the trace."""

    __slots__ = ("name", "trace")

    def __init__(self, name: str, trace: list[Instruction]) -> None:
        self.name = name
        self.trace = trace

    def apply(self, operation: str, *arguments: "Scalar | float") -> "Scalar":
        names = tuple(a.name if isinstance(a, Scalar) else float(a) for a in arguments)
        target = f"v{len(self.trace)}"
        self.trace.append(Instruction(target, operation, names))
        return Scalar(target, self.trace)

    def __add__(self, other: "Scalar | float") -> "Scalar":
        return self.apply("add", self, other)

    def __radd__(self, other: float) -> "Scalar":
        return self.apply("add", other, self)

    def __sub__(self, other: "Scalar | float") -> "Scalar":
        return self.apply("subtract", self, other)

    def __rsub__(self, other: float) -> "Scalar":
        return self.apply("subtract", other, self)

    def __mul__(self, other: "Scalar | float") -> "Scalar":
        return self.apply("multiply", self, other)

    def __rmul__(self, other: float) -> "Scalar":
        return self.apply("multiply", other, self)

    def __truediv__(self, other: "Scalar | float") -> "Scalar":
        return self.apply("divide", self, other)

    def __rtruediv__(self, other: float) -> "Scalar":
        return self.apply("divide", other, self)

    def __neg__(self) -> "Scalar":
        return self.apply("negative", self)

    def __bool__(self) -> bool:
        raise TypeError(
            "A pointwise body has no branches: it is traced once for all elements. Use relu or sign."
        )


def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    return x.apply("tanh", x)


def sigmoid(x: Any) -> Any:
    """Logistic function as ``0.5 tanh(0.5 x) + 0.5``: no overflow, no branch, valid for the complex step."""
    return 0.5 * tanh(0.5 * x) + 0.5


def relu(x: Any) -> Any:
    """Larger one of x and 0."""
    return x.apply("relu", x)


def sign(x: Any) -> Any:
    """-1, 0 or 1."""
    return x.apply("sign", x)


def sqrt(x: Any) -> Any:
    """Square root."""
    return x.apply("sqrt", x)


class Pointwise:
    """The element-wise part of a formula, written once for every device.

    The body is a plain function of scalars with ``+ - * /`` and the functions of this module, without
    branches, reductions or namespaces. It returns one scalar or a tuple. Backends bind `program`; calling the
    object runs it on arrays of one shape.
    """

    def __init__(self, body: Callable[..., Any]) -> None:
        self.body = body
        self.__doc__ = body.__doc__
        self.__name__ = body.__name__

    def __repr__(self) -> str:
        return f"<pointwise {self.__name__}>"

    @cached_property
    def program(self) -> Program:
        """The body's trace."""
        names = tuple(inspect.signature(self.body).parameters)
        trace: list[Instruction] = []
        result = self.body(*(Scalar(f"in_{name}", trace) for name in names))
        outputs = [
            output.apply("positive", output) if output.name.startswith("in_") else output
            for output in (result if isinstance(result, tuple) else (result,))
        ]
        return Program(
            self.__name__,
            tuple(f"in_{name}" for name in names),
            tuple(trace),
            tuple(output.name for output in outputs),
        )

    @cached_property
    def analytic(self) -> bool:
        """Whether every operation is complex differentiable."""
        return all(step.operation in ANALYTIC for step in self.program.instructions)

    def __call__(self, *arrays: Array) -> tuple[Array, ...]:
        """Run the body on arrays of one shape, and return its outputs as new arrays."""
        backend = backends.of(_numbered(self, arrays), self.__name__)
        return backend.functional_kernel(self.program)(*arrays)


def _numbered(body: Pointwise, arrays: Sequence[Array]) -> dict[str, Array]:
    names = (name.removeprefix("in_") for name in body.program.inputs)
    return dict(zip(names, arrays, strict=True))


def pointwise(body: Callable[..., Any]) -> Pointwise:
    """Mark a function as a pointwise body (see `Pointwise`)."""
    return Pointwise(body)
