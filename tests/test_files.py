"""A crash at any step leaves the old file or the new one."""

import os
from pathlib import Path
from typing import Any

import pytest

from rnnx.files import write_atomically


class Crash(BaseException):
    """What no `except Exception` would catch."""


def crash(*arguments: Any, **options: Any) -> None:
    raise Crash


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    for data in (b"one\r\n", b"", b"three\n"):
        write_atomically(path, data)
        assert path.read_bytes() == data
    assert os.listdir(tmp_path) == ["config.json"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_crash_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, before: bytes | None
) -> None:
    path = tmp_path / "model.bin"
    if before is not None:
        path.write_bytes(before)
    monkeypatch.setattr(os, step, crash)
    with pytest.raises(Crash):
        write_atomically(path, b"new")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == (
        {"model.bin": before} if before else {}
    )


def test_the_bytes_are_synced_before_the_name_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")
    steps: list[str] = []
    sync, replace = os.fsync, os.replace

    def recorded_sync(descriptor: int) -> None:
        steps.append(f"sync, {path.read_bytes().decode()}")
        sync(descriptor)

    def recorded_replace(source: Path, target: Path) -> None:
        assert Path(source).parent == target.parent
        assert Path(source).read_bytes() == b"new"
        steps.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_sync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    write_atomically(path, b"new")
    assert steps[:2] == ["sync, old", "replace"]
    assert steps[2:] == ([] if os.name == "nt" else ["sync, new"])


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "model.bin", b"new")
