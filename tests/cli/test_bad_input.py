"""Bad input ends with one clear sentence, a hint, a status, no traceback, and nothing lost."""

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rnnx import backends
from rnnx.charlm import trainer as training
from rnnx.charlm.task import NamesTask
from rnnx.cli.app import app

SMALL = ["--steps", "3", "--hidden", "4", "--embedding", "3"]


def rnnx(*args):
    """Run the command line in this process."""
    return CliRunner().invoke(app, [str(a) for a in args])


def refused(result, sentence, hint="`--help` lists"):
    """Assert one sentence, a hint and status 1."""
    assert result.exit_code == 1, result.output + repr(result.exception)
    lines = result.stderr.splitlines()
    assert lines[0].startswith("Error: ")
    assert sentence in lines[0]
    assert "Traceback" not in result.output
    assert len(lines) == 2
    assert lines[1].startswith("Hint: ")
    assert hint in lines[1]


def snapshot(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def names(here):
    path = here / "names.txt"
    path.write_text("Tula\nXola\nAyó\nMétla\nSan Juan\nSan Pedro\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "args", "sentence", "hint"),
    [
        (None, [], "There is no file 'data.txt'.", "Check its name"),
        (b"", [], "'data.txt' is empty", "one name a line"),
        (b" \n\n", [], "holds only white space", "one name a line"),
        (b"caf\xe9\nbar\n", [], "is not UTF-8: byte 3 is 0xe9", "Save it as UTF-8"),
        (b"one\none\n", [], "has one distinct line; expected at least 2", "use --text"),
        (b"a", ["--text"], "holds only 'a', 1 times", "longer text"),
        (b"aaaa", ["--text"], "holds only 'a', 4 times", "longer text"),
        (b"ab", ["--text"], "The text has 2 characters; expected at least 4", "longer text"),
        (b"abcabcabc", ["--text", "--window", "25"], "expected at least 26", "Lower --window or --batch"),
    ],
)
def test_bad_files(here, content, args, sentence, hint):
    if content is not None:
        (here / "data.txt").write_bytes(content)
    refused(rnnx("train", "data.txt", *SMALL, *args), sentence, hint)
    assert not (here / "runs").exists()


def test_a_folder_is_no_file(here):
    refused(rnnx("train", here, *SMALL), "is a directory; expected a text file", "Name one file")


@pytest.mark.parametrize(
    ("args", "sentence", "hint"),
    [
        (["--hidden", "0"], "--hidden is 0; expected an integer of at least 1", "`--help`"),
        (["--cell", "lstn"], "--cell is 'lstn'", "Did you mean lstm? Known are rnn"),
        (["--optimizer", "adam"], "--optimizer is 'adam'", "Did you mean adamw?"),
        (["--backend", "nunpy"], "--backend is 'nunpy'", "Did you mean numpy? Known are numpy"),
        (["--backend", "strict:tpu"], "strict has no device 'tpu'", "strict"),
        (["--dropout", "1"], "--dropout is 1.0", "`--help`"),
        (["--learning-rate", "nan"], "--learning-rate is nan", "`--help`"),
        (["--seed", "-1"], "--seed is -1", "`--help`"),
    ],
)
def test_bad_options_are_refused_before_anything_is_read(here, args, sentence, hint):
    refused(rnnx("train", "no such file", *args), sentence, hint)
    assert list(here.iterdir()) == []


def test_usage_errors_have_status_2(here):
    assert rnnx("train", "--hidden", "many").exit_code == 2
    assert rnnx("train", "--hiden", "3").exit_code == 2
    assert rnnx("trian").exit_code == 2
    assert rnnx("sample").exit_code == 2


def test_no_gpu(here, names):
    usable = backends.available_backends()["cupy"]
    if usable.usable:
        pytest.skip("there is a GPU")
    refused(rnnx("train", names, *SMALL, "--backend", "cupy"), usable.reason, usable.install[:20])
    assert not (here / "runs").exists()


def test_no_run_is_overwritten(here, names):
    assert rnnx("train", names, *SMALL, "--out", "run").exit_code == 0
    before = snapshot(here)
    refused(
        rnnx("train", names, *SMALL, "--out", "run", "--seed", "1"), "already holds a run", "Name another"
    )
    refused(rnnx("train", names, *SMALL, "--out", names), "is a file", "Name a new folder")
    refused(rnnx("train", names, *SMALL, "--out", names / "run"), "The system refused", "permissions")
    assert snapshot(here) == before


def test_bad_samples(here, names):
    assert rnnx("train", names, *SMALL, "--out", "run").exit_code == 0
    refused(
        rnnx("sample", "run", "--prompt", "Saß"), "The character 'ß' (U+00DF) at position 2", "knows only"
    )
    refused(rnnx("sample", "run", "--count", "0"), "--count is 0")
    refused(rnnx("sample", "run", "--temperature", "-1"), "--temperature is -1.0")
    refused(rnnx("sample", "run", "--seed", "-1"), "--seed is -1")
    refused(rnnx("sample", "nowhere"), "There is no folder 'nowhere'.", "`rnnx train` prints")
    refused(rnnx("sample", names), "is no folder", "`rnnx train` prints")
    model = here / "run" / "model.safetensors"
    whole = model.read_bytes()
    model.write_bytes(whole[: len(whole) // 2])
    refused(rnnx("sample", "run"), "is cut short or no safetensors file", "train anew")
    model.write_bytes(b"GGUF" + bytes(400))
    refused(rnnx("sample", "run"), "is cut short or no safetensors file", "train anew")
    (here / "run" / "config.json").write_text("{")
    refused(rnnx("sample", "run"), "is not JSON", "train anew")


def test_a_loss_that_became_nan(here, names, monkeypatch):
    """The loss of step 14 is poisoned: the model of step 12 is kept, and named."""
    calls = []

    def poisoned(self, logits, batch):
        calls.append(1)
        loss = original(self, logits, batch)
        return loss._replace(value=loss.value * np.float32("nan")) if len(calls) >= 14 else loss

    original = NamesTask.loss
    monkeypatch.setattr(NamesTask, "loss", poisoned)
    result = rnnx("train", names, *SMALL[2:], "--steps", "20", "--out", "run")
    refused(
        result, "The loss became nan at step 14 of 20. The model of step 12 is in run.", "--learning-rate"
    )
    assert len(snapshot(here / "run")) == 3
    assert rnnx("sample", "run").exit_code == 0
    calls[:] = [1] * 20
    refused(
        rnnx("train", names, *SMALL, "--out", "other"),
        "The loss became nan at step 1 of 3.",
        "--learning-rate",
    )
    assert not (here / "other").exists()


def test_a_real_divergence(here, names, recwarn):
    args = ["--optimizer", "sgd", "--learning-rate", "1e30", "--clip-norm", "0", "--cell", "rnn-relu"]
    refused(rnnx("train", names, *SMALL[2:], "--steps", "30", *args), "The loss became", "--learning-rate")
    assert not recwarn.list


def test_a_full_disk(here, names, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused(rnnx("train", names, *SMALL, "--out", "run"), "No space left on device", "disk's space")
    assert list(here.iterdir()) == [names]


def test_too_little_memory(here, names, monkeypatch):
    def none(*args, **kwargs):
        raise MemoryError("Unable to allocate 7 EiB")

    monkeypatch.setattr("rnnx.charlm.model.CharModel.init", none)
    refused(rnnx("train", names, *SMALL), "There is not enough memory. Unable to allocate", "Lower --hidden")
    assert not any((here / "runs").iterdir())


def test_ctrl_c_in_the_middle(here, names, monkeypatch):
    def stop(self, progress):
        if progress.step >= 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "REPORT_SECONDS", 0.0)
    monkeypatch.setattr("rnnx.cli.progress.Lines.progressed", stop)
    result = rnnx("train", names, *SMALL[2:], "--steps", "20", "--out", "run")
    assert (result.exit_code, result.stderr) == (
        130,
        "Stopped after step 7 of 20: the model of step 7 is in run.\n",
    )
    assert len(snapshot(here / "run")) == 3
    assert len(rnnx("sample", "run", "--count", "4").stdout.splitlines()) == 4


def test_ctrl_c_before_the_first_step(here, names, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("rnnx.charlm.model.CharModel.init", stop)
    result = rnnx("train", names, *SMALL, "--out", "run")
    assert result.exit_code == 130
    assert "nothing was trained, and no folder is left" in result.stderr
    assert not (here / "run").exists()


def process(*args, **kwargs):
    """Start the real entry point."""
    command = [sys.executable, "-m", "rnnx", *map(str, args)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", **kwargs
    )


def test_the_real_entry_point_refuses(here):
    for args, sentence in (
        (["train", "--hidden", "0"], "--hidden is 0"),
        (["sample", "no"], "no folder 'no'"),
    ):
        with process(*args) as run:
            out, err = run.communicate(timeout=60)
        assert (run.returncode, out) == (1, "")
        assert err.startswith("Error: ")
        assert sentence in err
        assert "Traceback" not in err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_a_real_ctrl_c(here):
    # A job in a shell's background ignores the signal, and so would this child of one.
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    arguments = ("train", "--steps", "10000", "--hidden", "4", "--batch", "4", "--out", "run")
    with process(*arguments, **heeding) as run:
        assert run.stdout.readline().startswith("gru with 4 units on towns")
        assert run.stdout.readline().startswith("step 1000 of 10000")
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    assert err.startswith("Stopped after step ")
    assert re.fullmatch(r"Stopped after step (\d+) of 10000: the model of step \1 is in run\.\n", err)
    assert sorted(p.name for p in (here / "run").iterdir()) == [
        "config.json",
        "log.jsonl",
        "model.safetensors",
    ]
    assert len(rnnx("sample", "run").stdout.splitlines()) == 10


def test_too_little_memory_in_a_pass(here, names, monkeypatch):
    def none(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr("rnnx.GRU.project", none)
    refused(rnnx("train", names, *SMALL), "GRU.forward: memory ran out", "Lower --hidden")
