"""Traced pointwise bodies as CuPy's ElementwiseKernels: one launch for a whole body, no CUDA written by hand.

CuPy broadcasts a column (H, 1) and a Python number against (H, N), follows the strides of every array, and
writes the loop over the elements. The body printed here is that of one element: it computes all from what it
read, then writes all outputs. So an output may have the memory of any input of the same shape and strides.
"""

import math
import re
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from rnnx.errors import BackendError
from rnnx.typing import Array, Kernel, Program

EXPRESSIONS = {
    "add": "{} + {}",
    "subtract": "{} - {}",
    "multiply": "{} * {}",
    "divide": "{} / {}",
    "negative": "-{}",
    "positive": "{}",
    "tanh": "tanh({})",
    "sqrt": "sqrt({})",
    # A NaN is neither above nor below 0, and goes through.
    "relu": "{0} < T(0) ? T(0) : {0}",
    "sign": "{0} > T(0) ? T(1) : {0} < T(0) ? T(-1) : {0}",
}
"""CUDA C++ of every operation of a trace."""


class KernelText(NamedTuple):
    """What ``cupy.ElementwiseKernel`` takes; ``T`` stands for the dtype of all arrays."""

    inputs: str
    outputs: str
    operation: str
    name: str


@cache
def print_kernel(program: Program) -> KernelText:
    """The program as the text of a kernel; no device and no CuPy is needed for that.

    Every name is made here and carries a number: whatever the names of the body, none has a meaning in C++ or
    in the text that CuPy puts around it (``i``, ``n``, ``_ind``).
    """
    name = {given: f"in{k}_{_ascii(given)}" for k, given in enumerate(program.inputs)}
    lines = []
    for at, step in enumerate(program.instructions):
        arguments = [name[a] if isinstance(a, str) else constant(a) for a in step.arguments]
        name[step.target] = f"v{at}"
        lines.append(f"const T v{at} = {EXPRESSIONS[step.operation].format(*arguments)};")
    lines += [f"out{k} = {name[target]};" for k, target in enumerate(program.outputs)]
    return KernelText(
        ", ".join(f"T {name[given]}" for given in program.inputs),
        ", ".join(f"T out{k}" for k in range(len(program.outputs))),
        "\n".join(lines),
        f"rnnx_{_ascii(program.name)}",
    )


def constant(value: float) -> str:
    """A number in the kernel's own type: a bare 0.5 is a double, and would make the whole expression one."""
    if math.isnan(value):
        return "(T(0) / T(0))"
    if math.isinf(value):
        return "(T(1) / T(0))" if value > 0.0 else "(T(-1) / T(0))"
    return f"T({value!r})"


LINEAR_RECURRENCE = KernelText(
    "raw T a, int64 steps, int64 width, bool reverse",
    "raw T c",
    """const ptrdiff_t ahead = reverse ? 0 : width, back = reverse ? width : 0;
ptrdiff_t at = reverse ? (steps - 1) * width + i : i;
T carry = c[at + back];
for (ptrdiff_t t = 0; t < steps; ++t) {
    carry = a[at] * carry + c[at + ahead];
    c[at + ahead] = carry;
    at += ahead - back;
}""",
    "rnnx_linear_recurrence",
)
"""One thread an entry of a step, for all steps: what it reads next, its neighbours read beside it."""


def linear_recurrence(a: Array, c: Array, reverse: bool) -> None:
    """See `Backend.linear_recurrence`: one launch, whatever the number of steps."""
    width = (c.shape[0] - a.shape[0]) * c.shape[1]
    if width:
        _launcher(LINEAR_RECURRENCE)(a, a.size // width, width, reverse, c, size=width)


def in_place(program: Program) -> Kernel:
    """The program as ``kernel(*inputs, out=outputs)``: one launch, no allocation."""
    launch = _launcher(print_kernel(program))

    def kernel(*inputs: Array, out: tuple[Array, ...]) -> tuple[Array, ...]:
        launch(*inputs, *out)
        return out

    return kernel


def functional(program: Program) -> Kernel:
    """The program as ``kernel(*inputs)``: one launch, and an allocation for each output."""
    launch = _launcher(print_kernel(program))

    def kernel(*inputs: Array) -> tuple[Array, ...]:
        result = launch(*inputs)
        return result if isinstance(result, tuple) else (result,)

    return kernel


@cache
def _launcher(text: KernelText) -> Callable[..., Any]:
    """One for the process: it keeps what CuPy compiled of it, by dtype and layout of its arguments."""
    import cupy  # the text alone can be had without it
    from cupy.cuda.compiler import CompileException

    kernel = cupy.ElementwiseKernel(*text)

    def launch(*arguments: Any, **size: int) -> Any:
        try:
            return kernel(*arguments, **size)
        except CompileException as error:
            raise _compile_error(text, str(error)) from error

    return launch


def _compile_error(text: KernelText, log: str) -> BackendError:
    reason = next((line.strip() for line in log.splitlines() if "error" in line), log.strip())
    error = BackendError(
        f"cupy: the kernel {text.name} does not compile ({reason.rstrip('.')}).",
        'Run: python -c "import cupy; cupy.show_config()", to see which compiler and headers CuPy found.',
    )
    error.add_note(
        f"Generated source of kernel {text.name}({text.inputs} -> {text.outputs}):\n{text.operation}"
    )
    return error


def _ascii(name: str) -> str:
    """A name without what C++ might refuse; what is left of it is for the reader."""
    return re.sub(r"\W+", "_", name.removeprefix("in_"), flags=re.ASCII)
