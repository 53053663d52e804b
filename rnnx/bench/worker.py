"""One library in a process of its own: ``python -m rnnx.bench.worker KIND NAME``.

It answers JSON lines with JSON lines: first of all what library it is, then, for each problem, how far its
results are from rnnx's, and for each turn its times. An error ends it; the traceback is on stderr.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rnnx import backends
from rnnx.backends import peers
from rnnx.backends.registry import library_and_version
from rnnx.bench import problem
from rnnx.bench.clock import turn
from rnnx.bench.problem import PASSES, Problem
from rnnx.bench.sizes import Sizes
from rnnx.errors import BackendError

Bind = Callable[[Problem], tuple[peers.Layer | None, dict[str, float]]]


@dataclass(frozen=True)
class Side:
    """A library as the worker sees it."""

    library: str
    details: dict[str, str]
    bind: Bind


def side(kind: str, name: str) -> Side:
    """Load a library: an rnnx backend, a peer, or NumPy for its matrix product.

    Raises
    ------
    BackendError
    """
    if kind == "gemm":
        return Side(
            library_and_version(str(backends.resolve("numpy"))), {}, lambda p: (problem.product(p), {})
        )
    if kind == "peer":
        peer = peers.load(name)

        def bind_peer(task: Problem) -> tuple[peers.Layer | None, dict[str, float]]:
            return checked(task, peer.bind) if task.cell in peer.CELLS else (None, {})

        return Side(peer.version(), {}, bind_peer)
    backend = backends.set_backend(name)
    found = {"device": str(backend.device), "kernels": backend.kernels} | backend.details()
    details = {what: value.replace(str(Path.home()), "~") for what, value in found.items()}
    return Side(
        library_and_version(name),
        details,
        lambda task: checked(task, lambda _, work: problem.bind(task, backend, work)),
    )


def checked(
    task: Problem, bind: Callable[[str, peers.Work], peers.Layer]
) -> tuple[peers.Layer, dict[str, float]]:
    """A layer, and how far its results are from rnnx's."""
    work = task.work
    layer = bind(task.cell, work)
    return layer, problem.errors(task, layer, work)


def serve(kind: str, name: str, requests: Iterator[str], replies: IO[str]) -> None:
    """Answer requests until there are no more."""

    def reply(**content: Any) -> None:
        replies.write(json.dumps(content) + "\n")
        replies.flush()

    try:
        library = side(kind, name)
    except BackendError as error:
        reply(problem=error.problem, hint=error.hint)
        return
    reply(library=library.library, details=library.details)
    layer: peers.Layer | None = None
    for line in requests:
        request = json.loads(line)
        if request["do"] == "bind":
            layer = None  # its memory goes before that of the next one comes
            layer, errors = library.bind(Problem(request["cell"], Sizes(*request["sizes"])))
            passes = [which for which in PASSES if layer and getattr(layer, which)]
            finite = {key: value if math.isfinite(value) else None for key, value in errors.items()}
            reply(passes=passes, errors=finite)  # JSON has no infinity
        else:
            reply(**turn(getattr(layer, request["pass"]), request["seconds"])._asdict())


def main() -> None:
    """Serve the process that started this one; what libraries print goes to stderr."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.argv[1], sys.argv[2], iter(sys.stdin), replies)


if __name__ == "__main__":
    main()
