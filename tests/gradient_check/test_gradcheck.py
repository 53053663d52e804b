"""The gradient check: it passes what is right, on every backend, and catches what is wrong, by name."""

import json
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import rnnx
from rnnx import backends, states
from rnnx.cells import REGISTRY
from rnnx.containers import CONTAINERS
from rnnx.gradient_check.check import check, failing
from rnnx.gradient_check.comparison import Place, compare, divisor, worse
from rnnx.gradient_check.examination import AUTOGRAD
from rnnx.gradient_check.layers import LAYERS
from rnnx.gradient_check.oracles import ADJOINT, ALONG, COMPLEX, DIFFERENCES, DIRECTIONS
from rnnx.gradient_check.precision import against, dtypes
from rnnx.gradient_check.problem import Problem, cell_problem, cell_problems
from rnnx.gradient_check.report import AGAIN, ENDED, FORWARD, LARGE, LINEAR, PADDING
from support import sabotage, sabotage_peephole, sabotage_sru

TENSORS = sabotage.TENSORS | sabotage_peephole.TENSORS | sabotage_sru.TENSORS
ALL = REGISTRY | CONTAINERS
ORACLES = (COMPLEX, DIFFERENCES, AUTOGRAD, ADJOINT, DIRECTIONS)


def oracles(report):
    return {row.oracle for row in report.rows} & set(ORACLES)


@pytest.mark.parametrize("name", ALL)
def test_every_gradient_of_every_cell_and_container(name, backend):
    report = check(cell_problems(ALL[name], name), backend)
    assert report.passed, str(report)
    cell = ALL[name](2, 3)
    tensors = {*cell.param_shapes, "x", *dict(states.leaves(cell.state_sizes))}
    oracle = COMPLEX if cell.analytic and backend.complex else DIFFERENCES
    oracle = oracle if backend.name == "numpy" else ALONG[oracle]
    oracles = {oracle, AUTOGRAD} if backend.autograd and cell.causal else {oracle}
    outputs = {"y", *dict(states.leaves(cell.state_sizes, "final"))}
    known = [(row.tensor, row.oracle) for row in report.rows]
    assert {(t, o) for t, o in known if o in ORACLES} == {(t, o) for t in tensors for o in oracles}
    ways = {*(FORWARD if cell.causal else FORWARD[:1]), AGAIN}
    assert {(t, o) for t, o in known if o in (*FORWARD, AGAIN)} == {(t, o) for t in outputs for o in ways}
    precisions = {row.oracle: set() for row in report.rows if row.kind == "precision"}
    for tensor, oracle in known:
        if oracle in precisions:
            precisions[oracle].add(tensor)
    expected = [dtype for dtype in dtypes(backend) if dtype != "float64" or backend.name != "numpy"]
    without_half = not cell.analytic or any("not checked in float16" in note for note in report.notes)
    expected = [dtype for dtype in expected if dtype != "float16" or not without_half]
    assert precisions == {against(dtype): tensors for dtype in expected}
    assert {t for t, o in known if o == LINEAR} == tensors
    assert [(t, o) for t, o in known if o in (PADDING, ENDED)] == [("y", ENDED), ("x", PADDING)]
    assert {row.backend for row in report.rows} == {str(backend)}
    assert all(row.error <= 1e-12 for row in report.rows if row.oracle == COMPLEX)


@pytest.mark.parametrize("name", LAYERS)
def test_every_gradient_of_every_layer_and_loss(name, backend):
    report = check(LAYERS[name](), backend)
    assert report.passed, str(report)
    oracle = COMPLEX if backend.complex else DIFFERENCES
    oracle = oracle if backend.name == "numpy" else ALONG[oracle]
    assert {row.oracle for row in report.gradients} == {oracle}


@pytest.mark.parametrize("name", REGISTRY)
def test_large_sizes_are_checked_along_directions(name):
    report = rnnx.gradcheck(REGISTRY[name](80, 90), steps=6, batch=3)
    assert report.passed, str(report)
    assert oracles(report) == {DIRECTIONS if name == "rnn-relu" else ADJOINT}


def test_a_million_parameters():
    """How long it takes for every cell is measured by tests/bench/gradcheck_speed.py."""
    problem = cell_problem(rnnx.LSTM(256, 384), "lstm", "T=2, N=1", 2, 1)
    assert problem.entries > 980_000
    report = check([problem], rnnx.get_backend())
    assert report.passed, str(report)
    assert oracles(report) == {ADJOINT}
    assert all(row.error < 1e-12 for row in report.gradients)


