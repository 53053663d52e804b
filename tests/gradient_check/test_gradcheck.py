"""The gradient check: it passes what is right, on every backend, and catches what is wrong, by name."""

import json

import numpy as np
import pytest

import rnnx
from rnnx import states
from rnnx.cells import REGISTRY
from rnnx.containers import CONTAINERS
from rnnx.gradient_check.check import check, divisor
from rnnx.gradient_check.layers import LAYERS
from rnnx.gradient_check.problem import Problem, cell_problems
from rnnx.gradient_check.report import FORWARD
from support.sabotage import TENSORS

ALL = REGISTRY | CONTAINERS


@pytest.mark.parametrize("name", ALL)
def test_every_gradient_of_every_cell_and_container(name, backend):
    report = check(cell_problems(ALL[name], name), backend)
    assert report.passed, str(report)
    cell = ALL[name](2, 3)
    tensors = {*cell.param_shapes, "x", *dict(states.leaves(cell.state_sizes))}
    oracle = "complex step" if cell.analytic and backend.complex else "central differences"
    oracles = {oracle, "autograd"} if backend.autograd and cell.causal else {oracle}
    outputs = {"y", *dict(states.leaves(cell.state_sizes, "final"))}
    ways = FORWARD if cell.causal else FORWARD[:1]
    expected = {(t, o) for t in tensors for o in oracles} | {(t, o) for t in outputs for o in ways}
    assert {(row.tensor, row.oracle) for row in report.rows} == expected
    assert {row.backend for row in report.rows} == {str(backend)}
    assert all(row.error <= 1e-12 for row in report.rows if row.oracle == "complex step")


@pytest.mark.parametrize("name", LAYERS)
def test_every_gradient_of_every_layer_and_loss(name, backend):
    report = check(LAYERS[name](), backend)
    assert report.passed, str(report)
    assert all(row.oracle == "complex step" for row in report.rows) or not backend.complex


@pytest.mark.parametrize("name", [name for name in REGISTRY if name != "rnn-relu"])
def test_large_sizes_are_checked_along_directions(name):
    report = rnnx.gradcheck(REGISTRY[name](50, 60), steps=7, batch=3)
    assert report.passed, str(report)
    assert {row.oracle for row in report.rows} == {"directional complex step", *FORWARD}


@pytest.mark.parametrize("sabotaged", TENSORS, ids=lambda cell: cell.__name__)
def test_catches_every_sabotaged_cell_and_names_the_tensors(sabotaged):
    report = rnnx.gradcheck(sabotaged(3, 4))
    assert not report.passed
    assert {row.tensor for row in report.failures} == TENSORS[sabotaged], str(report)


@pytest.mark.parametrize("sabotaged", [cell for cell in TENSORS if cell.__name__ != "FlooredDerivative"])
def test_catches_sabotage_along_directions_too(sabotaged):
    report = rnnx.gradcheck(sabotaged(50, 60), steps=5)
    assert {row.oracle for row in report.rows} == {"directional complex step", *FORWARD}
    assert TENSORS[sabotaged] <= {row.tensor for row in report.failures}, str(report)


def test_central_differences_catch_sabotage(monkeypatch):
    for sabotaged, tensors in TENSORS.items():
        monkeypatch.setattr(sabotaged, "analytic", False)
        report = rnnx.gradcheck(sabotaged(2, 3), steps=3)
        assert {row.oracle for row in report.rows} == {"central differences", *FORWARD}
        assert {row.tensor for row in report.failures} == tensors, str(report)


def test_autograd_catches_sabotage(torch):
    for sabotaged, tensors in TENSORS.items():
        rows = rnnx.gradcheck(sabotaged(2, 3), backend="torch").rows
        by_autograd = {row.tensor for row in rows if row.oracle == "autograd" and not row.passed}
        if sabotaged.__name__ not in NOT_BY_AUTOGRAD:
            assert by_autograd == tensors, sabotaged.__name__


NOT_BY_AUTOGRAD = {"WrongShape", "ExtraKey", "MissingKey", "OtherInference", "OtherStep"}
"""Nothing to compare with, or no gradient; the other oracles' rows have them."""


