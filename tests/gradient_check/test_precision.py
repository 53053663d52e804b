"""Lower precisions and other devices are compared with NumPy's float64; what only they get wrong is seen."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

import rnnx
from rnnx.cells import RNN
from rnnx.gradient_check.check import check
from rnnx.gradient_check.precision import against, dtypes
from rnnx.gradient_check.problem import Problem, cell_problem
from rnnx.gradient_check.report import FORWARD

F32, F16, F64 = map(against, ("float32", "float16", "float64"))


def test_the_precisions_of_every_backend(backend):
    problem = cell_problem(rnnx.GRU(2, 3), "gru", "T=3, N=1", 3, 1)
    report = check([problem], backend)
    found = {row.oracle: row for row in report.rows if row.kind == "precision"}
    here = [dtype for dtype in dtypes(backend) if dtype != "float64" or backend.name != "numpy"]
    noted = [dtype for dtype in here if any(f"not checked in {dtype}" in note for note in report.notes)]
    assert found.keys() == set(map(against, here)) - set(map(against, noted))
    assert noted in ([], ["float16"])
    assert not noted or backend.name == "cupy"
    assert report.passed, str(report)
    assert 1e-9 < found[F32].error < 1e-5
    if F16 in found:
        assert 1e-6 < found[F16].error < 3e-2


@dataclass(frozen=True)
class SloppySingle(RNN):
    """A constant that has three digits, in float32 alone."""

    def backward(self, tape, dy=None, dstate=None):
        single = str(tape.dtype).endswith("float32")
        dx, dstate, grads = super().backward(tape, dy, dstate)
        return (dx * 1.001 if single else dx), dstate, grads


def test_a_mistake_in_float32_alone():
    (row,) = rnnx.gradcheck(SloppySingle(3, 4)).failures
    assert (row.tensor, row.oracle) == ("x", F32)
    assert row.hint == "It is 1.001 times the right value where it is wrong: a constant factor."


@dataclass(frozen=True)
class WrongElsewhere(RNN):
    """A wrong gradient on one device only."""

    def backward(self, tape, dy=None, dstate=None):
        dx, dstate, grads = super().backward(tape, dy, dstate)
        elsewhere = tape.backend.name == "elsewhere"
        return dx, dstate, grads | ({"b": grads["b"] * (1.0 + 1e-9)} if elsewhere else {})


def test_a_mistake_on_one_device_alone():
    elsewhere = replace(rnnx.get_backend(), name="elsewhere")
    problem = cell_problem(WrongElsewhere(3, 4), "cell", "T=3, N=2", 3, 2)
    assert check([problem], rnnx.get_backend()).passed
    found = {(row.tensor, row.oracle) for row in check([problem], elsewhere).failures}
    assert found == {("b", "complex step"), ("b", F64)}


def test_rounding_that_grows_is_no_mistake():
    problem = cell_problem(RNN(5, 1), "rnn", "saturated", 4, 3, saturated=True, seed=32)
    report = check([problem], rnnx.get_backend(), 32)
    assert report.passed, str(report)
    worst = max(report.gradients, key=lambda row: row.error)
    assert worst.error > 1e-12  # 1 - tanh(a)**2 has few digits left there


def test_a_mistake_of_that_size_is_not_excused():
    def forward(values):
        y = np.tanh(values["x"])
        return {"y": y}, lambda upstream: {"x": upstream["y"] * (1.0 - y * y) * (1.0 + 1e-9)}

    problem = Problem("tanh", "near 1", {"x": np.linspace(0.2, 1.0, 5)}, forward)
    assert not check([problem], rnnx.get_backend()).passed


def test_a_kink_within_float32s_rounding_is_no_mistake():
    near = np.array([0.3, 1e-9, -0.4, 0.8, 0.9])

    def forward(values):
        x = values["x"]
        a = (x + 1.0) - 1.0
        y = np.maximum(a, 0.0 * a)
        return {"y": y}, lambda upstream: {"x": upstream["y"] * (a > 0.0)}

    problem = Problem("relu", "near 0", {"x": near}, forward, analytic=False)
    report = check([problem], rnnx.get_backend())
    assert report.passed, str(report)
    assert {row.oracle for row in report.rows if row.kind == "precision"} == {F32}


def test_no_dtype_is_compared_that_a_sum_leaves_without_digits():
    problem = cell_problem(RNN(90, 100), "rnn", "T=9, N=5", 9, 5)
    found = {row.oracle for row in check([problem], rnnx.get_backend()).rows if row.kind == "precision"}
    assert found == {F32}


@dataclass(frozen=True)
class WrongDtype(RNN):
    def backward(self, tape, dy=None, dstate=None):
        dx, dstate, grads = super().backward(tape, dy, dstate)
        return dx, dstate, grads | {"b": grads["b"].astype(np.float32)}


@dataclass(frozen=True)
class NoArray(RNN):
    def backward(self, tape, dy=None, dstate=None):
        dx, dstate, grads = super().backward(tape, dy, dstate)
        return dx, dstate, grads | {"b": None}


@pytest.mark.parametrize(
    ("cell", "problem"),
    [(WrongDtype, "gradient of dtype float32, expected float64"), (NoArray, "that is no array on numpy")],
)
def test_gradients_of_another_dtype_and_none_at_all(cell, problem):
    rows = rnnx.gradcheck(cell(2, 3)).failures
    assert {row.tensor for row in rows} == {"b"}
    assert any(problem in str(row) for row in rows)


@pytest.mark.parametrize(("wrong", "passed"), [(0.0, True), (1e-9, False)])
def test_forward_passes_that_sum_in_another_order(rng, wrong, passed):
    """What comes out is small beside what was summed."""
    x = rng.uniform(-1e3, 1e3, 40)
    x[-1] = 1e-3 - np.sum(x[:-1])

    def forward(values):
        y = sum(values["x"][k] for k in range(40)) * np.ones(1)
        return {"y": y}, lambda upstream: {"x": np.ones(40) * upstream["y"]}

    def without_tape(values):
        return {"y": sum(values["x"][k] for k in reversed(range(40))) * np.ones(1) + wrong}

    problem = Problem("sum", "cancelling", {"x": x}, forward, without_tape=without_tape, portable=False)
    report = check([problem], rnnx.get_backend())
    rows = {row.oracle: row for row in report.rows}
    assert rows[FORWARD[0]].error > 1e-12
    assert report.passed is passed, str(report)


@pytest.mark.parametrize("power", [75.0, -300.0, -6.0])
def test_what_a_narrower_range_cannot_hold_is_no_mistake(power):
    def forward(x):
        return (10.0**power) * np.sin(x), x

    def backward(dy, x):
        return {"x": (10.0**power) * dy * np.cos(x)}

    with np.errstate(all="ignore"):
        report = rnnx.gradcheck(forward, backward, {"x": np.linspace(0.2, 1.2, 6)})
    assert report.passed, str(report)
    assert (F32 in {row.oracle for row in report.rows}) is (power == -6.0)


def test_a_gradient_that_should_be_zero():
    report = rnnx.gradcheck(
        lambda x: (0.0 * x, x), lambda dy, x: {"x": 1e-12 * dy}, {"x": np.linspace(0.2, 1.2, 6)}
    )
    (row,) = (row for row in report.failures if row.kind == "oracle")
    assert [row] == list(report.failures)
    assert "times the right value" not in row.hint
