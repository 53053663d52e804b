"""The Python blocks of the guides print what the pages say, up to rounding errors and installed versions."""

import contextlib
import io
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import rnnx

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("adding_a_cell.md", "architecture.md", "backends.md", "gradcheck.md", "interop.md", "sequences.md")


def comparable(text):
    """The text without what depends on the machine: sizes of rounding errors, versions, absent libraries."""
    text = re.sub(r"\d(\.\d)?e-1[0-9]", "tiny", text)
    text = re.sub(r"(NumPy|Numba|array-api-strict|PyTorch) [\d.]+\S*", r"\1", text)
    return re.sub(r"^(cupy|numba)( \|| cannot be used:).*$", r"\1", text, flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_print_what_it_says(page, monkeypatch, tmp_path, torch):
    blocks = re.findall(r"```(\w+)\n(.*?)```\n", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    monkeypatch.chdir(tmp_path)
    before, ran = rnnx.get_backend(), 0
    try:
        for (kind, body), (next_kind, expected) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
            if kind != "python":
                continue
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(body, page, "exec"), module.__dict__)
            ran += 1
            if printed.getvalue():
                assert next_kind == "text", f"nothing on the page answers\n{body}"
                assert comparable(printed.getvalue()) == comparable(expected)
    finally:
        rnnx.set_backend(before)
    assert ran, "the page has no Python block"


def test_the_api_page_lists_every_public_name():
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    missing = [name for name in rnnx.__all__ if not re.search(rf"\b{name}\b", text)]
    assert not missing
