"""A report in few lines: what passed is drawn together where nobody reads it row by row."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby

from rnnx.gradient_check.comparison import worse
from rnnx.gradient_check.report import GradientRow

TITLES = {"forward": "forward passes agree", "purity": "both passes are pure"}
"""By the kind of the rows that one line stands for."""

ALL = "all"


def condensed(rows: Iterable[GradientRow]) -> Iterator[GradientRow]:
    """Rows of oracles and all failures one by one; of each other kind, one row for all tensors."""
    for _, part in groupby(rows, key=lambda row: (row.name, row.backend)):
        groups: dict[str, GradientRow] = {}
        for row in part:
            if row.kind == "oracle" or not row.passed:
                yield row
            else:
                title = TITLES.get(row.kind, row.oracle)
                groups[title] = worse(groups.get(title), replace(row, tensor=ALL, oracle=title))
        yield from groups.values()
