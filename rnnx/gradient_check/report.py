"""Result of a gradient check: one row per function, backend and tensor."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

FORWARD = ("forward pass without a tape", "loop of steps")
"""What a forward pass with a tape must agree with; in these rows `tensor` is an output."""


@dataclass(frozen=True)
class GradientRow:
    """How well one tensor's gradient agrees with one oracle, over all cases and upstream gradients.

    Attributes
    ----------
    name, backend, tensor, oracle : str
    entries : int
        Compared entries or directions, over all cases and upstream gradients.
    skipped : int
        Entries that were not compared because a kink lies within the step.
    error : float
        Largest relative error: the difference over the larger of both values, or over a hundredth of the
        tensor's largest where that is more.
    tolerance : float
        What is allowed there: the oracle's own tolerance, and what rounding does to a difference quotient.
    case, upstream : str
        Where the largest error was.
    index : tuple of int
        Its entry; empty for a direction.
    analytic, numeric : float
        The two values there.
    """

    name: str
    backend: str
    tensor: str
    oracle: str
    entries: int
    skipped: int
    error: float
    tolerance: float
    case: str
    upstream: str
    index: tuple[int, ...]
    analytic: float
    numeric: float

    @property
    def passed(self) -> bool:
        """Whether most entries were compared and all of these agree; a NaN never does."""
        return self.checked and self.error <= self.tolerance

    @property
    def checked(self) -> bool:
        """Whether entries were compared, and more than were skipped."""
        return self.entries > self.skipped

    def __str__(self) -> str:
        if not self.checked:
            return (
                f"{self.name} on {self.backend}: the gradient of {self.tensor} was NOT CHECKED by "
                f"{self.oracle}: {self.skipped} of {self.entries + self.skipped} steps meet a kink."
            )
        what, where = f"the gradient of {self.tensor}", f"{self.case}; upstream on {self.upstream}"
        if self.oracle in FORWARD:
            what, where = self.tensor, self.case
        verdict = "agrees with" if self.passed else "DIFFERS from"
        place = (
            f"{self.tensor}[{', '.join(map(str, self.index))}]"
            if self.index
            else f"{self.tensor} along a direction"
        )
        return (
            f"{self.name} on {self.backend}: {what} {verdict} the {self.oracle}: "
            f"relative error {self.error:.1e} (at most {self.tolerance:.0e}) at {place}, {self.analytic:.9g} "
            f"against {self.numeric:.9g} ({where})."
        )


@dataclass(frozen=True)
class GradientReport:
    """Rows of a gradient check.

    Attributes
    ----------
    rows : tuple of GradientRow
    """

    rows: tuple[GradientRow, ...]

    @property
    def passed(self) -> bool:
        """Whether there are rows and all of them passed."""
        return bool(self.rows) and all(row.passed for row in self.rows)

    @property
    def failures(self) -> tuple[GradientRow, ...]:
        """The rows that did not pass."""
        return tuple(row for row in self.rows if not row.passed)

    def __add__(self, other: "GradientReport") -> "GradientReport":
        return GradientReport(self.rows + other.rows)

    def __str__(self) -> str:
        skipped = sum(row.skipped for row in self.rows)
        aside = f"; {skipped} entries that lie at a kink were left out" if skipped else ""
        count = sum(row.oracle not in FORWARD for row in self.rows)
        agree = f"{count} gradients agree with their oracles{aside}."
        lines: Sequence[object] = self.failures or [agree]
        return "\n".join(map(str, lines))

    def to_json(self) -> str:
        """Return the report as a JSON object: ``passed`` and ``rows``, each with its ``passed``."""
        rows = [asdict(row) | {"passed": row.passed} for row in self.rows]
        return json.dumps({"passed": self.passed, "rows": rows}, indent=2)
