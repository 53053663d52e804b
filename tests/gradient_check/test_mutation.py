"""The check's own proof: it sees all that changes a gradient, and the run tells where it does not."""

import inspect
import json
import re
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest

from rnnx.cells import REGISTRY
from rnnx.cells.peephole_lstm import PEEPHOLES
from rnnx.containers import CONTAINERS
from rnnx.errors import OptionError
from rnnx.gradient_check.check import failing
from rnnx.gradient_check.mutation import Mutant, MutationReport, mutation_run
from rnnx.gradient_check.mutation.copies import Copies, Tools, kind
from rnnx.gradient_check.mutation.operators import OPERATORS, mutations
from rnnx.gradient_check.mutation.problems import Measure, screen
from rnnx.gradient_check.mutation.run import _Run
from rnnx.gradient_check.mutation.sources import dependents, source

CELLS = REGISTRY | CONTAINERS


OF_PEOPLE = {
    ("lstm", "drop a term"): r"dc \+ (.+) → dc",
    ("lstm", "flip a sign"): r"dc \+ (.+) → dc - (.+)",
    ("lstm", "replace a factor by 1"): r"dc \* g → g",
    ("lstm", "replace 1 - z by z"): r"1\.0 - (\w+) \* \1 → \1 \* \1",
    ("lstm", "swap two gates"): r"self\.blocks\(.+\) → exchanged\(self\.blocks\(.+\), 0, 1\)",
    ("lstm", "do not store a result"): r".*d\.c.* → .*copied\(d\.c\).*",
    ("lstm", "use t instead of t-1"): r"prev → after",
    ("lstm", "transpose a square weight"): r"params\['Wh'\] → transposed\(params\['Wh'\]\)",
    ("gru", "forget a carry"): r"ops\.matmul_add → ops\.matmul",
    ("gru-reset-before", "forget a carry"): r"\w+\(.+, d\.h\) → pass",
    ("rnn", "drop a part of a sum"): r"xp\.sum\(.+\) → first\(.+\)",
    ("rnn", "start a gradient from its parameter"): r"db → started\(db, 'b'\)",
    ("rnn", "double a gradient"): r"db → 2\.0 \* db",
    ("sru", "leave a gradient zero"): r"(\w+) → 0\.0 \* \1",
}
"""Changes that people make: cell, operator, and the change as a regular expression."""

RARE = ("change a constant", "forget an activation's derivative")
"""Operators that find few places: all that they make is tried."""

SHARE = 4
"""The suite tries about every fourth change, and those above."""


def sample(cell, mutation):
    """Chooses a part of all mutants, the same in every run and, of what cells share, for each of them."""
    wanted = OF_PEOPLE.get((cell, mutation.operator))
    if mutation.operator in RARE or (wanted is not None and re.fullmatch(wanted, str(mutation))):
        return True
    text = f"{mutation.operator} {mutation.scene.source.name} {mutation}"
    return zlib.crc32(text.encode()) % SHARE == 0


def own_files(cell, mutation):
    """Leaves the changes of the floors below the cells out."""
    return ".cells." in mutation.scene.source.name


@pytest.fixture(scope="module")
def report():
    return mutation_run(CELLS, chosen=sample)


def test_every_mutant_that_changes_a_gradient_is_killed(report):
    assert report.having("survived") == ()
    assert report.passed
    assert report.kill_rate == 1.0
    assert len(report.having("killed")) >= 300


def test_every_cell_has_mutants(report):
    for name, part in report.by("cell").items():
        killed = [m for m in part.having("killed") if m.place.startswith(("rnnx.cells", "rnnx.containers"))]
        assert len(killed) >= (5 if name in REGISTRY else 2), name
    assert [*report.by("cell")] == [*CELLS]


def test_every_body_is_changed(report):
    """Each formula of a backward pass, as seen from the traced bodies of all cells and variants."""
    lines = {(m.cell, m.place) for m in report.having("killed")}
    for name, make in REGISTRY.items():
        for body in getattr(make(1, 1), "bodies", ()):
            source_lines, first = inspect.getsourcelines(body.body)
            places = {(name, f"{body.body.__module__}:{first + k}") for k in range(len(source_lines))}
            assert "backward" not in body.__name__ or places & lines, (name, body.__name__)


def test_every_operator_makes_mutants_that_the_check_kills(report):
    killed = {name for name, part in report.by("operator").items() if part.having("killed")}
    assert killed == {*OPERATORS}


@pytest.mark.parametrize(("cell", "operator"), OF_PEOPLE)
def test_the_changes_that_people_make(report, cell, operator):
    made = [m for m in report.mutants if (m.cell, m.operator) == (cell, operator)]
    named = [m for m in made if re.fullmatch(OF_PEOPLE[cell, operator], m.change)]
    assert any(m.verdict == "killed" for m in named), [m.change for m in made]


def test_equivalent_ones_are_told_with_a_reason():
    """A buffer that is written to before it is read may hold anything, and twice zero is zero."""

    def of_buffers(cell, mutation):
        return mutation.operator in ("double a gradient", "swap two outputs") and own_files(cell, mutation)

    report = mutation_run(["gru-reset-before", "sru"], chosen=of_buffers)
    found = {(m.change.partition("(")[0], m.reason) for m in report.having("equivalent")}
    assert ("ops.empty", "no gradient depends on this value") in found
    assert "the value is the same" in {reason for _, reason in found}
    assert "no gradient depends on it" in {reason for _, reason in found}


