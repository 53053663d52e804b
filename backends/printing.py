"""Printers of a traced pointwise body as Python: functional for any namespace, in place for NumPy's."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from rnnx.typing import Array, Instruction, Kernel, Namespace, Program

OPERATORS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
FUNCTIONS = ("tanh", "clip", "sign", "sqrt")
IN_PLACE = (*OPERATORS, "negative", "positive", "tanh", "maximum", "sign", "sqrt", "copyto")


def compile_source(source: str, name: str, scope: dict[str, Any]) -> Callable[..., Any]:
    """Function `name` of a generated source; an error shows the source."""
    try:
        exec(compile(source, f"<rnnx kernel {name}>", "exec"), scope)
    except SyntaxError as error:
        error.add_note(f"Generated source of kernel {name}:\n{source}")
        raise
    function: Callable[..., Any] = scope[name]
    return function


def expression(step: Instruction) -> str:
    """The right-hand side of an instruction in a namespace of the standard."""
    arguments = [str(argument) for argument in step.arguments]
    if step.operation == "relu":
        return f"clip({arguments[0]}, 0.0, None)"
    if step.operation == "negative":
        return f"-{arguments[0]}"
    if step.operation == "positive":
        return f"1.0 * {arguments[0]}"  # +x may be x itself, and the caller is promised a new array
    if step.operation in OPERATORS:
        return f" {OPERATORS[step.operation]} ".join(arguments)
    return f"{step.operation}({arguments[0]})"


@cache
def functional(program: Program, xp: Namespace) -> Kernel:
    """The program as a function that returns new arrays, in any namespace of the standard."""
    name = function_name(program)
    lines = [f"def {name}({', '.join(program.inputs)}):"]
    last = {a: step for step in program.instructions for a in step.arguments}
    for step in program.instructions:
        lines.append(f"    {step.target} = {expression(step)}")
        # Memory that is given back at once is still in the cache when the next temporary takes it.
        done = {a for a in step.arguments if isinstance(a, str) and last[a] is step}
        lines += [f"    del {a}" for a in sorted(done.difference(program.inputs, program.outputs))]
    lines += [f"    return ({', '.join(program.outputs)},)"]
    return compile_source("\n".join(lines), name, _scope(xp, FUNCTIONS))


@cache
def in_place_maker(program: Program, xp: Namespace, dtype: Any) -> tuple[Callable[[Array], Kernel], int]:
    """The program in a namespace with NumPy's ``out`` arguments, without an allocation.

    Returns
    -------
    make : callable
        ``make(scratch)`` returns the kernel that works in these scratch rows, (rows, ...) of that dtype; for
        one thread.
    rows : int
        Number of scratch rows.
    """
    # A ufunc takes an array of no dimensions in two thirds of the time that it takes a Python number.
    constants: dict[float, str] = {}
    source, rows = in_place(program, lambda value: constants.setdefault(value, f"c{len(constants)}"))
    lines = ["def make(scratch):"]
    lines += [f"    s{row} = scratch[{row}]" for row in range(rows)]
    lines += [f"    {line}" for line in source.splitlines()]
    lines += [f"    return {function_name(program)}"]
    return compile_source("\n".join(lines), "make", in_place_scope(xp, dtype, constants)), rows


def in_place(program: Program, constant: Callable[[float], str] = str) -> tuple[str, int]:
    """Source of the program as calls with ``out``, and the number of scratch rows it needs.

    Output k is written straight into its own memory once input k, which may share it, has no reader left. All
    else lives in scratch rows, reused as soon as their value has been read for the last time.
    """
    steps = _delayed(program)
    last_read = {a: at for at, step in enumerate(steps) for a in step.arguments if isinstance(a, str)}
    input_read = [last_read.get(name, -1) for name in program.inputs]
    place = {name: name for name in program.inputs}
    free: list[str] = []
    rows = 0
    lines = [f"def {function_name(program)}({', '.join(program.inputs)}, out):"]
    lines += [f"    {', '.join(f'o{k}' for k in range(len(program.outputs)))}, = out"]
    for at, step in enumerate(steps):
        arguments = [place[a] if isinstance(a, str) else constant(a) for a in step.arguments]
        done = dict.fromkeys(a for a in step.arguments if isinstance(a, str) and last_read[a] == at)
        free += [place[a] for a in done if a not in program.outputs and place[a].startswith("s")]
        own = [k for k, name in enumerate(program.outputs) if name == step.target]
        own = [k for k in own if k >= len(input_read) or input_read[k] <= at]
        if own:
            target = f"o{own[0]}"
        elif free:
            target = free.pop()
        else:
            target, rows = f"s{rows}", rows + 1
        place[step.target] = target
        lines.append(f"    {call(step.operation, arguments, target)}")
    copies = [(f"o{k}", place[name]) for k, name in enumerate(program.outputs)]
    lines += [f"    copyto({target}, {source})" for target, source in copies if target != source]
    return "\n".join([*lines, "    return out"]), rows


def call(operation: str, arguments: list[str], target: str) -> str:
    """An instruction as a call that writes into `target`."""
    if operation == "relu":
        return f"maximum({arguments[0]}, 0.0, out={target})"  # out by position is deprecated
    return f"{operation}({', '.join([*arguments, target])})"


def in_place_scope(xp: Namespace, dtype: Any, constants: dict[float, str]) -> dict[str, Any]:
    """What a source with such calls names: functions, and its constants as arrays of no dimensions."""
    return _scope(xp, IN_PLACE) | {name: xp.asarray(value, dtype) for value, name in constants.items()}


def _delayed(program: Program) -> list[Instruction]:
    """The instructions, with each that writes an output over an input behind that input's other readers.

    An order may not exist; then the output goes through a scratch row (see `in_place`).
    """
    over: dict[str, str] = dict(zip(program.outputs, program.inputs, strict=False))
    waiting, done = list(program.instructions), set(program.inputs)
    ordered: list[Instruction] = []
    while waiting:
        ready = [step for step in waiting if done.issuperset(a for a in step.arguments if isinstance(a, str))]
        safe = [step for step in ready if not _is_read(over.get(step.target), waiting, step)]
        step = (safe or ready)[0]
        waiting.remove(step)
        done.add(step.target)
        ordered.append(step)
    return ordered


def _is_read(name: str | None, waiting: list[Instruction], by_others_than: Instruction) -> bool:
    return any(name in step.arguments for step in waiting if step is not by_others_than)


def function_name(program: Program) -> str:
    """Apart from the names of operations, which a body may have too."""
    return f"{program.name}_kernel"


def _scope(xp: Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(xp, name) for name in names} | {"inf": math.inf, "nan": math.nan}
