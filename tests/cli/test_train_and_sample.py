"""The two commands on good input: what they print, and what they leave."""

import io
import json
import os
import re
import subprocess
import sys

import pytest
from rich.console import Console
from typer.testing import CliRunner

from rnnx import __version__
from rnnx.charlm import NamesTask, TrainConfig, Trainer, WittenBell
from rnnx.charlm import corpus as corpora
from rnnx.cli.app import app
from rnnx.cli.progress import Lines, observer

SMALL = ["--hidden", "8", "--embedding", "4", "--steps", "20", "--batch", "8"]
NAMES = ["Tula", "Xola", "Ayó", "Métla", *(f"San {c}uan" for c in "JKLM"), *(f"Santa {c}na" for c in "ABCD")]


def rnnx(*args):
    """Run the command line in this process; it must end well."""
    result = CliRunner().invoke(app, [str(a) for a in args])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result


@pytest.fixture
def names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "pueblos.txt"
    path.write_text("\n".join(NAMES), encoding="utf-8")
    return path


def cells_of(output):
    """The summary's rows as a dict."""
    rows = (re.split(r"\s*│\s*", line.strip("│ ")) for line in output.splitlines() if line.startswith("│"))
    return {row[0]: row[1] for row in rows}


def test_names(names):
    output = rnnx("train", names, *SMALL).stdout
    assert output.startswith(
        "gru with 8 units on pueblos: 11 names, 1 held out, 22 different characters; backend numpy, seed 0\n"
    )
    (folder,) = (names.parent / "runs").iterdir()
    assert re.fullmatch(r"pueblos-\d{8}-\d{6}", folder.name)
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records] == list(range(2, 21, 2))
    assert output.count("bits per character, ") == 10
    task = NamesTask(NAMES, 0, 8)
    ngram = WittenBell(5).fit(task.train, task.vocabulary.characters).bits_per_character(task.held_out)
    rows = cells_of(output)
    assert rows["bits per character on held-out names"] == f"{records[-1]['held_out_bits_per_char']:.3f}"
    assert rows["the same of a 5-gram (Witten-Bell)"] == f"{ngram:.3f}"
    counts = [int(rows[key]) for key in rows if "names: new" in key or "copied" in key or "never seen" in key]
    assert sum(counts) == 200
    assert f"rnnx sample runs/{folder.name}" in output.splitlines()[-1]


@pytest.mark.parametrize("kind", [[], ["--text", "--window", "5"]])
def test_nothing_held_out(names, kind):
    output = rnnx("train", names, *SMALL, *kind, "--held-out", "0", "--out", "all").stdout
    assert ", 0 held out, " in output.splitlines()[0]
    assert "held out - bits per character, " in output
    assert not any("bits per character on" in row for row in cells_of(output))
    records = [json.loads(line) for line in (names.parent / "all/log.jsonl").read_text().splitlines()]
    assert {record["held_out_bits_per_char"] for record in records} == {None}
    rnnx("sample", "all")


def test_the_same_seed_gives_the_same_numbers(names):
    logs, samples = [], []
    for out, seed in (("a", 7), ("b", 7), ("c", 8)):
        output = rnnx("train", names, *SMALL, "--seed", seed, "--out", out).stdout
        lines = (names.parent / out / "log.jsonl").read_text().splitlines()
        logs.append([(r["train_loss"], r["held_out_bits_per_char"]) for r in map(json.loads, lines)])
        samples.append((cells_of(output), rnnx("sample", out, "--count", 20).stdout))
    assert logs[0] == logs[1] != logs[2]
    assert samples[0] == samples[1] != samples[2]


def test_a_text(names):
    names.write_text("cuando el río suena agua lleva " * 20, encoding="utf-8")
    args = ["--text", "--cell", "rnn", "--embedding", "0", "--hidden", "9", "--steps", "20", "--out", "run"]
    args += ["--optimizer", "adagrad", "--window", "25", "--batch", "1", "--dropout", "0"]
    output = rnnx("train", names, *args).stdout
    assert output.startswith(
        "rnn with 9 units on pueblos: 558 characters, 62 held out, 14 different characters;"
    )
    rows = cells_of(output)
    assert 60 < float(rows["smoothed loss, nats per window of 25 characters"]) < 70
    assert 0.1 < float(rows["bits per character on the held-out end"]) < 5
    config = json.loads((names.parent / "run" / "config.json").read_text())
    assert (config["format"], config["rnnx"], config["data"]) == ("rnnx.charlm", __version__, "pueblos")
    assert config["options"] == TrainConfig.for_data(
        558, text=True, cell="rnn", embedding=0, hidden=9, steps=20, optimizer="adagrad", window=25, batch=1,
        dropout=0.0,
    ).to_dict()  # fmt: skip
    passages = (
        rnnx("sample", "run", "--count", 2, "--length", 30, "--prompt", "río").stdout[:-1].split("\n\n")
    )
    assert [(text[:3], len(text)) for text in passages] == [("río", 33)] * 2


