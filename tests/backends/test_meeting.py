"""Threads that share a step meet wherever one needs what another has written, or the other way round."""

import itertools

import pytest

from rnnx.backends import resolve
from rnnx.backends.meeting import PROJECTION, meetings
from rnnx.cells import REGISTRY
from rnnx.ops import capture
from rnnx.typing import Block, Product, Script


def script_of(name, backward):
    cell = REGISTRY[name](3, 4)
    if not hasattr(cell, "bind_forward"):
        pytest.skip("no chain of steps")
    return capture.script(cell, resolve("numpy"), backward)


def accesses(script, projects, steps):
    """What the steps do, in order: meetings, all rows that are read, own rows that are written.

    Memory is named by what it is, not by what a step calls it.
    """
    backward = not projects
    for t in range(steps):
        rows = {"prev": t + 1, "next": t} if backward else {"prev": t, "next": t + 1}

        def memory(block, k, t=t, rows=rows):
            kind, _, number = block.slab.partition(" ")
            if kind in rows:
                return "state", number, rows[kind], 0
            return kind, number, t if kind in ("pre", "saved") and backward else 0, k

        if projects:
            yield PROJECTION, {("input", "", t % 2, 0)}, {("pre", "", 0, k) for k in range(8)}
        for number, call in enumerate(script.calls):
            outputs = (call.out,) if isinstance(call, Product) else call.outputs
            written = {memory(out, k) for out in outputs for k in range(out.start, out.stop)}
            read = set()
            if isinstance(call, Product):
                read = {memory(call.b, k) for k in range(call.b.start, call.b.stop)}
            yield number, read, written
        if projects:
            yield None, set(), {("input", "", (t + 1) % 2, 0)}


def unmet(script, projects, waits):
    """Pairs of calls that touch rows of each other without a meeting between them."""
    done = list(accesses(script, projects, 4))
    for (i, first), (j, second) in itertools.combinations(enumerate(done), 2):
        if first[1] & second[2] or first[2] & second[1]:
            between = [number for number, _, _ in done[i + 1 : j + 1]]
            if not any(number in waits for number in between if number is not None):
                yield first[0], second[0]


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("name", REGISTRY)
def test_every_conflict_has_a_meeting_before_it(name, backward):
    script = script_of(name, backward)
    waits = meetings(script, projects=not backward, kept=backward)
    assert list(unmet(script, not backward, waits)) == []
    for number in waits:  # and none is needless
        assert list(unmet(script, not backward, waits - {number})) != [], number


def test_the_meetings_of_an_lstm_and_of_a_gru():
    assert meetings(script_of("lstm", False), projects=True, kept=False) == {PROJECTION}
    assert meetings(script_of("lstm", True), projects=False, kept=True) == {1}
    # The product reads a block that the next step's body writes.
    assert meetings(script_of("gru", True), projects=False, kept=True) == {0, 1}


def test_a_product_of_what_another_product_wrote():
    whole = [Block(f"scratch {k}", 0, 1) for k in range(3)]
    calls = Product(0, whole[0], whole[1], False), Product(1, whole[1], whole[2], False)
    assert meetings(Script("two_forward", calls, (1, 1, 1)), projects=False, kept=False) == {0, 1}
