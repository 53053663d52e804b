"""A crash at any step leaves the old file or the new one."""

import os
from pathlib import Path
from typing import Any

import pytest

from rnnx.charlm.files import append_line, write_atomically
from rnnx.errors import OptionError


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


def test_lines_are_appended_in_one_write_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    write = os.write

    def recorded(descriptor: int, data: bytes) -> int:
        written.append(data)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", recorded)
    path = tmp_path / "log.jsonl"
    for line in ("{}", "ñ", ""):
        append_line(path, line)
    assert path.read_bytes() == "{}\nñ\n\n".encode()
    assert written == [b"{}\n", "ñ\n".encode(), b"\n"]


def test_each_line_is_synced_and_a_new_file_s_name_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.jsonl"
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(path.read_bytes()))
    append_line(path, "1")
    assert synced == [b"1\n"] * (1 if os.name == "nt" else 2)
    append_line(path, "2")
    assert synced[-1] == b"1\n2\n"
    assert synced.count(b"1\n2\n") == 1


@pytest.mark.parametrize("before", [b"", b"1\n", b"1\n2\n"])
def test_a_line_cut_by_a_crash_is_dropped_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(before)
    write = os.write

    def cut(descriptor: int, data: bytes) -> int:
        write(descriptor, data[:3])
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", cut)
        with pytest.raises(Crash):
            append_line(path, "a long line")
    assert path.read_bytes() == before + b"a l"

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", crash)
        with pytest.raises(Crash):
            append_line(path, "next")
    assert path.read_bytes() == before + b"a l"

    append_line(path, "next")
    assert path.read_bytes() == before + b"next\n"
    assert os.listdir(tmp_path) == ["log.jsonl"]


def test_a_full_disk_leaves_the_earlier_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    append_line(path, "1")
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    with pytest.raises(OSError, match="Only 3 of a line's 12 bytes"):
        append_line(path, "a long line")
    assert path.read_bytes() == b"1\n"


def test_a_line_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="holds a newline"):
        append_line(tmp_path / "log.jsonl", "a\nb")
    assert not (tmp_path / "log.jsonl").exists()
