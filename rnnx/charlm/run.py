"""The folder that a training run leaves: model.safetensors, config.json, log.jsonl; each is always whole."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnnx.backends import asarray, to_numpy
from rnnx.charlm.config import REWRITE, TrainConfig
from rnnx.charlm.corpus import Vocabulary
from rnnx.charlm.model import CharModel
from rnnx.errors import DataError, OptionError
from rnnx.files import write_atomically
from rnnx.typing import Array, Params

MODEL, CONFIG, LOG = "model.safetensors", "config.json", "log.jsonl"
FORMAT = "rnnx.charlm"
KEYS = {"format": str, "rnnx": str, "data": str, "vocabulary": str, "options": dict}


class Record(NamedTuple):
    """One evaluation; a line of log.jsonl."""

    step: int
    seconds: float  # since the start of the training
    train_loss: float  # nats per character, mean since the evaluation before
    held_out_bits_per_char: float | None  # None if nothing is held out
    chars_per_second: float  # of training, since the evaluation before


class Run(NamedTuple):
    """A trained model, ready to be sampled from."""

    model: CharModel
    params: dict[str, Array]  # on the default backend
    vocabulary: Vocabulary
    config: TrainConfig
    data: str


def default_folder(data: str, now: datetime | None = None) -> Path:
    """Return a new name, ``runs/DATA-DATE``; a second run within a second gets a number."""
    base = Path("runs") / f"{data}-{now or datetime.now():%Y%m%d-%H%M%S}"
    found, number = base, 1
    while found.exists():
        number += 1
        found = base.with_name(f"{base.name}-{number}")
    return found


class RunFolder:
    """A folder that one training run writes to.

    Raises OptionError if it holds a run already, or is a file; OSError if it cannot be made or written to.
    """

    def __init__(self, path: Path, config: TrainConfig, vocabulary: Vocabulary, data: str) -> None:
        refuse_old_run(path)
        self.path = path
        self.saved = False
        self.saved_step = 0
        self._made = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        values = (FORMAT, version("rnnx"), data, vocabulary.characters, config.to_dict())
        content = dict(zip(KEYS, values, strict=True))
        # A file name that is not UTF-8 holds lone surrogates, which become JSON's escapes.
        text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
        try:
            write_atomically(path / CONFIG, text.encode("utf-8", "backslashreplace"))
        except BaseException:
            self.discard()
            raise

    def save(self, params: Params, records: Sequence[Record], step: int) -> None:
        """Replace the model, then the log; each is the old one or the new one, never half of one."""
        import safetensors.numpy

        host = {name: np.ascontiguousarray(to_numpy(value)) for name, value in params.items()}
        write_atomically(self.path / MODEL, safetensors.numpy.save(host, {"format": FORMAT}))
        self.saved, self.saved_step = True, step
        lines = "".join(json.dumps(record._asdict(), allow_nan=False) + "\n" for record in records)
        write_atomically(self.path / LOG, lines.encode())

    def discard(self) -> None:
        """Remove what was made, unless a model was saved."""
        if not self.saved:
            (self.path / CONFIG).unlink(missing_ok=True)
            if self._made:
                with suppress(OSError):  # something else has been put there
                    self.path.rmdir()


def refuse_old_run(path: Path) -> None:
    """Raise OptionError where a run would overwrite something."""
    if path.exists() and not path.is_dir():
        raise OptionError(f"--out {str(path)!r} is a file; expected a folder.", "Name a new folder.")
    found = [name for name in (MODEL, CONFIG, LOG) if (path / name).exists()]
    if found:
        raise OptionError(
            f"--out {str(path)!r} already holds a run ({', '.join(found)}).", "Name another folder."
        )


def load(path: Path) -> Run:
    """Return the model of a run folder, on the default backend.

    Raises DataError for a folder or file that is missing, broken, or not from `rnnx train`.
    """
    if not path.is_dir():
        problem = f"{str(path)!r} is no folder" if path.exists() else f"There is no folder {str(path)!r}"
        raise DataError(f"{problem}.", "`rnnx train` prints the folder that it leaves.")
    for name in (CONFIG, MODEL):
        if not (path / name).is_file():
            raise DataError(f"{str(path)!r} holds no {name}.", REWRITE)
    config, vocabulary, data = _read_config(path / CONFIG)
    model = config.model(len(vocabulary))
    host = _read_model(path / MODEL, model.param_shapes)
    return Run(model, {name: asarray(value) for name, value in host.items()}, vocabulary, config, data)


def _read_config(path: Path) -> tuple[TrainConfig, Vocabulary, str]:
    where = repr(str(path))
    try:
        content = json.loads(path.read_bytes().decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON: {_sentence(error)}.", REWRITE) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f'{where} is not from `rnnx train`: expected "format": "{FORMAT}".', REWRITE)
    if content.keys() != KEYS.keys():
        raise DataError(f"{where} holds {', '.join(content)}; expected {', '.join(KEYS)}.", REWRITE)
    for name, kind in KEYS.items():
        if not isinstance(content[name], kind):
            raise DataError(f"{where}: {name} is {content[name]!r}; expected {kind.__name__}.", REWRITE)
    config = TrainConfig.from_dict(content["options"], where)
    try:
        vocabulary = Vocabulary(content["vocabulary"])
        vocabulary.encode("" if config.text else "\n")
    except DataError as error:
        raise DataError(f"{where}: the vocabulary does not fit. {error.problem}", REWRITE) from None
    return config, vocabulary, content["data"]


def _read_model(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    where = repr(str(path))
    try:
        found = load(path.read_bytes())
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        problem = f"{where} is cut short or no safetensors file: {_sentence(error)}."
        raise DataError(problem, REWRITE) from None
    if found.keys() != shapes.keys():
        held = ", ".join(sorted(found)) or "nothing"
        raise DataError(f"{where} holds {held}; its config.json needs {', '.join(sorted(shapes))}.", REWRITE)
    for name, shape in shapes.items():
        value = found[name]
        if value.shape != shape or value.dtype != np.float32:
            raise DataError(
                f"{where}: {name} is {value.dtype} {value.shape}; its config.json needs float32 {shape}.",
                REWRITE,
            )
        if not np.isfinite(value).all():
            raise DataError(f"{where}: {name} holds values that are not finite.", REWRITE)
    return found


def _sentence(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
