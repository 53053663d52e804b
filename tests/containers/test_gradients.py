"""The gradient check of containers, on ragged batches too; it names the layer and direction of an error."""

import pytest

import rnnx
from rnnx.gradient_check.check import check
from rnnx.gradient_check.problem import cell_problem
from support.cells import WithLengths
from support.sabotage_containers import RAGGED, TENSORS

STEPS, LENGTHS = 4, [3, 4, 1]
CELLS = {
    "stack": rnnx.Stack(rnnx.LSTM(2, 1), rnnx.GRU(1, 2), rnnx.RNN(2, 1)),
    "bidirectional": rnnx.Bidirectional(rnnx.GRU(2, 1), rnnx.LSTM(2, 2)),
    "sum": rnnx.Bidirectional(rnnx.LSTM(2, 1), merge="sum"),
    "stack of directions": rnnx.Stack(rnnx.Bidirectional(rnnx.GRU(2, 1)), rnnx.Bidirectional(rnnx.RNN(2, 2))),
    "directions of stacks": rnnx.Bidirectional(rnnx.Stack(rnnx.RNN(2, 2), rnnx.GRU(2, 1)), rnnx.RNN(2, 2)),
    "relu": rnnx.Stack(rnnx.Bidirectional(rnnx.RNN(2, 1, activation="relu")), rnnx.RNN(2, 1)),
}


@pytest.mark.parametrize("name", CELLS)
def test_every_gradient_on_ragged_batches(name, backend):
    cell = WithLengths(CELLS[name], LENGTHS)
    report = check([cell_problem(cell, name, "ragged", STEPS, len(LENGTHS))], backend)
    assert report.passed, str(report)
    assert {row.tensor for row in report.rows} >= {*cell.param_shapes, "x"}


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
@pytest.mark.parametrize("name", TENSORS)
def test_catches_wrong_containers_and_names_layer_and_direction(name, lengths):
    cell, tensors = TENSORS[name]
    assert wrong(cell, lengths) == tensors


@pytest.mark.parametrize("name", RAGGED)
def test_catches_what_is_wrong_on_ragged_batches_only(name):
    cell, tensors = RAGGED[name]
    assert wrong(cell, None) == set()
    assert wrong(cell, LENGTHS) == tensors


def wrong(cell, lengths):
    """Tensors whose gradients differ from the oracle's."""
    cell = cell if lengths is None else WithLengths(cell, lengths)
    problem = cell_problem(cell, "sabotaged", "", STEPS, len(LENGTHS))
    return {row.tensor for row in check([problem], rnnx.get_backend()).failures}
