"""Printed kernels against direct evaluation, above all where an output has the memory of an input."""

import math

import numpy as np
import pytest

from rnnx.backends import printing
from rnnx.ops import pointwise, tanh
from rnnx.typing import Instruction, Program
from support.random_programs import SHAPE, evaluate, random_program


def run_in_place(program, inputs, aliased):
    """Run the in-place kernel on copies, the outputs named by `aliased` in the memory of their inputs."""
    make, rows = printing.in_place_maker(program, np, np.dtype(float))
    given = [x.copy() for x in inputs]
    outputs = tuple(
        given[k] if k in aliased else np.full(SHAPE, math.nan) for k in range(len(program.outputs))
    )
    result = make(np.full((rows, *SHAPE), math.nan))(*given, out=outputs)
    assert result is outputs
    for k, (before, after) in enumerate(zip(inputs, given, strict=True)):
        if k not in aliased:
            np.testing.assert_array_equal(after, before, err_msg="an input was written to")
    return outputs


def check(program, inputs, aliased):
    with np.errstate(all="ignore"):
        expected = evaluate(program, inputs)
        functional = printing.functional(program, np)(*inputs)
        found = run_in_place(program, inputs, aliased)
    source = printing.in_place(program)[0]
    for k, name in enumerate(program.outputs):
        np.testing.assert_array_equal(
            np.broadcast_to(functional[k], SHAPE), expected[k], err_msg=f"functional, {name}"
        )
        np.testing.assert_array_equal(found[k], expected[k], err_msg=f"in place, {name}\n{source}")


@pytest.mark.parametrize("seed", range(300))
def test_random_programs(seed):
    rng = np.random.default_rng(seed)
    program = random_program(rng)
    possible = range(min(len(program.inputs), len(program.outputs)))
    for aliased in (set(possible), {k for k in possible if rng.random() < 0.5}, set()):
        inputs = [
            rng.normal(size=SHAPE if k in aliased or rng.random() < 0.8 else (SHAPE[0], 1))
            for k in range(len(program.inputs))
        ]
        check(program, inputs, aliased)


HAZARDS = {
    "identity": lambda a: a,
    "identity of two": lambda a, b: (a, b),
    "swap": lambda a, b: (b, a),
    "rotation": lambda a, b, c: (b, c, a),
    "one input, twice": lambda a, b: (a, a),
    "one value, twice": lambda a, b: (tanh(a * b),) * 2,
    "one value, for a later place first": lambda a, b, c: (b * c, b * c + a, c * (b * c)),
    "sum and difference": lambda a, b: (a + b, a - b),
    "an output that is read later": lambda a, b: (a * b, (a * b) * a + b),
    "the input is read last": lambda a, b: (tanh(b), tanh(b) * a * a),
    "more outputs than inputs": lambda a: (a * a, a + 1.0, tanh(a)),
    "more inputs than outputs": lambda a, b, c: (c - a) / (b - c),
    "the same argument twice": lambda a, b: (b * b, a + a),
}


@pytest.mark.parametrize("hazard", HAZARDS)
def test_hazards_of_shared_memory(hazard, rng):
    program = pointwise(HAZARDS[hazard]).program._replace(name="hazard")
    inputs = [rng.normal(size=SHAPE) for _ in program.inputs]
    count = min(len(program.inputs), len(program.outputs))
    for mask in range(2**count):
        check(program, inputs, {k for k in range(count) if mask >> k & 1})


def test_scratch_rows_are_used_again():
    @pointwise
    def chain(a):
        for _ in range(9):
            a = tanh(a) * a + 0.5
        return a

    assert printing.in_place(chain.program)[1] <= 2


def test_an_output_goes_straight_to_its_place():
    @pointwise
    def update(a, b):
        return a + b, a * b

    source, rows = printing.in_place(update.program)
    assert rows <= 1  # one of the two must wait for the other
    assert source.count("copyto") <= 1


def test_printing_is_reproducible(rng):
    program = random_program(rng)
    assert printing.in_place(program) == printing.in_place(Program(*program))


def test_a_body_may_be_named_like_an_operation(rng):
    def tanh_of(a):
        return tanh(a) + 1.0

    tanh_of.__name__ = "tanh"
    check(pointwise(tanh_of).program, [rng.normal(size=SHAPE)], {0})


def test_constants_that_are_not_finite(rng):
    steps = (Instruction("v0", "multiply", ("in_a", math.inf)), Instruction("v1", "add", ("v0", -math.inf)))
    check(Program("limits", ("in_a",), steps, ("v0", "v1")), [rng.normal(size=SHAPE)], {0})


def test_a_syntax_error_shows_the_source():
    with pytest.raises(SyntaxError) as caught:
        printing.compile_source("def kernel(a:\n    return a", "kernel", {})
    assert caught.value.__notes__ == ["Generated source of kernel kernel:\ndef kernel(a:\n    return a"]
