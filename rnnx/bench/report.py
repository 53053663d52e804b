"""What a run found: times by library, ratios, geometric means, and all of it as JSON."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from math import exp, fsum, log
from statistics import median
from typing import Any

from rnnx.bench.clock import Turn
from rnnx.bench.problem import PASSES, Problem
from rnnx.bench.process import GEMM, Library

FORMAT = 1


@dataclass
class Row:
    """One pass of one layer, measured on several libraries in turns.

    Attributes
    ----------
    problem : Problem
    which : str
        ``"forward"`` or ``"train"``.
    turns : dict of Library to list of Turn
        One turn a round.
    errors : dict of Library to float
        Largest difference of its y or of a gradient from rnnx's, over the largest value.
    """

    problem: Problem
    which: str
    turns: dict[Library, list[Turn]]
    errors: dict[Library, float]

    def ms(self, library: Library) -> float | None:
        """Milliseconds: the median of the rounds' medians; None if the library was not measured."""
        turns = self.turns.get(library)
        return 1e3 * median(turn.seconds for turn in turns) if turns else None

    @property
    def best(self) -> Library | None:
        """The fastest peer."""
        peers = [library for library in self.turns if library.kind == "peer"]
        return min(peers, key=lambda peer: self.ms(peer) or 0.0, default=None)

    def ratio(self, library: Library) -> float | None:
        """A library's time over that of the best peer."""
        ms = self.ms(library)
        best = self.ms(self.best) if self.best else None
        return ms / best if ms and best else None

    def gflops(self, library: Library) -> float | None:
        """Billions of operations a second in the matrix products; for `GEMM` those of its product alone."""
        count = self.problem.operations(self.which)
        if library == GEMM and self.problem.recurrent:
            rows, columns, inner = self.problem.recurrent
            count = 2 * self.problem.sizes.T * rows * columns * inner
        ms = self.ms(library)
        return count / ms / 1e6 if count and ms else None

    def to_dict(self) -> dict[str, Any]:
        """All of it, with the keys that docs/performance.md lists."""
        sizes = self.problem.sizes._asdict()
        described = {"cell": self.problem.cell, "size": sizes.pop("name"), **sizes, "pass": self.which}
        times = {
            str(library): {
                "ms": self.ms(library),
                "rounds_ms": [1e3 * turn.seconds for turn in turns],
                "calls": [turn.calls for turn in turns],
                "cores": median(turn.cores for turn in turns),
                "gflops": self.gflops(library),
                "error": self.errors.get(library),
            }
            for library, turns in self.turns.items()
        }
        gemm = times.pop(str(GEMM), None)
        ours = [library for library in self.turns if library.kind == "rnnx"]
        return {
            **described,
            "libraries": times,
            "best_peer": str(self.best) if self.best else None,
            "ratios": {str(library): self.ratio(library) for library in ours},
            "gemm": gemm,
        }


@dataclass(frozen=True)
class Failure:
    """A library that died, or that computed something else, at a layer; without one, where it started."""

    library: Library
    problem: Problem | None
    text: str

    def __str__(self) -> str:
        where = f" at {self.problem.cell}, {self.problem.sizes.name}" if self.problem else ""
        return f"{self.library} failed{where}. {self.text}"


@dataclass
class Report:
    """What a run found, filled as it goes on.

    Attributes
    ----------
    libraries : dict of Library to dict
        What each that was measured says of itself.
    absent : dict of Library to (str, str)
        Those that cannot be used here: why, and what mends it.
    rows : list of Row
    failures : list of Failure
    """

    started: datetime = field(default_factory=partial(datetime.now, UTC))
    libraries: dict[Library, dict[str, Any]] = field(default_factory=dict)
    absent: dict[Library, tuple[str, str]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def means(self) -> dict[str, dict[str, float | None]]:
        """Geometric mean of the ratios of each rnnx backend, by pass; None without a peer."""
        ours = [library for library in self.libraries if library.kind == "rnnx"]
        return {
            str(library): {
                which: geometric_mean([row.ratio(library) for row in self.rows if row.which == which])
                for which in PASSES
            }
            for library in ours
        }

    def to_dict(self, machine: dict[str, Any], method: dict[str, Any]) -> dict[str, Any]:
        """All of it, with the keys that docs/performance.md lists."""
        return {
            "format": FORMAT,
            "started": self.started.isoformat(timespec="seconds"),
            "machine": machine,
            "method": method,
            "libraries": {str(library): found for library, found in self.libraries.items()},
            "absent": {str(library): " ".join(why) for library, why in self.absent.items()},
            "failures": [
                {
                    "library": str(failure.library),
                    "cell": failure.problem and failure.problem.cell,
                    "size": failure.problem and failure.problem.sizes.name,
                    "text": failure.text,
                }
                for failure in self.failures
            ],
            "rows": [row.to_dict() for row in self.rows],
            "geometric_means": self.means(),
        }


def geometric_mean(values: list[float | None]) -> float | None:
    """Geometric mean of those that are there; None if there is none."""
    there = [value for value in values if value is not None]
    return exp(fsum(map(log, there)) / len(there)) if there else None
