"""The TF-LSTM along diagonals beside the double loop of its definition."""

import dataclasses

import numpy as np
import pytest

import rnnx
from rnnx.cells import REGISTRY
from rnnx.gradient_check import gradcheck
from rnnx.steps import CHUNK
from rnnx.wavefront import GROUP
from support.cells import check_array, make_case
from support.complexstep import complex_step
from support.sabotage_tflstm import TENSORS
from support.tflstm_loop import double_loop

# D, F, S and the number of blocks that they make.
PLANES = {
    "overlap": (5, 3, 1, 3),
    "overlap and leave a rest": (8, 4, 3, 2),
    "touch": (6, 2, 2, 3),
    "touch and leave a rest": (7, 2, 2, 3),
    "leave gaps": (9, 2, 3, 3),
    "one input each": (4, 1, 1, 4),
    "one block": (4, 4, 1, 1),
    "one block and a rest": (5, 3, 4, 1),
}
N, H = 2, 3


@pytest.fixture(params=PLANES)
def plane(request):
    return PLANES[request.param]


@pytest.fixture(params=[True, False], ids=["peepholes", "no peepholes"])
def peepholes(request):
    return request.param


def make(plane, peepholes=True):
    D, F, S, B = plane
    cell = rnnx.TFLSTM(D, H, F, S, peepholes)
    assert cell.block_count == B
    return cell


def run(cell, case):
    """Results of both passes by name: outputs and gradients, the latter as ``d`` and what it is of."""
    y, final, tape = cell.forward(case.params, case.x, case.state)
    dx, dstate, grads = cell.backward(tape, case.dy, case.dstate)
    found = {"y": y, "h": final.h, "c": final.c, "dx": dx, "dh0": dstate.h, "dc0": dstate.c}
    return found | {f"d{name}": value for name, value in grads.items()}


def by_autograd(torch, cell, case):
    """The same from the double loop and PyTorch's autograd."""

    def tensor(value, grad=True):
        return torch.tensor(value, dtype=torch.float64, requires_grad=grad)

    params = {name: tensor(value) for name, value in case.params.items()}
    x, h, c = map(tensor, (case.x, *case.state))
    outputs = double_loop(torch, params, x, h, c, cell.stride)
    weights = (case.dy, *case.dstate)
    sum((out * tensor(w, False)).sum() for out, w in zip(outputs, weights, strict=True)).backward()
    leaves = {"x": x, "h0": h, "c0": c} | params
    found = dict(zip(("y", "h", "c"), outputs, strict=True))
    found |= {f"d{k}": torch.zeros_like(v) if v.grad is None else v.grad for k, v in leaves.items()}
    return {name: value.detach().numpy() for name, value in found.items()}


