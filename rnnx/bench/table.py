"""The tables of a run: a column for each size, times above ratios above rates."""

from math import floor, log10

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from rnnx.bench.process import GEMM, Library
from rnnx.bench.report import Row


def table(rows: list[Row]) -> Table:
    """One pass of one cell at all sizes."""
    seen = dict.fromkeys(library for row in rows for library in row.turns)
    ours, peers = ([each for each in seen if each.kind == kind] for kind in ("rnnx", "peer"))
    found = Table(title=f"{rows[0].problem.cell}, {rows[0].which}", box=SIMPLE_HEAD, title_justify="left")
    found.add_column("milliseconds", no_wrap=True)
    for row in rows:
        found.add_column(row.problem.sizes.name, justify="right", overflow="fold")
    for library in (*ours, *peers):
        found.add_row(str(library), *(_time(row, library) for row in rows))
    if peers:
        _heading(found, "ratio to the best peer")
        for library in ours:
            found.add_row(str(library), *(_number(row.ratio(library)) for row in rows))
    if any(row.gflops(library) for row in rows for library in ours):
        _heading(found, "GFLOP/s")
        for library in (*ours, GEMM):
            label = "NumPy's GEMM" if library == GEMM else str(library)
            found.add_row(label, *(_number(row.gflops(library)) for row in rows))
        _heading(found, "of NumPy's GEMM")
        for library in ours:
            found.add_row(str(library), *(_share(row, library) for row in rows))
    return found


def _heading(found: Table, text: str) -> None:
    found.add_section()
    found.add_row(Text(text, "bold"))


def _time(row: Row, library: Library) -> Text:
    return Text(_number(row.ms(library)), "bold" if library == row.best else "")


def _share(row: Row, library: Library) -> str:
    own, limit = row.gflops(library), row.gflops(GEMM)
    return f"{own / limit:.0%}" if own and limit else "-"


def _number(value: float | None) -> str:
    """Three digits, or all before the point."""
    return "-" if not value else f"{value:.{max(0, 2 - floor(log10(value)))}f}"
