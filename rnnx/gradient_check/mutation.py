"""The gradient check's own proof: small errors are put into every cell's backward pass, and it must see them.

A mutant is a cell with one change in what its backward pass runs. It is *killed* if the check fails on it, killed *by
an error* if it raises, *equivalent* if none of its gradients differs from the true ones on any of many random
problems, which is measured and not proven, and has *survived* otherwise.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from types import CodeType
from typing import Any

import numpy as np

from rnnx.backends import Backend, resolve, use_backend
from rnnx.cells import REGISTRY
from rnnx.errors import OptionError
from rnnx.gradient_check.check import check
from rnnx.gradient_check.mutators import Mutation, Scene, mutations
from rnnx.gradient_check.problem import Backward, Problem, Tensors, cell_problem, cell_problems, draw
from rnnx.gradient_check.rebuilt import Copies, source, tool
from rnnx.gradient_check.report import GradientReport
from rnnx.typing import SequenceCell

Make = Callable[[int, int], SequenceCell]
Check = Callable[[list[Problem], Backend], GradientReport]

SCREEN = (2, 2, 2, 2)
"""D, H, T and N of the first problem: all equal, so that confused axes give a wrong number and no error."""

WATCHED = (7, 5, 4, 2)
"""D, H, T and N of the run that is watched: a shape tells what an array is."""

SEEDS = range(1, 9)
"""Of the random problems on which an equivalent mutant must have the true gradients."""

RANDOM: tuple[tuple[str, tuple[int, int, int, int], dict[str, bool]], ...] = (
    ("T=4, N=2", (3, 5, 4, 2), {}),
    ("one step", (4, 3, 1, 2), {}),
    ("saturated", (2, 3, 3, 1), {"saturated": True}),
    ("no initial state", (3, 2, 5, 2), {"with_state": False}),
)
"""Case, then D, H, T and N, then options of `cell_problem`."""

ROUNDING = 1e-15
"""Difference of two gradients, relative to the tensor's largest entry, that counts as none."""


@dataclass(frozen=True)
class Mutant:
    """One changed cell, and what became of it.

    Attributes
    ----------
    cell, operator : str
    place : str
        Module and line.
    change : str
        The code before and after.
    verdict : {"killed", "error", "equivalent", "survived"}
    reason : str
        What the check found first, the error, why no gradient changed, or the gradient that did.
    """

    cell: str
    operator: str
    place: str
    change: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class MutationReport:
    """The mutants of one or more cells."""

    mutants: tuple[Mutant, ...]

    def having(self, verdict: str) -> tuple[Mutant, ...]:
        """The mutants of one verdict."""
        return tuple(mutant for mutant in self.mutants if mutant.verdict == verdict)

    @property
    def kill_rate(self) -> float:
        """Killed ones among those that change a gradient; NaN without any."""
        killed, survived = len(self.having("killed") + self.having("error")), len(self.having("survived"))
        return killed / (killed + survived) if killed + survived else float("nan")

    @property
    def passed(self) -> bool:
        """Whether there are mutants that change a gradient, and the check saw all of them."""
        return self.kill_rate == 1.0

    def by(self, attribute: str) -> dict[str, "MutationReport"]:
        """One report for each value of ``"cell"`` or ``"operator"``."""
        groups: dict[str, tuple[Mutant, ...]] = {}
        for mutant in self.mutants:
            key = getattr(mutant, attribute)
            groups[key] = (*groups.get(key, ()), mutant)
        return {key: MutationReport(group) for key, group in groups.items()}

    def __add__(self, other: "MutationReport") -> "MutationReport":
        return MutationReport(self.mutants + other.mutants)

    def to_json(self) -> str:
        """Return the report as a JSON object: ``passed``, ``kill_rate`` and ``mutants``."""
        rate = self.kill_rate if self.mutants else None
        mutants = [asdict(mutant) for mutant in self.mutants]
        return json.dumps({"passed": self.passed, "kill_rate": rate, "mutants": mutants}, indent=2)


def mutation_run(names: Iterable[str] = tuple(REGISTRY), check: Check = check) -> MutationReport:
    """Run a check on every mutant of registered cells, on NumPy."""
    report = MutationReport(())
    with use_backend("numpy"), np.errstate(all="ignore"):
        for name in names:
            report += MutationReport(tuple(_Run(name, REGISTRY[name], check)))
    return report


