"""A report as a page: one HTML file that needs nothing else, with every function, backend and tensor."""

from collections.abc import Iterable, Mapping
from html import escape
from itertools import groupby
from math import isfinite

from rnnx.gradient_check.report import GradientReport, GradientRow

STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; font-variant-numeric: tabular-nums }
th, td { padding: .15rem .7rem; text-align: left; border-bottom: 1px solid #8884 }
td.n { text-align: right }
.passed { color: #080 } .failed { color: #c00; font-weight: bold }
@media (prefers-color-scheme: dark) { .passed { color: #6d6 } .failed { color: #f77 } }
summary { cursor: pointer; margin: .3rem 0 } pre { white-space: pre-wrap }
"""

COLUMNS = ("tensor", "compared with", "entries", "skipped", "error", "explained", "digits", "")


def page(report: GradientReport, title: str, absent: Mapping[str, str] | None = None) -> str:
    """Write the page.

    Parameters
    ----------
    report : GradientReport
    title : str
    absent : mapping of str to str, optional
        Backends that were not there, and why.

    Returns
    -------
    str
        HTML.
    """
    parts = [
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>',
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>',
        f"<h1>{escape(title)}</h1>",
        f"<p>{len(report.rows)} comparisons, {len(report.failures)} of which differ.</p>",
        _overview(report.rows),
    ]
    if report.failures:
        parts.append("<h2>What differs</h2>")
        parts += [f'<pre class="failed">{escape(str(row))}</pre>' for row in report.failures]
    asides = [*report.notes, *(f"Not checked: {name}. {reason}" for name, reason in (absent or {}).items())]
    if asides:
        parts.append("<h2>Notes</h2><ul>" + "".join(f"<li>{escape(note)}</li>" for note in asides) + "</ul>")
    parts.append("<h2>All comparisons</h2>")
    for (name, backend), rows in groupby(report.rows, key=lambda row: (row.name, row.backend)):
        parts.append(_details(name, backend, list(rows)))
    return "\n".join(parts) + "\n</html>\n"


def _overview(rows: Iterable[GradientRow]) -> str:
    """Functions by backends, each with its verdict and the smallest margin of its oracles."""
    found: dict[tuple[str, str], list[GradientRow]] = {}
    for row in rows:
        found.setdefault((row.name, row.backend), []).append(row)
    backends = dict.fromkeys(backend for _, backend in found)
    head = "".join(f"<th>{escape(backend)}" for backend in backends)
    lines = [f"<table><tr><th>{head}"]
    for name in dict.fromkeys(name for name, _ in found):
        cells = [_verdict(found.get((name, backend), [])) for backend in backends]
        lines.append(f"<tr><th>{escape(name)}" + "".join(f"<td>{cell}" for cell in cells))
    return "\n".join(lines) + "</table>"


def _verdict(rows: list[GradientRow]) -> str:
    if not rows:
        return "-"
    failed = sum(not row.passed for row in rows)
    if failed:
        return f'<span class="failed">{failed} of {len(rows)} differ</span>'
    margin = min((row.margin for row in rows if row.kind in ("oracle", "precision")), default=0.0)
    return f'<span class="passed">agrees by {margin:.1f} digits</span>'


def _details(name: str, backend: str, rows: list[GradientRow]) -> str:
    """All rows of one function on one backend, shown on demand, and at once if one of them failed."""
    shown = " open" if any(not row.passed for row in rows) else ""
    head = "".join(f"<th>{column}" for column in COLUMNS)
    lines = [f"<details{shown}><summary>{escape(name)} on {escape(backend)}: {_verdict(rows)}</summary>"]
    lines += [f"<table><tr>{head}", *map(_line, rows), "</table></details>"]
    return "\n".join(lines)


def _line(row: GradientRow) -> str:
    at = escape("\n".join(row.skipped_at))
    where = escape(f"{row.case}; upstream on {row.upstream}" if row.upstream else row.case)
    verdict = "passed" if row.passed else "failed"
    numbers = (
        f'<td class="n">{row.entries}<td class="n" title="{at}">{row.skipped or ""}'
        f'<td class="n">{_number(row.error)}<td class="n">{_number(row.tolerance)}'
        f'<td class="n">{row.margin:.1f}'
    )
    word = "agrees" if row.passed else "DIFFERS"
    return (
        f'<tr title="{where}"><td>{escape(row.tensor)}<td>{escape(row.oracle)}{numbers}'
        f'<td class="{verdict}">{word}'
    )


def _number(value: float) -> str:
    return f"{value:.1e}" if isfinite(value) else "not finite"
