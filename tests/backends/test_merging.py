"""Bodies over blocks of slabs: against direct evaluation, and how many calls are left."""

import math

import numpy as np
import pytest

from rnnx.backends import printing
from rnnx.backends.merging import SCRATCH, Place, Printer, view
from rnnx.ops import pointwise, sigmoid, tanh
from support.random_programs import SHAPE, evaluate, random_program

H, N = SHAPE
BLOCKS = 5
"""Of each slab: some hold nothing."""


def check(program, inputs, outputs, values):
    """Run a body on inputs and outputs at these places."""
    constants = {}
    printer = Printer(program, inputs, outputs, lambda x: constants.setdefault(x, f"c{len(constants)}"))
    lines = printer.source()
    arrays = {"a": np.full((BLOCKS * H, N), math.nan), "b": np.full((BLOCKS * H, N), math.nan)}
    arrays[SCRATCH] = np.full((printer.rows * H, N), math.nan)

    def at(place):
        return slice(place.row * H, (place.row + 1) * H)

    for place, value in zip(inputs, values, strict=True):
        if place.row is None:
            arrays[place.array] = value.copy()
        else:
            arrays[place.array][at(place)] = value
    scope = printing.in_place_scope(np, np.dtype(float), constants) | arrays
    scope |= {view(x, a, b): arrays[x][a * H : b * H] for x, a, b in printer.spans}
    source = "\n".join(lines)
    with np.errstate(all="ignore"):
        expected = evaluate(program, values)
        exec(source, scope)
    for k, place in enumerate(outputs):
        found = arrays[place.array][at(place)]
        np.testing.assert_array_equal(found, expected[k], err_msg=f"output {k}\n{source}")
    for place, value in zip(inputs, values, strict=True):
        if place not in outputs:
            found = arrays[place.array] if place.row is None else arrays[place.array][at(place)]
            np.testing.assert_array_equal(found, value, err_msg=f"an input was written to\n{source}")
    for slab in "ab":
        for row in range(BLOCKS):
            place = Place(slab, row)
            if place not in inputs and place not in outputs:
                assert np.isnan(arrays[slab][at(place)]).all(), f"{place} was written to\n{source}"


@pytest.mark.parametrize("seed", range(300))
def test_random_programs(seed):
    rng = np.random.default_rng(seed)
    program = random_program(rng)
    for _ in range(3):
        free = [Place(slab, row) for slab in "ab" for row in map(int, rng.permutation(BLOCKS))]
        inputs = []
        for k in range(len(program.inputs)):
            inputs.append(free.pop() if rng.random() < 0.8 else Place(f"whole{k}", None))
        # Outputs are where inputs were, of any number, and elsewhere.
        possible = [*free, *(place for place in inputs if place.row is not None)]
        outputs = [possible[k] for k in rng.permutation(len(possible))[: len(program.outputs)]]
        shapes = [(H, 1) if place.row is None and rng.random() < 0.5 else SHAPE for place in inputs]
        check(program, inputs, outputs, [rng.normal(size=shape) for shape in shapes])


def test_results_of_neighbours_go_home_together(rng):
    @pointwise
    def gates(a, b, c):
        return sigmoid(a), sigmoid(b), tanh(c)

    slab = [Place("a", row) for row in range(3)]
    lines = Printer(gates.program, slab, slab, str).source()
    assert [line.partition("(")[0] for line in lines] == ["multiply", "tanh", "multiply", "add"]
    check(gates.program, slab, slab, [rng.normal(size=SHAPE) for _ in range(3)])
