"""What a wrong gradient says of its cause: patterns within it, and which cases are wrong and which right."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

from rnnx.gradient_check.comparison import Comparison
from rnnx.gradient_check.patterns import FINDERS
from rnnx.gradient_check.places import number_of, single_steps, steps_of
from rnnx.gradient_check.problem import Problem
from rnnx.gradient_check.report import LARGE, GradientRow

Case: TypeAlias = tuple[Problem, str]
Cases: TypeAlias = Sequence[Case]
Trait: TypeAlias = Callable[[Problem, str], bool]
"""Something that holds for some inputs and upstream gradients."""

CLIPPED = "It is right for small upstream gradients only: is it clipped?"
CARRIED = (
    "It is right over one time step and wrong over several: look at what a step hands to the one before it."
)

MOST = 40
"""Failures whose arrays are kept."""


@dataclass
class Evidence:
    """What became of one tensor against one oracle, in all cases.

    Attributes
    ----------
    failures : list of Comparison
    seen : list of (Problem, str, bool)
        Inputs, upstream gradients, and whether it was right.
    """

    failures: list[Comparison] = field(default_factory=list)
    seen: list[tuple[Problem, str, bool]] = field(default_factory=list)

    def add(self, found: Comparison) -> None:
        """Note one comparison."""
        right = not found.wrong.any()
        self.seen.append((found.place.problem, found.place.upstream, right))
        if not right and len(self.failures) < MOST:
            self.failures.append(found)

    def hint(self) -> str:
        """Sentences on the cause, or nothing."""
        patterns = _in_all(self.failures) or _in_all(single_steps(self.failures))
        cases = list(self._cases())
        if cases == [CLIPPED] or not patterns:
            return " ".join(cases[:1])
        return " ".join([patterns[0], *(case for case in cases if case != CARRIED)][:2])

    def _cases(self) -> Iterator[str]:
        """What the wrong cases share and the right ones have not."""
        wrong = [(problem, upstream) for problem, upstream, right in self.seen if not right]
        right = [(problem, upstream) for problem, upstream, right in self.seen if right]
        if not wrong or not right:
            return
        if all(LARGE in upstream for _, upstream in wrong):
            yield CLIPPED
            return
        for has, sentence in _TRAITS:
            if _parts(wrong, right, has):
                yield sentence
        outputs = {name for _, upstream in wrong for name in upstream.split(", ")} - {LARGE}
        for output in sorted(outputs):
            if _parts(wrong, right, partial(_is_upstream, output)):
                yield f"It is right without an upstream gradient of {output}: is that one used?"


def _in_all(failures: Sequence[Comparison]) -> list[str]:
    """Sentences that fit every failure, those of the first finders first."""
    found: list[str] = []
    for finder in FINDERS:
        lists = [list(finder(failure)) for failure in failures]
        if lists and all(lists):
            found += [sentence for sentence in lists[0] if all(sentence in other for other in lists)]
    return found


def _has_state(problem: Problem) -> bool:
    return any(name.startswith("state") for name in problem.tensors)


def _is_upstream(output: str, problem: Problem, upstream: str) -> bool:
    return output in upstream.split(", ")


_TRAITS: tuple[tuple[Trait, str], ...] = (
    (lambda p, _: p.saturated, "It is right except in saturated units: is a derivative floored or clipped?"),
    (lambda p, _: bool(p.padding), "It is right without ragged lengths."),
    (lambda p, _: not _has_state(p), "It is right where an initial state is given, and wrong without."),
    (lambda p, _: steps_of(p) > 1, CARRIED),
)


def _parts(wrong: Cases, right: Cases, has: Trait) -> bool:
    """Whether every wrong case has a trait that a right one lacks."""
    return all(has(*case) for case in wrong) and any(not has(*case) for case in right)


def layered(rows: Sequence[GradientRow]) -> list[GradientRow]:
    """Rows of one function with hints at the layer that an error comes from: gradients run downwards."""
    layers = {row.tensor: number_of(row.tensor) for row in rows}
    known = {number for number in layers.values() if number is not None}
    failed = {number for row in rows if not row.passed and (number := layers[row.tensor]) is not None}
    if len(known) < 2 or not failed:
        return list(rows)
    top = max(failed)
    if top < max(known):
        of_top = (
            f"What is above layer {top} is right: look at layer {top}, and at the gradient of x that layer "
            f"{top + 1} hands down to it."
        )
    else:
        of_top = ""
    below = f"Layer {top} is wrong, too, and what is below it gets its gradient from there: mend that first."
    told = []
    for row in rows:
        number = layers[row.tensor]
        lower = row.tensor == "x" if number is None else number < top
        sentence = below if lower else of_top if number == top else ""
        hint = row.hint if row.passed else f"{row.hint} {sentence}".strip()
        told.append(replace(row, hint=hint))
    return told
