"""The library's errors: what was given, what was expected, how to mend it.

Each derives from `RnnxError` and from the built-in error that a caller would catch without knowing this
library.
"""


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


class TapeConsumed(RnnxError, RuntimeError):
    """A second backward pass over a tape that the first one has overwritten."""


class DataError(RnnxError, ValueError):
    """A text or model file that cannot be used as it is."""


class TrainingError(RnnxError, RuntimeError):
    """A training run that cannot go on, such as one whose loss became NaN."""
