"""The command ``rnnx gradcheck``: rows, exit status, JSON, and the backends that were not there."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from rnnx import backends, cells
from rnnx.cli.app import app
from rnnx.containers import CONTAINERS
from rnnx.errors import BackendError
from rnnx.gradient_check.layers import LAYERS
from rnnx.gradient_check.report import FORWARD
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
    assert oracles == {"complex step", "directional complex step", *FORWARD}
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


def test_a_backend_without_float64_is_refused(monkeypatch):
    single = replace(backends.get_backend(), name="single", double=False)
    monkeypatch.setattr(backends, "resolve", lambda name: single)
    result = run("linear", "--backend", "single")
    assert result.exit_code == 1
    assert "Error: The gradient check needs float64, which single does not have." in result.stderr
