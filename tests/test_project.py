"""The rules of the house: what stands where, which way imports run, what is pinned in several places."""

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for folder in ("rnnx", "backends") for path in (ROOT / folder).rglob("*.py"))

# Each floor may import the floors before it and its own room, and nothing else of rnnx.
# The package itself exports all but the command line.
FLOORS = (
    {"errors", "files", "typing"},
    {"backends"},
    {"states"},
    {"ragged"},
    {"columns"},
    {"checks", "init", "ops"},
    {"gates", "parameters", "steps"},
    {"projection"},
    {"loop"},
    {"scan"},
    {"basecell", "wavefront"},
    {"stepcell"},
    {"cells"},
    {"activations", "layers", "losses", "optim", "truncated"},
    {"containers"},
    {"doctor", "gradient_check"},
    {"charlm", "interop", "notebooks"},
    {"bench"},
    {"rnnx"},
    {"cli", "pytest_plugin"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FREE = {"rnnx", "rnnx.__main__"}

# What `import rnnx` must leave alone, and what is named under backends/ only.
HEAVY = {
    "array_api_strict", "cupy", "jax", "matplotlib", "numba", "onnxruntime", "rich", "safetensors",
    "tensorflow", "torch", "typer",
}  # fmt: skip
ARRAY_LIBRARIES = {
    "array_api_strict", "cupy", "cupyx", "jax", "keras", "numba", "onnx", "onnxruntime", "tensorflow",
    "torch",
}  # fmt: skip


def module_name(path: Path) -> str:
    """Return the dotted name that a file of rnnx/ or backends/ is imported by."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] == "backends":
        parts = ("rnnx", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """Return the part of rnnx that a module belongs to; for the package itself, "rnnx"."""
    first, _, rest = module.partition(".")
    return rest.partition(".")[0] or first


def imports_of(source: str, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of every import, also inside functions and by import_module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if is_package else module.split(".")[:-1]
                package = package[: len(package) - (node.level - 1)]
                base = ".".join([*package, base] if base else package)
            for alias in node.names:
                # `from rnnx import cells` imports the room, `from rnnx import LSTM` the package.
                is_room = base == "rnnx" and alias.name in FLOOR
                yield node.lineno, f"rnnx.{alias.name}" if is_room else base
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"__import__", "find_spec", "import_module"} and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def against_the_order(source: str, module: str, is_package: bool = False) -> list[str]:
    """Return a line for each import of a module that the order of the floors does not allow."""
    if module in FREE:
        return []
    room = room_of(module)
    if room not in FLOOR and room != "data":
        return [f"{module} has no floor: give {room!r} its place in FLOORS"]
    wrong = []
    for line, name in imports_of(source, module, is_package):
        target = room_of(name)
        if not (name == "rnnx" or name.startswith("rnnx.")) or (target == room and name != "rnnx"):
            continue
        if FLOOR.get(target, len(FLOORS)) >= FLOOR.get(room, -1):
            wrong.append(f"{module}, line {line}: imports {name}")
    return wrong


def git_files() -> list[str]:
    """Return what git tracks here, or skip where this is no checkout of its own."""
    try:
        top = subprocess.run(
            ["git", "rev-parse", "--show-toplevel"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no git checkout: {error}")
    if Path(top).resolve() != ROOT:
        pytest.skip(f"no git checkout of its own: the repository around it is {top}")
    if not listed:
        pytest.skip("git tracks nothing here yet")
    return listed.rstrip("\0").split("\0")


def test_top_level_holds_only_what_belongs_there() -> None:
    top = {name.partition("/")[0] for name in git_files()}
    assert {name for name in top if not name.startswith(".")} == {
        "LICENSE", "README.md", "backends", "docs", "pyproject.toml", "rnnx", "tests", "tox.ini",
    }  # fmt: skip


def test_no_file_is_longer_than_300_lines() -> None:
    tests = [path for path in (ROOT / "tests").rglob("*") if path.suffix in {".py", ".cpp", ".h"}]
    files = [*SOURCES, *sorted(tests)]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > 300} == {}


def test_imports_run_one_way() -> None:
    wrong = []
    for path in SOURCES:
        wrong += against_the_order(path.read_text("utf-8"), module_name(path), path.name == "__init__.py")
    assert wrong == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("rnnx.cells.lstm", "from rnnx.gradient_check import report"),
        ("rnnx.cells.lstm", "def f():\n    from rnnx import LSTM"),
        ("rnnx.cells.lstm", "from rnnx import layers"),
        ("rnnx.cells.lstm", "from ..optim import SGD"),
        ("rnnx.backends.numpy", "import rnnx.ops.pointwise"),
        ("rnnx.backends.numpy", "from .. import scan"),
        ("rnnx.losses", "import importlib\nimportlib.import_module('rnnx.charlm')"),
        ("rnnx.charlm.train", "import rnnx"),
        ("rnnx.layers", "from rnnx.losses import half_squared_error"),
        ("rnnx.helpers", ""),
    ],
)
def test_an_import_against_the_order_is_seen(module: str, source: str) -> None:
    assert len(against_the_order(source, module)) == 1


def test_an_import_along_the_order_is_allowed() -> None:
    source = "import os\nfrom . import rnn\nfrom ..ops import pointwise\nfrom rnnx.cells.base import gates"
    assert against_the_order(source, "rnnx.cells.lstm") == []
    assert against_the_order("import rnnx\nfrom rnnx import charlm", "rnnx.cli.train") == []


def test_no_array_library_is_named_outside_backends() -> None:
    named = []
    for path in SOURCES:
        module = module_name(path)
        if room_of(module) != "backends":
            found = imports_of(path.read_text("utf-8"), module, path.name == "__init__.py")
            named += [
                f"{module}, line {line}: {name}"
                for line, name in found
                if name.split(".")[0] in ARRAY_LIBRARIES
            ]
    assert named == []


def test_backends_is_refused_under_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.delitem(sys.modules, "backends", raising=False)
    with pytest.raises(ImportError, match=r"rnnx\.backends"):
        importlib.import_module("backends")


def test_every_package_is_in_the_wheel() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    folders = {path.parent for path in SOURCES} | {ROOT / "rnnx" / "data"}
    assert sorted(settings["packages"]) == sorted(module_name(folder / "__init__.py") for folder in folders)


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    records = sorted(path.stem for path in folder.glob("[0-9]*.md"))
    assert records
    assert (
        re.findall(r"^\d{4}-[a-z0-9-]+$", (folder / "index.md").read_text("utf-8"), re.MULTILINE) == records
    )


@pytest.mark.parametrize(
    ("package", "files"),
    [
        ("ruff", [".ci/run", ".pre-commit-config.yaml", "tox.ini"]),
        ("mypy", [".ci/run", ".pre-commit-config.yaml", "tox.ini"]),
        ("torch", [".ci/run", "tox.ini"]),
        ("cupy-cuda13x", [".ci/run", "tox.ini", "tests/cupysim/README.md"]),
    ],
)
def test_pins_agree(package: str, files: list[str]) -> None:
    pins = {
        name: set(re.findall(rf"\b{package}==([\w.]+)", (ROOT / name).read_text("utf-8"))) for name in files
    }
    versions = set().union(*pins.values())
    assert all(pins.values()), pins
    assert len(versions) == 1, pins


def test_oldest_runs_the_lowest_versions_allowed() -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    lowest = dict(line.split(">=") for line in dependencies)
    oldest = (ROOT / "tox.ini").read_text("utf-8").partition("[testenv:oldest]")[2].partition("[testenv:")[0]
    pinned = dict(re.findall(r"^ +([\w-]+)==([\d.]+)$", oldest, re.MULTILINE))
    assert pinned == lowest


def import_rnnx() -> tuple[float, set[str]]:
    """Return the seconds that `import rnnx` took in a new process, and the packages that it loaded."""
    code = (
        "import json, sys, time\n"
        "start = time.perf_counter()\n"
        "import rnnx\n"
        "took = time.perf_counter() - start\n"
        "print(json.dumps([took, sorted({name.partition('.')[0] for name in sys.modules})]))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "RNNX_BACKEND"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    took, packages = json.loads(run.stdout)
    return took, set(packages)


def test_import_is_light() -> None:
    runs = [import_rnnx() for _ in range(3)]
    assert runs[0][1] & HEAVY == set()
    assert min(took for took, _ in runs) < 0.2


def test_the_source_folder_without_its_backends_says_what_to_do(tmp_path):
    (tmp_path / "rnnx").mkdir()
    shutil.copy(ROOT / "rnnx/__init__.py", tmp_path / "rnnx")
    code = "import sys; sys.path.insert(0, '.'); import rnnx; rnnx.LSTM"
    run = subprocess.run([sys.executable, "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert "is in rnnx's source folder, which lacks rnnx.backends. Run `pip install -e .`" in run.stderr
