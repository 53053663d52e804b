"""What a time step costs on a CUDA device: kernel launches, products, and nothing else.

A step's own cost is the difference between sequences of two lengths, divided by the steps between them; the
rest is paid once per sequence.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest

from rnnx.cells import REGISTRY
from rnnx.optim import SGD, Adagrad, AdamW, RMSprop
from support import simulator
from support.cells import make_case

SHORT, LONG = 3, 8
FORWARD, BACKWARD = "forward", "backward"


class Budget(NamedTuple):
    """Launches and products: per step of either pass, and the products after the backward loop.

    A pass whose steps cost nothing has one launch for all of them.
    """

    forward: tuple[int, int] = (1, 1)
    backward: tuple[int, int] = (2, 1)
    after_the_loop: int = 3  # dWx, dWh, dx


# The candidate of gru-reset-before needs r h[t-1] before its product: two products in a chain, with a kernel
# behind each. The steps of sru are one launch together.
BUDGETS = {
    "gru-reset-before": Budget(forward=(2, 2), backward=(3, 2), after_the_loop=5),
    "sru": Budget(forward=(0, 0), backward=(0, 0), after_the_loop=2),
}


# The TF-LSTM steps along diagonals: test_tflstm_budgets.py.
STEPS = [name for name in REGISTRY if not name.startswith("tflstm")]

pytestmark = pytest.mark.parametrize("backend", ["cupy"], indirect=True)


@pytest.fixture(params=STEPS)
def name(request):
    return request.param


def costs(cell, case, backend, training=True):
    """Counts of both passes of a case, after a first run that compiles the kernels."""
    for _ in range(2):
        with simulator.counted() as forward:
            _, _, tape = cell.forward(case.params, case.x, case.state, training=training)
        with simulator.counted() as backward:
            if training:
                cell.backward(tape, case.dy, case.dstate)
    return {FORWARD: forward, BACKWARD: backward}


def per_step(cell, backend, rng, change=lambda case: case, dtype="float32", **options):
    """Counts of one step of either pass, without what is zero, and the counts of the shorter sequence."""
    short, long = (
        costs(cell, change(make_case(cell, rng, steps, 2).on(backend, dtype)), backend, **options)
        for steps in (SHORT, LONG)
    )
    steps = {}
    for way in short:
        kinds = (short[way] | long[way]).keys()
        differences = {kind: (long[way][kind] - short[way][kind]) / (LONG - SHORT) for kind in kinds}
        steps[way] = {kind: count for kind, count in differences.items() if count}
    return steps, short


def within(budget):
    return {kind: count for kind, count in zip(("launch", "gemm"), budget, strict=True) if count}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_is_launches_and_products_within_the_budget(name, backend, rng, dtype):
    budget = BUDGETS.get(name, Budget())
    steps, short = per_step(REGISTRY[name](3, 4), backend, rng, dtype=dtype)
    assert steps == {FORWARD: within(budget.forward), BACKWARD: within(budget.backward)}
    outside = {way: short[way]["gemm"] - SHORT * steps[way].get("gemm", 0) for way in steps}
    assert outside == {FORWARD: 1, BACKWARD: budget.after_the_loop}


@pytest.mark.parametrize("name", REGISTRY)
def test_a_pass_neither_waits_nor_copies_to_or_from_the_host(name, backend, rng):
    _, short = per_step(REGISTRY[name](3, 4), backend, rng)
    for way, counts in short.items():
        assert not {"sync", "memcpy D2H", "memcpy H2D"} & counts.keys(), way


def test_without_upstream_gradients_a_step_is_a_launch_less(name, backend, rng):
    launches, products = BUDGETS.get(name, Budget()).backward
    steps, _ = per_step(REGISTRY[name](3, 4), backend, rng, change=lambda case: case._replace(dy=None))
    assert steps[BACKWARD] == within((max(launches - 1, 0), products))


def test_a_step_without_a_tape_costs_the_same(name, backend, rng):
    steps, _ = per_step(REGISTRY[name](3, 4), backend, rng, training=False)
    assert steps[FORWARD] == within(BUDGETS.get(name, Budget()).forward)


@pytest.mark.parametrize("layout", ["a slice of a larger matrix", "Fortran order", "every second row"])
def test_weights_of_any_layout_cost_nothing_per_step(name, backend, rng, layout):
    weights = "Wh" if "Wh" in REGISTRY[name](3, 4).param_shapes else "W"

    def change(case):
        rows, columns = case.params[weights].shape
        if layout == "Fortran order":
            view = backend.asarray(np.zeros((columns, rows), "float32")).T
        elif layout == "every second row":
            view = backend.zeros((2 * rows, columns), "float32")[::2, :]
        else:
            view = backend.zeros((rows, columns + 5), "float32")[:, 2 : 2 + columns]
        view[...] = case.params[weights]
        return case._replace(params={**case.params, weights: view})

    budget = BUDGETS.get(name, Budget())
    steps, _ = per_step(REGISTRY[name](3, 4), backend, rng, change=change)
    assert steps == {FORWARD: within(budget.forward), BACKWARD: within(budget.backward)}


@pytest.mark.parametrize("kind", ["lstm", "gru", "gru-reset-before"])
def test_no_order_of_the_gates_costs_more(kind, backend, rng):
    cell = REGISTRY[kind](3, 4)
    first, *others = cell.gates
    turned = dataclasses.replace(cell, gate_order=(*others, first))
    assert per_step(turned, backend, rng)[0] == per_step(cell, backend, rng)[0]


@pytest.mark.parametrize(
    "optimizer", [SGD(0.1), SGD(0.1, momentum=0.9), Adagrad(0.1), RMSprop(0.1), AdamW(0.1)], ids=repr
)
def test_an_update_is_one_launch_per_parameter(optimizer, backend, rng):
    case = make_case(REGISTRY["lstm"](3, 4), rng).on(backend, "float32")
    state = optimizer.init(case.params)
    optimizer.update(case.params, case.params, state)
    with simulator.counted() as counts:
        optimizer.update(case.params, case.params, state)
    parameters = len(case.params)
    assert counts == {"launch": parameters, "alloc": parameters * (1 + optimizer.moments)}
