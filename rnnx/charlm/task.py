"""What a character model is trained on: names, each a sequence of its own, or one running text."""

from collections.abc import Iterator, Sequence
from math import log
from typing import NamedTuple, Protocol

import numpy as np

from rnnx.backends import to_numpy
from rnnx.charlm.corpus import Batch, NameBatches, Vocabulary, Window, pad, split_names, split_text, windows
from rnnx.charlm.model import CharModel
from rnnx.losses import softmax_cross_entropy
from rnnx.typing import Array, Params

EVALUATION_BATCH = 256
STREAMS, STREAM_LENGTH = 64, 1000
CHUNK = 200


class Loss(NamedTuple):
    """The loss of one update, its gradient, and what turns it into nats per character."""

    value: Array  # 0-d, on the device
    dlogits: Array  # (T, N, V)
    characters: int
    weight: int  # value * weight is the total in nats over all `characters`


class Task(Protocol):
    """Data with its vocabulary, its batches, its loss and its held-out part."""

    vocabulary: Vocabulary

    def batches(self, rng: np.random.Generator) -> Iterator[Window]:
        """Endless batches; one with `reset` starts from zeros, any other from the state before it."""

    def loss(self, logits: Array, batch: Batch) -> Loss:
        """Cross-entropy of logits (T, N, V)."""

    def held_out_bits(self, model: CharModel, params: Params) -> float | None:
        """Bits per character on the held-out part; None if there is none."""


class NamesTask:
    """One name is one sequence, from its start to the newline that ends it; a share of them is held out.

    The loss is the mean over the batch's characters, in nats.
    Raises DataError for fewer than two names.
    """

    def __init__(self, names: Sequence[str], seed: int, batch: int, held_out: float = 0.1) -> None:
        self.train, self.held_out = split_names(names, seed, held_out)
        self.vocabulary = Vocabulary.from_names(names)
        self._batch = batch
        self._training = NameBatches(self.train, self.vocabulary)
        ordered = sorted(self.held_out, key=len)
        self._evaluation = [
            pad(ordered[i : i + EVALUATION_BATCH], self.vocabulary)
            for i in range(0, len(ordered), EVALUATION_BATCH)
        ]

    def batches(self, rng: np.random.Generator) -> Iterator[Window]:
        while True:
            for batch in self._training.epoch(self._batch, rng):
                yield Window(batch, reset=True)

    def loss(self, logits: Array, batch: Batch) -> Loss:
        value, dlogits = softmax_cross_entropy(logits, batch.targets, batch.mask)
        characters = int(np.count_nonzero(batch.mask))
        return Loss(value, dlogits, characters, weight=characters)

    def held_out_bits(self, model: CharModel, params: Params) -> float | None:
        if not self.held_out:
            return None
        nats = 0.0
        for batch in self._evaluation:
            logits, _, _ = model.forward(params, batch.ids, training=False)
            nats += float(to_numpy(softmax_cross_entropy(logits, batch.targets, batch.mask, "sum")[0]))
        return nats / log(2) / sum(int(np.count_nonzero(batch.mask)) for batch in self._evaluation)


class TextTask:
    """A running text in windows: the state is carried on, the gradient is cut. The text's end is held out.

    The loss is the sum over a window's characters and the mean over the streams, in nats per window, as in
    Karpathy's min-char-rnn.py (2015). Raises DataError for a text that is too short for one window in each
    stream.
    """

    def __init__(self, text: str, window: int, batch: int, held_out: float = 0.1) -> None:
        self.vocabulary = Vocabulary.from_text(text)
        self.train, self.held_out = split_text(self.vocabulary.encode(text), held_out)
        self.window, self._batch = window, batch
        windows(self.train, window, batch)  # refuses a text that is too short before any work is done
        count = min(STREAMS, max(1, len(self.held_out) // STREAM_LENGTH))
        length = len(self.held_out) // count
        self._streams = self.held_out[: count * length].reshape(count, length).T

    def batches(self, rng: np.random.Generator) -> Iterator[Window]:
        return windows(self.train, self.window, self._batch)

    def loss(self, logits: Array, batch: Batch) -> Loss:
        value, dlogits = softmax_cross_entropy(logits, batch.targets, reduction="sum")
        if self._batch > 1:
            value, dlogits = value / self._batch, dlogits / self._batch
        return Loss(value, dlogits, batch.ids.size, weight=self._batch)

    def held_out_bits(self, model: CharModel, params: Params) -> float | None:
        if not len(self.held_out):
            return None
        ids, targets = self._streams[:-1], self._streams[1:]
        nats, state = 0.0, None
        for start in range(0, len(ids), CHUNK):
            logits, state, _ = model.forward(params, ids[start : start + CHUNK], state, training=False)
            loss, _ = softmax_cross_entropy(logits, targets[start : start + CHUNK], reduction="sum")
            nats += float(to_numpy(loss))
        return nats / log(2) / targets.size
