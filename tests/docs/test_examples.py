"""The scripts of docs/examples and the README, run as they stand on every backend."""

import re
from pathlib import Path

import pytest

import rnnx

ROOT = Path(__file__).parents[2]
SCRIPT = (ROOT / "docs/examples/next_value.py").read_text(encoding="utf-8")


def test_the_training_script_runs_and_learns(backend, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(rnnx, "set_backend", asked.append)
    scope = {"__name__": "__main__"}
    exec(compile(SCRIPT, "next_value.py", "exec"), scope)
    assert asked == ["cupy"]
    assert backend.holds(scope["waves"])
    assert all(backend.holds(value) for value in scope["params"].values())
    words, printed = capsys.readouterr().out.rsplit(maxsplit=1)
    assert words == "half the squared error of the next value, summed:"
    assert float(printed) == pytest.approx(4.99, abs=0.2)


def test_the_readme_shows_that_script():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert SCRIPT in re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
