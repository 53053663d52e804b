"""Threads that share a step meet wherever one needs what another has written, or the other way round."""

import itertools

import pytest

from rnnx.backends.meeting import BEGINNING, meetings
from rnnx.cells import REGISTRY
from rnnx.typing import Block, Body, Product, Script
from support.cells import CHAINS, script_of


def accesses(script, backward, steps):
    """What the steps do, in order: number, all rows that are read, own rows that are written.

    Memory is named by what it is, not by what a step calls it.
    """
    for t in range(steps):
        rows = {"prev": t + 1, "next": t} if backward else {"prev": t, "next": t + 1}

        def memory(block, k, t=t, rows=rows):
            kind, _, number = block.slab.partition(" ")
            if kind in rows:
                return "state", number, rows[kind], 0
            return kind, number, t if kind in ("pre", "saved") and backward else 0, k

        if backward:
            yield BEGINNING, set(), {("d", "0", 0, 0)}
        else:
            yield BEGINNING, {("input", "", t % 2, 0)}, {("pre", "", 0, k) for k in range(8)}
        for number, call in enumerate(script.calls):
            outputs = (call.out,) if isinstance(call, Product) else call.outputs
            written = {memory(out, k) for out in outputs for k in range(out.start, out.stop)}
            read = set()
            if isinstance(call, Product):
                read = {memory(call.b, k) for k in range(call.b.start, call.b.stop)}
            yield number, read, written
        if not backward:
            yield None, set(), {("input", "", (t + 1) % 2, 0)}


def unmet(script, backward, waits):
    """Pairs of calls that touch rows of each other without a meeting between them."""
    done = list(accesses(script, backward, 4))
    for (i, first), (j, second) in itertools.combinations(enumerate(done), 2):
        if first[1] & second[2] or first[2] & second[1]:
            between = [number for number, _, _ in done[i + 1 : j + 1]]
            if not any(number in waits for number in between if number is not None):
                yield first[0], second[0]


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("name", CHAINS)
def test_every_conflict_has_a_meeting_before_it(name, backward):
    script = script_of(REGISTRY[name](3, 4), backward)
    waits = meetings(script, backward)
    assert list(unmet(script, backward, waits)) == []
    for number in waits:  # and none is needless
        assert list(unmet(script, backward, waits - {number})) != [], number


def test_the_meetings_of_an_lstm_and_of_a_gru():
    assert meetings(script_of(REGISTRY["lstm"](3, 4), False), backward=False) == {BEGINNING}
    assert meetings(script_of(REGISTRY["lstm"](3, 4), True), backward=True) == {1}
    # The product reads a block that the next step's body writes.
    assert meetings(script_of(REGISTRY["gru"](3, 4), True), backward=True) == {0, 1}


PRE, D0, D1, *SCRATCH = (Block(name, 0, 1) for name in ("pre", "d 0", "d 1", "scratch 0", "scratch 1"))
BODY = script_of(REGISTRY["rnn"](3, 4), False).calls[-1].program


@pytest.mark.parametrize(
    ("calls", "backward", "expected"),
    [
        ([Product(0, SCRATCH[0], SCRATCH[1], False), Product(1, SCRATCH[1], D1, False)], True, {0, 1}),
        ([Product(0, PRE, SCRATCH[0], False), Body(BODY, (SCRATCH[0],), (D1,))], False, {BEGINNING, 0}),
        (
            [
                Product(0, D0, SCRATCH[0], False),
                Body(BODY, (SCRATCH[0],), (PRE, D0)),
                Product(1, PRE, SCRATCH[1], False),
                Body(BODY, (SCRATCH[1],), (D1,)),
            ],
            True,
            {0, 1, 2},
        ),
    ],
    ids=["of a product", "of the projection", "of the gradient from above"],
)
def test_products_of_what_others_wrote(calls, backward, expected):
    script = Script("steps_backward" if backward else "steps_forward", tuple(calls), (1, 1))
    waits = meetings(script, backward)
    assert list(unmet(script, backward, waits)) == []
    assert waits == expected