@pytest.mark.parametrize("sabotaged", TENSORS, ids=lambda cell: cell.__name__)
def test_catches_every_sabotaged_cell_and_names_the_tensors(sabotaged):
    report = sabotage.checked(sabotaged)
    assert not report.passed
    assert {row.tensor for row in report.failures} == TENSORS[sabotaged], str(report)


@pytest.mark.parametrize("sabotaged", [cell for cell in TENSORS if cell.__name__ != "FlooredDerivative"])
def test_catches_sabotage_along_directions_too(sabotaged):
    report = rnnx.gradcheck(sabotaged(40, 45), steps=4)
    assert oracles(report) == {ADJOINT}
    assert TENSORS[sabotaged] <= {row.tensor for row in report.failures}, str(report)


def small(sabotaged):
    """Problems of a sabotaged cell that are soon checked."""
    cell, name = sabotaged(2, 2), sabotaged.__name__
    options = {"FlooredDerivative": {"saturated": True}, "WrongWithoutState": {"with_state": False}}
    return [cell_problem(cell, name, "T=3, N=1", 3, 1, **options.get(name, {}))]


def test_central_differences_catch_sabotage(monkeypatch):
    for sabotaged, tensors in TENSORS.items():
        monkeypatch.setattr(sabotaged, "analytic", False)
        report = check(small(sabotaged), rnnx.get_backend())
        assert oracles(report) == {DIFFERENCES}
        assert {row.tensor for row in report.failures} == tensors, str(report)


def test_torch_catches_sabotage_and_so_does_its_autograd(torch):
    for sabotaged, tensors in TENSORS.items():
        rows = check(small(sabotaged), backends.resolve("torch")).rows
        by_others = {row.tensor for row in rows if row.oracle != AUTOGRAD and not row.passed}
        assert by_others == tensors, sabotaged.__name__
        by_autograd = {row.tensor for row in rows if row.oracle == AUTOGRAD and not row.passed}
        if sabotaged.__name__ not in NOT_BY_AUTOGRAD:
            assert by_autograd == tensors, sabotaged.__name__


NOT_BY_AUTOGRAD = {"WrongShape", "ExtraKey", "MissingKey", "OtherInference", "OtherStep"}
"""Nothing to compare with, or no gradient; the other oracles' rows have them."""


def relu(values, near=0.0, gradient=1.0):
    """The larger one of x and 0, and a gradient that may be wrong near 0."""
    x = values["x"]
    slope = (np.where(np.abs(x) > near, 1.0, gradient) * (x > 0.0)).astype(x.dtype)
    return {"y": np.maximum(x, 0.0)}, lambda upstream: {"x": slope * upstream["y"]}


def test_a_kink_is_counted_and_not_passed():
    point = np.array([0.5, 2e-12, -0.5])
    report = check([Problem("relu", "near 0", {"x": point}, relu, analytic=False)], rnnx.get_backend())
    (row,) = (row for row in report.rows if row.oracle == DIFFERENCES)
    assert (row.entries, row.skipped, row.passed) == (4, 2, True)
    assert row.skipped_at == ("x[1] (near 0)",) * 2
    assert "2 entries that lie at a kink were left out" in str(report)


def test_a_kink_is_found_exactly_where_it_is():
    point = np.array([0.5, 0.0, -0.5, 0.7])
    report = check([Problem("relu", "at 0", {"x": point}, relu, analytic=False)], rnnx.get_backend())
    (row,) = (row for row in report.rows if row.oracle == DIFFERENCES)
    assert (row.entries, row.skipped, row.passed) == (6, 2, True)


def test_steps_that_meet_a_kink_are_made_smaller():
    point = np.array([0.5, 2e-6, -0.5])
    report = check([Problem("relu", "near 0", {"x": point}, relu, analytic=False)], rnnx.get_backend())
    assert report.passed, str(report)
    assert all(row.skipped == 0 for row in report.rows)
    wrong = Problem("relu", "near 0", {"x": point}, partial(relu, near=1e-3, gradient=1.01), analytic=False)
    assert not check([wrong], rnnx.get_backend()).passed


def test_mostly_skipped_is_a_failure():
    point = np.array([0.5, 2e-12, -2e-12])
    problem = Problem("relu", "near 0", {"x": point}, partial(relu, near=0.1, gradient=7.0), analytic=False)
    report = check([problem], rnnx.get_backend())
    assert not report.passed
    assert str(report) == (
        "relu on numpy: the gradient of x was NOT CHECKED by central differences: 4 of 6 steps meet a kink, "
        "first at x[1] (near 0)."
    )


