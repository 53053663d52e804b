"""The options of a training run: their defaults, their checks, and how they are written to config.json."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from math import inf
from typing import Any, get_type_hints

from rnnx import backends
from rnnx.cells import REGISTRY
from rnnx.charlm.model import CharModel
from rnnx.errors import BackendError, DataError, OptionError
from rnnx.optim import SGD, Adagrad, AdamW, RMSprop

OPTIMIZERS: Mapping[str, Any] = {"sgd": SGD, "adagrad": Adagrad, "rmsprop": RMSprop, "adamw": AdamW}

LEARNING_RATES = {"sgd": 1.0, "adagrad": 0.1, "rmsprop": 0.002, "adamw": 0.005}
"""Default learning rate by optimiser."""

WINDOW, STREAMS = 50, 16
"""Default window and batch of a text, where it is long enough for them."""

WIDEST = 65_536
"""Largest layer: beyond it the weights alone are tens of gigabytes."""


@dataclass(frozen=True)
class TrainConfig:
    """Options of a training run, each checked here; OptionError names them as the command line does.

    Parameters
    ----------
    text : bool
        Whether the data is one running text, cut in windows, rather than one name a line.
    cell, hidden, embedding, dropout
        As `CharModel` has them.
    steps : int
        Updates of the parameters.
    batch : int
        Names, or parallel streams of the text, in an update.
    window : int
        Characters between two cuts of the gradient in a text; names are never cut.
    optimizer : str
        A key of `OPTIMIZERS`.
    learning_rate : float
    clip_norm : float
        Largest global norm of the gradient; 0 for no such limit.
    clip_value : float
        Largest absolute value of any element of the gradient; 0 for no such limit.
    held_out : float
        Share of the names, or of a text's end, that is not trained on; 0 for none.
    seed : int
        Of the weights, the dropout, the order and the held-out part.
    """

    text: bool = False
    cell: str = "gru"
    hidden: int = 320
    embedding: int = 64
    dropout: float = 0.4
    steps: int = 1200
    batch: int = 64
    window: int = WINDOW
    optimizer: str = "adamw"
    learning_rate: float = LEARNING_RATES["adamw"]
    clip_norm: float = 1.0
    clip_value: float = 0.0
    held_out: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        known("--cell", "cell", self.cell, REGISTRY)
        known("--optimizer", "optimizer", self.optimizer, OPTIMIZERS)
        integer("--hidden", self.hidden, 1, WIDEST)
        integer("--embedding", self.embedding, 0, WIDEST)
        for name in ("steps", "batch", "window"):
            integer(f"--{name}", getattr(self, name), 1)
        integer("--seed", self.seed, 0)
        number("--dropout", self.dropout, 1.0, "a number of at least 0 and less than 1")
        number("--clip-norm", self.clip_norm, inf, "a finite number, or 0 for no limit")
        number("--clip-value", self.clip_value, inf, "a finite number, or 0 for no limit")
        number("--held-out", self.held_out, 1.0, "a number of at least 0 and less than 1")
        number("--learning-rate", self.learning_rate, inf, "a finite number above 0")

    @classmethod
    def for_data(cls, characters: int, *, text: bool, **given: Any) -> "TrainConfig":
        """Return the options for so many training characters; what is None or missing has its default.

        The learning rate's default depends on the optimiser. Names are clipped by their global norm; so is
        a text, unless its own default, a limit of 5 on every element, is replaced. A short text has a
        shorter window and fewer streams.
        """
        options = {name: value for name, value in given.items() if value is not None}
        optimizer = options.get("optimizer", "adamw")
        if optimizer in LEARNING_RATES:
            options.setdefault("learning_rate", LEARNING_RATES[optimizer])
        if "clip_norm" in options or "clip_value" in options:
            options = {"clip_norm": 0.0, "clip_value": 0.0} | options
        elif text:
            options |= {"clip_norm": 0.0, "clip_value": 5.0}
        if text:
            options.setdefault("window", max(min(WINDOW, characters - 1), 1))
            window = options["window"]
            if isinstance(window, int) and window > 0:
                options.setdefault("batch", max(min(STREAMS, characters // (window + 1)), 1))
        return cls(text=text, **options)

    def model(self, vocabulary_size: int) -> CharModel:
        """The model that these options describe."""
        return CharModel(vocabulary_size, self.cell, self.hidden, self.embedding, self.dropout)

    def to_dict(self) -> dict[str, Any]:
        """Every option by name, as JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Any, where: str) -> "TrainConfig":
        """Return the options of `to_dict`; DataError naming `where` for one missing, unknown or mistyped."""
        expected = get_type_hints(cls)
        if not isinstance(found, dict) or found.keys() != expected.keys():
            names = sorted(map(str, found)) if isinstance(found, dict) else type(found).__name__
            raise DataError(f"{where}: the options are {names}; expected {sorted(expected)}.", REWRITE)
        for name, kind in expected.items():
            value = found[name]
            fits = type(value) is kind or (kind is float and type(value) is int)
            if not fits:
                raise DataError(
                    f"{where}: {name} is {value!r}; expected a value of type {kind.__name__}.", REWRITE
                )
        try:
            return cls(**found)
        except OptionError as error:
            raise DataError(f"{where}: {error.problem}", REWRITE) from None


SEE_HELP = "`--help` lists every option with its default."
REWRITE = "Take a run folder as `rnnx train` left it, or train anew."


def known(option: str, what: str, value: Any, names: Collection[str]) -> None:
    """The value is one of the names; OptionError lists them, and says which one may have been meant."""
    if value not in names:
        raise OptionError(f"{option} is {value!r}, which is no known {what}.", meant(value, names))


def backend_name(value: str) -> str:
    """The name of a known backend, such as ``cupy:1``; BackendError otherwise."""
    kind = value.partition(":")[0]
    if kind not in backends.names():
        raise BackendError(
            f"--backend is {value!r}, which is no known backend.", meant(kind, backends.names())
        )
    return value


def meant(value: Any, names: Collection[str]) -> str:
    """A hint that lists the names and picks out the closest one."""
    close = get_close_matches(str(value).lower(), list(names), n=1)
    return (f"Did you mean {close[0]}? " if close else "") + f"Known are {', '.join(names)}."


def integer(option: str, value: Any, least: int, most: float = inf) -> None:
    """The value is an integer in [least, most]."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        rest = "" if most == inf else f" and at most {most:,}"
        raise OptionError(f"{option} is {value!r}; expected an integer of at least {least}{rest}.", SEE_HELP)


def number(option: str, value: Any, below: float, wanted: str) -> None:
    """The value is a number in [0, below); 0 only where it is wanted."""
    right = not isinstance(value, bool) and isinstance(value, int | float) and 0.0 <= value < below
    if not right or (value == 0.0 and "above 0" in wanted):
        raise OptionError(f"{option} is {value!r}; expected {wanted}.", SEE_HELP)
