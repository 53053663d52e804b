"""The documents of docs/notebooks run, all they expect is found, and their pages show that."""

from pathlib import Path

import pytest

import rnnx

FOLDER = Path(__file__).parents[2] / "docs/notebooks"
DOCUMENTS = sorted(path.stem for path in FOLDER.glob("*.py"))
OVERVIEW = (FOLDER.parent / "notebooks.md").read_text(encoding="utf-8")


def expectations(text):
    """The last table in a text: what was expected of what, without what was found there."""
    lines = text.splitlines()
    last = max(k for k, line in enumerate(lines) if line.split() == ["expected", "found"])
    width = lines[last].index("found")
    return [line[:width].rstrip() for line in lines[last:]]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_finds_what_it_expects(name, capsys):
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    with rnnx.use_backend("numpy"):
        exec(compile(source, name, "exec"), {"__name__": "__main__"})
    found = expectations(capsys.readouterr().out)
    assert len(found) > 5
    page = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert f"literalinclude}} {name}.py" in page
    assert found == expectations(page.removesuffix("```\n"))


def test_there_are_five_and_the_overview_lists_them():
    assert [name[:3] for name in DOCUMENTS] == ["000", "001", "002", "003", "004"]
    assert all(f"\nnotebooks/{name}\n" in OVERVIEW for name in DOCUMENTS)
    assert sorted(path.stem for path in FOLDER.glob("*.md")) == DOCUMENTS
