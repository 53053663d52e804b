"""The page and the picture of a report: one file each, and what differs is on it."""

import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

import rnnx
from rnnx.gradient_check.check import check
from rnnx.gradient_check.diagnosis import diagnose
from rnnx.gradient_check.page import page
from rnnx.gradient_check.plot import draw_diagnoses
from rnnx.gradient_check.problem import Problem, cell_problem
from rnnx.gradient_check.summary import ALL, condensed
from support.sabotage import ForgottenSigmoidDerivative, NoHiddenCarry, WrongSign


class Reader(HTMLParser):
    """Text, tags and attributes of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.links = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for key, value in attributes if key in ("href", "src")]

    def handle_data(self, data):
        self.words.append(data)


def test_every_row_is_on_the_page():
    report = rnnx.gradcheck(rnnx.LSTM(2, 3), steps=2) + rnnx.gradcheck(WrongSign(2, 3), steps=2)
    text = page(report, "A <title>", {"cupy": "There is no driver."})
    reader = Reader(text)
    assert reader.tags.count("tr") == len(report.rows) + 2 + 2 + 1  # a head and a line for each, an overview
    assert reader.links == []
    assert "http" not in text
    assert "A <title>" in reader.words
    assert "Not checked: cupy. There is no driver." in reader.words
    assert any("Hint: Its sign is wrong." in words for words in reader.words)
    assert reader.tags.count("details") == 2
    assert "<details open><summary>WrongSign on numpy" in text


def test_numbers_that_are_not_finite_are_words():
    nan = Problem(
        "nan", "", {"x": np.ones(2)}, lambda v: ({"y": v["x"]}, lambda up: {"x": up["y"] * float("nan")})
    )
    report = check([nan], rnnx.get_backend())
    assert "not finite" in page(report, "nan")
    assert '"error": null' in report.to_json()


def test_what_passed_is_drawn_together():
    report = rnnx.gradcheck(WrongSign(2, 3))
    rows = list(condensed(report.rows))
    assert [row for row in rows if not row.passed] == list(report.failures)
    assert [row for row in rows if row.kind == "oracle" and row.tensor != ALL] == list(report.gradients)
    drawn = {row.oracle: row.entries for row in rows if row.tensor == ALL}
    pure = [row for row in report.rows if row.kind == "purity"]
    assert drawn["both passes are pure"] == sum(row.entries for row in pure)


def test_the_map_shows_the_gate_and_the_time():
    gate = diagnose(cell_problem(ForgottenSigmoidDerivative(2, 3), "cell", "", 3, 2), rnnx.get_backend())
    wrong = {part for part, errors in zip(gate.parts, gate.errors, strict=True) if errors[0] > 1e-9}
    assert wrong == {"Wx o", "Wh o", "b o", "x"}
    assert gate.upstream == ("y[0]", "y[1]", "y[2]", "final.h", "final.c")
    carry = diagnose(cell_problem(NoHiddenCarry(2, 3), "cell", "", 3, 2), rnnx.get_backend())
    of_x = carry.errors[carry.parts.index("x")]
    assert of_x[0] < 1e-12  # y[0] needs no carry
    assert np.all(of_x[1:3] > 1e-3)


def test_the_curve_falls_with_the_step_of_a_right_gradient_only():
    right = diagnose(cell_problem(rnnx.GRU(2, 3), "cell", "", 3, 2), rnnx.get_backend())
    assert right.curve.min() < 1e-8
    assert right.steps[np.argmin(right.curve)] > 1e-8
    wrong = diagnose(cell_problem(WrongSign(2, 3), "cell", "", 3, 2), rnnx.get_backend())
    assert wrong.tensor == "x"
    assert wrong.curve[wrong.steps < 1e-2].min() > 0.1


def test_large_problems_and_functions_without_time_have_a_map():
    large = diagnose(cell_problem(rnnx.RNN(40, 50), "rnn", "", 2, 2), rnnx.get_backend())
    assert large.errors.max() < 1e-10
    problem = Problem(
        "line", "", {"x": np.ones(2)}, lambda v: ({"y": 2 * v["x"]}, lambda up: {"x": 2 * up["y"]})
    )
    assert diagnose(problem, rnnx.get_backend()).upstream == ("y",)


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_picture(kind, start):
    diagnosis = diagnose(cell_problem(rnnx.LSTM(1, 2), "lstm", "", 2, 1), rnnx.get_backend())
    drawn = draw_diagnoses([diagnosis, diagnosis], kind)
    assert drawn.startswith(start)
    if kind == "svg":
        assert re.search(r"<title>|</svg>", drawn.decode())


def test_a_picture_needs_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(rnnx.OptionError, match="A plot needs matplotlib") as caught:
        draw_diagnoses([], "png")
    assert caught.value.hint == 'Run: pip install "rnnx[plot]".'
