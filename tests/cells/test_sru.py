"""SRU: its packed weights, its chunks, and the identity highway, which the registry cannot make."""

from dataclasses import dataclass

import numpy as np
import pytest

import rnnx
from rnnx.cells import sru
from rnnx.gradient_check.check import check
from rnnx.gradient_check.problem import cell_problem, cell_problems
from rnnx.ops import pointwise, tanh
from support import simulator
from support.cells import WithLengths, make_case

HIGHWAYS = ("linear", "identity")
LENGTHS = [3, 6, 1, 3]
on_cupy = pytest.mark.parametrize("backend", ["cupy"], indirect=True)


@pytest.fixture(params=HIGHWAYS)
def cell(request):
    return rnnx.SRU(4, 4, highway=request.param)


def results(cell, case, backend, lengths=None):
    """Everything that both passes return, on the host."""
    y, final, tape = cell.forward(case.params, case.x, case.state, lengths=lengths)
    dx, dstate, grads = cell.backward(tape, case.dy, case.dstate)
    return {
        name: backend.to_numpy(v)
        for name, v in ({"y": y, "c": final.c, "dx": dx, "dc": dstate.c} | grads).items()
    }


def test_the_blocks_of_w_are_candidate_forget_gate_reset_gate_and_highway(backend, rng):
    host = make_case(rnnx.SRU(3, 4), rng)
    case = host.on(backend)
    W, Wf, Wr, Wh = np.split(host.params["W"], 4, axis=1)
    y, final, _ = rnnx.SRU(3, 4).forward(case.params, case.x, case.state)
    c = host.state.c
    for t, x in enumerate(host.x):
        f, r = (
            1.0 / (1.0 + np.exp(-(x @ matrix + host.params[bias])))
            for matrix, bias in ((Wf, "bf"), (Wr, "br"))
        )
        c = f * c + (1.0 - f) * (x @ W)
        expected = r * np.tanh(c) + (1.0 - r) * (x @ Wh)
        np.testing.assert_allclose(backend.to_numpy(y)[t], expected, rtol=1e-13)
    np.testing.assert_allclose(backend.to_numpy(final.c), c, rtol=1e-13)


def test_the_identity_highway_is_the_linear_one_with_a_unit_matrix(backend, rng):
    identity, linear = rnnx.SRU(4, 4, highway="identity"), rnnx.SRU(4, 4)
    host = make_case(identity, rng, 6, 4)
    expected = results(identity, host.on(backend), backend, LENGTHS)
    W = np.concatenate([host.params["W"], np.eye(4)], axis=1)
    found = results(linear, host._replace(params={**host.params, "W": W}).on(backend), backend, LENGTHS)
    assert found["W"].shape == (4, 16)
    found["W"] = found["W"][:, :12]
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
def test_every_gradient_with_the_identity_highway(backend, lengths):
    def make(_, hidden_size):
        return rnnx.SRU(hidden_size, hidden_size, highway="identity")

    problems = cell_problems(make, "sru-identity")
    if lengths is not None:
        ragged = WithLengths(make(3, 3), lengths)
        problems = [cell_problem(ragged, "sru-identity", "ragged", max(lengths) + 1, len(lengths))]
    report = check(problems, backend)
    assert report.passed, str(report)
    assert {row.tensor for row in report.rows} >= {"W", "bf", "br", "x", "state.c"}


@pointwise
def without_what_passes_by(c, r, v, dh):
    tanh_c = tanh(c)
    return dh * r * (1.0 - tanh_c * tanh_c), dh * (1.0 - r) * r * (tanh_c - v), 0.0 * dh


@dataclass(frozen=True)
class IdentityForgotten(rnnx.SRU):
    """The input's gradient without what the highway hands to it."""

    @property
    def bodies(self):
        gates, output, _, gates_backward = super().bodies
        return gates, output, without_what_passes_by, gates_backward


