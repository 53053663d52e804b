"""The n-gram model that a recurrent one has to beat: interpolated Witten-Bell over characters."""

from collections import Counter
from collections.abc import Iterable, Iterator
from math import log2
from typing import Self

from rnnx.errors import DataError, OptionError

END = "\n"


class WittenBell:
    """An interpolated Witten-Bell character n-gram model of names.

    With h a context of up to order - 1 characters and h' the same context without its first character::

        p(c | h) = (count(h c) + kinds(h) * p(c | h')) / (total(h) + kinds(h))
        total(h) = sum of count(h c) over c
        kinds(h) = the number of different characters seen after h
        p(c | h) = p(c | h')                for a context never seen
        p(c | no context at all) = 1 / V    for the base below the unigrams, V the size of the vocabulary

    A name's start is order - 1 newlines, which are only ever context; its end is one newline, which is
    predicted.

    Sources: Witten and Bell, "The zero-frequency problem", IEEE Transactions on Information Theory 37(4),
    1991, method C; in this interpolated form Chen and Goodman, "An empirical study of smoothing
    techniques for language modeling", Computer Speech and Language 13(4), 1999.

    Parameters
    ----------
    order : int
        The longest n-gram, 1 or more; a 5-gram looks at 4 characters.
    """

    def __init__(self, order: int = 5) -> None:
        if order < 1:
            raise OptionError(f"WittenBell: order is {order}; expected 1 or more.", "A 5-gram has order 5.")
        self.order = order
        self.characters = ""
        self._count: Counter[str] = Counter()
        self._total: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()

    def fit(self, names: Iterable[str], characters: str) -> Self:
        """Count the names' n-grams, forgetting any earlier fit; return self.

        `characters` is the whole vocabulary; the newline is always part of it. Raises DataError for no names,
        and for a name with a newline or with a character outside of the vocabulary.
        """
        self.characters = "".join(sorted(set(characters) | {END}))
        padded = list(self._padded(names))
        self._count = Counter(
            text[i - k : i + 1]
            for text in padded
            for i in range(self.order - 1, len(text))
            for k in range(self.order)
        )
        self._total, self._kinds = Counter(), Counter()
        for gram, count in self._count.items():
            self._total[gram[:-1]] += count
            self._kinds[gram[:-1]] += 1
        return self

    def probability(self, character: str, prefix: str = "") -> float:
        """Return p(character | the name so far); DataError before `fit` and outside of the vocabulary."""
        if character not in self.characters or len(character) != 1:
            raise DataError(
                f"WittenBell: {character!r} is not one of the {len(self.characters)} known characters.",
                "Name every character in `characters` when calling fit.",
            )
        context = END * (self.order - 1) + prefix
        return self._interpolated(character, context[len(context) - self.order + 1 :])

    def bits_per_character(self, names: Iterable[str]) -> float:
        """Return the mean of -log2 p over all characters, each name's ending newline counted as one, in bits.

        Raises DataError as `fit` does, and before `fit`.
        """
        bits, characters = 0.0, 0
        for text in self._padded(names):
            for i in range(self.order - 1, len(text)):
                bits -= log2(self._interpolated(text[i], text[i - self.order + 1 : i]))
            characters += len(text) - self.order + 1
        return bits / characters

    def _interpolated(self, character: str, context: str) -> float:
        p = 1 / len(self.characters)
        for k in range(self.order):
            h = context[len(context) - k :]
            kinds = self._kinds.get(h, 0)
            if not kinds:
                break
            p = (self._count.get(h + character, 0) + kinds * p) / (self._total[h] + kinds)
        return p

    def _padded(self, names: Iterable[str]) -> Iterator[str]:
        known = set(self.characters) - {END}
        none = True
        for name in names:
            none = False
            if not known.issuperset(name):
                unknown = next(c for c in name if c not in known)
                raise DataError(
                    f"WittenBell: the name {name!r} has {unknown!r}, which is not one of the "
                    f"{len(self.characters)} characters of its vocabulary (a newline only ends a name).",
                    "Call fit with the characters of all names, the held-out ones included.",
                )
            yield END * (self.order - 1) + name + END
        if none:
            raise DataError("WittenBell: there are no names; expected at least 1.")
