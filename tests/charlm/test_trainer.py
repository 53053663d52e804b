"""Real training runs of a few steps: equal on every backend, the same twice, loud on NaN, safe on Ctrl-C."""

import json
from math import log

import numpy as np
import pytest

from rnnx.backends import asarray, to_numpy, use_backend
from rnnx.charlm import NamesTask, Observer, RunFolder, TextTask, TrainConfig, Trainer
from rnnx.charlm import load as load_run
from rnnx.charlm.trainer import EVALUATIONS, REPORT_STEPS
from rnnx.errors import TrainingError
from rnnx.init import generator

NAMES = [
    a + b + c for a in ("San ", "Tula ", "Xo") for b in ("la", "me", "ti", "nó") for c in ("", "n", "que")
]
TEXT = "\n".join(NAMES * 3)
SMALL = dict(hidden=6, embedding=4, steps=20)


class Losses(Observer):
    """Keeps the mean loss of every report; `stop_at` and `stop_after` raise KeyboardInterrupt there."""

    def __init__(self, stop_at=None, stop_after=None):
        self.found, self.stop_at, self.stop_after = [], stop_at, stop_after

    def progressed(self, progress):
        self.found.append(progress)
        if self.stop_at is not None and progress.step >= self.stop_at:
            raise KeyboardInterrupt

    def evaluated(self, record):
        if record.step == self.stop_after:
            raise KeyboardInterrupt


def trainer(text=False, folder=None, observer=None, **options):
    given = SMALL | ({"window": 7, "batch": 3} if text else {"batch": 8}) | options
    config = TrainConfig.for_data(len(TEXT), text=text, **given)
    task = (
        TextTask(TEXT, config.window, config.batch) if text else NamesTask(NAMES, config.seed, config.batch)
    )
    if folder is not None:
        folder = RunFolder(folder, config, task.vocabulary, "test")
    return Trainer(config, task, folder, observer)


def curve(**options):
    run = trainer(**options)
    run.run()
    return [(r.train_loss, r.held_out_bits_per_char) for r in run.records], run


@pytest.mark.parametrize(
    "options",
    [
        dict(cell="gru", dropout=0.5, optimizer="adamw"),
        dict(cell="lstm", dropout=0.0, optimizer="rmsprop", clip_norm=0.5, clip_value=0.1),
        dict(text=True, cell="rnn", embedding=0, dropout=0.2, optimizer="adagrad"),
        dict(text=True, cell="lstm", optimizer="sgd", learning_rate=0.1),
    ],
    ids=str,
)
def test_every_backend_trains_alike(backend, options):
    with use_backend("numpy"):
        expected, _ = curve(**options)
    found, run = curve(**options)
    assert all(backend.holds(p) and p.dtype == backend.dtype("float32") for p in run.params.values())
    assert len(found) == EVALUATIONS
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("text", [False, True])
def test_the_same_seed_gives_the_same_numbers(text):
    first, again, other = (curve(text=text, seed=seed) for seed in (4, 4, 5))
    assert first[0] == again[0]
    assert all(np.array_equal(p, again[1].params[name]) for name, p in first[1].params.items())
    assert first[0] != other[0]


def test_training_learns_and_evaluates_ten_times():
    found, run = curve(steps=203, hidden=24, dropout=0.1)
    assert [r.step for r in run.records] == [*range(20, 181, 20), 203]
    assert found[-1][1] < 0.5 * found[0][1]
    assert all(r.chars_per_second > 0 for r in run.records)
    assert [r.seconds for r in run.records] == sorted(r.seconds for r in run.records)


def test_the_text_loop_is_that_of_min_char_rnn():
    """The same windows, clipping and Adagrad, written out plainly, give the same losses."""
    options = dict(cell="rnn", embedding=0, dropout=0.0, window=7, batch=1, optimizer="adagrad", steps=60)
    run = trainer(text=True, clip_value=0.5, **options)
    task, V = run.task, len(run.task.vocabulary)
    w = {name: p.astype(np.float64) for name, p in run.params.items()}
    memory = {name: np.zeros_like(p) for name, p in w.items()}
    smoothed, p, nats = log(V) * 7, 0, 0.0
    ids, h0 = task.train, np.zeros(6)
    for n in range(60):
        if p + 7 + 1 >= len(ids) or n == 0:
            p, h0 = 0, np.zeros(6)
        hs, ps, loss = [h0], [], 0.0
        for now, following in zip(ids[p : p + 7], ids[p + 1 : p + 8], strict=True):
            hs.append(np.tanh(w["cell.Wx"][now] + hs[-1] @ w["cell.Wh"] + w["cell.b"]))
            e = np.exp(hs[-1] @ w["head.W"] + w["head.b"])
            ps.append(e / e.sum())
            loss -= log(ps[-1][following])
        d = {name: np.zeros_like(value) for name, value in w.items()}
        back = np.zeros(6)
        for t in reversed(range(7)):
            dy = ps[t].copy()
            dy[ids[p + 1 + t]] -= 1
            d["head.W"] += np.outer(hs[t + 1], dy)
            d["head.b"] += dy
            da = (1 - hs[t + 1] ** 2) * (w["head.W"] @ dy + back)
            d["cell.Wx"][ids[p + t]] += da
            d["cell.Wh"] += np.outer(hs[t], da)
            d["cell.b"] += da
            back = w["cell.Wh"] @ da
        for name, g in d.items():
            g = np.clip(g, -0.5, 0.5)
            memory[name] += g * g
            w[name] -= 0.1 * g / (np.sqrt(memory[name]) + 1e-10)
        smoothed, nats = 0.999 * smoothed + 0.001 * loss, nats + loss
        h0, p = hs[-1], p + 7
    run.run()
    assert run.smoothed == pytest.approx(smoothed, rel=1e-6)
    assert np.mean([r.train_loss for r in run.records]) == pytest.approx(nats / 60 / 7, rel=1e-5)


