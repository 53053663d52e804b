"""The training loop: forward, loss, backward, clipping, update, and now and then an evaluation.

Losses stay on the device and are read a few times a second, so that a step waits for no copy.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from math import cos, isfinite, log, pi
from threading import current_thread, main_thread
from time import perf_counter
from typing import NamedTuple

import numpy as np

from rnnx.backends import get_backend
from rnnx.charlm.config import OPTIMIZERS, TrainConfig
from rnnx.charlm.corpus import Window
from rnnx.charlm.model import CharModel
from rnnx.charlm.run import Record, RunFolder
from rnnx.charlm.task import Task
from rnnx.errors import TrainingError
from rnnx.init import generator
from rnnx.optim import clip_by_global_norm, clip_by_value
from rnnx.typing import Array, State

EVALUATIONS = 10
REPORT_STEPS, REPORT_SECONDS = 50, 0.1
WARM_UP = 100
SMOOTHING = 0.999


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C: an impatient second one must not stop what the first one set off."""
    if current_thread() is not main_thread():  # signals are the main thread's
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


class Progress(NamedTuple):
    """How far a training run is."""

    step: int
    loss: float  # nats per character, mean since the last report
    held_out_bits_per_char: float | None  # None before the first evaluation, and if nothing is held out
    chars_per_second: float  # since the last report


class Observer:
    """What a training run tells: override what you want to know."""

    def progressed(self, progress: Progress) -> None:
        """Called a few times a second."""

    def evaluated(self, record: Record) -> None:
        """Called after each evaluation, when the model is on the disk."""


class Trainer:
    """One training run; `run` does the work.

    The learning rate rises linearly over the first 100 steps (a tenth of all steps if that is less) and
    falls to zero along a cosine. With Adagrad, whose steps shrink by themselves, it is constant.

    Parameters
    ----------
    config : TrainConfig
    task : NamesTask or TextTask
    folder : RunFolder, optional
        Where the model and the log are saved after each evaluation.
    observer : Observer, optional

    Attributes
    ----------
    model : CharModel
    params : dict of str to array
        Parameters after `step` updates.
    step : int
    records : list of Record
        One for each evaluation; there are about 10.
    smoothed : float
        Exponential mean of the loss with the weight 0.001 for each step, in the loss's own unit: in a text
        nats per window, from ln(V) * window on, as in Karpathy's min-char-rnn.py (2015).
    """

    def __init__(
        self,
        config: TrainConfig,
        task: Task,
        folder: RunFolder | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.config, self.task, self.folder = config, task, folder
        self.observer = observer or Observer()
        self.model: CharModel = config.model(len(task.vocabulary))
        self.params: dict[str, Array] = self.model.init(config.seed)
        self.step = 0
        self.records: list[Record] = []
        self.smoothed = log(len(task.vocabulary)) * (config.window if config.text else 1)
        self._backend = get_backend()
        self._unread: list[tuple[Array, int, int]] = []  # loss on the device, characters, weight
        self._nats, self._characters = 0.0, 0  # since the last evaluation
        self._training_seconds = 0.0  # since the last evaluation
        self._held_out: float | None = None

    def run(self) -> None:
        """Train for all steps, and save.

        Raises
        ------
        TrainingError
            The loss became NaN or infinite. What was saved before stays as it is.
        KeyboardInterrupt
            What was trained until then has been saved.
        """
        batches = self.task.batches(generator(self.config.seed, "order"))
        try:
            # An overflow shows in the loss, which is checked; a warning would only come before that error.
            with np.errstate(all="ignore"):
                self._loop(batches)
        except KeyboardInterrupt:
            with uninterrupted():
                if self.step and self._finite():
                    self._save()
            raise

    def learning_rate(self, step: int) -> float:
        """The learning rate of an update, counted from 0."""
        config = self.config
        if config.optimizer == "adagrad":
            return config.learning_rate
        warm_up = min(WARM_UP, max(config.steps // 10, 1))
        return (
            config.learning_rate
            * min((step + 1) / warm_up, 1.0)
            * 0.5
            * (1.0 + cos(pi * step / config.steps))
        )

    def _loop(self, batches: Iterator[Window]) -> None:
        config, model, task = self.config, self.model, self.task
        optimizer = OPTIMIZERS[config.optimizer](config.learning_rate)
        moments = optimizer.init(self.params)
        dropout = generator(config.seed, "dropout") if config.dropout else None
        every = max(config.steps // EVALUATIONS, 1)
        state: State = None
        start = since = reported = perf_counter()
        for step in range(config.steps):
            batch, reset = next(batches)
            logits, state, tape = model.forward(
                self.params, batch.ids, None if reset else state, generator=dropout
            )
            loss = task.loss(logits, batch)
            _, grads = model.backward(tape, loss.dlogits)
            if config.clip_value:
                grads = clip_by_value(grads, config.clip_value)
            if config.clip_norm:
                grads, _ = clip_by_global_norm(grads, config.clip_norm)
            self.params, moments = optimizer.update(self.params, grads, moments, self.learning_rate(step))
            self.step = step + 1
            self._unread.append((loss.value, loss.characters, loss.weight))
            last = self.step == config.steps
            evaluate = last or (self.step % every == 0 and config.steps - self.step >= every)
            now = perf_counter()
            if evaluate or len(self._unread) >= REPORT_STEPS or now - reported >= REPORT_SECONDS:
                self._report(now - reported)
                reported = perf_counter()
            if evaluate:
                self._training_seconds = perf_counter() - since
                self._evaluate(start)
                since = reported = perf_counter()

    def _report(self, seconds: float) -> None:
        """Read the losses from the device, and tell how it goes."""
        losses = self._backend.to_numpy(
            self._backend.xp.stack([loss for loss, _, _ in self._unread])
        ).tolist()
        nats, characters = 0.0, 0
        for k, (loss, (_, count, weight)) in enumerate(zip(losses, self._unread, strict=True)):
            if not isfinite(loss):
                raise self._diverged(f"The loss became {loss} at step {self.step - len(losses) + k + 1}")
            self.smoothed = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * loss
            nats, characters = nats + loss * weight, characters + count
        self._unread.clear()
        self._nats, self._characters = self._nats + nats, self._characters + characters
        speed = characters / max(seconds, 1e-9)
        self.observer.progressed(Progress(self.step, nats / characters, self._held_out, speed))

    def _finite(self) -> bool:
        """Whether every parameter is finite: only such a model may replace one on the disk."""
        xp = self._backend.xp
        flags = xp.stack([xp.all(xp.isfinite(value)) for value in self.params.values()])
        return bool(self._backend.to_numpy(xp.all(flags)))

    def _evaluate(self, start: float) -> None:
        if not self._finite():
            raise self._diverged(f"The weights became infinite or NaN by step {self.step}")
        self._held_out = self.task.held_out_bits(self.model, self.params)
        speed = self._characters / max(self._training_seconds, 1e-9)
        seconds = perf_counter() - start
        self.records.append(
            Record(
                self.step, round(seconds, 3), self._nats / self._characters, self._held_out, round(speed, 1)
            )
        )
        self._nats, self._characters = 0.0, 0
        self._save()
        self.observer.evaluated(self.records[-1])

    def _diverged(self, what: str) -> TrainingError:
        return TrainingError(
            f"{what} of {self.config.steps}.",
            f"Lower --learning-rate (it is {self.config.learning_rate:g}), --clip-norm or --clip-value.",
        )

    def _save(self) -> None:
        if self.folder is not None:
            self.folder.save(self.params, self.records, self.step)
