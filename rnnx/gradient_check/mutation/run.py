"""Mutants of registered cells, one after the other, and the verdict on each."""

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from types import CodeType
from typing import Any, cast

import numpy as np

from rnnx.backends import Backend, get_backend, resolve, use_backend
from rnnx.cells import REGISTRY
from rnnx.containers import CONTAINERS
from rnnx.errors import OptionError
from rnnx.gradient_check.check import failing
from rnnx.gradient_check.mutation.copies import Copies, Make
from rnnx.gradient_check.mutation.operators import mutations
from rnnx.gradient_check.mutation.problems import (
    ONCE,
    WATCHED,
    Measure,
    gradients,
    remembered,
    screen,
    traps,
    upstreams,
)
from rnnx.gradient_check.mutation.report import Mutant, MutationReport
from rnnx.gradient_check.mutation.scene import Mutation, Scene
from rnnx.gradient_check.mutation.sources import dependents, source, tool
from rnnx.gradient_check.problem import Problem, Tensors
from rnnx.gradient_check.report import GradientRow

Check = Callable[[Problem, Backend], Iterator[GradientRow]]
"""Yields rows that fail."""

Choice = Callable[[str, Mutation], bool]
"""Whether a change of a cell, by its name, is tried."""

Change = tuple[ast.AST, str]
"""A node, and what became of it."""

EVERYWHERE = object
"""What a change is settled for once it is killed; an equivalent one, for cells of the same class only."""


def mutation_run(
    names: Iterable[str],
    check: Check = failing,
    told: Callable[[str], object] = lambda name: None,
    chosen: Choice = lambda name, mutation: True,
) -> MutationReport:
    """Run a check on every mutant of registered cells, on NumPy, calling their steps one by one.

    A change outside a cell's own files, those of its class and of its pointwise bodies, is tried on one cell
    after the other until the check sees it; one that is equivalent for a cell is not tried on others of the
    same class.

    Parameters
    ----------
    names : iterable of str
        Of the registry, or of containers.
    check : callable
        The check that is to be proven: ``check(problem, backend)`` yields the rows that fail.
    told : callable
        Called with the name of each cell as its turn comes.
    chosen : callable
        Which changes are tried; all of them if not given.

    Raises
    ------
    OptionError
        The check fails on a cell as it is.
    """
    report, settled = MutationReport(), dict[Change, type]()
    with use_backend(replace(resolve("numpy"), loops=False)), np.errstate(all="ignore"):
        for name in names:
            told(name)
            run = _Run(name, (REGISTRY | CONTAINERS)[name], check)
            report += MutationReport(tuple(run.mutants(settled, chosen)))
    return report


class _Run:
    """All mutants of one cell."""

    def __init__(self, name: str, make: Make, check: Check) -> None:
        self.name, self.make, self.check = name, make, check
        cell: Any = make(1, 1)
        self.type = type(cell)
        self.own = {self.type.__module__, *(each.body.__module__ for each in getattr(cell, "bodies", ()))}
        self.measure = Measure(name, make)
        self.outputs: dict[Any, Tensors] = {}
        self.trapped = False  # whether the true cell has passed the traps

    def mutants(self, settled: dict[Change, type], chosen: Choice) -> Iterator[Mutant]:
        """Try the chosen changes, but those outside its files only where `settled` has no verdict on them."""
        self._demand(screen(self.name, self.make))
        for scene in self._scenes():
            elsewhere = scene.source.name not in self.own
            for mutation in mutations(scene):
                change = mutation.node, str(mutation)
                known = elsewhere and settled.get(change) in (EVERYWHERE, self.type)
                if not known and chosen(self.name, mutation):
                    verdict, reason = self._verdict(mutation)
                    settled[change] = EVERYWHERE if verdict in ("killed", "error") else self.type
                    yield Mutant(self.name, mutation.operator, *mutation.place, change[1], verdict, reason)

    def _scenes(self) -> list[Scene]:
        """The modules that the cell is written in, as runs of it show them."""
        runs = []
        for case in WATCHED:
            copies = Copies(self.type, lambda name: source(name).watched)
            problem = case.of(self.name, copies.of(self.make))
            for upstream in upstreams(problem, 0):
                gradients(problem, upstream)
            # Last: a step may bind the bodies of both passes, and each is traced where it is bound first.
            for run in problem.without_tape, problem.by_steps:
                if run is not None:
                    run(problem.tensors)
            runs.append(copies.tools)
        self.modules = set(copies.modules)
        return [Scene(source(name), runs) for name in copies.modules]

    def _verdict(self, mutation: Mutation) -> tuple[str, str]:
        try:
            make = self._copies(mutation).of(self.make)
            if found := self._refusal(screen(self.name, make)):
                return "killed", found
            difference = self.measure.difference(make)
        except Exception as error:  # a change may break the code in any way
            return "error", f"{type(error).__name__}: {error}"
        if not difference:
            return "equivalent", self._why(mutation)
        if not self.trapped:
            self._demand(*traps(self.name, self.make))
            self.trapped = True
        try:
            if found := self._refusal(*traps(self.name, make)):
                return "killed", found
        except Exception as error:  # as above: here on inputs that no other problem had
            return "error", f"{type(error).__name__}: {error}"
        return "survived", difference

    def _demand(self, *problems: Problem) -> None:
        """The check passes the true cell."""
        if found := self._refusal(*problems):
            raise OptionError(
                f"The gradients of the cell {self.name!r} as it is do not pass: {found}",
                f"Run rnnx gradcheck {self.name} first.",
            )

    def _refusal(self, *problems: Problem) -> str:
        """What the check finds first, if anything."""
        for problem in problems:
            for row in self.check(remembered(problem, self.outputs), get_backend()):
                return str(row)
        return ""

    def _copies(self, mutation: Mutation) -> Copies:
        """The changed module, and those that import it."""
        changed = mutation.scene.source.name

        def code(name: str) -> CodeType:
            return mutation.code if name == changed else source(name).code

        return Copies(self.type, code, dependents(changed, self.modules))

    def _why(self, mutation: Mutation) -> str:
        """What can be told automatically of why a mutant is equivalent."""
        if not mutation.is_number:
            return "no gradient depends on it"
        node, new = cast(ast.expr, mutation.node), cast(ast.expr, mutation.new)
        poisoned = self._copies(replace(mutation, new=tool("poisoned", node)))
        if not self.measure.difference(poisoned.of(self.make), ONCE):
            return "no gradient depends on this value"
        compared = self._copies(replace(mutation, new=tool("compared", node, new)))
        if not self.measure.difference(compared.of(self.make), ONCE) and compared.tools.same:
            return "the value is the same"
        return "the value is another one, and every gradient the same"