def test_a_check_that_overlooks_a_tensor_lets_mutants_survive():
    def weak(problem, backend):
        return (row for row in failing(problem, backend) if row.tensor not in PEEPHOLES)

    def of_sums(cell, mutation):
        return own_files(cell, mutation) and mutation.operator in ("drop a part of a sum", "flip a sign")

    report = mutation_run(["lstm-peephole"], weak, chosen=of_sums)
    survivors = report.having("survived")
    assert any(m.operator == "drop a part of a sum" for m in survivors)
    assert all(re.match("the gradient of p[ifo] differs", m.reason) for m in survivors)
    assert not report.passed
    assert 0.5 < report.kill_rate < 1.0


def test_a_check_that_sees_nothing_kills_by_errors_alone():
    report = mutation_run(["rnn"], lambda problem, backend: iter(()), chosen=own_files)
    assert report.having("killed") == ()
    assert len(report.having("survived")) > 10
    assert not report.passed


def test_a_check_that_fails_on_the_true_cell_proves_nothing():
    with pytest.raises(OptionError, match="The gradients of the cell 'rnn' as it is do not pass: of x"):
        mutation_run(["rnn"], lambda problem, backend: iter(["of x"]))


def test_no_mutant_no_proof():
    assert not MutationReport().passed
    equivalent = Mutant("rnn", "flip a sign", "m:1", "x", "a → b", "equivalent", "")
    report = MutationReport((equivalent,))
    assert not report.passed
    assert json.loads(report.to_json())["kill_rate"] is None
    killed = report + MutationReport((replace(equivalent, verdict="killed"),))
    assert killed.passed
    assert [m["verdict"] for m in json.loads(killed.to_json())["mutants"]] == ["equivalent", "killed"]


def test_nothing_outside_sees_the_copies():
    before = {name: module for name, module in sys.modules.items() if name.startswith("rnnx")}
    make = REGISTRY["gru"]
    of = type(make(1, 1))
    copies = Copies(of, lambda name: source(name).code)
    assert {"rnnx.cells.gru", "rnnx.scan", "rnnx.ops.over_time", "rnnx.stepcell"} <= copies.modules.keys()
    assert not {"rnnx", "rnnx.cells", "rnnx.backends", "rnnx.ops.pointwise"} & copies.modules.keys()
    assert {name: module for name, module in sys.modules.items() if name.startswith("rnnx")} == before
    cell = copies.of(make)(3, 5)
    assert type(cell) is not of
    assert not isinstance(cell, of)
    assert repr(cell) == repr(make(3, 5))


def test_what_the_forward_pass_runs_too_is_changed_in_the_backward_pass_only():
    """The recurrent weights of a reset-before GRU go through one function in both passes."""
    make = REGISTRY["gru-reset-before"]
    tries = _Run("gru-reset-before", make, failing)
    (scene,) = (scene for scene in tries._scenes() if scene.source.name == "rnnx.cells.gru")
    (swap,) = (
        each
        for each in mutations(scene)
        if str(each) == "[r, z] → [z, r]" and each.operator == "swap two outputs"
    )
    copied = tries._copies(swap).of(make)
    true, found = screen("gru", make), screen("gru", copied)
    np.testing.assert_array_equal(
        found.forward(found.tensors)[0]["outputs"], true.forward(true.tensors)[0]["outputs"]
    )
    assert "differs" in Measure("gru", make).difference(copied)


def test_a_copy_without_a_change_has_the_true_gradients():
    for name, make in CELLS.items():
        copies = Copies(type(make(1, 1)), lambda name: source(name).code)
        assert Measure(name, make).difference(copies.of(make)) == ""


def test_which_modules_a_change_reaches():
    among = {"rnnx.cells.gru", "rnnx.stepcell", "rnnx.scan", "rnnx.loop", "rnnx.ops", "rnnx.ops.over_time"}
    assert dependents("rnnx.cells.gru", among) == {"rnnx.cells.gru"}
    assert dependents("rnnx.stepcell", among) == {"rnnx.cells.gru", "rnnx.stepcell"}
    assert dependents("rnnx.ops.over_time", among) == among


def test_blocks_are_transposed_in_their_place():
    w = np.arange(12.0).reshape(2, 6)
    blocks = [w[:, 0:2].T, w[:, 2:4].T, w[:, 4:6].T]
    np.testing.assert_array_equal(Tools.transposed(w), np.concatenate(blocks, axis=1))
    np.testing.assert_array_equal(Tools.transposed(w.T), np.concatenate([b.T for b in blocks], axis=0).T.T)


def test_the_first_summand():
    x = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(Tools.first(x, 1), x[:, 0, :])
    np.testing.assert_array_equal(Tools.first(x, (0, -1)), x[0, :, 0])


def test_blocks_are_exchanged():
    assert Tools.exchanged(("i", "f", "o"), 1, 2) == ("i", "o", "f")
    assert Tools.exchanged(("r", "z"), 1, 2) == ("r", "z")


def test_kinds():
    assert kind(np.zeros((2, 3))) == ("array", (2, 3))
    assert kind(np.zeros(3, "int64")) == ("other",)
    assert kind(True) == kind("x") == ("other",)
    assert kind(3) == ("int",)
    assert kind((3, "x")) == ("sequence", ("int",), ("other",))
    assert kind({"W": np.zeros(2)}) == ("mapping", ("W", ("array", (2,))))
