"""The character model of notebook 004, beside torch's autograd and beside its own loss."""

import numpy as np
import pytest

import rnnx
from rnnx.gradient_check.problem import draw
from rnnx.notebooks.gradient_check import eval_numerical_gradient, rel_error
from rnnx.notebooks.min_char_rnn import MinCharRNN, loss_and_gradients
from support.cells import check_array
from support.complexstep import complex_step

V, H, T = 5, 4, 3
SHAPES = {"Wxh": (H, V), "Whh": (H, H), "Why": (V, H), "bh": (H, 1), "by": (V, 1)}
INPUTS, TARGETS = [3, 0, 4], [0, 4, 1]
TEXT = np.random.default_rng(1).integers(0, 3, 100) + 2


def case(rng):
    return {name: draw(rng, shape) for name, shape in SHAPES.items()}, draw(rng, (H, 1))


def made(params, backend=None, dtype="float64"):
    model = MinCharRNN(V, H, dtype=dtype)
    for name, value in params.items():
        setattr(model, name, value if backend is None else backend.asarray(value, dtype))
    return model


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_loss_and_gradients_beside_autograd(backend, rng, torch, dtype, tolerance):
    params, hprev = case(rng)
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}
    h, expected = torch.tensor(hprev), 0.0
    for now, following in zip(INPUTS, TARGETS, strict=True):
        x = torch.eye(V, dtype=torch.float64)[:, now : now + 1]
        h = torch.tanh(leaves["Wxh"] @ x + leaves["Whh"] @ h + leaves["bh"])
        expected = expected - torch.log_softmax(leaves["Why"] @ h + leaves["by"], 0)[following, 0]
    expected.backward()

    model = made(params, backend, dtype)
    loss, *found, last = model.lossFun(INPUTS, TARGETS, backend.asarray(hprev, dtype))
    assert check_array(backend, loss, (), dtype) == pytest.approx(float(expected.detach()), rel=tolerance)
    np.testing.assert_allclose(
        check_array(backend, last, (H, 1), dtype), h.detach().numpy(), rtol=0, atol=tolerance
    )
    for (name, leaf), value in zip(leaves.items(), found, strict=True):
        values = check_array(backend, value, SHAPES[name], dtype)
        np.testing.assert_allclose(values, leaf.grad.numpy(), rtol=0, atol=tolerance, err_msg=name)


def test_gradients_by_both_oracles(rng):
    params, hprev = case(rng)
    _, grads, _ = loss_and_gradients(params, INPUTS, TARGETS, hprev)

    def loss(point):
        given = {name: point[name] for name in params}
        return loss_and_gradients(given, INPUTS, TARGETS, point["hprev"])[0]

    exact = complex_step(loss, params | {"hprev": hprev})
    for name, gradient in grads.items():
        assert rel_error(exact[name], gradient) <= 1e-12, name
        coarse, fine = (
            eval_numerical_gradient(
                lambda moved, name=name: loss(params | {"hprev": hprev, name: moved}), params[name], h
            )
            for h in (1e-3, 5e-4)
        )
        assert rel_error((4.0 * fine - coarse) / 3.0, gradient) <= 1e-8, name


def test_gradients_are_clipped(backend, rng):
    params, hprev = case(rng)
    params["Why"], params["by"] = 40.0 * params["Why"], 40.0 * params["by"]
    model, h = made(params, backend), backend.asarray(hprev)
    _, grads, _ = loss_and_gradients(model.params, INPUTS, TARGETS, h)
    largest = max(np.abs(backend.to_numpy(value)).max() for value in grads.values())
    assert largest > 6.0
    for (name, value), clipped in zip(grads.items(), model.lossFun(INPUTS, TARGETS, h)[1:6], strict=True):
        expected = np.clip(backend.to_numpy(value), -5.0, 5.0)
        np.testing.assert_array_equal(backend.to_numpy(clipped), expected, err_msg=name)


def test_grad_check_prints_and_agrees(rng, capsys):
    params, hprev = case(rng)
    rows = made(params).gradCheck(INPUTS, TARGETS, hprev)
    assert [row.name for row in rows] == [name for name in SHAPES for _ in range(10)]
    assert len({row.index for row in rows}) > 10
    assert max(row.rel_error for row in rows) < 1e-6
    lines = capsys.readouterr().out.splitlines()
    assert lines[::11] == list(SHAPES)
    assert lines[1] == f"{rows[0].numerical:f}, {rows[0].analytic:f} => {rows[0].rel_error:e} "


def test_grad_check_does_not_compare_clipped_gradients(rng, capsys):
    params, hprev = case(rng)
    params["Why"], params["by"] = 40.0 * params["Why"], 40.0 * params["by"]
    rows = made(params).gradCheck(INPUTS, TARGETS, hprev)
    assert max(abs(row.analytic) for row in rows) > 6.0
    assert max(row.rel_error for row in rows if abs(row.analytic) > 0.1) < 1e-5


def test_samples_follow_the_model(backend, rng):
    params = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    params["by"] = np.log([[0.5], [0.3], [0.1], [0.1], [1e-300]])
    model = made(params, backend)
    drawn = model.sample(backend.asarray(np.zeros((H, 1))), 0, 500)
    assert len(drawn) == 500
    np.testing.assert_allclose(np.bincount(drawn, minlength=V) / 500, [0.5, 0.3, 0.1, 0.1, 0.0], atol=0.06)


