"""Paths as the command line takes them."""

from pathlib import Path

from rnnx.errors import OptionError


def path(value: str) -> Path:
    """Return the path; an empty one would mean the current folder, which nobody types."""
    if not value:
        raise OptionError("A path is empty; expected the name of a file or folder.")
    return Path(value)
