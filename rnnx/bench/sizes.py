"""Sizes of the layers that are timed."""

from typing import NamedTuple

from rnnx.charlm.config import meant
from rnnx.errors import OptionError


class Sizes(NamedTuple):
    """Steps, batch, input and hidden size of a layer, with a name."""

    name: str
    T: int
    N: int
    D: int
    H: int


NAMED = {
    sizes.name: sizes
    for sizes in (
        Sizes("tiny", 10, 2, 3, 6),
        Sizes("char", 25, 1, 68, 100),
        Sizes("small", 50, 32, 64, 128),
        Sizes("medium", 100, 32, 128, 256),
        Sizes("large", 100, 64, 512, 512),
    )
}


def parse(text: str) -> list[Sizes]:
    """Sizes from a list with commas: names, and T,N,D,H in fours.

    Raises
    ------
    OptionError
        A name is unknown, or numbers are no four integers of at least 1.
    """
    found, words = [], [word.strip() for word in text.split(",")]
    while words:
        word = words.pop(0)
        if word in NAMED:
            found.append(NAMED[word])
            continue
        four = [word, *words[:3]]
        if not word.lstrip("+-").isdecimal():
            raise OptionError(f"--sizes has {word!r}, which is no known size.", meant(word, NAMED))
        if len(four) < 4 or not all(each.isdecimal() and int(each) for each in four):
            raise OptionError(
                f"--sizes has {','.join(four)!r}; expected four integers of at least 1.",
                "They are T, N, D and H: --sizes 50,32,64,128.",
            )
        found.append(Sizes(",".join(four), *map(int, four)))
        del words[:3]
    return list(dict.fromkeys(found))
