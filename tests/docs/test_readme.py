"""The README's table of cells is what the registry and the backends say."""

from pathlib import Path

import pytest

from rnnx import backends
from rnnx.cells import REGISTRY

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
COLUMNS = {  # whether the complex step and autograd are there
    "numpy": (True, False),
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