def test_a_forgotten_identity_is_caught():
    report = rnnx.gradcheck(IdentityForgotten(4, 4, "identity"))
    assert {row.tensor for row in report.failures} == {"x"}, str(report)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
@pytest.mark.parametrize("entries", [1, 40])
def test_chunks_of_any_size_give_the_same(cell, backend, rng, monkeypatch, entries, lengths):
    case = make_case(cell, rng, 6, 4).on(backend)
    expected = results(cell, case, backend, lengths)
    monkeypatch.setattr(sru, "IN_CACHE", entries)
    assert len(cell._chunks(rnnx.backends.resolve("numpy"), 0, 24, 4)) == (6 if entries == 1 else 3)
    for name, value in results(cell, case, backend, lengths).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-13, atol=1e-14, err_msg=name)


@on_cupy
def test_on_a_device_all_steps_are_one_chunk(cell, backend, rng, monkeypatch):
    monkeypatch.setattr(sru, "IN_CACHE", 1)
    counts = []
    for steps in (2, 2, 9):
        case = make_case(cell, rng, steps, 3).on(backend, "float32")
        with simulator.counted() as found:
            _, _, tape = cell.forward(case.params, case.x, case.state)
            cell.backward(tape, case.dy, case.dstate)
        counts.append(found)
    assert counts[1] == counts[2]


def test_the_input_may_be_a_view_of_any_layout(cell, backend, rng):
    host = make_case(cell, rng, 6, 4)
    expected = results(cell, host.on(backend), backend)
    case = host.on(backend)
    turned = backend.asarray(np.ascontiguousarray(host.x.transpose(2, 1, 0)))
    view = backend.xp.permute_dims(turned, (2, 1, 0))
    for name, value in results(cell, case._replace(x=view), backend).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-13, atol=1e-14, err_msg=name)


def test_initialisers_know_its_blocks_and_its_forget_gate(cell):
    params = cell.init(0, "float64", weights={"W": "orthogonal", "br": "zeros"}, forget_bias=2.0)
    for block in np.split(params["W"], 4 if cell.highway == "linear" else 3, axis=1):
        np.testing.assert_allclose(block.T @ block, np.eye(4), atol=1e-14)
    np.testing.assert_array_equal(params["bf"], cell.init(0, "float64")["bf"] + 2.0)
    assert not params["br"].any()
    chrono = cell.init(0, "float64", chrono=50)["bf"]
    assert 0.0 <= chrono.min() < chrono.max() <= np.log(49)


def test_a_saturated_forget_gate_keeps_the_cell_and_its_gradient(rng):
    cell = rnnx.SRU(3, 4)
    case = make_case(cell, rng, 50, 2)
    params = case.params | {"bf": np.full(4, 800.0)}
    _, final, tape = cell.forward(params, case.x, case.state)
    np.testing.assert_array_equal(final.c, case.state.c)
    _, dstate, grads = cell.backward(tape, None, case.dstate)
    np.testing.assert_array_equal(dstate.c, case.dstate.c)
    assert not grads["bf"].any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rnnx.SRU(0, 4), "SRU: input_size is 0; expected an integer of at least 1."),
        (lambda: rnnx.SRU(3, 4, "cubic"), "SRU: highway is 'cubic'; expected one of linear, identity."),
        (
            lambda: rnnx.SRU(3, 4, highway="identity"),
            "SRU: input_size is 3 and hidden_size is 4; the identity highway needs them equal. "
            'Use highway="linear".',
        ),
    ],
)
def test_constructor_errors(make, message):
    with pytest.raises(rnnx.OptionError) as caught:
        make()
    assert str(caught.value) == message


def test_the_identity_highway_has_no_fourth_block():
    cell = rnnx.SRU(4, 4, highway="identity")
    params = cell.init() | {"W": np.zeros((4, 16), "float32")}
    with pytest.raises(rnnx.ShapeError, match=r"SRU.forward: params\['W'\] has shape \(4, 16\).*\(4, 12\)"):
        cell.forward(params, np.zeros((5, 2, 4), "float32"))
