"""From a text file to batches of ids: reading, the vocabulary, the held-out part, the order of an epoch.

All of it is host work on NumPy arrays; a training loop moves each batch to its own device.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnx.errors import DataError, OptionError

Ids = NDArray[np.int64]

END = "\n"


class Batch(NamedTuple):
    """Ids and the ids that follow them, time first; a step with a False mask is padding.

    For the name "ab": ids are newline, a, b and targets are a, b, newline.
    """

    ids: Ids  # (T, N) int64
    targets: Ids  # (T, N) int64
    mask: NDArray[np.bool_]  # (T, N) bool


class Window(NamedTuple):
    """One window of a stream, and whether the state before it is zero rather than carried on."""

    batch: Batch
    reset: bool


def read_text(path: Path) -> str:
    """Return a UTF-8 file's text, with every line end as a newline and without a byte order mark.

    Raises DataError for a file that is missing, a directory, unreadable, not UTF-8, or only white space.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8").removeprefix("\ufeff")
    except FileNotFoundError:
        raise DataError(f"There is no file {str(path)!r}.", "Check its name and folder.") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{str(path)!r} is not UTF-8: byte {error.start} is 0x{data[error.start]:02x} ({error.reason}).",
            "Save it as UTF-8, for example with: iconv -f latin1 -t utf-8 FILE > NEWFILE",
        ) from None
    except IsADirectoryError:
        raise DataError(
            f"{str(path)!r} is a directory; expected a text file.", "Name one file in it."
        ) from None
    except OSError as error:
        raise DataError(
            f"{str(path)!r} cannot be read: {error.strerror}.", "Check its permissions."
        ) from None
    if not text.strip():
        found = "holds only white space" if text else "is empty"
        raise DataError(f"{str(path)!r} {found}; expected text.", "Give a file with one name a line.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_names(path: Path) -> list[str]:
    """Return a file's distinct lines in order of first appearance, stripped of surrounding white space.

    Blank lines are dropped and repeated ones kept once, so that no held-out name is a training name too.
    Raises DataError as `read_text` does, and for fewer than two distinct lines.
    """
    lines = (line.strip() for line in read_text(path).split("\n"))
    names = list(dict.fromkeys(line for line in lines if line))
    if len(names) < 2:
        raise DataError(
            f"{str(path)!r} has one distinct line; expected at least 2, one name a line.",
            "For a text with no line structure use --text.",
        )
    return names


def read_stream(path: Path) -> str:
    """Return a file's whole text, to be cut in windows.

    Raises DataError as `read_text` does, and for fewer than two characters or only one distinct character.
    """
    text = read_text(path)
    if len(set(text)) < 2:
        problem = f"{str(path)!r} holds only {text[0]!r}, {len(text)} times; expected 2 different characters."
        raise DataError(problem, "Give a longer text.")
    return text


def bundled_towns() -> list[str]:
    """Return the 7,513 bundled names of Mexican towns, sorted (GeoNames, CC BY 4.0: rnnx/data/README.md)."""
    text = (files("rnnx") / "data" / "towns.txt").read_text(encoding="utf-8")
    return text.removesuffix("\n").split("\n")


@dataclass(frozen=True)
class Vocabulary:
    """The characters that a model knows; a character's id is its place among them.

    Raises DataError unless `characters` are distinct, sorted by code point, and at least one.
    """

    characters: str

    def __post_init__(self) -> None:
        if not self.characters or self.characters != "".join(sorted(set(self.characters))):
            problem = f"Vocabulary: got {_shortened(self.characters)}; expected sorted distinct characters."
            raise DataError(problem, "Make one with Vocabulary.from_text or Vocabulary.from_names.")

    @classmethod
    def from_text(cls, text: str) -> "Vocabulary":
        """Return the vocabulary of a text's own characters."""
        return cls("".join(sorted(set(text))))

    @classmethod
    def from_names(cls, names: Iterable[str]) -> "Vocabulary":
        """Return the vocabulary of the names and of the newline, which marks a name's start and its end."""
        return cls("".join(sorted(set(END).union(*names))))

    @cached_property
    def _points(self) -> NDArray[np.uint32]:
        return _code_points(self.characters)

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> Ids:
        """Return a text's ids, int64, shape (len(text),); DataError for an unknown character."""
        points = _code_points(text)
        ids = np.searchsorted(self._points, points).astype(np.int64, copy=False)
        known = self._points[np.minimum(ids, len(self) - 1)] == points
        if not known.all():
            at = int(np.argmin(known))
            raise DataError(
                f"The character {text[at]!r} (U+{ord(text[at]):04X}) at position {at}, in "
                f"{text[max(at - 20, 0) : at + 20]!r}, is not in the model's vocabulary.",
                f"The model knows only {len(self)} characters: {_shortened(self.characters, 200)}.",
            )
        return ids

    def decode(self, ids: Iterable[int] | Ids) -> str:
        """Return the text of ids, shape (L,); DataError for an id outside of [0, len(self))."""
        chosen = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), dtype=np.int64)
        outside = chosen[(chosen < 0) | (chosen >= len(self))]
        if outside.size:
            raise DataError(f"Vocabulary.decode: id {outside[0]} is outside of [0, {len(self)}).")
        return self._points[chosen].tobytes().decode("utf-32-le", "surrogatepass")


