"""A run: every library in its process, every layer in rounds in which all libraries take turns."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from math import inf
from time import sleep
from typing import Any, NamedTuple

from rnnx.bench.clock import Turn
from rnnx.bench.problem import PASSES, Problem
from rnnx.bench.process import GEMM, Died, Library, Process, environment
from rnnx.bench.report import Failure, Report, Row
from rnnx.bench.sizes import Sizes

ALLOWED = 1e-4
"""Largest difference of y, or of a gradient, from rnnx's, over the largest value."""

ROUNDS, SECONDS, REST = 9, 0.15, 0.05
"""Rounds, how long a turn is, and the pause before it, in which the threads of the turn before fall asleep:
those of OpenBLAS and ONNX Runtime spin for 20 to 30 ms when there is no work."""


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes
    ----------
    cells : tuple of str
        Names of the registry.
    sizes : tuple of Sizes
    libraries : tuple of Library
        Backends and peers.
    threads : int or None
        Of every library; None leaves it to the environment.
    rounds : int
    seconds : float
        How long a turn is.
    """

    cells: tuple[str, ...]
    sizes: tuple[Sizes, ...]
    libraries: tuple[Library, ...]
    threads: int | None = None
    rounds: int = ROUNDS
    seconds: float = SECONDS


Watch = Callable[[str], Any]
"""It is told what is done now."""


class Bound(NamedTuple):
    """Passes that a library has of a layer, and its largest error."""

    passes: list[str]
    error: float


class Team:
    """The libraries' processes; one that dies is started again for the next layer."""

    def __init__(self, plan: Plan, report: Report, stack: ExitStack) -> None:
        self._report = report
        self._stack = stack
        self._environment = environment(plan.threads)
        self._running: dict[Library, Process] = {}
        self._libraries = [*plan.libraries, GEMM]
        processes = {library: self._start(library) for library in self._libraries}  # all import at once
        for library, process in processes.items():
            self._greet(library, process)

    def _start(self, library: Library) -> Process:
        return self._stack.enter_context(closing(Process(library.command, self._environment)))

    def _greet(self, library: Library, process: Process) -> None:
        """Take in what a new process says of itself, or leave the library out of the rest of the run."""
        try:
            found = process.answer()
        except Died as death:
            self._leave_out(library, None, str(death))
            self._libraries.remove(library)
            return
        if "problem" in found:
            self._report.absent[library] = found["problem"], found["hint"]
            self._libraries.remove(library)
            return
        self._running[library] = process
        if library != GEMM:
            self._report.libraries[library] = found

    def _leave_out(self, library: Library, problem: Problem | None, text: str) -> None:
        self._report.failures.append(Failure(library, problem, text))
        if process := self._running.pop(library, None):
            process.close()

    def ask(self, library: Library, problem: Problem, **request: Any) -> dict[str, Any] | None:
        """The answer of a library; None if it has died, now or before."""
        process = self._running.get(library)
        try:
            return process.ask(**request) if process else None
        except Died as death:
            self._leave_out(library, problem, str(death))
            return None

    def bind(self, problem: Problem) -> dict[Library, Bound]:
        """Set all libraries to a layer; those that have it, and whose results are rnnx's."""
        bound = {}
        for library in tuple(self._libraries):
            if library not in self._running:
                self._greet(library, self._start(library))
            found = self.ask(library, problem, do="bind", cell=problem.cell, sizes=problem.sizes)
            if found is None:
                continue
            errors = {name: inf if error is None else error for name, error in found["errors"].items()}
            off = [f"{name} is off by {error:.1e}" for name, error in errors.items() if error > ALLOWED]
            if off:
                text = f"It computes something else than rnnx: {', '.join(off)} of the largest value."
                self._report.failures.append(Failure(library, problem, text))
            elif found["passes"]:
                bound[library] = Bound(found["passes"], max(errors.values(), default=0.0))
        return bound


def measure(plan: Plan, report: Report, watch: Watch = lambda _: None) -> Iterator[list[Row]]:
    """Run a plan: yield the rows of each cell, and fill the report."""
    with ExitStack() as stack:
        watch("libraries are loaded")
        team = Team(plan, report, stack)
        for cell in plan.cells:
            rows = []
            for sizes in plan.sizes:
                problem = Problem(cell, sizes)
                watch(f"{cell}, {sizes.name}: results are compared")
                bound = team.bind(problem)
                for which in PASSES:
                    rows.append(take_turns(team, plan, problem, which, bound, watch))
            report.rows += rows
            yield rows


def take_turns(
    team: Team, plan: Plan, problem: Problem, which: str, bound: dict[Library, Bound], watch: Watch
) -> Row:
    """One pass in rounds; in each, every library has a turn, and another one begins."""
    there = [library for library in bound if which in bound[library].passes or library == GEMM]
    turns: dict[Library, list[Turn]] = {library: [] for library in there}
    for number in range(plan.rounds):
        watch(f"{problem.cell}, {problem.sizes.name}, {which}: round {number + 1} of {plan.rounds}")
        first = number % max(len(there), 1)
        for library in there[first:] + there[:first]:
            sleep(REST)
            asked = "forward" if library == GEMM else which
            found = team.ask(library, problem, **{"do": "time", "pass": asked, "seconds": plan.seconds})
            if found is not None:
                turns[library].append(Turn(**found))
    whole = {library: found for library, found in turns.items() if len(found) == plan.rounds}
    return Row(problem, which, whole, {library: bound[library].error for library in whole if library != GEMM})
