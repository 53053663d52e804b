"""The command ``rnnx gradcheck``: rows, exit status, JSON, and the backends that were not there."""

import json
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from rnnx import backends, cells
from rnnx.cli.app import app
from rnnx.containers import CONTAINERS
from rnnx.errors import BackendError
from rnnx.gradient_check.layers import LAYERS
from rnnx.gradient_check.oracles import ADJOINT, COMPLEX
from rnnx.gradient_check.precision import against
from rnnx.gradient_check.report import FORWARD, PURITY, SECOND
from support.sabotage import WrongSign


@pytest.fixture(autouse=True)
def _nothing_is_required(monkeypatch):
    monkeypatch.delenv("RNNX_REQUIRE_BACKENDS", raising=False)


def run(*arguments):
    return CliRunner().invoke(app, ["gradcheck", *arguments], env={"COLUMNS": "120"})


def test_every_gradient_on_numpy(tmp_path):
    result = run("--backend", "numpy", "--json", str(tmp_path / "report.json"))
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["passed"] is True
    assert {row["name"] for row in report["rows"]} == {*cells.REGISTRY, *CONTAINERS, *LAYERS}
    assert {row["backend"] for row in report["rows"]} == {"numpy"}
    assert all(row["error"] <= 1e-12 for row in report["rows"] if "complex step" in row["oracle"])
    oracles = {row["oracle"] for row in report["rows"] if row["name"] == "lstm"}
    assert oracles == {COMPLEX, ADJOINT, against("float32"), against("float16"), *FORWARD, *PURITY} - {
        SECOND,
    }
    assert f"{len(report['rows'])} comparisons agree, 0 differ." in result.output


def test_chosen_cells_on_every_backend_that_is_present(backend, monkeypatch):
    monkeypatch.setattr(backends, "names", lambda: ("numpy", str(backend), "missing"))
    monkeypatch.setattr(backends, "resolve", resolver(backend))
    result = run("rnn", "linear")
    assert result.exit_code == 0, result.output
    assert "Gradients on numpy" in result.output
    assert f"Gradients on {backend}" in result.output
    assert "Not checked: missing. missing is not here. Install it." in result.output


def resolver(found):
    def resolve(name):
        if name == str(found):
            return found
        if name == "missing":
            raise BackendError("missing is not here.", "Install it.")
        return backends.registry.resolve(name)

    return resolve


def test_a_wrong_gradient_gives_exit_status_1(monkeypatch, tmp_path):
    monkeypatch.setitem(cells.REGISTRY, "rnn", WrongSign)
    result = run("rnn", "gru", "--backend", "numpy", "--json", str(tmp_path / "report.json"))
    assert result.exit_code == 1
    assert "rnn on numpy: the gradient of x DIFFERS from the complex step" in result.output.replace("\n", " ")
    report = json.loads((tmp_path / "report.json").read_text())
    assert {(row["name"], row["tensor"]) for row in report["rows"] if not row["passed"]} == {("rnn", "x")}


@pytest.mark.parametrize(
    ("arguments", "problem", "hint"),
    [
        (
            ["lstn"],
            "There is no cell 'lstn'.",
            "Known are rnn, rnn-relu, rnn-identity, lstm, lstm-peephole, gru, gru-reset-before,",
        ),
        (["--backend", "jax"], "There is no backend 'jax'.", "Known are numpy, numba, strict, torch, cupy."),
    ],
)
def test_unknown_names(arguments, problem, hint):
    result = run(*arguments)
    assert result.exit_code == 1
    assert f"Error: {problem}" in result.stderr
    assert f"Hint: {hint}" in result.stderr
    assert "Traceback" not in result.output