def test_nothing_compared_is_a_failure():
    def forward(values):
        x = values["x"]
        return {"y": np.abs(x)}, lambda upstream: {"x": np.sign(x) * upstream["y"]}

    problem = Problem("abs", "at 0", {"x": np.array([0.0])}, forward, analytic=False)
    assert not check([problem], rnnx.get_backend()).passed
    assert not check([], rnnx.get_backend()).passed


def test_the_report_as_text_and_json():
    (cell,) = (cell for cell in TENSORS if cell.__name__ == "WrongSign")
    report = rnnx.gradcheck(cell(3, 4))
    assert str(report).startswith(
        "WrongSign on numpy: the gradient of x DIFFERS from the complex step: "
        "relative error 2.0e+00 (at most "
    )
    data = json.loads(report.to_json())
    assert data["passed"] is False
    by_tensor = {row["tensor"]: row for row in data["rows"] if row["oracle"] == COMPLEX}
    assert by_tensor["x"]["passed"] is False
    assert by_tensor["Wx"]["passed"] is True
    assert by_tensor["x"]["analytic"] == -by_tensor["x"]["numeric"] or by_tensor["x"]["error"] > 1.9
    assert by_tensor["x"]["hint"] == "Its sign is wrong."
    assert by_tensor["x"]["margin"] < -10
    assert by_tensor["Wx"]["margin"] > 0
    agree = r"5 gradients agree with the complex step, by \d\.\d digits or more\."
    assert re.fullmatch(agree, str(rnnx.gradcheck(rnnx.RNN(2, 3))))


def test_failures_come_as_they_are_found():
    sabotaged = next(iter(TENSORS))
    problem = cell_problem(sabotaged(3, 4), "cell", "T=3, N=2", 3, 2)
    rows = failing(problem, rnnx.get_backend())
    assert next(rows).tensor in TENSORS[sabotaged]
    assert {row.tensor for row in rows} <= TENSORS[sabotaged]
    assert not list(failing(cell_problem(rnnx.LSTM(3, 4), "cell", "T=3, N=2", 3, 2), rnnx.get_backend()))


def test_of_equal_errors_the_first_is_told():
    problem = Problem("line", "", {"x": np.ones(3)}, lambda v: ({}, lambda up: {}))
    nearly = np.array([2.0, 2.0 + 1e-9, 2.0 - 1e-9])
    found = compare(Place(problem, "numpy", COMPLEX), "x", nearly, np.ones(3), np.zeros(3))
    assert found.row.index == (0,)
    assert worse(found.row, replace(found.row, error=found.row.error + 1e-9, case="later")).case == ""
    large = replace(found.row, error=9.0, upstream=f"y, {LARGE}")
    assert worse(found.row, large).error == worse(large, found.row).error == found.row.error


def test_what_a_difference_is_relative_to():
    np.testing.assert_array_equal(divisor(np.array([1.0, -2.0]), np.array([1.5, 1.0])), [1.5, 2.0])
    np.testing.assert_array_equal(divisor(np.array([100.0, 1e-9]), np.array([100.0, 0.0])), [100.0, 1.0])
    np.testing.assert_array_equal(divisor(np.zeros(3), np.zeros(3)), np.ones(3))
    np.testing.assert_array_equal(divisor(np.zeros(2), np.zeros(2), np.array([5.0, 0.0])), [5.0, 1.0])


@pytest.mark.parametrize("cell", ["lstm", None, 3, rnnx.LSTM])
def test_what_is_no_cell_is_refused(cell):
    with pytest.raises(
        rnnx.OptionError, match=r"gradcheck: the function is .*; expected a cell, such as rnnx\.LSTM"
    ):
        rnnx.gradcheck(cell)


@pytest.mark.parametrize("size", ["steps", "batch"])
def test_sizes_of_zero_are_refused(size):
    with pytest.raises(rnnx.OptionError, match=f"gradcheck: {size} is 0; expected an integer of at least 1"):
        rnnx.gradcheck(rnnx.RNN(2, 3), **{size: 0})


def test_a_backend_without_float64_is_compared_with_numpy():
    single = replace(rnnx.get_backend(), name="single", double=False)
    report = rnnx.gradcheck(rnnx.RNN(2, 3), backend=single)
    assert report.passed, str(report)
    assert {row.oracle for row in report.rows} == {against("float32"), against("float16")}
    assert report.notes == ("RNN on single: no float64 here: compared with NumPy's gradients only.",)
    (wrong,) = (cell for cell in TENSORS if cell.__name__ == "DoubledBias")
    assert rnnx.gradcheck(wrong(2, 3), backend=single).passed  # both are wrong: the oracles are elsewhere
