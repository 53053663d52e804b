"""What became of the mutants."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Mutant:
    """One changed cell, and what became of it.

    Attributes
    ----------
    cell, operator : str
    place, line : str
        Module and number of the line, and the line.
    change : str
        The part of it that was changed, before and after.
    verdict : {"killed", "error", "equivalent", "survived"}
    reason : str
        What the check found first, the error, why no gradient changed, or the gradient that did.
    """

    cell: str
    operator: str
    place: str
    line: str
    change: str
    verdict: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place} {self.line!r}, {self.operator}: {self.change} ({self.reason})"


@dataclass(frozen=True)
class MutationReport:
    """The mutants of one or more cells.

    Attributes
    ----------
    mutants : tuple of Mutant
    """

    mutants: tuple[Mutant, ...] = ()

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
        """One report for each value of an attribute of the mutants, such as ``"operator"``."""
        groups: dict[str, list[Mutant]] = {}
        for mutant in self.mutants:
            groups.setdefault(getattr(mutant, attribute), []).append(mutant)
        return {key: MutationReport(tuple(group)) for key, group in groups.items()}

    def __add__(self, other: "MutationReport") -> "MutationReport":
        return MutationReport(self.mutants + other.mutants)

    def to_json(self) -> str:
        """Return the report as a JSON object: ``passed``, ``kill_rate`` (null without any), ``mutants``."""
        rate = self.kill_rate if self.kill_rate >= 0.0 else None
        mutants = [asdict(mutant) for mutant in self.mutants]
        return json.dumps({"passed": self.passed, "kill_rate": rate, "mutants": mutants}, indent=2)