class _Run:
    """All mutants of one cell."""

    def __init__(self, name: str, make: Make, check: Check) -> None:
        self.name, self.make, self.check = name, make, check
        self.type = type(make(1, 1))
        self.outputs: dict[tuple[Any, ...], Tensors] = {}
        self.gradients: dict[tuple[Any, ...], Tensors] = {}

    def __iter__(self) -> Iterator[Mutant]:
        if found := self._refusal(self._copied()):
            raise OptionError(
                f"The gradients of the cell {self.name!r} as it is do not pass: {found}",
                f"Run rnnx gradcheck {self.name} first.",
            )
        for scene in self._scenes():
            for mutation in mutations(scene):
                yield self._judged(mutation)

    def _judged(self, mutation: Mutation) -> Mutant:
        verdict, reason = "killed", ""
        make = self._copied(mutation)
        try:
            reason = self._refusal(make)
        except Exception as error:  # a change may break the code in any way
            verdict, reason = "error", f"{type(error).__name__}: {error}"
        if not reason:
            verdict, reason = "survived", self._difference(make)
            if not reason:
                verdict, reason = "equivalent", self._why(mutation)
        place = f"{mutation.scene.source.name}:{mutation.line}"
        return Mutant(self.name, mutation.operator, place, str(mutation), verdict, reason)

    def _copied(self, mutation: Mutation | None = None) -> Make:
        """Maker of the cell as copied, with a change."""

        def code(name: str) -> CodeType:
            found = source(name)
            return mutation.code if mutation and mutation.scene.source is found else found.code

        copies = Copies(self.type, code)
        return lambda D, H: copies.cell(self.make(D, H))

    def _refusal(self, make: Make) -> str:
        """What the check finds first, if anything."""
        for problem in self._problems(make):
            report = self.check([self._remembered(problem)], resolve("numpy"))
            if not report.passed:
                return str(report).partition("\n")[0]
        return ""

    def _problems(self, make: Make) -> Iterator[Problem]:
        D, H, T, N = SCREEN
        yield _joined(cell_problem(make(D, H), self.name, "equal sizes", T, N))
        yield from cell_problems(make, self.name)

    def _remembered(self, problem: Problem) -> Problem:
        """The problem with outputs from memory: no mutant changes the forward pass that the oracles ask."""

        def forward(values: Tensors) -> tuple[Tensors, Backward]:
            key = problem.case, *((name, value.tobytes()) for name, value in values.items())
            if key not in self.outputs:
                self.outputs[key], _ = problem.forward(values)

            def backward(upstream: Tensors) -> Tensors:
                _, true = problem.forward(values)
                return true(upstream)

            return {name: value.copy() for name, value in self.outputs[key].items()}, backward

        return replace(problem, forward=forward, without_tape=None, by_steps=None)

    def _scenes(self) -> list[Scene]:
        """The modules of the backward pass, as seen in a run of the true cell."""
        copies = Copies(self.type, lambda name: source(name).watched)
        D, H, T, N = WATCHED
        problem = cell_problem(copies.cell(self.make(D, H)), self.name, "watched", T, N)
        for run in problem.without_tape, problem.by_steps:
            if run is not None:
                run(problem.tensors)
        for upstream in _upstreams(problem, 0):
            _, backward = problem.forward(problem.tensors)
            backward(upstream)
        names = dict.fromkeys(name for name, _ in copies.tools.seen)
        return [Scene(source(name), copies.tools) for name in names]

    def _difference(self, make: Make) -> str:
        """The first gradient that is not the true one on random problems, if any."""
        for seed in SEEDS:
            for case, (D, H, T, N), options in RANDOM:
                true, found = (
                    cell_problem(of(D, H), self.name, case, T, N, seed=seed, **options)
                    for of in (self.make, make)
                )
                for upstream in _upstreams(true, seed):
                    key = seed, case, *upstream
                    if key not in self.gradients:
                        self.gradients[key] = _gradients(true, upstream)
                    if name := _differing(_gradients(found, upstream), self.gradients[key]):
                        return f"the gradient of {name} differs ({case}, seed {seed})"
        return ""

    def _why(self, mutation: Mutation) -> str:
        """What can be told automatically of why a mutant is equivalent."""
        if not mutation.is_number:
            return "no gradient depends on it"
        poisoned = replace(mutation, new=tool("poisoned", mutation.node))
        if self._difference(self._copied(poisoned)):
            return "the value is read, and the change leaves every gradient as it is"
        return "no gradient depends on this value"


def _joined(problem: Problem) -> Problem:
    """The problem with all outputs in one, which has fewer choices of upstream gradients."""

    def forward(values: Tensors) -> tuple[Tensors, Backward]:
        outputs, backward = problem.forward(values)

        def joined_backward(upstream: Tensors) -> Tensors:
            ends = np.cumsum([value.size for value in outputs.values()])
            parts = np.split(upstream["outputs"], ends[:-1])
            return backward(
                {name: part.reshape(outputs[name].shape) for name, part in zip(outputs, parts, strict=True)}
            )

        return {"outputs": np.concatenate([value.ravel() for value in outputs.values()])}, joined_backward

    return replace(problem, forward=forward)


def _upstreams(problem: Problem, seed: int) -> Iterator[Tensors]:
    """Random gradients of all outputs, of y alone and of the final state alone."""
    rng = np.random.default_rng(seed)
    outputs, _ = problem.forward(problem.tensors)
    full = {name: draw(rng, value.shape) for name, value in outputs.items()}
    yield full
    yield {"y": full["y"]}
    yield {name: value for name, value in full.items() if name != "y"}


def _gradients(problem: Problem, upstream: Tensors) -> Tensors:
    _, backward = problem.forward(problem.tensors)
    return backward(upstream)


def _differing(found: Tensors, true: Tensors) -> str:
    """Name of a tensor whose gradient is not the true one."""
    for name in found.keys() | true.keys():
        a, b = found.get(name), true.get(name)
        if a is None or b is None or a.shape != b.shape:
            return name
        if not np.max(np.abs(a - b), initial=0.0) <= ROUNDING * np.max(np.abs(b), initial=0.0):
            return name
    return ""
