"""The command line: ``rnnx``, or ``python -m rnnx``."""

import sys
from io import TextIOWrapper


def main() -> None:
    """Run the command line with the arguments of this process, and exit with its status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a console that lacks a character shows "?" for it
            stream.reconfigure(errors="replace")
    try:
        from rnnx.cli.app import app

        app(prog_name="rnnx")
    except KeyboardInterrupt:
        sys.exit(130)
