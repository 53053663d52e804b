"""The command ``rnnx bench``: how fast the cells are beside other libraries' layers."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from rnnx import __version__, backends
from rnnx.backends.peers import PEERS
from rnnx.bench import machine, plot
from rnnx.bench.problem import PASSES
from rnnx.bench.process import Library, environment
from rnnx.bench.report import Report
from rnnx.bench.run import ALLOWED, Plan, measure
from rnnx.bench.sizes import NAMED, parse
from rnnx.bench.table import table
from rnnx.cells import REGISTRY
from rnnx.charlm.config import meant
from rnnx.cli.paths import path
from rnnx.cli.usage import UsageError
from rnnx.errors import OptionError
from rnnx.files import write_atomically

CELLS = ("rnn", "lstm", "gru")
"""What is timed by default: the cells that every peer has."""

BACKENDS = ("numpy", "numba")
"""What is timed by default."""

BUSY = 0.5
"""Load average a core, when the run begins, from which on it says so."""


def bench(
    cells: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CELL]...", help=f"Cells; by default {', '.join(CELLS)}."),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help=f"Backends, with commas; by default {','.join(BACKENDS)}.")
    ] = None,
    sizes: Annotated[str, typer.Option(help="Sizes, with commas: names as here, or T,N,D,H.")] = ",".join(
        NAMED
    ),
    against: Annotated[
        str | None, typer.Option(help=f'Peers, with commas; by default {",".join(PEERS)}; "" for none.')
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of every library; by default what the environment says.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", parser=path, help="Write the numbers here.")
    ] = None,
    plot_file: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", parser=path, help="Draw the ratios here.")
    ] = None,
) -> None:
    """Time cells beside PyTorch, JAX, ONNX Runtime and TensorFlow on the same work, on the CPU.

    Each library has a process of its own; they take turns, and their results are compared first. The exit
    status is 1 if a library that was named cannot be used, or one failed or computed something else.
    Example: rnnx bench lstm --sizes small,large --threads 1
    """
    try:
        plan = _plan(cells, backend, sizes, against, threads)
        for option, file in (("--json", json_file), ("--plot", plot_file)):
            if file is not None and (file.is_dir() or not file.parent.is_dir()):
                raise OptionError(
                    f"{option} {str(file)!r} is no file in a folder that exists.", "Name another file."
                )
        if plot_file is not None:
            plot.check(plot_file)
    except OptionError as error:
        raise UsageError(error.problem, error.hint) from error
    described = machine.describe()
    report, console = Report(), Console()
    with console.status("") as status:
        for rows in measure(plan, report, lambda what: status.update(what)):
            for which in PASSES:
                console.print(table([row for row in rows if row.which == which]))
    _conclude(report, console)
    if (described["load"] or 0.0) > BUSY * described["cores"]:
        console.print(
            f"The machine was busy: its load was {described['load']} when the run began.", highlight=False
        )
    if json_file is not None:
        method = {
            "rounds": plan.rounds,
            "seconds_per_turn": plan.seconds,
            "allowed_error": ALLOWED,
            "threads": threads,
            "environment": machine.settings(environment(threads)),
        }
        content = {"rnnx": __version__} | report.to_dict(described, method)
        write_atomically(json_file, (json.dumps(content, indent=2) + "\n").encode())
    if plot_file is not None and report.libraries:
        write_atomically(plot_file, plot.draw(report, plot_file.suffix.lstrip(".").lower()))
    named = {Library("rnnx", name) for name in _words(backend)} | {
        Library("peer", name) for name in _words(against)
    }
    raise typer.Exit(1 if report.failures or named & report.absent.keys() else 0)


def _plan(
    cells: list[str] | None, backend: str | None, sizes: str, against: str | None, threads: int | None
) -> Plan:
    """What the options ask for; OptionError for one that means nothing."""
    known: list[tuple[str, list[str], Any]] = [
        ("cell", cells or list(CELLS), REGISTRY),
        ("backend", list(BACKENDS) if backend is None else _words(backend), backends.names()),
        ("peer", list(PEERS) if against is None else _words(against), PEERS),
    ]
    for what, words, names in known:
        for word in words:
            if (word.partition(":")[0] if what == "backend" else word) not in names:
                raise OptionError(f"There is no {what} {word!r}.", meant(word, names))
    if not known[1][1]:
        raise OptionError("--backend is empty.", "Name one, such as numpy.")
    if threads is not None and threads < 1:
        raise OptionError(f"--threads is {threads}; expected an integer of at least 1.", "Leave it out.")
    libraries = [Library("rnnx", name) for name in known[1][1]] + [
        Library("peer", name) for name in known[2][1]
    ]
    chosen, all_sizes = tuple(dict.fromkeys(known[0][1])), tuple(parse(sizes))
    return Plan(chosen, all_sizes, tuple(dict.fromkeys(libraries)), threads)


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _conclude(report: Report, console: Console) -> None:
    """Print the geometric means, and what was not measured."""
    for library, means in report.means().items():
        found = [f"{which} {mean:.2f}" for which, mean in means.items() if mean is not None]
        if found:
            console.print(
                f"{library}: geometric mean of its ratios to the best peer: {', '.join(found)}.",
                highlight=False,
                soft_wrap=True,
            )
    for problem, hint in report.absent.values():
        console.print(f"{problem} {hint}", markup=False, highlight=False, soft_wrap=True)
    for failure in report.failures:
        console.print(str(failure), style="red", markup=False, highlight=False, soft_wrap=True)
