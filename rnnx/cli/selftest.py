"""``rnnx gradcheck --self-test``: whether the check sees small errors in the backward pass of every cell."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rnnx import __version__
from rnnx.cells import REGISTRY
from rnnx.containers import CONTAINERS
from rnnx.errors import OptionError
from rnnx.files import write_atomically
from rnnx.gradient_check.mutation import MutationReport, mutation_run

VERDICTS = {"killed": "killed", "error": "by an error", "equivalent": "equivalent", "survived": "survived"}
"""Heading by verdict."""


def run_self_test(cells: list[str] | None, backend: str, json_file: Path | None) -> int:
    """Put mutants of these cells to the check, print what became of them, and return the exit status."""
    known = [*REGISTRY, *CONTAINERS]
    names = list(dict.fromkeys(cells or known))
    for name in names:
        if name not in known:
            raise OptionError(f"There is no cell {name!r} to change.", f"Known are {', '.join(known)}.")
    if backend not in ("all", "numpy"):
        raise OptionError(f"--self-test runs on numpy, not on {backend!r}.", "Leave --backend out.")
    console = Console()
    with console.status("checking") as status:
        report = mutation_run(names, told=status.update)
    for attribute, keys in {"cell": names, "operator": [*report.by("operator")]}.items():
        console.print(_table(report, attribute, keys))
    for mutant in report.having("survived"):
        console.print(f"{mutant.cell} SURVIVED: {mutant}", style="red", markup=False, highlight=False)
    equivalent: dict[str, list[str]] = {}
    for mutant in report.having("equivalent"):
        equivalent.setdefault(str(mutant), []).append(mutant.cell)
    for text, where in equivalent.items():
        console.print(f"Equivalent in {', '.join(where)}: {text}", markup=False, highlight=False)
    if json_file is not None:
        content = {"rnnx": __version__, **json.loads(report.to_json())}
        write_atomically(json_file, json.dumps(content, indent=2).encode())
    counts = {heading: len(report.having(verdict)) for verdict, heading in VERDICTS.items()}
    console.print(
        f"{len(report.mutants)} mutants: {', '.join(f'{n} {heading}' for heading, n in counts.items())}. "
        f"Kill rate {_percent(report)}; equivalent is what was measured to be so.",
        highlight=False,
    )
    return 0 if report.passed else 1


def _table(report: MutationReport, attribute: str, keys: list[str]) -> Table:
    table = Table(attribute, "mutants", *VERDICTS.values(), "kill rate")
    parts = report.by(attribute)
    for key in keys:
        part = parts.get(key, MutationReport())
        counts = [len(part.having(verdict)) for verdict in VERDICTS]
        table.add_row(key, f"{len(part.mutants)}", *map(str, counts), _percent(part))
    return table


def _percent(report: MutationReport) -> str:
    return "none" if report.kill_rate != report.kill_rate else f"{100.0 * report.kill_rate:.1f}%"
