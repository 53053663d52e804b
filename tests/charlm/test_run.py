"""Run folders: written whole, never over another run, and read with every doubt spelled out."""

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from rnnx.backends import to_numpy, use_backend
from rnnx.charlm import RunFolder, TrainConfig, Vocabulary, load
from rnnx.charlm.run import Record, default_folder
from rnnx.errors import DataError, OptionError, RnnxError

VOCABULARY = Vocabulary.from_names(["Tula", "Ayó"])
CONFIG = TrainConfig(cell="lstm", hidden=3, embedding=2)
RECORDS = [Record(2, 0.5, 4.25, 6.0, 100.0), Record(4, 1.0, 4.0, 5.75, 110.0)]


def make(path):
    folder = RunFolder(path, CONFIG, VOCABULARY, "towns")
    params = CONFIG.model(len(VOCABULARY)).init(3)
    folder.save(params, RECORDS, step=2)
    return folder, params


def test_what_is_saved_is_read(backend, tmp_path):
    _, params = make(tmp_path / "a" / "b")
    run = load(tmp_path / "a" / "b")
    assert (run.config, run.vocabulary, run.data) == (CONFIG, VOCABULARY, "towns")
    assert run.params.keys() == params.keys()
    for name, value in run.params.items():
        assert backend.holds(value)
        np.testing.assert_array_equal(to_numpy(value), to_numpy(params[name]), err_msg=name)
    lines = (tmp_path / "a" / "b" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [r._asdict() for r in RECORDS]
    assert list(json.loads(lines[0])) == [
        "step", "seconds", "train_loss", "held_out_bits_per_char", "chars_per_second",
    ]  # fmt: skip
    assert "Ó" not in VOCABULARY.characters
    assert "ó" in (tmp_path / "a" / "b" / "config.json").read_text("utf-8")


def test_the_model_file_is_for_every_reader(tmp_path):
    from safetensors import safe_open

    make(tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "rnnx.charlm"}
        assert set(file.keys()) == set(CONFIG.model(len(VOCABULARY)).param_shapes)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "log.jsonl"])
def test_an_old_run_is_not_overwritten(tmp_path, name):
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(OptionError, match=rf"--out .* already holds a run \({name}\)\. Name another folder"):
        RunFolder(tmp_path, CONFIG, VOCABULARY, "towns")
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"precious"