def test_a_text_of_four_characters(names):
    names.write_text("abab")
    rnnx("train", names, "--text", *SMALL[:-2])


def test_two_names_and_a_windows_file(names):
    names.write_bytes("\ufeffTula\r\nAyó\r\n".encode())
    assert "1 names, 1 held out, 8 different" in rnnx("train", names, *SMALL, "--out", "run").stdout
    assert len(rnnx("sample", "run").stdout.splitlines()) == 10


def test_towns_are_the_default(names):
    output = rnnx("train", "--steps", "1", "--hidden", "4", "--batch", "4").stdout
    assert "towns: 6,762 names, 751 held out, 82 different characters" in output
    assert [p.name[:6] for p in (names.parent / "runs").iterdir()] == ["towns-"]


def test_the_backend(names, monkeypatch):
    assert "backend strict" in rnnx("train", names, *SMALL, "--backend", "strict", "--out", "a").stdout
    monkeypatch.setattr("rnnx.backends.registry._process_default", None)
    monkeypatch.setenv("RNNX_BACKEND", "strict")
    assert "backend strict" in rnnx("train", names, *SMALL, "--out", "b").stdout
    strict = rnnx("sample", "a", "--prompt", "S", "--temperature", "0.5").stdout
    monkeypatch.setattr("rnnx.backends.registry._process_default", None)
    monkeypatch.delenv("RNNX_BACKEND")
    assert rnnx("sample", "a", "--prompt", "S", "--temperature", "0.5").stdout == strict
    assert {line[0] for line in strict.splitlines()} == {"S"}


@pytest.mark.parametrize("width", [75, 80, 140])
def test_the_live_bar(width):
    screen = Console(file=io.StringIO(), force_terminal=True, width=width)
    config = TrainConfig.for_data(90, text=False, hidden=4, steps=20)
    with observer(20, screen) as bar:
        Trainer(config, NamesTask(NAMES, 0, 8), None, bar).run()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.file.getvalue())
    last = r"20/20 .*loss \d\.\d+ held out \d\.\d{3} bits [\d,]+ chars/s 0:00:00 left"
    assert re.search(last, shown), shown[-300:]
    assert isinstance(observer(20, Console(file=io.StringIO())), Lines)


def test_help_and_version():
    assert rnnx().stdout == rnnx("--help").stdout
    assert rnnx("--version").stdout == f"rnnx {__version__}\n"
    for command in ("train", "sample"):
        text = rnnx(command, "--help").stdout
        assert f"Example: rnnx {command}" in text
    text = " ".join(re.sub("[│╭╮╰╯─]", " ", rnnx("train", "--help").stdout).split())
    default = TrainConfig()
    for value in (
        default.cell,
        default.hidden,
        default.embedding,
        default.dropout,
        default.steps,
        default.batch,
    ):
        assert f"(default: {value}" in text


def test_the_modules_are_light():
    heavy = {"typer", "rich", "safetensors", "torch"}
    code = f"import sys, rnnx.charlm, rnnx.cli; print({heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def test_the_entry_point_prints_names(names):
    rnnx("train", names, *SMALL, "--out", "run")
    command = [sys.executable, "-m", "rnnx", "sample", "run", "--prompt", "Ay", "--count", "100"]
    environment = os.environ | {"PYTHONIOENCODING": "cp1253"}  # Greek: it lacks the ó
    run = subprocess.run(command, capture_output=True, env=environment, check=True)
    lines = run.stdout.decode("cp1253").splitlines()
    assert len(lines) == 100
    assert any("?" in line for line in lines)


def test_every_bundled_name_is_in_the_vocabulary():
    task = NamesTask(corpora.bundled_towns(), 0, 64)
    assert (len(task.train), len(task.held_out), len(task.vocabulary)) == (6762, 751, 82)
