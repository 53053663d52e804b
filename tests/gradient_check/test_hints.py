"""Of every sabotaged cell the report says where the gradient is wrong and what the pattern speaks of."""

import pytest

import rnnx
from rnnx.gradient_check.hints import CARRIED, CLIPPED
from rnnx.gradient_check.problem import gate_names
from support.sabotage import TENSORS, checked

CELLS = {cell.__name__: cell for cell in TENSORS}

HINTS = {
    "ZeroedGate": ("b", "gate f (right: i, g, o)", "It is zero where it is wrong"),
    "UnshiftedH": ("Wh", "", "final.h is taken for state.h."),
    "StartsFromWeights": ("Wx", "", "The tensor itself is added to it: start the gradient with zeros"),
    "SwappedStates": ("state.h", "", "It is the gradient of state.c."),
    "NoHiddenCarry": ("x", "time steps 0-2 of 4 (right: 3)", "It is right at the last time step only"),
    "NoCellCarry": ("Wx", "", CARRIED),
    "ForgottenSigmoidDerivative": (
        "b",
        "gate o (right: i, f, g)",
        "is a sigmoid's derivative s (1 - s) forg",
    ),
    "IgnoresFinalCell": ("b", "", "It is right without an upstream gradient of final.c"),
    "NoInitialStateGradient": ("state.h", "", "It is zero where it is wrong"),
    "DoubledBias": ("b", "", "It is twice the right value"),
    "MeanOverTime": ("Wx", "", "It is averaged over time instead of summed."),
    "TransposedWeight": ("Wh", "", "It is transposed."),
    "WrongSign": ("x", "time steps 0-3 of 4; all 24 entries", "Its sign is wrong."),
    "ShiftedInputGradient": ("x", "", "It is shifted by one time step."),
    "WrongShape": ("b", "", "A gradient has its tensor's shape."),
    "NotANumber": ("b", "", "It is not finite"),
    "ResetForgotten": ("Wh", "gate n (right: r, z)", "It is too large everywhere"),
    "NoDirectCarry": ("x", "time steps 0-2 of 4 (right: 3)", "It is right at the last time step only"),
    "SwappedGates": ("b", "gates r, z (right: n)", "The gates r and z are swapped."),
    "NoHiddenBiasGradient": ("bn", "", "It is zero where it is wrong"),
    "ClippedGradients": ("Wh", "", CLIPPED),
    "ClippedCarry": ("b", "", CLIPPED),
    "WrongWithoutState": ("x", "", "It is right where an initial state is given, and wrong without."),
    "FlooredDerivative": ("b", "gate o (right: i, f, g)", "It is right except in saturated units"),
    "ExtraKey": ("bh", "", "backward must return the gradients of Wx, Wh, b, x, state.h, and no other."),
    "MissingKey": ("b", "", "backward must return 'b', too."),
}


@pytest.mark.parametrize("name", HINTS)
def test_where_and_why(name):
    tensor, where, hint = HINTS[name]
    report = checked(CELLS[name])
    (row,) = (row for row in report.failures if row.tensor == tensor and row.oracle == "complex step")
    assert row.where.startswith(where), str(row)
    assert hint in row.hint, str(row)
    assert f"Hint: {row.hint}" in str(row)


def test_every_sabotaged_backward_pass_has_a_hint_here():
    forward_only = {"OtherInference", "OtherStep"}
    assert HINTS.keys() == CELLS.keys() - forward_only
    for name in forward_only:
        rows = checked(CELLS[name]).failures
        assert all("DIFFERS from the" in str(row) and "the gradient of" not in str(row) for row in rows)


def test_hints_along_directions():
    report = rnnx.gradcheck(CELLS["DoubledBias"](50, 60), steps=3)
    (row,) = (row for row in report.failures if row.oracle.startswith("adjoint"))
    assert "It is twice the right value" in row.hint
    assert "b along a direction" in str(row)


def test_values_and_their_ratio_are_told():
    (row,) = (row for row in checked(CELLS["DoubledBias"]).failures if row.kind == "oracle")
    assert row.ratio == pytest.approx(2.0)
    assert f"{row.analytic:.9g} against {row.numeric:.9g} (ratio 2)" in str(row)
    assert row.analytic == pytest.approx(2.0 * row.numeric)


def test_blocks_are_named_of_every_cell():
    assert gate_names(rnnx.LSTM(2, 3, gate_order="figo")) == dict.fromkeys(("Wx", "Wh", "b"), tuple("figo"))
    assert gate_names(rnnx.GRU(2, 3)) == dict.fromkeys(("Wx", "Wh", "b"), ("r", "z", "n"))
    assert gate_names(rnnx.RNN(2, 3)) == {}
    assert gate_names(rnnx.SRU(2, 3)) == {"W": ("0", "1", "2", "3")}
    stack = rnnx.Stack(rnnx.LSTM(2, 3), rnnx.Bidirectional(rnnx.GRU(3, 2)))
    assert gate_names(stack)["layers.1.backward.Wh"] == ("r", "z", "n")
    assert gate_names(stack)["layers.0.b"] == ("i", "f", "g", "o")
