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


def layer(tensor: str) -> str:
    """Layer and direction that a dotted name tells: ``layers.1.backward.Wx``, ``state.1.backward.h``."""
    found = []
    for part in tensor.split(".")[:-1]:
        if part in ("forward", "backward"):
            found.append(f"{part} direction")
        elif part.isdigit():
            found.append(f"layer {part}")
    return ", ".join(found)


def where(failures: Sequence[Comparison]) -> str:
    """The wrong places of one tensor, over all comparisons that failed."""
    worst = max(failures, key=lambda found: found.wrong.size)
    tensor, problem = worst.row.tensor, worst.place.problem
    sentences = [layer(tensor)] if layer(tensor) else []
    wrong = [gate for gate in problem.gates.get(tensor, ()) if any(_in_gate(f, gate) for f in failures)]
    right = [gate for gate in problem.gates.get(tensor, ()) if gate not in wrong]
    if wrong:
        sentences.append(f"gate{'s' * (len(wrong) > 1)} {', '.join(wrong)}" + _but("right", right))
    if tensor in problem.over_time and worst.wrong.ndim and worst.wrong.shape[0] > 1:
        steps = np.array([step.any() for step in worst.wrong])
        sentences.append(
            f"time steps {_ranges(np.flatnonzero(steps))} of {len(steps)}"
            + _but("right", [_ranges(np.flatnonzero(~steps))] if not steps.all() else [])
        )
    if not worst.row.index and worst.wrong.ndim:
        return "; ".join(sentences)  # along directions
    count, size = int(worst.wrong.sum()), worst.wrong.size
    if size > 1:
        sentences.append(f"{count} of {size} entries" if count < size else f"all {size} entries")
    return "; ".join(sentences)


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