def assert_same(backend, found, expected):
    assert found.keys() == expected.keys()
    for name, wanted in expected.items():
        host = check_array(backend, found[name], wanted.shape, "float64")
        np.testing.assert_allclose(host, wanted, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_equals_the_double_loop(backend, rng, torch, plane, peepholes, steps):
    cell = make(plane, peepholes)
    case = make_case(cell, rng, steps, N)
    assert_same(backend, run(cell, case.on(backend)), by_autograd(torch, cell, case))


def test_gradients_equal_those_of_the_double_loop_by_the_complex_step(rng, plane):
    cell = make(plane)
    case = make_case(cell, rng, 3, 1)

    def loss(point):
        params = {name: point[name] for name in case.params}
        outputs = double_loop(np, params, point["x"], point["h0"], point["c0"], cell.stride)
        return sum(np.sum(d * out) for d, out in zip((case.dy, *case.dstate), outputs, strict=True))

    found = run(cell, case)
    leaves = case.params | {"x": case.x, "h0": case.state.h, "c0": case.state.c}
    for name, expected in complex_step(loss, leaves).items():
        np.testing.assert_allclose(found[f"d{name}"], expected, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("steps", [GROUP - 2, GROUP - 1, 2 * GROUP, 3 * GROUP + 1])
def test_sums_over_several_groups_of_diagonals(backend, rng, torch, steps):
    cell = make(PLANES["overlap"])
    case = make_case(cell, rng, steps, N)
    case = case._replace(params={name: 0.5 * value for name, value in case.params.items()})
    assert_same(backend, run(cell, case.on(backend)), by_autograd(torch, cell, case))


@pytest.mark.parametrize("steps", [3, CHUNK, 3 * CHUNK])
def test_more_blocks_than_a_chunk_has_diagonals(backend, rng, steps):
    cell = rnnx.TFLSTM(CHUNK + 5, 2, 2, 1)
    case = make_case(cell, rng, steps, N)
    case = case._replace(params={name: 0.5 * value for name, value in case.params.items()})
    y, h, c = double_loop(np, case.params, case.x, *case.state, cell.stride)
    moved = case.on(backend)
    for training in (True, False):
        found, final, _ = cell.forward(moved.params, moved.x, moved.state, training=training)
        assert_same(backend, {"y": found, "h": final.h, "c": final.c}, {"y": y, "h": h, "c": c})


@pytest.mark.parametrize("sizes", [(1, 4, 5, 6), (10, 2, 3, 6), (3, 2, 3, 3)], ids=str)
@pytest.mark.parametrize("order", ["ifog", "gifo"])
def test_sizes_and_gate_orders_of_the_notebook(backend, rng, torch, sizes, order):
    """The step, the sequence and the printed sequence of the notebook's TF-LSTM cells, F = 2 and S = 1."""
    steps, batch, D, hidden = sizes
    cell = rnnx.TFLSTM(D, hidden, 2, 1)
    case = make_case(cell, rng, steps, batch)
    blocks = {gate: slice(k * hidden, (k + 1) * hidden) for k, gate in enumerate(cell.gates)}

    def reorder(value):
        if value.shape[-1] != 4 * hidden:
            return value
        return np.concatenate([value[..., blocks[gate]] for gate in order], axis=-1)

    moved = case._replace(params={name: reorder(value) for name, value in case.params.items()})
    found = run(dataclasses.replace(cell, gate_order=order), moved.on(backend))
    expected = by_autograd(torch, cell, case)
    params = {f"d{name}" for name in case.params}
    assert_same(backend, found, {k: reorder(v) if k in params else v for k, v in expected.items()})


def test_a_sequence_of_steps_is_followed_by_autograd(rng, torch, plane, peepholes):
    cell = make(plane, peepholes)
    case = make_case(cell, rng, 3, N)
    expected = by_autograd(torch, cell, case)

    def tensor(value):
        return torch.tensor(value, dtype=torch.float64, requires_grad=True)

    params = {name: tensor(value) for name, value in case.params.items()}
    x, state = tensor(case.x), rnnx.TFLSTMState(*map(tensor, case.state))
    rows, after = [], state
    for t in range(3):
        row, after = cell.step(params, x[t], after)
        rows.append(row)
    outputs = zip((torch.stack(rows), *after), (case.dy, *case.dstate), strict=True)
    sum((out * torch.tensor(d)).sum() for out, d in outputs).backward()
    for name, leaf in ({"x": x, "h0": state.h, "c0": state.c} | params).items():
        if leaf.grad is not None:
            close = {"rtol": 1e-12, "atol": 1e-12, "err_msg": name}
            np.testing.assert_allclose(leaf.grad.numpy(), expected[f"d{name}"], **close)


def test_one_block_is_a_peephole_lstm(backend, rng):
    cell, plain = rnnx.TFLSTM(5, H, 5, 1), rnnx.PeepholeLSTM(5, H)
    case = make_case(cell, rng, 6, N).on(backend)
    params = {name: value for name, value in case.params.items() if name != "Wk"}
    found = run(cell, case)
    assert not backend.to_numpy(found.pop("dWk")).any()
    expected = run(plain, case._replace(params=params))
    for name, value in expected.items():
        np.testing.assert_allclose(
            backend.to_numpy(found[name]), backend.to_numpy(value), rtol=1e-12, atol=1e-12, err_msg=name
        )


@pytest.mark.parametrize("missing", [(), ("h",), ("h", "c")])
def test_no_steps_hand_the_gradient_of_the_state_through(backend, rng, missing):
    cell = make(PLANES["overlap"])
    case = make_case(cell, rng, 0, N)
    moved = case.on(backend)
    _, _, tape = cell.forward(moved.params, moved.x, moved.state)
    _, dstate, _ = cell.backward(tape, moved.dy, moved.dstate._replace(**dict.fromkeys(missing)))
    for name, value in dstate._asdict().items():
        wanted = getattr(case.dstate, name) * (name not in missing)
        np.testing.assert_array_equal(check_array(backend, value, wanted.shape, "float64"), wanted)


def test_inputs_behind_the_last_block_are_not_read(backend, rng):
    cell = make(PLANES["touch and leave a rest"])
    case = make_case(cell, rng, 4, N)
    case.x[..., 6:] = np.nan
    found = run(cell, case.on(backend))
    assert all(np.isfinite(backend.to_numpy(value)).all() for value in found.values())
    assert not backend.to_numpy(found["dx"])[..., 6:].any()


@pytest.mark.parametrize("sabotaged", TENSORS, ids=lambda cell: cell.__name__)
@pytest.mark.parametrize("oracle", ["complex step", "central differences", "autograd"])
def test_sabotage_is_caught_and_the_tensors_named(sabotaged, oracle, monkeypatch, request):
    backend = "numpy"
    if oracle == "autograd":
        request.getfixturevalue("torch")
        backend = "torch"
    if oracle == "central differences":
        monkeypatch.setattr(sabotaged, "analytic", False)
    report = gradcheck(sabotaged(4, 2), steps=2, batch=1, backend=backend)
    failed = {row.tensor for row in report.rows if row.oracle == oracle and not row.passed}
    assert failed == TENSORS[sabotaged], str(report)


def test_the_true_cell_passes_where_the_sabotaged_ones_fail():
    assert gradcheck(rnnx.TFLSTM(4, 2, 2, 1), steps=2, batch=1).passed


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((3, 4, 5, 1), "filter_size is 5; expected at most input_size, 3."),
        ((3, 4, 0, 1), "filter_size is 0; expected an integer of at least 1."),
        ((3, 4, 2, 0), "stride is 0; expected an integer of at least 1."),
        ((3, 4, 2, 1.5), "stride is 1.5; expected an integer of at least 1."),
        ((3, 0, 2, 1), "hidden_size is 0; expected an integer of at least 1."),
    ],
)
def test_wrong_options(sizes, message):
    with pytest.raises(rnnx.OptionError) as caught:
        rnnx.TFLSTM(*sizes)
    assert str(caught.value).startswith(f"TFLSTM: {message}")


