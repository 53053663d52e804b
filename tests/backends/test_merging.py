"""Bodies over blocks of slabs: against direct evaluation, and how many calls are left."""

import math

import numpy as np
import pytest

from rnnx.backends import merging
from rnnx.cells.gru import gru_after_backward, gru_after_forward
from rnnx.cells.lstm import lstm_backward, lstm_forward
from rnnx.ops import pointwise, sigmoid, tanh
from support.random_programs import SHAPE, evaluate, random_program

H, N = SHAPE


def check(program, slabs, inputs, aliased):
    """Run a kernel on copies, the outputs of these numbers in the memory of their inputs."""
    inner, known = len(slabs[0]), sum(map(len, slabs))
    make, rows = merging.maker(program, slabs, np, np.dtype(float))
    given, at = [], 0
    for slab in slabs:
        given.append(np.full((H * (max(slab) + 1), N), math.nan))
        for row in slab:
            given[-1][row * H : (row + 1) * H] = inputs[at]
            at += 1
    rest = [x.copy() for x in inputs[known:]]
    others = tuple(
        rest[k - known] if k in aliased else np.full(SHAPE, math.nan)
        for k in range(inner, len(program.outputs))
    )
    before = [x.copy() for x in (*given[1:], *rest)]
    kernel = make(np.full((rows * H, N), math.nan), H)
    with np.errstate(all="ignore"):
        expected = evaluate(program, inputs)
        result = kernel(*given, *rest, out=(given[0], *others))
    assert result[0] is given[0]
    found = [given[0][row * H : (row + 1) * H] for row in slabs[0]] + list(others)
    source = "\n".join(merging.Printer(program, slabs, str).source())
    for k, value in enumerate(found):
        np.testing.assert_array_equal(value, expected[k], err_msg=f"output {k}\n{source}")
    written = {id(x) for x in others}
    for x, old in zip((*given[1:], *rest), before, strict=True):
        if id(x) not in written:
            np.testing.assert_array_equal(x, old, err_msg=f"an input was written to\n{source}")


@pytest.mark.parametrize("seed", range(300))
def test_random_programs(seed):
    rng = np.random.default_rng(seed)
    program = random_program(rng)
    most = min(len(program.inputs), len(program.outputs))
    first = int(rng.integers(1, most + 1))
    second = int(rng.integers(0, len(program.inputs) - first + 1))
    # Blocks in any order, and there may be other blocks between them.
    slabs = tuple(tuple(map(int, rng.permutation(size + 1)[:size])) for size in (first, second) if size)
    possible = range(first + second, most)
    for aliased in (set(possible), {k for k in possible if rng.random() < 0.5}, set()):
        inputs = [
            rng.normal(size=SHAPE if k < first + second or k in aliased or rng.random() < 0.8 else (H, 1))
            for k in range(len(program.inputs))
        ]
        check(program, slabs, inputs, aliased)


def calls(body, *slabs):
    """Calls of a kernel, by their functions."""
    lines = merging.Printer(body.program, slabs, str).source()
    return [line.strip().partition("(")[0] for line in lines if line.endswith(")")]


def test_one_tanh_of_all_gates():
    assert calls(lstm_forward, (0, 1, 2, 3)).count("tanh") == 2  # the other one is that of c
    assert len(calls(lstm_forward, (0, 1, 2, 3))) == 12
    assert len(calls(lstm_forward, (0, 1, 3, 2))) == 9  # all sigmoids are neighbours
    assert len(lstm_forward.program.instructions) == 18


def test_fewer_calls():
    for body, slabs in (
        (lstm_backward, [(0, 1, 2, 3)]),
        (gru_after_forward, [(0, 1, 2), (0, 1, 2)]),
        (gru_after_backward, [(0, 1, 2)]),
    ):
        computed = [call for call in calls(body, *slabs) if call != "copyto"]
        assert len(computed) <= len(body.program.instructions) - 2


def test_results_of_neighbours_go_home_together(rng):
    @pointwise
    def gates(a, b, c):
        return sigmoid(a), sigmoid(b), tanh(c)

    assert calls(gates, (0, 1, 2)) == ["multiply", "tanh", "multiply", "add"]
    check(gates.program, ((0, 1, 2),), [rng.normal(size=SHAPE) for _ in range(3)], set())
