"""Where in a gradient the wrong entries are: layer and direction, gate block, time step."""

from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np

from rnnx.gradient_check.comparison import Comparison
from rnnx.gradient_check.problem import Problem


def blocks(problem: Problem, tensor: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Gate blocks of an array of a tensor's shape by name; empty if it has none."""
    gates = problem.gates.get(tensor, ())
    if not gates or not values.ndim or values.shape[-1] % len(gates):
        return {}
    return dict(zip(gates, np.split(values, len(gates), axis=-1), strict=True))


def number_of(tensor: str) -> int | None:
    """Number of the outermost layer that a dotted name tells."""
    return next((int(part) for part in tensor.split(".")[:-1] if part.isdigit()), None)


def layer(tensor: str) -> str:
    """Layer and direction that a dotted name tells: ``layers.1.backward.Wx``, ``state.1.backward.h``."""
    found = []
    for part in tensor.split(".")[:-1]:
        if part in ("forward", "backward"):
            found.append(f"{part} direction")
        elif part.isdigit():
            found.append(f"layer {part}")
    return ", ".join(found)


def single_steps(failures: Sequence[Comparison]) -> list[Comparison]:
    """Those over one time step, in which no error of one gate has reached another."""
    return [found for found in failures if steps_of(found.place.problem) == 1]


def steps_of(problem: Problem) -> int:
    """T, or 0 if nothing is over time."""
    return max((len(problem.tensors[name]) for name in problem.over_time & problem.tensors.keys()), default=0)


def where(failures: Sequence[Comparison]) -> str:
    """The wrong places of one tensor, over all comparisons that failed."""
    worst = max(failures, key=lambda found: found.wrong.size)
    tensor, problem = worst.row.tensor, worst.place.problem
    sentences = [layer(tensor)] if layer(tensor) else []
    if problem.gates.get(tensor):
        sentences += _gates(tensor, problem.gates[tensor], failures)
    if tensor in problem.over_time and worst.row.index and len(worst.wrong) > 1:
        steps = np.array([step.any() for step in worst.wrong])
        rest = [] if steps.all() else [_ranges(np.flatnonzero(~steps))]
        wrong = _ranges(np.flatnonzero(steps))
        sentences.append(f"time steps {wrong} of {len(steps)}{_but('right', rest)}")
    count, size = int(worst.wrong.sum()), worst.wrong.size
    if size > 1 and worst.row.index:
        sentences.append(f"{count} of {size} entries" if count < size else f"all {size} entries")
    return "; ".join(sentences)


def _gates(tensor: str, gates: Sequence[str], failures: Sequence[Comparison]) -> list[str]:
    known = [found for found in failures if found.row.index]
    first = single_steps(known)
    wrong, local = ([g for g in gates if any(_in_gate(f, g) for f in part)] for part in (known, first))
    aside = ""
    if first and len(local) < len(wrong):
        wrong, aside = local, " over one time step"
    if not wrong:
        return []
    right = [gate for gate in gates if gate not in wrong]
    return [f"gate{'s' * (len(wrong) > 1)} {', '.join(wrong)}{aside}{_but('right', right)}"]


def _in_gate(found: Comparison, gate: str) -> bool:
    if found.wrong.shape != found.hand.shape or not found.row.index:
        return False
    part = blocks(found.place.problem, found.row.tensor, found.wrong).get(gate)
    return part is not None and bool(part.any())


def _but(verdict: str, rest: Iterable[str]) -> str:
    listed = ", ".join(rest)
    return f" ({verdict}: {listed})" if listed else ""


def _ranges(numbers: np.ndarray) -> str:
    """Whole numbers with runs drawn together: 0-2, 5."""
    runs = groupby(enumerate(numbers.tolist()), key=lambda pair: pair[1] - pair[0])
    spans = [[number for _, number in run] for _, run in runs]
    return ", ".join(str(span[0]) if len(span) == 1 else f"{span[0]}-{span[-1]}" for span in spans)
