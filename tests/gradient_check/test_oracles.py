"""The oracles: their own error estimates hold; what is not analytic is found, and its operation named."""

import numpy as np
import pytest

import rnnx
from rnnx.gradient_check import differences
from rnnx.gradient_check.analyticity import operations
from rnnx.gradient_check.oracles import COMPLEX, DIFFERENCES, Oracle
from rnnx.gradient_check.problem import Problem

SMOOTH = {
    "sin": (np.sin, np.cos, 1.0),
    "exp": (np.exp, np.exp, 2.0),
    "tanh, saturated": (np.tanh, lambda x: 1.0 / np.cosh(x) ** 2, 7.0),
    "log, near its end": (np.log, lambda x: 1.0 / x, 3e-3),
    "Runge's": (lambda x: 1.0 / (1.0 + 25.0 * x * x), lambda x: -50.0 * x / (1.0 + 25.0 * x * x) ** 2, 0.3),
    "constant": (lambda x: 0.0 * x + 1.0, lambda x: 0.0 * x, 0.4),
    "cancelling": (lambda x: (1e6 + x) - 1e6, lambda x: 1.0 + 0.0 * x, 0.5),
}


def derivative_at(function, point, steps=differences.SMOOTH_STEPS):
    def along(step):
        return np.array([function(point + step)])

    return differences.derivative(along, along(0.0), differences.noise_of(along, [1]), steps)


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_the_error_estimate_covers_the_error(name):
    function, slope, point = SMOOTH[name]
    found, error = derivative_at(function, point)
    assert abs(found[0] - slope(point)) <= error[0]
    assert error[0] <= (1e-5 if name == "cancelling" else 1e-8 * max(1.0, abs(slope(point))))


def test_the_order_is_six():
    errors = []
    for step in (0.1, 0.05):
        points = [np.array([np.exp(k * step)]) for k in (1, 2, 4, -1, -2, -4)]
        table = dict(zip((1, 2, 4, -1, -2, -4), points, strict=True))
        found, _ = differences.derivative(
            lambda h, table=table, step=step: table.get(round(h / step)), np.ones(1), np.zeros(1), [step]
        )
        errors.append(abs(found[0] - 1.0))
    assert errors[0] / errors[1] == pytest.approx(64.0, rel=0.1)


def test_the_estimate_covers_a_kink_anywhere_within_the_steps():
    at = np.concatenate([[0.0], np.linspace(1e-6, 4.5, 4001)])

    def along(step):
        return np.maximum(step - at, 0.0)

    found, error = differences.derivative(along, along(0.0), np.zeros(at.size), [1.0])
    slope = np.zeros(at.size)
    assert np.all(np.abs(found - slope) <= error + 1e-12)


def test_noise_is_measured(rng):
    scale = 1e-9

    def noisy(step):
        return np.array([1.0 + step, 3.0]) + np.array([scale, 0.0]) * rng.standard_normal(2)

    noise = differences.noise_of(noisy, [1, 1])
    assert 0.2 * scale < noise[0] < 5.0 * scale
    assert noise[1] == pytest.approx(0.5 * 3.0 * np.finfo(float).eps)


def buffered(x):
    h = np.zeros((3, x.size), dtype=x.dtype)
    h[0] = np.tanh(x)
    h[1] = np.abs(h[0])
    return h[1]


def into_real(x):
    h = np.zeros(x.shape)
    h[...] = np.tanh(x)
    return h


NOT_ANALYTIC = {
    "abs": (lambda x: np.abs(x), np.sign, "numpy.absolute drops the imaginary part"),
    "abs of a buffer": (buffered, lambda x: np.sign(x) / np.cosh(x) ** 2, "numpy.absolute drops"),
    "real": (lambda x: x.real * 2.0, lambda x: 2.0 + 0.0 * x, "numpy.real drops"),
    "conj": (lambda x: x * np.conj(x), lambda x: 2.0 * x, "numpy.conjugate turns the imaginary part round"),
    "astype": (lambda x: x.astype(np.float64), lambda x: 1.0 + 0.0 * x, "numpy.astype drops"),
    "maximum": (lambda x: np.maximum(x, 0.0), lambda x: 1.0 * (x > 0.0), "numpy.maximum compares values"),
    "clip": (lambda x: np.clip(x, -0.4, 0.4), lambda x: 1.0 * (np.abs(x) < 0.4), "numpy.clip compares"),
    "where": (lambda x: np.where(x > 0.0, x, 0.5 * x), lambda x: 0.75 + 0.25 * np.sign(x), "numpy.greater"),
    "sort": (lambda x: np.sort(x) * 2.0, lambda x: 2.0 + 0.0 * x, "numpy.sort compares values"),
    "floor": (
        lambda x: x * np.floor(x + 9.0),
        lambda x: np.floor(x + 9.0),
        "numpy.floor does not take complex",
    ),
    "norm": (lambda x: np.linalg.norm(x.reshape(-1, 1), axis=1), np.sign, "numpy.norm drops"),
    "a real buffer": (into_real, lambda x: 1.0 / np.cosh(x) ** 2, "is lost where a real array is written to"),
}