def test_losses_are_read_now_and_then_only(monkeypatch):
    monkeypatch.setattr("rnnx.charlm.trainer.REPORT_SECONDS", 1e9)
    seen = Losses()
    trainer(steps=REPORT_STEPS * 3, observer=seen, dropout=0.0).run()
    assert [p.step for p in seen.found] == [*range(15, 151, 15)]  # at evaluations only
    assert [p.held_out_bits_per_char is None for p in seen.found] == [True] + [False] * 9


def test_the_learning_rate_rises_and_falls():
    rates = [trainer(steps=1000, learning_rate=2.0).learning_rate(step) for step in (0, 49, 99, 500, 999)]
    assert rates == pytest.approx([0.02, 1.0, 1.95, 1.0, 0.0], abs=0.06)
    constant = trainer(steps=1000, optimizer="adagrad")
    assert {constant.learning_rate(step) for step in range(1000)} == {0.1}


@pytest.mark.parametrize("backend_name", ["numpy", "strict"])
def test_a_loss_that_becomes_nan_names_its_step(backend_name, tmp_path):
    with use_backend(backend_name):
        run = trainer(folder=tmp_path / "run", dropout=0.0)
        forward, calls = run.model.forward, []

        def poisoned(params, *args, **kwargs):
            logits, state, tape = forward(params, *args, **kwargs)
            calls.append(kwargs.get("training", True))
            if calls.count(True) >= 14:
                logits = logits * asarray(float("nan"), dtype="float32")
            return logits, state, tape

        object.__setattr__(run.model, "forward", poisoned)
        with pytest.raises(TrainingError, match=r"nan at step 14 of 20\. .*--learning-rate \(it is 0\.005\)"):
            run.run()
    kept = load_run(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])["step"] == 12
    assert all(np.isfinite(p).all() for p in kept.params.values())


def test_a_real_divergence_is_a_training_error(recwarn):
    run = trainer(text=True, cell="rnn-relu", hidden=20, optimizer="sgd", learning_rate=1e6, clip_value=0.0)
    with pytest.raises(TrainingError, match=r"The loss became (nan|inf)"):
        run.run()
    assert not recwarn.list


def test_weights_that_diverge_in_the_last_update_are_not_saved(tmp_path):
    run = trainer(folder=tmp_path / "run", optimizer="sgd", learning_rate=1e300, clip_norm=0.0, steps=1)
    with pytest.raises(TrainingError, match=r"The weights became infinite or NaN by step 1 of 1\."):
        run.run()
    assert not (tmp_path / "run/model.safetensors").exists()


def test_ctrl_c_does_not_replace_a_good_model_by_one_of_nan(tmp_path, monkeypatch):
    monkeypatch.setattr("rnnx.charlm.trainer.REPORT_SECONDS", 0.0)
    run = trainer(folder=tmp_path / "run", observer=Losses(stop_at=7))
    update, count = run.task.loss, []

    def poisoned(logits, batch):
        loss = update(logits, batch)
        count.append(0)
        return loss._replace(dlogits=loss.dlogits * np.float32("nan")) if len(count) == 7 else loss

    monkeypatch.setattr(run.task, "loss", poisoned)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert np.isnan(to_numpy(run.params["head.b"])).any()
    kept = load_run(tmp_path / "run")
    assert all(np.isfinite(to_numpy(value)).all() for value in kept.params.values())


def test_ctrl_c_saves_what_was_trained(backend, tmp_path, monkeypatch):
    monkeypatch.setattr("rnnx.charlm.trainer.REPORT_SECONDS", 0.0)
    run = trainer(folder=tmp_path / "run", observer=Losses(stop_at=7))
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert run.step == 7
    kept = load_run(tmp_path / "run")
    for name, value in kept.params.items():
        np.testing.assert_array_equal(to_numpy(value), to_numpy(run.params[name]), err_msg=name)
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 3  # steps 2, 4, 6


def test_a_run_that_is_stopped_trained_like_one_that_is_not(monkeypatch):
    run = trainer(observer=Losses(stop_after=10))
    with pytest.raises(KeyboardInterrupt):
        run.run()
    whole = trainer()
    whole.run()
    assert [r.train_loss for r in run.records] == [r.train_loss for r in whole.records[:5]]


def test_held_out_bits_are_those_of_a_plain_sum():
    run = trainer(dropout=0.0)
    names, nats, count = run.task.held_out, 0.0, 0
    for name in names:
        ids = run.task.vocabulary.encode("\n" + name + "\n")
        logits, _, _ = run.model.forward(run.params, ids[:-1, None])
        p = np.exp(logits[:, 0, :].astype(np.float64))
        p /= p.sum(axis=1, keepdims=True)
        nats -= np.log(p[np.arange(len(ids) - 1), ids[1:]]).sum()
        count += len(ids) - 1
    assert run.task.held_out_bits(run.model, run.params) == pytest.approx(nats / count / log(2), rel=1e-5)
    text = trainer(text=True, dropout=0.0)
    ids = text.task.held_out
    logits, _, _ = text.model.forward(text.params, ids[:-1, None])
    logits = logits[:, 0, :].astype(np.float64)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(ids) - 1), ids[1:]]
    assert text.task.held_out_bits(text.model, text.params) == pytest.approx(losses.mean() / log(2), rel=1e-5)


def test_every_name_is_seen_once_in_an_epoch():
    task = trainer(batch=5).task
    batches = task.batches(generator(0, "order"))
    seen = 0
    while seen < len(task.train):
        window = next(batches)
        assert window.reset
        seen += window.batch.ids.shape[1]
    assert seen == len(task.train)