def test_a_required_backend_that_is_missing_gives_exit_status_1(monkeypatch):
    monkeypatch.setattr(backends, "names", lambda: ("numpy", "missing"))
    monkeypatch.setattr(backends, "resolve", resolver(None))
    monkeypatch.setenv("RNNX_REQUIRE_BACKENDS", "numpy, missing")
    result = run("linear")
    assert result.exit_code == 1
    assert "RNNX_REQUIRE_BACKENDS asks for missing." in result.output
    monkeypatch.setenv("RNNX_REQUIRE_BACKENDS", "nunpy")
    result = run("linear")
    assert result.exit_code == 1
    assert "Error: RNNX_REQUIRE_BACKENDS names nunpy." in result.stderr


def test_a_backend_without_float64_is_compared_with_numpy(monkeypatch):
    single = replace(backends.get_backend(), name="single", double=False)
    monkeypatch.setattr(backends, "resolve", lambda name: single)
    result = run("linear", "--backend", "single")
    assert result.exit_code == 0, result.output
    assert "linear on single: no float64 here: compared with NumPy's gradients only." in result.output


MODULE = """
import rnnx
from support.sabotage import DoubledBias

ready = rnnx.RNN(2, 3)
number = 3


def make(input_size, hidden_size):
    return rnnx.GRU(input_size, hidden_size, reset_after=False)


def fails(input_size, hidden_size):
    raise ValueError("no such thing")


def gives_a_number(input_size, hidden_size):
    return 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module in the working folder."""
    (tmp_path / "own_cells.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    yield "own_cells"
    sys.modules.pop("own_cells", None)


@pytest.mark.parametrize(("name", "tensors"), [("ready", 5), ("make", 6)])
def test_cells_of_a_module(module, name, tensors):
    result = run(f"{module}:{name}", "--backend", "numpy")
    assert result.exit_code == 0, result.output
    assert result.output.count("complex step") >= tensors


def test_a_wrong_class_of_a_module(module):
    result = run(f"{module}:DoubledBias", "--backend", "numpy")
    assert result.exit_code == 1
    assert "DoubledBias on numpy: the gradient of b DIFFERS" in result.output.replace("\n", " ")
    assert "Hint: It is twice the right value" in result.output


@pytest.mark.parametrize(
    ("name", "problem", "hint"),
    [
        ("nowhere:Cell", "the module 'nowhere' cannot be imported (ModuleNotFoundError", "Name it as Python"),
        ("own_cells:Missing", "own_cells has no 'Missing'.", "It has the cells DoubledBias, ready."),
        ("own_cells:number", "own_cells:number is a int; expected a cell, its class, or a function", ""),
        (
            "own_cells:fails",
            "own_cells:fails(3, 5) raises ValueError: no such thing.",
            "must take (input_size",
        ),
        (
            "own_cells:gives_a_number",
            "own_cells:gives_a_number(3, 5) gives a int; expected a cell.",
            "It lacks",
        ),
    ],
)
def test_modules_without_a_cell(module, name, problem, hint):
    result = run(name)
    assert result.exit_code == 1
    assert problem in result.stderr
    assert hint in result.stderr
    assert "Traceback" not in result.output


def test_the_page(tmp_path, monkeypatch):
    monkeypatch.setitem(cells.REGISTRY, "rnn", WrongSign)
    file = tmp_path / "report.html"
    result = run("rnn", "linear", "--backend", "numpy", "--html", str(file))
    assert result.exit_code == 1
    assert "the gradient of x DIFFERS from the complex step" in file.read_text(encoding="utf-8")


def test_the_picture(tmp_path):
    file = tmp_path / "errors.png"
    result = run("rnn", "linear", "--backend", "numpy", "--plot", str(file))
    assert result.exit_code == 0, result.output
    assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--plot", "errors.txt"], "--plot 'errors.txt': expected a name that ends in .png, .svg, .pdf."),
        (
            ["--html", "nowhere/report.html"],
            "--html 'nowhere/report.html' is no file in a folder that exists.",
        ),
    ],
)
def test_files_that_cannot_be_written(arguments, problem):
    result = run("rnn", *arguments)
    assert result.exit_code == 1
    assert problem in result.stderr
