"""The command ``rnnx gradcheck``: gradients of the library and of other cells, on the backends present."""

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
from rnnx.gradient_check import named
from rnnx.gradient_check.check import check
from rnnx.gradient_check.diagnosis import diagnose
from rnnx.gradient_check.layers import LAYERS
from rnnx.gradient_check.page import page
from rnnx.gradient_check.plot import draw_diagnoses
from rnnx.gradient_check.problem import Problem
from rnnx.gradient_check.report import GradientReport, GradientRow
from rnnx.gradient_check.summary import condensed

COLUMNS = ("cell", "tensor", "compared with", "entries", "error", "digits", "")

KNOWN = (*REGISTRY, *CONTAINERS, *LAYERS)

PICTURES = ("png", "svg", "pdf")


def problems(name: str) -> list[Problem]:
    """All problems of a cell, layer or loss, or of a cell in a module, small ones first."""
    return named.problems(name, REGISTRY | CONTAINERS)


def gradcheck(
    cells: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CELL]...",
            help="Cells, containers, layers, losses, and any cell as MODULE:NAME; by default all of rnnx.",
        ),
    ] = None,
    backend: Annotated[str, typer.Option(help="A backend's name, or all that are present.")] = "all",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", parser=path, help="Write the report here.")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", parser=path, help="Write it as a page here.")
    ] = None,
    plot_file: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", parser=path, help="Draw errors by time, gate and step here."),
    ] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Check the check: does it see errors put into every cell?")
    ] = False,
) -> None:
    """Compare every hand-written gradient, entry by entry, with derivatives found in another way.

    The exit status is 1 if one of them differs. Example: rnnx gradcheck lstm mypackage.cells:MyCell
    """
    for option, file in {"--json": json_file, "--html": html_file, "--plot": plot_file}.items():
        if file is not None and (file.is_dir() or not file.parent.is_dir()):
            raise OptionError(
                f"{option} {str(file)!r} is no file in a folder that exists.", "Name another file."
            )
    if plot_file is not None and plot_file.suffix[1:].lower() not in PICTURES:
        raise OptionError(f"--plot {str(plot_file)!r}: expected a name that ends in .{', .'.join(PICTURES)}.")
    if self_test:
        raise typer.Exit(run_self_test(cells, backend, json_file))
    chosen = {name: _chosen(name) for name in dict.fromkeys(cells or KNOWN)}
    present, absent = _backends(backend)
    required = required_backends()
    console = Console()
    report = GradientReport(())
    for where in present:
        with console.status("checking") as status:
            found = GradientReport(())
            for name, each in chosen.items():
                status.update(f"{name} on {where}")
                found += check(each, where)
        console.print(_table(found, f"Gradients on {where}"))
        report += found
    for failure in report.failures:
        console.print(str(failure), style="red", markup=False, highlight=False)
    for note in report.notes:
        console.print(note, markup=False, highlight=False)
    for name, reason in absent.items():
        console.print(f"Not checked: {name}. {reason}", markup=False, highlight=False)
    if json_file is not None:
        content = {"rnnx": __version__, "not_checked": absent, **json.loads(report.to_json())}
        write_atomically(json_file, json.dumps(content, indent=2).encode())
    if html_file is not None:
        title = f"Gradient check, rnnx {__version__}"
        write_atomically(html_file, page(report, title, absent).encode())
    if plot_file is not None:
        drawn = [diagnose(each[0], present[0]) for each in chosen.values()]
        write_atomically(plot_file, draw_diagnoses(drawn, plot_file.suffix[1:].lower()))
    missing = sorted(required - {str(where) for where in present} - {"numpy-readonly"})
    if missing:
        console.print(f"RNNX_REQUIRE_BACKENDS asks for {', '.join(missing)}.", style="red", highlight=False)
    failed = len(report.failures)
    console.print(f"{len(report.rows) - failed} comparisons agree, {failed} differ.", highlight=False)
    raise typer.Exit(0 if report.passed and not missing else 1)


def _chosen(name: str) -> list[Problem]:
    if name not in KNOWN and ":" not in name:
        raise OptionError(
            f"There is no cell {name!r}.", f"Known are {', '.join(KNOWN)}, and any cell as MODULE:NAME."
        )
    return problems(name)


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


def _table(report: GradientReport, title: str) -> Table:
    table = Table(title=title)
    for column in COLUMNS:
        table.add_column(column, overflow="fold", no_wrap=column in ("error", "digits"))
    for row in condensed(report.rows):
        table.add_row(*_cells(row))
    return table


def _cells(row: GradientRow) -> tuple[str, ...]:
    entries = f"{row.entries}" + (f" ({row.skipped} skipped)" if row.skipped else "")
    verdict = "[green]agrees[/]" if row.passed else "[bold red]DIFFERS[/]"
    return row.name, row.tensor, row.oracle, entries, f"{row.error:.1e}", f"{row.margin:.1f}", verdict
