"""The problems that mutants are put to, and what is compared besides the gradient check."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from rnnx.gradient_check.mutation.copies import Make
from rnnx.gradient_check.named import LARGE, of_maker
from rnnx.gradient_check.problem import Backward, Problem, Tensors, cell_problem, draw


class Case(NamedTuple):
    """One problem of any cell, as of `cell_problem`."""

    name: str
    D: int
    H: int
    T: int
    N: int
    lengths: tuple[int, ...] | None = None
    saturated: bool = False
    with_state: bool = True

    def of(self, cell: str, make: Make, seed: int = 0) -> Problem:
        """The problem of the cell of that name."""
        return cell_problem(
            make(self.D, self.H),
            cell,
            self.name,
            self.T,
            self.N,
            saturated=self.saturated,
            with_state=self.with_state,
            lengths=self.lengths,
            seed=seed,
        )


SCREEN = Case("equal sizes", 2, 2, 2, 2)
"""All sizes equal, so that confused axes give a wrong number and no error."""

LONG = Case("long", *LARGE)

WATCHED = Case("watched", 7, 5, 4, 2), Case("watched, ragged", 7, 5, 4, 2, (2, 4)), LONG
"""Runs that show what code does; in the first ones a shape tells what an array is."""

SMALL = (
    Case("ragged", 2, 3, 5, 3, (2, 5, 4)),
    Case("T=4, N=2", 3, 5, 4, 2),
    Case("one step", 4, 3, 1, 2),
    Case("saturated", 2, 3, 3, 1, saturated=True),
    Case("no initial state", 3, 2, 5, 2, with_state=False),
)
ONCE = [(case, 0) for case in (*SMALL, *WATCHED)]
"""Problems with their seeds."""

MEASURED = ONCE + [(case, seed) for seed in range(1, 4) for case in SMALL]
"""An equivalent mutant has the true gradients on all of them."""

ROUNDING = 1e-15
"""Difference of two gradients, relative to the tensor's largest entry, that counts as none."""


def screen(cell: str, make: Make) -> Problem:
    """A small problem with all outputs in one, so that there are few upstream gradients to choose."""
    problem = SCREEN.of(cell, make)

    def forward(values: Tensors) -> tuple[Tensors, Backward]:
        outputs, backward = problem.forward(values)
        ends = np.cumsum([value.size for value in outputs.values()])[:-1]

        def joined_backward(upstream: Tensors) -> Tensors:
            parts = zip(outputs.items(), np.split(upstream["outputs"], ends), strict=True)
            return backward({name: part.reshape(value.shape) for (name, value), part in parts})

        return {"outputs": np.concatenate([value.ravel() for value in outputs.values()])}, joined_backward

    return replace(problem, forward=forward)


def traps(cell: str, make: Make) -> list[Problem]:
    """The problems of the gradient check; ragged ones first, which most that the screen passes needs."""
    return sorted(of_maker(make, cell), key=lambda problem: not problem.padding)


def remembered(problem: Problem, known: dict[Any, Tensors]) -> Problem:
    """The problem with known outputs: no mutant changes the forward pass, so it need not be run again."""

    def forward(values: Tensors) -> tuple[Tensors, Backward]:
        key = problem.case, *((name, value.dtype, value.tobytes()) for name, value in values.items())
        if key not in known:
            known[key], _ = problem.forward(values)
        outputs = {name: value.copy() for name, value in known[key].items()}
        return outputs, lambda upstream: problem.forward(values)[1](upstream)

    return replace(problem, forward=forward, without_tape=None, by_steps=None)


class Measure:
    """Gradients of one cell on many random problems, to which those of a mutant are compared."""

    def __init__(self, cell: str, make: Make) -> None:
        self.cell, self.make = cell, make
        self.known: dict[tuple[str, int], Tensors] = {}

    def difference(self, make: Make, problems: Sequence[tuple[Case, int]] = MEASURED) -> str:
        """How the gradients of another maker's cells differ, if they do."""
        for case, seed in problems:
            problem, place = case.of(self.cell, make, seed), f"{case.name}, seed {seed}"
            for number, upstream in enumerate(upstreams(problem, seed, 1 if case is LONG else 3)):
                if (place, number) not in self.known:
                    true = gradients(case.of(self.cell, self.make, seed), upstream)
                    self.known[place, number] = true
                try:
                    name = _differing(gradients(problem, upstream), self.known[place, number])
                except Exception as error:  # a mutant may fail in any way
                    return f"{type(error).__name__}: {error} ({place})"
                if name:
                    return f"the gradient of {name} differs ({place})"
        return ""


def upstreams(problem: Problem, seed: int, count: int = 3) -> Iterator[Tensors]:
    """Random gradients of all outputs, of y alone and of the final state alone: the first of these."""
    rng = np.random.default_rng(seed)
    outputs, _ = problem.forward(problem.tensors)
    full = {name: draw(rng, value.shape) for name, value in outputs.items()}
    final = {name: value for name, value in full.items() if name != "y"}
    yield from [full, {"y": full["y"]}, final][:count]


def gradients(problem: Problem, upstream: Tensors) -> Tensors:
    """Gradients of all tensors; the upstream ones are safe from being written to."""
    _, backward = problem.forward(problem.tensors)
    return backward({name: value.copy() for name, value in upstream.items()})


def _differing(found: Tensors, true: Tensors) -> str:
    """Name of a tensor whose gradient is not the true one."""
    for name in {**true, **found}:
        a, b = found.get(name), true.get(name)
        if a is None or b is None or a.shape != b.shape:
            return name
        if not np.max(np.abs(a - b), initial=0.0) <= ROUNDING * np.max(np.abs(b), initial=0.0):
            return name
    return ""
