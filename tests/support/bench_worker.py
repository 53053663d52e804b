"""A worker of `rnnx bench` whose peer is rnnx itself, with a fault: ``bench_worker.py KIND NAME``.

The name of the peer is that of the fault; "sound" has none.
"""

import os
import sys

from rnnx import backends
from rnnx.backends import peers
from rnnx.bench import problem, worker
from rnnx.bench.clock import turn
from rnnx.cells import REGISTRY

FAULTS = (
    "ends at its start", "ends at a layer", "ends in its second turn", "prints", "other function",
    "other gradient", "lacks a gradient", "not a number", "other shape", "has no cell", "does not train",
)  # fmt: skip


class FaultyPeer:
    def __init__(self, fault):
        self.fault = fault
        self.CELLS = () if fault == "has no cell" else tuple(REGISTRY)

    def version(self):
        if self.fault == "ends at its start":
            sys.stderr.write("libfast.so: cannot open shared object file\n")
            sys.exit(3)
        return f"Faulty 1.0, {self.fault}"

    def bind(self, cell, work):
        if self.fault == "ends at a layer":
            os.abort()
        if self.fault == "prints":
            os.write(1, b"a banner of some C library\n")
            print("a banner of some Python library")
        T, N, D = work.x.shape
        task = problem.Problem(cell, worker.Sizes("", T, N, D, work.dy.shape[-1]))
        layer = problem.bind(task, backends.resolve("numpy"), work)
        return self.spoil(layer)

    def spoil(self, layer):
        if self.fault == "other function":
            return layer._replace(y=lambda y: y * 1.01)
        if self.fault == "not a number":
            return layer._replace(y=lambda y: y * float("nan"))
        if self.fault == "other shape":
            return layer._replace(y=lambda y: y[:1])
        if self.fault == "does not train":
            return layer._replace(train=None)
        if self.fault == "other gradient":
            return layer._replace(
                gradients=lambda found: layer.gradients(found) | {"Wh": layer.gradients(found)["Wh"] * 2}
            )
        if self.fault == "lacks a gradient":
            return layer._replace(gradients=lambda found: {"x": layer.gradients(found)["x"]})
        return layer


def dying_turn(call, seconds, done=[]):  # noqa: B006 - it counts
    """The second turn of a process is its last."""
    done.append(1)
    if len(done) == 2:
        raise ZeroDivisionError("the layer is lost")
    return turn(call, seconds)


if __name__ == "__main__":
    peers.load = FaultyPeer
    if sys.argv[2] == "ends in its second turn":
        worker.turn = dying_turn
    worker.main()
