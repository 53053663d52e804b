"""Files that a crash cannot leave half-written."""

import os
import secrets
from pathlib import Path

from rnnx.errors import OptionError


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content so that a crash leaves the old file or the new one, never half of one.

    The bytes go to a temporary sibling, are synced to the disk, and take the file's name in one step. On
    failure the sibling is removed and the file is as it was.
    Raises OSError where the folder cannot be written to or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def append_line(path: Path, line: str) -> None:
    """Append one line, given without its newline, as UTF-8 in a single write, synced to the disk.

    A last line that a crash cut short (one without a newline) is dropped first. A missing file is made.
    Raises OptionError for a line that holds a newline, OSError where the file cannot be written to or the
    disk is full (a line of which only a part fitted is taken out again).
    """
    if "\n" in line:
        raise OptionError(
            f"append_line: {line!r} holds a newline; expected one line.", "Append each line by itself."
        )
    data = f"{line}\n".encode()
    made = not path.exists()
    if not made:
        _drop_cut_line(path)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        before = os.fstat(descriptor).st_size
        written = os.write(descriptor, data)
        if written != len(data):
            os.ftruncate(descriptor, before)
            raise OSError(
                f"Only {written} of a line's {len(data)} bytes could be written to {str(path)!r}: disk full?"
            )
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if made:
        _sync_folder(path.parent)


def _drop_cut_line(path: Path) -> None:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\n":
            return
    data = path.read_bytes()
    write_atomically(path, data[: data.rfind(b"\n") + 1])


def _sync_folder(folder: Path) -> None:
    """Make a new name last through a power cut; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