def test_samples_depend_on_what_was_drawn(rng):
    params = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    params["Wxh"], params["Why"] = 5.0 * np.eye(H, V), 100.0 * np.roll(np.eye(V, H), 1, axis=0)
    assert made(params).sample(np.zeros((H, 1)), 0, 3) == [1, 2, 3]


def test_training_goes_on_where_it_stopped(backend):
    whole, parts = (MinCharRNN(V, H, seed=3, dtype="float64") for _ in range(2))
    loss = whole.train(TEXT, 30, seq_length=7)
    for _ in range(3):
        last = parts.train(TEXT, 10, seq_length=7)
    assert whole.n == parts.n == 30
    assert float(loss) == float(last)
    for name in SHAPES:
        value = check_array(backend, getattr(parts, name), SHAPES[name], "float64")
        np.testing.assert_array_equal(value, backend.to_numpy(getattr(whole, name)))


def test_training_is_the_notebooks_loop():
    """Windows, carried states, the smoothed loss, and Adagrad written out for the first three windows."""
    model, steps = MinCharRNN(V, H, seed=3), 3
    model.Why = 500.0 * model.Why  # gradients beyond ±5 at first
    assert max(np.abs(value).max() for value in model.lossFun(TEXT[:7], TEXT[1:8], model.hprev)[1:6]) == 5.0
    params = {name: np.array(value) for name, value in model.params.items()}
    memory = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    smooth, h = np.log(V) * 7, np.zeros((H, 1))
    for k in range(steps):
        now, following = TEXT[7 * k : 7 * k + 7], TEXT[7 * k + 1 : 7 * k + 8]
        loss, grads, h = loss_and_gradients(params, now, following, h)
        smooth = 0.999 * smooth + 0.001 * loss
        for name, gradient in grads.items():
            gradient = np.clip(gradient, -5, 5)
            memory[name] += gradient**2
            params[name] = params[name] - 0.1 * gradient / (np.sqrt(memory[name]) + 1e-4)
    assert float(model.train(TEXT, steps, seq_length=7)) == pytest.approx(float(smooth), rel=1e-13)
    np.testing.assert_allclose(model.hprev, h, rtol=1e-12)
    for name, value in params.items():
        np.testing.assert_allclose(getattr(model, name), value, rtol=1e-12, atol=1e-15, err_msg=name)


def test_training_learns_and_begins_again_at_the_end():
    model = MinCharRNN(2, 8)
    first = float(model.train([0, 1, 1] * 9, 40, seq_length=6))  # four windows, then again from the start
    assert model.n == 40
    assert float(model.train([0, 1, 1] * 9, 400, seq_length=6)) < 0.9 * first
    loss, *_ = model.lossFun([0, 1, 1, 0, 1, 1], [1, 1, 0, 1, 1, 0], np.zeros((8, 1)))
    assert float(loss) < 0.2


def test_the_last_window_that_fits_is_used():
    model, other = MinCharRNN(2, 3), MinCharRNN(2, 3)
    model.train([0] * 6 + [1], 2, seq_length=3)  # windows 0..2 and 3..5, whose last target is the 1
    other.train([0] * 7, 2, seq_length=3)
    assert float(model.by[1, 0]) > float(other.by[1, 0])


def test_a_seed_gives_the_same_model_on_every_backend(backend):
    model = MinCharRNN(V, H, seed=2, dtype="float32")
    with rnnx.use_backend("numpy"):
        expected = MinCharRNN(V, H, seed=2, dtype="float32")
    for name, value in expected.params.items():
        found = check_array(backend, getattr(model, name), SHAPES[name], "float32")
        np.testing.assert_array_equal(found, value)
    assert not expected.bh.any()
    assert np.std(backend.to_numpy(MinCharRNN(100, 100).Whh)) == pytest.approx(0.01, rel=0.05)


def test_bad_input():
    model, h = MinCharRNN(V, H), np.zeros((H, 1))
    with pytest.raises(
        rnnx.ShapeError, match=r"lossFun: hprev has shape \(4,\); expected \(H, 1\) = \(4, 1\)"
    ):
        model.lossFun(INPUTS, TARGETS, h[:, 0])
    with pytest.raises(rnnx.OptionError, match=r"lossFun: inputs holds 9; expected ids in 0..4"):
        model.lossFun([9], [0], h)
    with pytest.raises(rnnx.ShapeError, match=r"targets has shape \(2,\); expected \(3,\)"):
        model.lossFun(INPUTS, TARGETS[:2], h)
    with pytest.raises(rnnx.OptionError, match="sample: seed_ix holds 5"):
        model.sample(h, 5, 1)
    with pytest.raises(rnnx.ShapeError, match=r"sample: h has shape \(5, 1\); expected \(H, 1\) = \(4, 1\)"):
        model.sample(np.zeros((5, 1)), 0, 1)
    with pytest.raises(
        rnnx.OptionError, match="train: ids has 7 characters; expected more than seq_length, 7"
    ):
        model.train(TEXT[:7], 1, seq_length=7)
    with pytest.raises(rnnx.OptionError, match="MinCharRNN: vocab_size is 0"):
        MinCharRNN(0)
    model.Wxh = np.zeros((H, V + 1))
    with pytest.raises(
        rnnx.ShapeError, match=r"lossFun: Why has shape \(5, 4\); expected \(V, H\) = \(6, 4\)"
    ):
        model.lossFun(INPUTS, TARGETS, h)
