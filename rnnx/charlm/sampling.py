"""New text from a trained model, many sequences at a time."""

from math import inf

import numpy as np

from rnnx.backends import to_numpy
from rnnx.charlm.config import integer, number
from rnnx.charlm.corpus import END, Ids, Vocabulary
from rnnx.charlm.model import CharModel
from rnnx.errors import OptionError
from rnnx.typing import Array, Params

LONGEST = 100
"""Characters after which a name without an end is cut."""

BATCH = 256


class Sampler:
    """Draws from softmax(logits / temperature) by adding Gumbel noise and taking the largest.

    The noise is drawn on the host, so a seed gives the same text on every backend up to rounding; each step
    copies one row of logits per sequence to the host. At temperature 0 it takes the most likely character.

    Parameters
    ----------
    model : CharModel
    params : mapping of str to array
    vocabulary : Vocabulary
    temperature : float
        0 or more; 1 is the model's own distribution.
    seed : int

    Raises
    ------
    OptionError
        For a temperature or seed that is out of range.
    """

    def __init__(
        self,
        model: CharModel,
        params: Params,
        vocabulary: Vocabulary,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> None:
        number("--temperature", temperature, inf, "a finite number of at least 0")
        integer("--seed", seed, 0)
        self.model, self.params, self.vocabulary = model, params, vocabulary
        self.temperature = temperature
        self._rng = np.random.Generator(np.random.PCG64(seed))

    def names(self, count: int, prompt: str = "") -> list[str]:
        """Names that start with the prompt, without their newline: 1 to 100 characters each.

        Raises OptionError for a count below 1 or a newline in the prompt, DataError for a character that
        the model never saw.
        """
        integer("--count", count, 1)
        if END in prompt:
            raise OptionError(
                f"--prompt is {prompt!r}; a newline ends a name.", "Give the start of one name."
            )
        start = self.vocabulary.encode(END)
        end, prefix = int(start[0]), np.concatenate([start, self.vocabulary.encode(prompt)])
        drawn: list[str] = []
        while len(drawn) < count:
            ids = self._draw(
                prefix, min(BATCH, count - len(drawn)), max(LONGEST - len(prompt), 1), end, not prompt
            )
            drawn += [prompt + self.vocabulary.decode(row).partition(END)[0] for row in ids]
        return drawn

    def passages(self, count: int, prompt: str = "", length: int = 200) -> list[str]:
        """Passages of that many characters after the prompt, which each one starts with.

        Without a prompt the model is shown a newline first, or a space, or its first character, whichever
        it knows. Raises OptionError for a count or length below 1, DataError for a character that the model
        never saw.
        """
        integer("--count", count, 1)
        integer("--length", length, 1)
        known = self.vocabulary.characters
        start = prompt or next((c for c in "\n " if c in known), known[0])
        prefix = self.vocabulary.encode(start)
        drawn: list[str] = []
        while len(drawn) < count:
            ids = self._draw(prefix, min(BATCH, count - len(drawn)), length)
            drawn += [prompt + self.vocabulary.decode(row) for row in ids]
        return drawn

    def _draw(
        self, prefix: Ids, count: int, length: int, end: int | None = None, never_empty: bool = False
    ) -> Ids:
        """Ids (count, up to length) that follow the prefix; with an `end`, until every row holds it."""
        shown = np.repeat(prefix[:, None], count, axis=1)
        logits, state, _ = self.model.forward(self.params, shown, training=False)
        first = self._scores(logits[-1, ...])
        if never_empty:
            first[:, end] = -inf
        drawn = [np.argmax(first, axis=1)]
        done = drawn[0] == end
        while len(drawn) < length and not done.all():
            logits, state = self.model.step(self.params, drawn[-1], state)
            drawn.append(np.argmax(self._scores(logits), axis=1))
            done |= drawn[-1] == end
        return np.stack(drawn, axis=1)

    def _scores(self, logits: Array) -> np.ndarray:
        host = to_numpy(logits).astype(np.float64)
        with np.errstate(over="ignore"):  # an infinite score wins or loses as a large one does
            return host + self.temperature * self._rng.gumbel(size=host.shape)