@pytest.mark.parametrize("name", NOT_ANALYTIC)
def test_what_is_not_analytic_is_named(name):
    function, slope, note = NOT_ANALYTIC[name]
    point = np.array([-0.7, -0.3, 0.2, 0.9])

    report = rnnx.gradcheck(
        lambda x: (function(x), x), lambda dy, x: {"x": (dy * slope(x)).astype(x.dtype)}, {"x": point}
    )
    assert report.passed, str(report)
    assert {row.oracle for row in report.gradients} == {DIFFERENCES}
    assert f"central differences in place of the complex step: {note}" in report.notes[0].replace(
        "the imaginary part is lost", "is lost"
    ), report.notes
    assert "test_oracles.py, line" in report.notes[0]


@pytest.mark.parametrize("name", ["abs", "conj"])
def test_a_function_that_is_wrongly_declared_analytic_is_found_out(name):
    function, slope, note = NOT_ANALYTIC[name]

    def forward(values):
        x = values["x"]
        return {"y": function(x)}, lambda upstream: {"x": upstream["y"] * slope(x)}

    oracle = Oracle(Problem(name, "", {"x": np.array([-0.7, 0.9])}, forward), rnnx.get_backend())
    assert (oracle.name, oracle.by_complex_step) == (DIFFERENCES, False)
    assert note in oracle.note


def test_a_torch_function_that_takes_no_complex_numbers(torch):
    def forward(x):
        return torch.relu(x), x

    report = rnnx.gradcheck(
        forward, lambda dy, x: {"x": dy * (x > 0.0)}, {"x": torch.tensor([-0.5, 0.5, 0.7])}
    )
    assert report.passed, str(report)
    assert {row.oracle for row in report.gradients} == {DIFFERENCES, "autograd"}
    assert "it takes no complex numbers (NotImplementedError" in report.notes[0]


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("abs", "torch.abs drops the imaginary part"),
        ("real", "torch.Tensor.real drops the imaginary part"),
        ("conj", "torch.Tensor.conj turns the imaginary part round"),
        ("norm", "torch.linalg.norm drops the imaginary part"),
    ],
)
def test_what_is_not_analytic_on_torch_is_named(torch, name, note):
    function = {
        "abs": lambda x: torch.abs(x) * x,
        "real": lambda x: x.real * x,
        "conj": lambda x: x * x.conj(),
        "norm": lambda x: torch.linalg.norm(x[:, None], axis=1) * x,
    }[name]

    report = rnnx.gradcheck(
        lambda x: (function(x), x), lambda dy, x: {"x": 2.0 * dy * x}, {"x": torch.tensor([0.3, 0.7])}
    )
    assert report.passed, str(report)
    assert {row.oracle for row in report.gradients} == {DIFFERENCES, "autograd"}
    assert note in report.notes[0]
    assert "test_oracles.py, line" in report.notes[0]


def test_autograd_that_cannot_follow_is_noted_and_no_failure(torch):
    def hidden(x):
        with torch.no_grad():
            return torch.tanh(x), x

    def partly(x):
        return torch.tanh(x) * x.detach(), x

    def slope(dy, x):
        return {"x": dy / torch.cosh(x) ** 2}

    def product(dy, x):
        return {"x": dy * (torch.tanh(x) + x / torch.cosh(x) ** 2)}

    for forward, backward in ((hidden, slope), (partly, product)):
        report = rnnx.gradcheck(forward, backward, {"x": torch.tensor([-0.5, 0.5, 0.7])})
        assert report.passed, str(report)
        assert {row.oracle for row in report.gradients} == {COMPLEX}
        assert any("autograd does not follow the forward pass" in note for note in report.notes)


def test_watched_arrays_give_the_same_numbers():
    def function(values):
        x = values["x"]
        h = np.zeros((2, *x.shape), x.dtype)
        h[1] = x @ x.T + np.einsum("ij,kj->ik", x, x)
        h[0] += np.sum(h[1], axis=0, keepdims=True)
        results.append(np.asarray(np.concatenate([h[0], np.stack([h[1][0], h[1][1]])])))

    results, x = [], np.linspace(-1.0, 1.0, 4).reshape(2, 2)
    assert operations(function, {"x": x}) == []
    function({"x": x})
    np.testing.assert_array_equal(results[0].real, results[1])
    assert np.zeros.__module__ == "numpy"
