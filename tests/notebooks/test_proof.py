"""The table of the documents: right values agree, wrong ones are shown and raise."""

import numpy as np
import pytest

from rnnx.notebooks.proof import Proof

ARRAYS = {"a": np.array([0.5, -0.3]), "b": np.array([[0.7, 0.2], [-0.4, 0.9]])}
UPSTREAM = (np.array([1.0, -2.0]), np.array(0.5))


def function(a, b):
    return a @ b, np.sum(a * a * a)


def gradients():
    a, b = ARRAYS.values()
    return {"a": b @ UPSTREAM[0] + 1.5 * a * a, "b": np.outer(a, UPSTREAM[0])}


def test_what_agrees(capsys):
    proof = Proof()
    proof.number("number", 2.0, 2.0, 0.0)
    proof.difference("arrays", [1.0, 2.0], np.array([1.0, 2.0 + 1e-9]), 1e-8)
    proof.at_most("error", 90.0, 82.25)
    proof.gradients("f", function, ARRAYS, UPSTREAM, gradients())
    proof.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "        expected         found",
        "number  2.0 ± 0          2.0",
        "arrays  <= 1e-08         1e-09",
        "error   <= 90            82",
    ]
    assert [line.split()[:5] for line in lines[4:]] == [
        ["f:", f"d{name}", "<=", "1e-08,", "1e-12"] for name in "ab"
    ]


@pytest.mark.parametrize("factor", [1.0 + 1e-7, 1.0 + 1e-10, np.nan])
@pytest.mark.parametrize("name", ["a", "b"])
def test_a_wrong_gradient_raises(name, factor, capsys):
    wrong = gradients()
    wrong[name].flat[0] *= factor
    proof = Proof()
    proof.gradients("f", function, ARRAYS, UPSTREAM, wrong)
    with pytest.raises(AssertionError, match=rf"^expected and found differ:\nf: d{name} .* DIFFERS$"):
        proof.close()
    assert capsys.readouterr().out.count("DIFFERS") == 1


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("number", (2.0, 2.0 + 1e-15, 1e-16)),
        ("number", (2.0, float("nan"), 1.0)),
        ("difference", ([1.0, 2.0], np.array([1.0, 2.1]), 1e-8)),
        ("difference", ([1.0, 1.0], np.array([1.0]), 1e-8)),
        ("at_most", (1e-8, float("nan"))),
        ("gradients", (function, ARRAYS, UPSTREAM, {"a": np.zeros((2, 1))})),
    ],
)
def test_what_differs_raises(method, arguments):
    proof = Proof()
    getattr(proof, method)("row", *arguments)
    with pytest.raises(AssertionError, match="row"):
        proof.close()


def test_an_empty_table_proves_nothing():
    with pytest.raises(AssertionError):
        Proof().close()
