"""What `rnnx bench` times: sizes, arrays, counts of arithmetic, the clock."""

from time import sleep

import numpy as np
import pytest

from rnnx import backends
from rnnx.bench import problem
from rnnx.bench.clock import turn
from rnnx.bench.problem import Problem
from rnnx.bench.sizes import NAMED, Sizes, parse
from rnnx.cells import REGISTRY
from rnnx.errors import OptionError

SMALL = Sizes("5,2,3,4", 5, 2, 3, 4)


def test_named_sizes():
    assert {name: tuple(sizes)[1:] for name, sizes in NAMED.items()} == {
        "tiny": (10, 2, 3, 6),
        "char": (25, 1, 68, 100),
        "small": (50, 32, 64, 128),
        "medium": (100, 32, 128, 256),
        "large": (100, 64, 512, 512),
    }


def test_sizes_by_name_and_by_number():
    assert parse("tiny") == [NAMED["tiny"]]
    assert parse("5,2,3,4") == [SMALL]
    assert parse("large, 5,2,3,4 ,tiny,large") == [
        NAMED["large"],
        Sizes("5,2,3,4", 5, 2, 3, 4),
        NAMED["tiny"],
    ]


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("smal", "--sizes has 'smal', which is no known size.", "Did you mean small? Known are tiny, char"),
        ("", "--sizes has '', which is no known size.", "Known are tiny"),
        ("5,2,3", "--sizes has '5,2,3'; expected four integers of at least 1.", "They are T, N, D and H"),
        ("5,2,0,4", "--sizes has '5,2,0,4'; expected", "They are T, N, D and H"),
        ("5,2,-3,4", "--sizes has '5,2,-3,4'; expected", "They are T, N, D and H"),
        ("tiny,5,2,tiny,4", "--sizes has '5,2,tiny,4'; expected", "They are T, N, D and H"),
    ],
)
def test_sizes_that_mean_nothing(text, problem, hint):
    with pytest.raises(OptionError) as caught:
        parse(text)
    assert caught.value.problem.startswith(problem)
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize("cell", REGISTRY)
def test_the_work_of_a_cell(cell):
    work, again = Problem(cell, SMALL).work, Problem(cell, SMALL).work
    layer = REGISTRY[cell](3, 4)
    assert (work.x.shape, work.dy.shape) == ((5, 2, 3), (5, 2, layer.output_size))
    assert {name: value.shape for name, value in work.params.items()} == layer.param_shapes
    assert list(work.state) == list(layer.state_sizes._fields)
    arrays = [work.x, work.dy, *work.state.values(), *work.params.values()]
    repeated = [again.x, again.dy, *again.state.values(), *again.params.values()]
    for array, same in zip(arrays, repeated, strict=True):
        assert array.dtype == np.float32
        assert array.all()  # biases and states too
        assert np.array_equal(array, same)


def test_operations_are_those_of_the_products():
    T, N, D, H = 5, 2, 3, 4
    lstm, gru = Problem("lstm", SMALL), Problem("gru", SMALL)
    assert lstm.operations("forward") == 2 * T * N * (D + H) * 4 * H
    assert gru.operations("forward") == 2 * T * N * (D + H) * 3 * H
    assert lstm.operations("train") == 3 * lstm.operations("forward")
    assert lstm.recurrent == (4 * H, N, H)
    assert gru.recurrent == (3 * H, N, H)


def test_a_cell_that_is_no_chain_has_no_counts(monkeypatch):
    monkeypatch.setitem(REGISTRY, "other", lambda D, H: object())
    other = Problem("other", SMALL)
    assert (other.operations("train"), other.recurrent, problem.product(other)) == (None, None, None)


def test_the_product_is_that_of_every_step(monkeypatch):
    shapes = []
    monkeypatch.setattr(
        np, "matmul", lambda a, b, out: shapes.append((a.shape, b.shape, out.shape, out.dtype))
    )
    layer = problem.product(Problem("gru", SMALL))
    assert layer.train is None
    layer.forward()
    assert shapes == [((12, 4), (4, 2), (12, 2), np.float32)] * 5


@pytest.mark.parametrize("cell", REGISTRY)
def test_own_layer_on_every_backend(cell, backend):
    task = Problem(cell, SMALL)
    layer = problem.bind(task, backend, task.work)
    assert backend.holds(layer.forward())
    errors = problem.errors(task, layer, task.work)
    names = {"y", "dx", *(f"d{name}" for name in (*task.work.state, *task.work.params))}
    assert set(errors) == names
    assert all(error <= 1e-6 for error in errors.values()), errors


def test_what_does_not_train_is_compared_by_its_output(monkeypatch):
    task = Problem("rnn", SMALL)
    layer = problem.bind(task, backends.resolve("numpy"), task.work)._replace(train=None)
    assert problem.errors(task, layer, task.work) == {"y": 0.0}


def test_the_clock_is_read_when_the_work_is_done(monkeypatch):
    """An asynchronous backend is synchronised after each pass."""
    numpy, waited = backends.resolve("numpy"), []
    monkeypatch.setattr(type(numpy), "synchronize", lambda self: waited.append(1))
    layer = problem.bind(Problem("lstm", SMALL), numpy, Problem("lstm", SMALL).work)
    layer.forward()
    assert len(waited) == 1
    layer.train()
    assert len(waited) == 2


def test_a_turn_does_not_count_its_first_call():
    calls = []

    def call():
        calls.append(1)
        sleep(0.2 if len(calls) == 1 else 0.002)

    found = turn(call, 0.05)
    assert found.calls == len(calls) - 1 > 1
    assert 0.002 <= found.seconds < 0.1
    assert found.cores < 0.9  # it slept


def test_a_turn_counts_one_call_at_least():
    calls = []
    found = turn(lambda: calls.append(sleep(0.01)), 0.001)
    assert (found.calls, len(calls)) == (1, 2)


def test_a_busy_turn_takes_a_core():
    def call():
        sum(range(20000))

    assert max(turn(call, 0.02).cores for _ in range(5)) <= 1.1