def test_a_kink_is_counted_and_not_passed():
    point = np.array([0.5, 2e-6, -0.5])

    def forward(values):
        x = values["x"]
        gradient = np.where(x > 0.0, 1.0, 0.0)
        return {"y": np.maximum(x, 0.0)}, lambda upstream: {"x": gradient * upstream["y"]}

    report = check([Problem("relu", "near 0", {"x": point}, forward, analytic=False)], rnnx.get_backend())
    (row,) = report.rows
    assert (row.entries, row.skipped, row.passed) == (4, 2, True)
    assert str(report) == "1 gradients agree with their oracles; 2 entries that lie at a kink were left out."


def test_mostly_skipped_is_a_failure():
    point = np.array([0.5, 2e-6, -2e-6])

    def forward(values):
        x = values["x"]
        gradient = np.where(np.abs(x) > 0.1, 1.0, 7.0) * (x > 0.0)
        return {"y": np.maximum(x, 0.0)}, lambda upstream: {"x": gradient * upstream["y"]}

    report = check([Problem("relu", "near 0", {"x": point}, forward, analytic=False)], rnnx.get_backend())
    assert not report.passed
    assert str(report) == (
        "relu on numpy: the gradient of x was NOT CHECKED by central differences: 4 of 6 steps meet a kink."
    )


def test_nothing_compared_is_a_failure():
    def forward(values):
        x = values["x"]
        return {"y": np.abs(x)}, lambda upstream: {"x": np.sign(x) * upstream["y"]}

    problem = Problem("abs", "at 0", {"x": np.array([1e-6])}, forward, analytic=False)
    assert not check([problem], rnnx.get_backend()).passed
    assert not check([], rnnx.get_backend()).passed


def test_the_report_as_text_and_json():
    (cell,) = (cell for cell in TENSORS if cell.__name__ == "WrongSign")
    report = rnnx.gradcheck(cell(3, 4))
    assert str(report).startswith(
        "WrongSign on numpy: the gradient of x DIFFERS from the complex step: "
        "relative error 2.0e+00 (at most 1e-12) at x["
    )
    data = json.loads(report.to_json())
    assert data["passed"] is False
    by_tensor = {row["tensor"]: row for row in data["rows"]}
    assert by_tensor["x"]["passed"] is False
    assert by_tensor["Wx"]["passed"] is True
    assert by_tensor["x"]["analytic"] == -by_tensor["x"]["numeric"] or by_tensor["x"]["error"] > 1.9
    assert str(rnnx.gradcheck(rnnx.RNN(2, 3))) == "5 gradients agree with their oracles."


def test_what_a_difference_is_relative_to():
    np.testing.assert_array_equal(divisor(np.array([1.0, -2.0]), np.array([1.5, 1.0])), [1.5, 2.0])
    np.testing.assert_array_equal(divisor(np.array([100.0, 1e-9]), np.array([100.0, 0.0])), [100.0, 1.0])
    np.testing.assert_array_equal(divisor(np.zeros(3), np.zeros(3)), np.ones(3))
    np.testing.assert_array_equal(divisor(np.zeros(2), np.zeros(2), np.array([5.0, 0.0])), [5.0, 1.0])


@pytest.mark.parametrize("cell", ["lstm", None, 3, rnnx.LSTM])
def test_what_is_no_cell_is_refused(cell):
    with pytest.raises(rnnx.OptionError, match=r"gradcheck: cell is .*; expected a cell, such as rnnx\.LSTM"):
        rnnx.gradcheck(cell)


@pytest.mark.parametrize("size", ["steps", "batch"])
def test_sizes_of_zero_are_refused(size):
    with pytest.raises(rnnx.OptionError, match=f"gradcheck: {size} is 0; expected an integer of at least 1"):
        rnnx.gradcheck(rnnx.RNN(2, 3), **{size: 0})


@pytest.mark.parametrize("name", REGISTRY)
def test_no_false_alarm_at_large_sizes(name):
    report = rnnx.gradcheck(REGISTRY[name](150, 200), steps=6, batch=3)
    assert report.passed, str(report)


def test_a_backend_without_float64_is_refused():
    from dataclasses import replace

    single = replace(rnnx.get_backend(), name="single", double=False)
    with pytest.raises(rnnx.BackendError, match="needs float64, which single does not have"):
        rnnx.gradcheck(rnnx.RNN(2, 3), backend=single)
