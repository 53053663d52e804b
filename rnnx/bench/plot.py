"""The figure of a run: how long every library takes beside the best peer."""

from io import BytesIO
from pathlib import Path
from typing import Any

from rnnx.bench.problem import PASSES
from rnnx.bench.report import Report, Row
from rnnx.errors import OptionError

INSTALL = 'pip install "rnnx[plot]"'

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
"""Okabe and Ito's, which people who are colour-blind tell apart."""


def check(path: Path) -> None:
    """A figure can be written to a file of that name.

    Raises
    ------
    OptionError
        matplotlib is not installed, or does not know the suffix.
    """
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ModuleNotFoundError as error:
        raise OptionError(
            f"--plot needs matplotlib: the package {error.name!r} is not installed.", f"Run: {INSTALL}."
        ) from error
    suffixes = sorted(FigureCanvasBase.get_supported_filetypes())
    if path.suffix.lstrip(".").lower() not in suffixes:
        raise OptionError(
            f"--plot {str(path)!r} does not end as a figure does.", f"Known are {', '.join(suffixes)}."
        )


def draw(report: Report, suffix: str) -> bytes:
    """The figure as a file's content: a panel for each cell and pass, a line for each size."""
    from matplotlib.figure import Figure

    cells = list(dict.fromkeys(row.problem.cell for row in report.rows))
    lines = max(sum(row.problem.cell == cell for row in report.rows) for cell in cells) / len(PASSES)
    figure = Figure(figsize=(1.6 + 2.9 * len(cells), 1.8 + 0.62 * lines * len(PASSES)), layout="constrained")
    grid = figure.subplots(len(PASSES), len(cells), squeeze=False, sharex=True, sharey=True)
    for panels, which in zip(grid, PASSES, strict=True):
        for panel, cell in zip(panels, cells, strict=True):
            _panel(
                panel, [row for row in report.rows if (row.problem.cell, row.which) == (cell, which)], report
            )
            panel.set_title(f"{cell}, {which}", fontsize="medium")
    handles = {
        label: handle
        for panel in grid.flat
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside upper center",
        ncols=min(len(handles), 2 * len(cells)),
        frameon=False,
    )
    figure.supxlabel("time, over that of the best peer (less is faster)", fontsize="medium")
    content = BytesIO()
    figure.savefig(content, format=suffix, dpi=160)
    return content.getvalue()


def _panel(panel: Any, rows: list[Row], report: Report) -> None:
    panel.axvline(1.0, color="0.6", linewidth=1, zorder=0)
    for number, library in enumerate(report.libraries):
        points = []
        for place, row in enumerate(rows):
            ms, unit = row.ms(library), row.best or next(iter(row.turns), None)
            if ms is not None and unit is not None and (one := row.ms(unit)):
                points.append((ms / one, place))
        color, ours = COLORS[number % len(COLORS)], library.kind == "rnnx"
        panel.plot(
            *zip(*points, strict=True),
            linestyle="none",
            marker="o" if ours else "D",
            markersize=8 if ours else 5,
            markerfacecolor=color if ours else "white",
            markeredgecolor=color,
            label=str(library),
            zorder=2 if ours else 3,
        )
    panel.set_xscale("log", base=2)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.set_yticks(range(len(rows)), [row.problem.sizes.name for row in rows])
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.grid(axis="x", color="0.9", zorder=0)
