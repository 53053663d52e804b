"""The other end of a worker: its process, what it is asked, and how it died."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

TAIL = 12
"""Lines of a dead process's stderr that are reported."""

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "PJRT_NPROC",
)
"""Variables that a library reads its number of threads from, where it is loaded."""


class Library(NamedTuple):
    """A library to measure: a backend of rnnx, a peer, or NumPy's matrix product."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"rnnx {self.name}" if self.kind == "rnnx" else self.name

    @property
    def command(self) -> Sequence[str]:
        """How its process is started; -P, since a folder "rnnx" in the current one is not the package."""
        return [sys.executable, "-P", "-m", "rnnx.bench.worker", self.kind, self.name]


GEMM = Library("gemm", "GEMM")


class Died(Exception):
    """A worker ended before its answer."""


def environment(threads: int | None) -> dict[str, str]:
    """Environment of the workers: this process's, with that number of threads for every library."""
    own = dict(os.environ)
    return own if threads is None else own | dict.fromkeys(THREADS, str(threads))


class Process:
    """A worker, started at once; a context manager, which ends it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - close() ends it; a pipe would fill up
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            encoding="utf-8",
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises
        ------
        Died
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Wait for an answer, as after the start.

        Raises
        ------
        Died
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            raise self._died()
        found: dict[str, Any] = json.loads(line)
        return found

    def _died(self) -> Died:
        status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        return Died("\n".join([f"Its process ended {how}.", *lines[-TAIL:]]))

    def close(self) -> None:
        """End the process and forget what it wrote."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()
