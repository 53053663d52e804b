"""The cell of docs/adding_a_cell.md, taken out of the page: its size, its gradients, the timing command."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import rnnx
from rnnx.gradient_check.check import check
from rnnx.gradient_check.problem import cell_problem, cell_problems
from support.cells import WithLengths

PAGE = (Path(__file__).parents[2] / "docs/adding_a_cell.md").read_text(encoding="utf-8")
CELL = re.search(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)[1]
COMMAND = re.search(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)[1]


@pytest.fixture
def leaky(tmp_path, monkeypatch):
    """The page's first block as a module of its own."""
    (tmp_path / "leaky.py").write_text(CELL, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "leaky", raising=False)
    return importlib.import_module("leaky")


def test_it_is_short():
    assert len(CELL.splitlines()) < 60


def test_its_gradients_alone_stacked_reversed_and_on_ragged_lengths(leaky, backend):
    report = check(cell_problems(leaky.Leaky, "leaky"), backend)
    assert report.passed, str(report)
    model = rnnx.Stack(rnnx.Bidirectional(leaky.Leaky(3, 2)), leaky.Leaky(4, 2, leak=0.9))
    report = check([cell_problem(WithLengths(model, [3, 4, 1]), "leaky stack", "ragged", 4, 3)], backend)
    assert report.passed, str(report)


def test_it_can_be_timed(leaky):
    program, *arguments = shlex.split(COMMAND)
    assert program == "python"
    once = [*arguments[:2], "-n", "1", "-r", "1", *arguments[2:]]
    folder = Path(leaky.__file__).parent
    run = subprocess.run([sys.executable, *once], cwd=folder, capture_output=True, text=True, timeout=60)
    assert "best of 1:" in run.stdout, run.stderr
