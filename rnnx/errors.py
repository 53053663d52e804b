"""The library's errors: what was given, what was expected, how to mend it.

Each derives from `RnnxError` and from the built-in error that a caller would catch without knowing this
library.
"""

from collections.abc import Mapping


class RnnxError(Exception):
    """Base of every error that the library raises on purpose.

    Parameters
    ----------
    problem : str
        One sentence: what was given and what was expected.
    hint : str, optional
        One sentence: how to mend it.
    """

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(f"{problem} {hint}".strip())
        self.problem = problem
        self.hint = hint


class OptionError(RnnxError, ValueError):
    """An option outside of its range, or a name that is not known."""


class ShapeError(RnnxError, ValueError):
    """An array of another shape than the formula needs."""


class DtypeError(RnnxError, TypeError):
    """An array of a dtype that the formula cannot take."""


class MixedArraysError(RnnxError, TypeError):
    """Arrays of two libraries or two devices in one call."""


class BackendError(RnnxError, RuntimeError):
    """A backend that is unknown or cannot be used here."""


class MemoryLimitError(RnnxError, MemoryError):
    """Arrays that do not fit into the memory of their device.

    Parameters
    ----------
    problem, hint : str
    asked : int
        Bytes of the array that could not be made; 0 if the library did not say.
    free, total : int or None
        Bytes of the device, when the error was raised; None if the library does not tell.
    sizes : mapping of str to int, optional
        Those of the call, by their names: T, N, D, H.
    """

    def __init__(
        self,
        problem: str,
        hint: str = "",
        asked: int = 0,
        free: int | None = None,
        total: int | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(problem, hint)
        self.asked = asked
        self.free = free
        self.total = total
        self.sizes = dict(sizes or {})


class TapeConsumed(RnnxError, RuntimeError):
    """A second backward pass over a tape that the first one has overwritten."""


class FunctionError(RnnxError, ValueError):
    """A function that the gradient check can tell nothing of: it is random, or changes what it is given."""


class DataError(RnnxError, ValueError):
    """A text or model file that cannot be used as it is."""


class TrainingError(RnnxError, RuntimeError):
    """A training run that cannot go on, such as one whose loss became NaN."""
