"""The command ``rnnx gradcheck --self-test``: tables, survivors, reasons, JSON, and the exit status."""

import json

import pytest
from typer.testing import CliRunner

from rnnx.cli import selftest
from rnnx.cli.app import app
from rnnx.gradient_check.mutation import Mutant, MutationReport

KILLED = Mutant("rnn", "flip a sign", "rnnx.scan:1", "a = b", "b → -b", "killed", "b DIFFERS")
BROKEN = Mutant("rnn", "drop a term", "rnnx.scan:2", "a = b + c", "b + c → b", "error", "ValueError: no")
EQUAL = [
    Mutant(cell, "flip a sign", "rnnx.scan:3", "a = 0.0", "0.0 → -0.0", "equivalent", "the value is the same")
    for cell in ("rnn", "gru")
]
SURVIVED = Mutant(
    "gru",
    "flip a sign",
    "rnnx.scan:4",
    "c",
    "c → -c",
    "survived",
    "the gradient of Wh differs (ragged, seed 1)",
)


def invoke(monkeypatch, mutants, *arguments):
    asked = []

    def mutation_run(names, told):
        asked.extend(names)
        return MutationReport(tuple(mutants))

    monkeypatch.setattr(selftest, "mutation_run", mutation_run)
    result = CliRunner().invoke(app, ["gradcheck", "--self-test", *arguments], env={"COLUMNS": "150"})
    return result, asked


def test_all_killed(monkeypatch, tmp_path):
    file = tmp_path / "report.json"
    result, asked = invoke(monkeypatch, [KILLED, BROKEN, *EQUAL], "rnn", "gru", "--json", str(file))
    assert result.exit_code == 0, result.output
    assert asked == ["rnn", "gru"]
    table = [[cell.strip() for cell in line.split("│")] for line in result.output.splitlines()]
    assert ["", "rnn", "3", "1", "1", "1", "0", "100.0%", ""] in table
    assert ["", "gru", "1", "0", "0", "1", "0", "none", ""] in table
    assert ["", "flip a sign", "3", "1", "0", "2", "0", "100.0%", ""] in table
    assert (
        "Equivalent in rnn, gru: rnnx.scan:3 'a = 0.0', flip a sign: 0.0 → -0.0 (the value is the same)"
        in result.output
    )
    assert (
        "4 mutants: 1 killed, 1 by an error, 2 equivalent, 0 survived. Kill rate 100.0%; equivalent is what"
        " was measured to be so." in result.output
    )
    report = json.loads(file.read_text())
    assert (report["passed"], report["kill_rate"], len(report["mutants"])) == (True, 1.0, 4)
    assert report["mutants"][1]["reason"] == "ValueError: no"


def test_a_survivor_is_named_and_gives_exit_status_1(monkeypatch):
    result, _ = invoke(monkeypatch, [KILLED, SURVIVED])
    assert result.exit_code == 1
    survivor = (
        "gru SURVIVED: rnnx.scan:4 'c', flip a sign: c → -c (the gradient of Wh differs (ragged, seed 1))"
    )
    assert survivor in result.output
    assert "Kill rate 50.0%" in result.output


def test_nothing_tried_gives_exit_status_1(monkeypatch):
    result, _ = invoke(monkeypatch, [])
    assert result.exit_code == 1
    assert "Kill rate none" in result.output


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["linear"], "There is no cell 'linear' to change."),
        (["rnn", "--backend", "torch"], "--self-test runs on numpy, not on 'torch'."),
        (["rnn", "--json", "missing/report.json"], "--json 'missing/report.json' is no file in a folder"),
    ],
)
def test_what_it_cannot_do(monkeypatch, arguments, problem):
    result, asked = invoke(monkeypatch, [KILLED], *arguments)
    assert result.exit_code == 1
    assert asked == []
    assert f"Error: {problem}" in result.stderr
    assert "Hint: " in result.stderr
