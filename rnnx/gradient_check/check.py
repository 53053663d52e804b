"""The gradient check of a list of problems: one row for each function, tensor and oracle."""

from collections.abc import Iterator
from dataclasses import replace

from rnnx.backends import Backend, use_backend
from rnnx.gradient_check.comparison import worse
from rnnx.gradient_check.examination import Examination
from rnnx.gradient_check.hints import Evidence, layered
from rnnx.gradient_check.places import where
from rnnx.gradient_check.problem import Problem
from rnnx.gradient_check.report import GradientReport, GradientRow


def check(problems: list[Problem], backend: Backend, seed: int = 0) -> GradientReport:
    """Compare the hand-written gradients of all problems with their oracles.

    Parameters
    ----------
    problems : list of Problem
    backend : Backend
        One without float64 is only compared with NumPy.
    seed : int
        Of the upstream gradients and directions.
    """
    rows: dict[tuple[str, str, str], GradientRow] = {}
    evidence: dict[tuple[str, str, str], Evidence] = {}
    notes: dict[str, None] = {}
    with use_backend(backend):
        for problem in problems:
            examination = Examination(problem, backend, seed)
            for found in examination.comparisons():
                key = problem.name, found.row.tensor, found.row.oracle
                rows[key] = worse(rows.get(key), found.row)
                evidence.setdefault(key, Evidence()).add(found)
            notes |= dict.fromkeys(
                f"{problem.name} on {backend}: {note}." for note in examination.judge.notes
            )
    told: dict[str, list[GradientRow]] = {}
    for key, row in rows.items():
        told.setdefault(row.name, []).append(_told(row, evidence[key]))
    return GradientReport(tuple(row for each in told.values() for row in layered(each)), tuple(notes))


def failing(problem: Problem, backend: Backend, seed: int = 0) -> Iterator[GradientRow]:
    """Yield comparisons of one problem that fail, as they are found: who needs one need not wait for all.

    A row is of one comparison, and says neither where nor why.
    """
    with use_backend(backend):
        for found in Examination(problem, backend, seed).comparisons():
            if found.row.checked and not found.row.passed:
                yield found.row


def _told(row: GradientRow, evidence: Evidence) -> GradientRow:
    """The row, and of a failure where it is and what may have caused it."""
    if row.passed or not evidence.failures:
        return row
    return replace(row, where=where(evidence.failures), hint=row.hint or evidence.hint())
