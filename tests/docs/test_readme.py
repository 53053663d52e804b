"""The README's table of cells is what the registry and the backends say."""

import importlib.util
from pathlib import Path

import pytest

from rnnx import backends
from rnnx.cells import REGISTRY

TESTS = Path(__file__).parents[1]
README = (TESTS.parent / "README.md").read_text(encoding="utf-8")
COLUMNS = {  # whether the complex step and autograd are there
    "numpy": (True, False),
    "numba": (True, False),
    "strict": (True, False),
    "torch": (True, True),
    "cupy": (False, False),
}


def table():
    """Make the table of cells by backends."""
    lines = ["| cell | parameters | " + " | ".join(COLUMNS) + " |", "|---" * (2 + len(COLUMNS)) + "|"]
    for name, make in REGISTRY.items():
        cell = make(1, 1)
        cells = []
        for by_complex_step, by_autograd in COLUMNS.values():
            oracle = "complex step" if cell.analytic and by_complex_step else "central differences"
            cells.append(oracle + (", autograd" if by_autograd else ""))
        names = ", ".join(f"`{parameter}`" for parameter in cell.param_shapes)
        lines.append(f"| `{name}` | {names} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def test_the_table_of_cells_is_up_to_date():
    assert table() in README, f"The README's table should be\n\n{table()}"


@pytest.mark.parametrize("name", COLUMNS)
def test_the_columns_are_what_the_backends_say(name):
    try:
        backend = backends.resolve(name)
    except backends.registry.BackendError as error:
        pytest.skip(str(error))
    assert (backend.complex, backend.autograd) == COLUMNS[name]


def load(name):
    """A module of tests that stands in no package."""
    spec = importlib.util.spec_from_file_location(name, TESTS / f"cells/test_{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def many(count, what):
    return f"{count} {what}" + ("es" if what == "launch" else "s") * (count > 1)


def test_the_costs_of_a_diagonal_are_what_the_tests_count():
    found = load("tflstm_budgets")
    costs = (
        f"{many(launches, 'launch')} and {many(products, 'GEMM')}"
        for launches, products in (found.FORWARD, found.BACKWARD, found.PER_GROUP)
    )
    text = "{} forward, {} backward, and for every {group} diagonals {} more."
    assert text.format(*costs, group=found.GROUP) in " ".join(README.split())


def test_the_costs_on_cupy_are_what_the_tests_count():
    budgets = load("cupy_budgets")
    columns = [budgets.Budget(), *budgets.BUDGETS.values()]

    def row(title, cells):
        return f"| {title} | " + " | ".join(cells) + " |\n"

    def costs(way):
        pairs = [getattr(column, way) for column in columns]
        return [
            f"{many(launches, 'launch')}, {many(products, 'GEMM')}" if launches else "nothing"
            for launches, products in pairs
        ]

    others = ", ".join(
        f"`{name}`" for name in budgets.STEPS if name not in budgets.BUDGETS and "-" not in name
    )
    table = row("", [others, *(f"`{name}`" for name in budgets.BUDGETS)]).replace("|  |", "| |")
    table += "|---" * (1 + len(columns)) + "|\n"
    table += row("forward, each step", costs("forward")) + row("backward, each step", costs("backward"))
    table += row("backward, after the loop", [many(column.after_the_loop, "GEMM") for column in columns])
    assert table in README, table
