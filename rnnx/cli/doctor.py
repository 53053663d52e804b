"""The command ``rnnx doctor``: what is installed, which backends work, and what mends the others."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from rnnx.backends.memory import as_text
from rnnx.cli.required import required_backends
from rnnx.doctor import Examination, Finding, examine

WIDTH = 18
"""Of the first column."""


def doctor(
    backend: Annotated[str | None, typer.Option(help="A backend's name; by default all are tried.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Say what is installed, which backends work, and for each that does not, why and what to do.

    Each usable backend runs a kernel and a matrix product, which are compared with NumPy's. The exit status
    is 1 if the chosen backend (--backend, else RNNX_BACKEND, else numpy) does not work, or one that
    RNNX_REQUIRE_BACKENDS names. Example: rnnx doctor --backend cupy
    """
    found = examine(backend, sorted(required_backends() - {"numpy-readonly"}))
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
    else:
        show(found, Console(highlight=False, soft_wrap=True))
    raise typer.Exit(1 if found.failed else 0)


def show(found: Examination, console: Console) -> None:
    """Print an examination."""
    console.print("Installed", style="bold")
    for name, version in found.versions.items():
        console.print(_row(name, version or "-"))
    for finding in found.findings:
        console.print()
        console.print(_heading(finding, found.chosen))
        for name, value in _rows(finding):
            console.print(_row(name, value))
    if found.failed:
        console.print()
        console.print(Text(f"Needed here, and not working: {', '.join(found.failed)}.", "red"))


def _heading(finding: Finding, chosen: str) -> Text:
    verdict = Text("works", "green") if finding.works else Text("does not work", "red")
    default = " (the one in use)" if finding.name == chosen else ""
    return Text.assemble((finding.name, "bold"), default, ": ", verdict)


def _rows(finding: Finding) -> list[tuple[str, str]]:
    rows = [("library", finding.library), ("device", finding.device), *finding.details.items()]
    if finding.memory:
        sizes = ", ".join(f"{as_text(size)} {name}" for name, size in finding.memory.items())
        rows.append(("memory", sizes))
    rows.append(("kernels", finding.kernels))
    for test in finding.tests:
        verdict = "right" if test.passed else "WRONG"
        speed = f"{1e6 * test.seconds:.0f} µs, the first time {1e3 * test.first_seconds:.1f} ms"
        rows.append((test.what, f"{verdict}, off by {test.error:.1e}; {speed}"))
    rows += [("problem", finding.problem), ("remedy", finding.hint)]
    return [(name, value) for name, value in rows if value]


def _row(name: str, value: str) -> Text:
    return Text.assemble("  ", (f"{name:{WIDTH}} ", "dim"), value)