RULE = "These are B = (D - F) // S + 1 = 3 blocks of H = 4 features."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"h": (2, 13)}, f"TFLSTM.forward: state.h has shape (2, 13); expected (2, 12). {RULE}"),
        ({"c": (2, 4)}, f"TFLSTM.forward: state.c has shape (2, 4); expected (2, 12). {RULE}"),
        ({"dy": (5, 2, 4)}, f"TFLSTM.backward: dy has shape (5, 2, 4); expected (5, 2, 12). {RULE}"),
        ({"dh": (2, 4)}, f"TFLSTM.backward: dstate.h has shape (2, 4); expected (2, 12). {RULE}"),
        ({"Wx": (8, 16)}, "TFLSTM.forward: params['Wx'] has shape (8, 16); expected (4, 16)."),
        ({"Wh": (12, 16)}, "TFLSTM.forward: params['Wh'] has shape (12, 16); expected (4, 16)."),
        ({"Wk": (4, 12)}, "TFLSTM.forward: params['Wk'] has shape (4, 12); expected (4, 16)."),
        ({"po": (12,)}, "TFLSTM.forward: params['po'] has shape (12,); expected (4,)."),
    ],
)
def test_wrong_shapes(change, message):
    cell = rnnx.TFLSTM(8, 4, 4, 2)
    given = {name: np.zeros(shape, np.float32) for name, shape in change.items()}
    params, state, x = cell.init(), cell.init_state(2), np.zeros((5, 2, 8), np.float32)

    def both_passes():
        wrong = {name: given.get(name, value) for name, value in state._asdict().items()}
        weights = {name: given.get(name, value) for name, value in params.items()}
        _, _, tape = cell.forward(weights, x, rnnx.TFLSTMState(**wrong))
        cell.backward(tape, given.get("dy"), rnnx.TFLSTMState(given.get("dh"), None))

    with pytest.raises(rnnx.ShapeError) as caught:
        both_passes()
    assert str(caught.value) == message


@pytest.mark.parametrize("D", [*range(1, 40), 64, 150])
def test_the_registry_makes_a_filter_for_any_input(D):
    cell = REGISTRY["tflstm"](D, 3)
    assert 1 <= cell.block_count <= 8
    assert D < 3 or (cell.block_count > 1 and cell.stride < cell.filter_size), "blocks overlap"
