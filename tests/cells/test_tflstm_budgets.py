"""What a diagonal of the TF-LSTM costs on a CUDA device, however many blocks it has.

That is the difference between sequences of two lengths, divided by the diagonals between them; the lengths
make whole groups of diagonals.
"""

from typing import NamedTuple

import pytest

from rnnx import TFLSTM
from rnnx.wavefront import GROUP
from support import simulator
from support.cells import make_case


class Cost(NamedTuple):
    """Launches and products."""

    launch: int
    gemm: int


FORWARD = Cost(2, 1)  # the gates, and a copy of h for the blocks above
BACKWARD = Cost(3, 1)  # the gates, and one sum for each recurrence
PER_GROUP = Cost(13, 1)  # gradients of the parameters, and those of the windows put together

pytestmark = pytest.mark.parametrize("backend", ["cupy"], indirect=True)


def counts(backend, rng, blocks, diagonals, training=True, change=lambda case: case):
    """Counts of both passes with so many blocks and diagonals, after a run that compiles the kernels."""
    cell = TFLSTM(blocks + 1, 4, 2, 1)
    case = change(make_case(cell, rng, diagonals - blocks + 1, 2).on(backend, "float32"))
    for _ in range(2):
        with simulator.counted() as forward:
            _, _, tape = cell.forward(case.params, case.x, case.state, training=training)
        with simulator.counted() as backward:
            if training:
                cell.backward(tape, case.dy, case.dstate)
    return forward, backward


def between(backend, rng, blocks, **options):
    """Launches and products that one more group of diagonals costs, forward and backward."""
    short, long = (counts(backend, rng, blocks, n * GROUP, **options) for n in (1, 2))
    return [
        Cost(*(after[kind] - before[kind] for kind in Cost._fields))
        for before, after in zip(short, long, strict=True)
    ]


def times(cost, count, more=(0, 0)):
    return Cost(*(one * count + other for one, other in zip(cost, more, strict=True)))


@pytest.mark.parametrize("blocks", [1, 2, 3, 8])
def test_a_diagonal_costs_the_same_with_any_number_of_blocks(backend, rng, blocks):
    saved = 1 if blocks == 1 else 0  # one block has no neighbour, so nothing is moved
    forward, backward = (cost._replace(launch=cost.launch - saved) for cost in (FORWARD, BACKWARD))
    assert between(backend, rng, blocks) == [times(forward, GROUP), times(backward, GROUP, PER_GROUP)]


def test_no_upstream_gradient_of_y_changes_nothing(backend, rng):
    found = between(backend, rng, 3, change=lambda case: case._replace(dy=None))
    assert found == [times(FORWARD, GROUP), times(BACKWARD, GROUP, PER_GROUP)]


def test_without_a_tape_a_diagonal_costs_the_same(backend, rng):
    forward, _ = between(backend, rng, 3, training=False)
    assert forward == times(FORWARD, GROUP)


@pytest.mark.parametrize("blocks", [2, 5, 8])
def test_there_is_one_product_for_each_diagonal(backend, rng, blocks):
    forward, backward = counts(backend, rng, blocks, GROUP)
    assert forward["gemm"] == GROUP
    assert backward["gemm"] == GROUP + PER_GROUP.gemm


def test_a_diagonal_of_the_forward_pass_allocates_nothing(backend, rng):
    (short, _), (long, _) = (counts(backend, rng, 3, n * GROUP) for n in (1, 2))
    assert short["alloc"] == long["alloc"]