def test_a_folder_without_a_run_is_used_and_a_file_is_not(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    make(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(OptionError, match="is a file"):
        RunFolder(tmp_path / "notes.txt", CONFIG, VOCABULARY, "towns")


def test_nothing_is_left_without_a_model(tmp_path):
    RunFolder(tmp_path / "new", CONFIG, VOCABULARY, "towns").discard()
    assert not (tmp_path / "new").exists()
    old = tmp_path / "old"
    old.mkdir()
    RunFolder(old, CONFIG, VOCABULARY, "towns").discard()
    assert list(old.iterdir()) == []
    folder, _ = make(tmp_path / "kept")
    folder.discard()
    assert len(list((tmp_path / "kept").iterdir())) == 3


def test_a_file_name_that_is_no_text(tmp_path):
    folder = RunFolder(tmp_path, CONFIG, VOCABULARY, "caf\udce9")
    folder.save(CONFIG.model(len(VOCABULARY)).init(), RECORDS, step=2)
    assert load(tmp_path).data == "caf\udce9"


@pytest.mark.parametrize("call", range(1, 9))
def test_a_crash_leaves_the_old_file_or_the_new_one(tmp_path, monkeypatch, call):
    """Every call that touches the disk fails in turn; what is left is a whole model and a whole log."""
    folder, params = make(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    calls = []

    def failing(real):
        def wrapper(*args, **kwargs):
            calls.append(real)
            if len(calls) == call:
                raise OSError(28, "No space left on device")
            return real(*args, **kwargs)

        return wrapper

    import os

    for name in ("fsync", "replace", "open"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    failed = False
    try:
        folder.save({name: p + 1.0 for name, p in params.items()}, RECORDS * 2, step=4)
    except OSError:
        failed = True
    assert failed == (len(calls) >= call)
    monkeypatch.undo()
    assert {p.name for p in tmp_path.iterdir()} == before.keys()
    shift = to_numpy(load(tmp_path).params["head.b"]) - to_numpy(params["head.b"])
    assert np.allclose(shift, 0.0) or np.allclose(shift, 1.0)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) in (2, 4)


def test_default_folders():
    assert default_folder("towns", datetime(2024, 5, 9, 10, 15, 0)) == Path("runs/towns-20240509-101500")


def test_two_runs_in_a_second(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    now = datetime(2024, 5, 9)
    make(default_folder("x", now))
    make(default_folder("x", now))
    assert default_folder("x", now).name == "x-20240509-000000-3"


def gone(name):
    return lambda path: (path / name).unlink()


def config(data):
    return lambda path: (path / "config.json").write_bytes(data)


def config_with(**changes):
    def spoil(path):
        content = json.loads((path / "config.json").read_text()) | changes
        (path / "config.json").write_text(json.dumps(content))

    return spoil


def options_with(**changes):
    return config_with(options=CONFIG.to_dict() | changes)


def model(spoil):
    return lambda path: (path / "model.safetensors").write_bytes(spoil(save(tensors())))


def model_with(**changes):
    return model(lambda _: save(tensors() | changes))


def tensors():
    return {name: to_numpy(p) for name, p in CONFIG.model(len(VOCABULARY)).init().items()}


BROKEN = {
    "no config": (gone("config.json"), "holds no config.json"),
    "no model": (gone("model.safetensors"), "holds no model.safetensors"),
    "config empty": (config(b""), "is not JSON"),
    "config cut": (config(b'{"format": "rnnx'), "is not JSON"),
    "config binary": (config(b"\xff\xfe\x00"), "is not JSON"),
    "config deep": (config(b"[" * 100_000), "is not JSON"),
    "config a list": (config(b"[]"), "not from `rnnx train`"),
    "config foreign": (config_with(format="gpt"), "not from `rnnx train`"),
    "config more": (config_with(layers=2), "holds .*layers; expected"),
    "options": (config_with(options={"hidden": 3}), "the options are"),
    "option": (options_with(cell=3), "cell is 3"),
    "vocabulary type": (config_with(vocabulary=["a"]), "vocabulary is"),
    "vocabulary order": (config_with(vocabulary="ba\n"), "vocabulary does not fit"),
    "vocabulary no end": (config_with(vocabulary="Taluyó"), "vocabulary does not fit"),
    "vocabulary size": (config_with(vocabulary="\nab"), r"embedding\.W is float32 \(8, 2\)"),
    "hidden": (options_with(hidden=60_000), "its config.json needs"),
    "cut": (model(lambda data: data[:-9]), "is cut short"),
    "head cut": (model(lambda data: data[:5]), "is cut short"),
    "empty": (model(lambda data: b""), "is cut short"),
    "foreign": (model(lambda data: b"PK\x03\x04" * 99), "no safetensors file"),
    "keys": (model(lambda _: save({"lm": np.ones(3)})), r"holds lm; its config\.json needs cell\.Wh"),
    "no tensors": (model(lambda _: save({})), "holds nothing"),
    "dtype": (model_with(**{"head.b": np.ones(7)}), r"head\.b is float64 \(7,\)"),
    "nan": (model_with(**{"head.b": np.full(8, np.nan, "f4")}), r"head\.b holds values that are not finite"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_run_is_one_clear_sentence(tmp_path, name):
    make(tmp_path)
    spoil, expected = BROKEN[name]
    spoil(tmp_path)
    with pytest.raises(DataError, match=expected) as caught:
        load(tmp_path)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_no_folder(tmp_path):
    with pytest.raises(DataError, match="There is no folder"):
        load(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is no folder"):
        load(tmp_path / "file")


def test_a_run_moves_between_backends(tmp_path):
    with use_backend("strict"):
        make(tmp_path)
    run = load(tmp_path)
    assert all(isinstance(p, np.ndarray) for p in run.params.values())
    assert issubclass(DataError, RnnxError)