def split_names(names: Sequence[str], seed: int, held_out: float = 0.1) -> tuple[list[str], list[str]]:
    """Return (training names, held-out names) by a PCG64 permutation from the seed.

    At least one of each, unless `held_out` is 0, which holds out none. Raises DataError for fewer than two
    names, OptionError for a seed below 0 or `held_out` outside of [0, 1).
    """
    _check_share(held_out)
    if seed < 0:
        raise OptionError(f"The seed is {seed}; expected 0 or more.")
    if len(names) < 2:
        raise DataError(f"There are {len(names)} names; expected at least 2, one of them to hold out.")
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(names))
    count = min(max(round(len(names) * held_out), 1), len(names) - 1) if held_out else 0
    return [names[i] for i in order[count:]], [names[i] for i in order[:count]]


def split_text(ids: Ids, held_out: float = 0.1) -> tuple[Ids, Ids]:
    """Return (training ids, held-out ids) as views of a stream, shape (L,).

    The stream's end is held out; each part has at least 2 ids, unless `held_out` is 0, which holds out none.
    Raises DataError for fewer than 4 ids, OptionError for `held_out` outside of [0, 1).
    """
    _check_share(held_out)
    if held_out and len(ids) < 4:
        problem = f"The text has {len(ids)} characters; expected at least 4, 2 of them to hold out."
        raise DataError(problem, "Give a longer text, or hold out nothing: --held-out 0.")
    cut = len(ids) - (min(max(round(len(ids) * held_out), 2), len(ids) - 2) if held_out else 0)
    return ids[:cut], ids[cut:]


class NameBatches:
    """Names encoded once, from which batches are gathered without a Python loop over names.

    Raises DataError for no names, a name that holds a newline, or a character that the vocabulary lacks.
    """

    def __init__(self, names: Sequence[str], vocabulary: Vocabulary) -> None:
        text = END + END.join(names) + END
        if not names:
            raise DataError("There are no names to make a batch of; expected at least 1.")
        if text.count(END) != len(names) + 1:
            broken = next(name for name in names if END in name)
            raise DataError(
                f"The name {broken!r} holds a newline, which marks a name's end.", "Split it in two."
            )
        self._flat = vocabulary.encode(text)
        self._end = int(vocabulary.encode(END)[0])
        self._steps = np.array([len(name) + 1 for name in names], dtype=np.int64)
        self._starts = np.cumsum(self._steps) - self._steps

    def __len__(self) -> int:
        return len(self._steps)

    def take(self, chosen: Ids) -> Batch:
        """Return the batch of the names at these indices, shape (N,), padded to the longest of them."""
        steps = self._steps[chosen]
        time = np.arange(steps.max())[:, None]
        mask = time < steps
        at = np.where(mask, time + self._starts[chosen], 0)
        ids = self._flat[at]
        targets = np.where(mask, self._flat[at + 1], self._end)
        return Batch(ids, targets, mask)

    def epoch(self, batch_size: int, rng: np.random.Generator, bucket: int = 16) -> Iterator[Batch]:
        """Return batches that hold each name exactly once; see `epoch`."""
        if batch_size < 1 or bucket < 1:
            raise OptionError(
                f"batch_size is {batch_size} and bucket is {bucket}; expected 1 or more of each."
            )
        order = rng.permutation(len(self))
        chunk = bucket * batch_size
        chosen: list[Ids] = []
        for first in range(0, len(order), chunk):
            part = order[first : first + chunk]
            part = part[np.argsort(self._steps[part], kind="stable")]
            chosen.extend(part[i : i + batch_size] for i in range(0, len(part), batch_size))
        return (self.take(chosen[i]) for i in rng.permutation(len(chosen)))


def pad(names: Sequence[str], vocabulary: Vocabulary) -> Batch:
    """Return all names as one batch, in the given order; T is the longest name's length and one.

    A padded step has the newline as id and target. Raises DataError as `NameBatches` does.
    """
    return NameBatches(names, vocabulary).take(np.arange(len(names)))


def windows(ids: Ids, length: int, batch_size: int = 1) -> Iterator[Window]:
    """Return endless windows of a stream, each (length, batch_size); targets are the ids one step later.

    The stream, shape (L,), is cut in `batch_size` contiguous streams of L // batch_size ids, side by side. As
    in Karpathy's min-char-rnn.py (2015), a pass restarts, with the state reset, when p + length + 1 >= the
    stream's length. The arrays are views of one buffer: read them only.
    Raises DataError for a stream shorter than length + 1, OptionError for a length or batch_size below 1.
    """
    if length < 1 or batch_size < 1:
        raise OptionError(f"The window is {length} and the batch {batch_size}; expected 1 or more of each.")
    per_stream = len(ids) // batch_size
    if per_stream < length + 1:
        given = f"{len(ids)} characters in {batch_size} streams are {per_stream} each"
        problem = f"{given}; expected at least {length + 1}, a window of {length} and one."
        raise DataError(problem, "Lower --window or --batch, or give a longer text.")
    streams = np.ascontiguousarray(ids[: per_stream * batch_size].reshape(batch_size, per_stream).T)
    mask = np.ones((length, batch_size), dtype=np.bool_)

    def passes() -> Iterator[Window]:
        while True:
            for p in range(0, max(per_stream - length - 1, 1), length):
                yield Window(
                    Batch(streams[p : p + length], streams[p + 1 : p + length + 1], mask), reset=p == 0
                )

    return passes()


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _shortened(text: str, most: int = 40) -> str:
    return repr(text) if len(text) <= most else f"{text[:most]!r}..."


def _check_share(held_out: float) -> None:
    if not 0 <= held_out < 1:
        raise OptionError(f"The held-out share is {held_out}; expected a number in [0, 1), such as 0.1.")
