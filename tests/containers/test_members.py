"""Members of containers: parameters, seeds, states, and cells that are of no class of the library's."""

import numpy as np

import rnnx
from rnnx import states
from support.cells import check_array, make_case

T, N, D, H = 5, 3, 2, 4


class Cumulative:
    """Sums of all inputs up to now: a cell by its methods alone."""

    input_size = output_size = state_sizes = D
    analytic = causal = True

    @property
    def param_shapes(self):
        return {"scale": (D,)}

    def init(self, seed=0, dtype="float32"):
        return {"scale": rnnx.asarray(np.ones(D), dtype=dtype)}

    def init_state(self, batch, dtype="float32"):
        return rnnx.asarray(np.zeros((batch, D)), dtype=dtype)

    def forward(self, params, x, state=None, *, lengths=None, training=True):
        ends = np.full(x.shape[1], len(x)) if lengths is None else np.asarray(lengths)
        alive = (np.arange(len(x))[:, None] < ends)[:, :, None].astype(x.dtype)
        rows, total, x = [], 0.0 * x[0] if state is None else state, x * alive
        for row in x:
            total = total + params["scale"] * row
            rows.append(total)
        return np.stack(rows) * alive, total, (params, x, alive)

    def backward(self, tape, dy=None, dstate=None):
        params, x, alive = tape
        d = np.zeros(x.shape, x.dtype) if dy is None else np.cumsum((dy * alive)[::-1], axis=0)[::-1]
        d = d if dstate is None else d + dstate
        return d * params["scale"] * alive, d[0], {"scale": np.sum(d * x, axis=(0, 1))}

    def step(self, params, x, state=None):
        total = params["scale"] * x + (0.0 if state is None else state)
        return total, total


def test_a_cell_by_its_methods_alone():
    for cell in (
        rnnx.Stack(Cumulative(), rnnx.GRU(D, 3), rnnx.RNN(3, 2)),
        rnnx.Bidirectional(Cumulative(), rnnx.GRU(D, 3)),
    ):
        problem = rnnx.gradcheck(cell)
        assert problem.passed, str(problem)


def test_parameters_are_the_members_own(backend):
    cell = rnnx.Stack(
        rnnx.Bidirectional(rnnx.LSTM(D, H)), rnnx.Bidirectional(rnnx.LSTM(2 * H, H), merge="sum")
    )
    directions = [f"layers.{k}.{way}" for k in range(2) for way in ("forward", "backward")]
    names = [f"{way}.{name}" for way in directions for name in ("Wx", "Wh", "b")]
    params = cell.init(seed=5)
    assert list(params) == list(cell.param_shapes) == names
    with rnnx.use_backend("numpy"):
        expected = cell.init(seed=5)
    for name, shape in cell.param_shapes.items():
        np.testing.assert_array_equal(check_array(backend, params[name], shape, "float32"), expected[name])
    drawn = [np.array(expected[f"{way}.Wh"]) for way in directions]
    assert len({value.tobytes() for value in drawn}) == 4, "equal members differ"


def test_states_are_plain_tuples_and_named_ones(backend):
    cell = rnnx.Stack(rnnx.Bidirectional(rnnx.GRU(D, H)), rnnx.LSTM(2 * H, 3))
    both, top = state = cell.init_state(N, "float64")
    assert type(state) is tuple
    assert type(both) is rnnx.BidirectionalState
    assert type(top) is rnnx.LSTMState
    shapes = {name: tuple(value.shape) for name, value in states.leaves(state)}
    assert shapes == {
        "state.0.forward.h": (N, H),
        "state.0.backward.h": (N, H),
        "state.1.h": (N, 3),
        "state.1.c": (N, 3),
    }


def test_the_second_direction_is_a_cell_like_the_first():
    cell = rnnx.LSTM(D, H)
    assert rnnx.Bidirectional(cell) == rnnx.Bidirectional(cell, rnnx.LSTM(D, H))


def test_the_reverse_direction_is_a_run_over_the_reversed_sequence(backend, rng):
    cell = rnnx.Bidirectional(rnnx.GRU(D, H), rnnx.LSTM(D, 3))
    case = make_case(cell, rng, T, N)
    params = {name: value for name, value in case.params.items() if name.startswith("backward")}
    params = {name.removeprefix("backward."): value for name, value in params.items()}
    with rnnx.use_backend("numpy"):
        expected, final, _ = rnnx.LSTM(D, 3).forward(params, case.x[::-1], case.state.backward)
    moved = case.on(backend)
    y, state, _ = cell.forward(moved.params, moved.x, moved.state)
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(backend.to_numpy(y)[:, :, H:], expected[::-1], **close)
    np.testing.assert_allclose(backend.to_numpy(state.backward.c), final.c, **close)
    np.testing.assert_allclose(backend.to_numpy(y)[0, :, H:], final.h, **close, err_msg="it ends at step 0")


def test_an_optimiser_updates_every_part(backend, rng):
    cell = rnnx.Stack(rnnx.Bidirectional(rnnx.GRU(D, H)), rnnx.RNN(2 * H, 1))
    case = make_case(cell, rng, T, N).on(backend)
    optimizer = rnnx.SGD(0.1)
    y, _, tape = cell.forward(case.params, case.x)
    loss, dy = rnnx.half_squared_error(y, case.dy)
    _, _, grads = cell.backward(tape, dy)
    params, _ = optimizer.update(case.params, grads, optimizer.init(case.params))
    after, _ = rnnx.half_squared_error(cell.forward(params, case.x)[0], case.dy)
    assert backend.to_numpy(after) < backend.to_numpy(loss)
    for name in cell.param_shapes:
        assert (backend.to_numpy(params[name]) != backend.to_numpy(case.params[name])).any(), name
