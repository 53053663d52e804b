"""The command ``rnnx gradcheck``: every gradient of the library, on the backends that are present."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from rnnx import __version__, backends
from rnnx.cells import REGISTRY
from rnnx.cli.paths import path
from rnnx.cli.required import required_backends
from rnnx.cli.selftest import run_self_test
from rnnx.containers import CONTAINERS
from rnnx.errors import BackendError, OptionError
from rnnx.files import write_atomically
from rnnx.gradient_check.check import check
from rnnx.gradient_check.layers import LAYERS
from rnnx.gradient_check.problem import Problem, cell_problem, cell_problems
from rnnx.gradient_check.report import GradientReport, GradientRow

LARGE = (61, 67, 9, 5)
"""D, H, T and N of the directional check."""

COLUMNS = ("cell", "tensor", "oracle", "entries", "error", "allowed", "")


def problems(name: str) -> list[Problem]:
    """All problems of a cell, of an example of a container, of a layer or of a loss, small ones first."""
    if name in LAYERS:
        return LAYERS[name]()
    D, H, T, N = LARGE
    make = (REGISTRY | CONTAINERS)[name]
    small, cell = cell_problems(make, name), make(D, H)
    if not cell.analytic:
        return small  # along a direction through thousands of units, every step meets a kink
    return [*small, cell_problem(cell, name, f"T={T}, N={N}, D={D}, H={H}", T, N)]


def gradcheck(
    cells: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CELL]...", help="Cells, containers, layers and losses; by default all."),
    ] = None,
    backend: Annotated[str, typer.Option(help="A backend's name, or all that are present.")] = "all",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", parser=path, help="Write the report here.")
    ] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Check the check: does it see errors put into every cell?")
    ] = False,
) -> None:
    """Compare every hand-written gradient, entry by entry, with derivatives found in another way.

    The exit status is 1 if one of them differs. Example: rnnx gradcheck lstm gru --backend numpy
    """
    known = [*REGISTRY, *CONTAINERS, *LAYERS]
    names = list(dict.fromkeys(cells or known))
    if json_file is not None and (json_file.is_dir() or not json_file.parent.is_dir()):
        raise OptionError(
            f"--json {str(json_file)!r} is no file in a folder that exists.", "Name another file."
        )
    if self_test:
        raise typer.Exit(run_self_test(cells, backend, json_file))
    for name in names:
        if name not in known:
            raise OptionError(f"There is no cell {name!r}.", f"Known are {', '.join(known)}.")
    present, absent = _backends(backend)
    required = required_backends()
    console = Console()
    report = GradientReport(())
    for where in present:
        table = Table(title=f"Gradients on {where}")
        for column in COLUMNS:
            table.add_column(column, overflow="fold", no_wrap=column == "error")
        with console.status("checking") as status:
            for name in names:
                status.update(f"{name} on {where}")
                found = check(problems(name), where)
                report += found
                for row in found.rows:
                    table.add_row(*_cells(row))
        console.print(table)
    for failure in report.failures:
        console.print(str(failure), style="red", markup=False, highlight=False)
    for name, reason in absent.items():
        console.print(f"Not checked: {name}. {reason}", markup=False, highlight=False)
    if json_file is not None:
        content = {"rnnx": __version__, "not_checked": absent, **json.loads(report.to_json())}
        write_atomically(json_file, json.dumps(content, indent=2).encode())
    missing = sorted(required - {str(where) for where in present} - {"numpy-readonly"})
    if missing:
        console.print(f"RNNX_REQUIRE_BACKENDS asks for {', '.join(missing)}.", style="red", highlight=False)
    failed = len(report.failures)
    console.print(f"{len(report.rows) - failed} comparisons agree, {failed} differ.", highlight=False)
    raise typer.Exit(0 if report.passed and not missing else 1)


def _backends(name: str) -> tuple[list[backends.Backend], dict[str, str]]:
    if name != "all":
        return [backends.resolve(name)], {}
    present, absent = [], {}
    for each in backends.names():
        try:
            present.append(backends.resolve(each))
        except BackendError as error:
            absent[each] = str(error)
    return present, absent


def _cells(row: GradientRow) -> tuple[str, ...]:
    entries = f"{row.entries}" + (f" ({row.skipped} skipped)" if row.skipped else "")
    verdict = "[green]agrees[/]" if row.passed else "[bold red]DIFFERS[/]"
    return row.name, row.tensor, row.oracle, entries, f"{row.error:.1e}", f"{row.tolerance:.0e}", verdict
