"""The command ``rnnx train``: a character model of names, or of a running text."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from rnnx import backends
from rnnx.charlm import corpus, run
from rnnx.charlm.config import TrainConfig, backend_name
from rnnx.charlm.ngram import WittenBell
from rnnx.charlm.novelty import novelty
from rnnx.charlm.sampling import Sampler
from rnnx.charlm.task import NamesTask, TextTask
from rnnx.charlm.trainer import Trainer, uninterrupted
from rnnx.cli.paths import path
from rnnx.cli.progress import bits, observer
from rnnx.errors import TrainingError

SAMPLES = 200
PASSAGE = 300
PLENTY = 10**9


def option(help_: str, default: str, **more: Any) -> Any:
    """An option whose default is settled in `TrainConfig`."""
    return typer.Option(help=f"{help_} (default: {default})", show_default=False, **more)


def train(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            parser=path,
            help="UTF-8 text, one name a line; by default 7,513 Mexican towns.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", help="FILE is one running text, not one name a line.")
    ] = False,
    cell: Annotated[str | None, option("Recurrent cell: rnn, lstm, gru, ...", "gru")] = None,
    hidden: Annotated[int | None, option("Hidden units.", "320")] = None,
    embedding: Annotated[int | None, option("Numbers for each character; 0 is one-hot.", "64")] = None,
    dropout: Annotated[float | None, option("Dropout rate on the cell's outputs.", "0.4")] = None,
    steps: Annotated[int | None, option("Updates of the weights.", "1200")] = None,
    batch: Annotated[
        int | None, option("Names, or streams of the text, in an update.", "64; text: 16")
    ] = None,
    window: Annotated[int | None, option("Characters in an update of a text.", "50")] = None,
    optimizer: Annotated[str | None, option("sgd, adagrad, rmsprop or adamw.", "adamw")] = None,
    learning_rate: Annotated[
        float | None, option("Largest learning rate.", "0.005; others by optimizer")
    ] = None,
    clip_norm: Annotated[
        float | None, option("Limit of the gradient's norm; 0 for none.", "1; text: 0")
    ] = None,
    clip_value: Annotated[float | None, option("Limit of its elements; 0 for none.", "0; text: 5")] = None,
    backend: Annotated[
        str | None, option("numpy, torch, cupy, cupy:1, ...", "numpy, or $RNNX_BACKEND")
    ] = None,
    held_out: Annotated[
        float | None, option("Share of the names, or of the text's end, not trained on.", "0.1")
    ] = None,
    seed: Annotated[int | None, option("The same seed gives the same numbers.", "0")] = None,
    out: Annotated[
        Path | None, option("New folder for the run.", "runs/NAME-DATE", parser=path, metavar="DIR")
    ] = None,
) -> None:
    """Train a character model on names, or on a text, and leave it in a folder.

    Example: rnnx train names.txt --cell lstm --steps 3000 --out runs/first
    """
    given: dict[str, Any] = dict(
        cell=cell, hidden=hidden, embedding=embedding, dropout=dropout, steps=steps, seed=seed
    )
    given |= dict(batch=batch, window=window, optimizer=optimizer, learning_rate=learning_rate)
    given |= dict(clip_norm=clip_norm, clip_value=clip_value, held_out=held_out)
    TrainConfig.for_data(PLENTY, text=text, **given)  # refuses a bad option before anything is read
    with backends.use_backend(backend_name(backend)) if backend is not None else nullcontext():
        device = backends.get_backend()
        data = file.stem if file is not None else "towns"
        folder_path = out or run.default_folder(data)
        run.refuse_old_run(folder_path)
        config, task = _read(file, text, given)
        console = Console(highlight=False)
        _announce(console, config, task, data, str(device))
        folder = run.RunFolder(folder_path, config, task.vocabulary, data)
        trainer = _train(config, task, folder, console)
        try:
            console.print(
                _text_table(trainer, task) if isinstance(task, TextTask) else _names_table(trainer, task)
            )
            if isinstance(task, TextTask):
                console.print(
                    _sampler(trainer, task).passages(1, length=PASSAGE)[0], markup=False, soft_wrap=True
                )
        finally:
            console.print(
                f"The run is in {folder_path}. For more: rnnx sample {folder_path}",
                markup=False,
                soft_wrap=True,
            )


def _read(file: Path | None, text: bool, given: dict[str, Any]) -> tuple[TrainConfig, NamesTask | TextTask]:
    if text:
        stream = "\n".join(corpus.bundled_towns()) if file is None else corpus.read_stream(file)
        share = TrainConfig.held_out if given["held_out"] is None else given["held_out"]
        training, _ = corpus.split_text(np.zeros(len(stream), np.int64), share)
        config = TrainConfig.for_data(len(training), text=True, **given)
        return config, TextTask(stream, config.window, config.batch, config.held_out)
    names = corpus.bundled_towns() if file is None else corpus.read_names(file)
    config = TrainConfig.for_data(sum(map(len, names)), text=False, **given)
    return config, NamesTask(names, config.seed, config.batch, config.held_out)


def _announce(
    console: Console, config: TrainConfig, task: NamesTask | TextTask, data: str, device: str
) -> None:
    unit = "characters" if isinstance(task, TextTask) else "names"
    console.print(
        f"{config.cell} with {config.hidden} units on {data}: {len(task.train):,} {unit}, "
        f"{len(task.held_out):,} held out, {len(task.vocabulary)} different characters; backend {device}, "
        f"seed {config.seed}",
        markup=False,
        soft_wrap=True,
    )


def _train(
    config: TrainConfig, task: NamesTask | TextTask, folder: run.RunFolder, console: Console
) -> Trainer:
    """Train; whatever ends it early, say what is left on the disk, and leave no folder without a model."""
    trainer = None
    try:
        with observer(config.steps, console) as watching:
            trainer = Trainer(config, task, folder, watching)
            trainer.run()
    except TrainingError as error:
        if trainer is not None and trainer.records:
            kept = f"The model of step {trainer.records[-1].step} is in {folder.path}."
            raise TrainingError(f"{error.problem} {kept}", error.hint) from None
        raise
    except KeyboardInterrupt:
        with uninterrupted():
            where = "nothing was trained, and no folder is left"
            if folder.saved:
                where = f"the model of step {folder.saved_step} is in {folder.path}"
            step = trainer.step if trainer is not None else 0
            message = f"Stopped after step {step} of {config.steps}: {where}."
            Console(stderr=True, highlight=False).print(message, markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    finally:
        folder.discard()
    return trainer


def _sampler(trainer: Trainer, task: NamesTask | TextTask) -> Sampler:
    return Sampler(trainer.model, trainer.params, task.vocabulary, seed=trainer.config.seed)


def _names_table(trainer: Trainer, task: NamesTask) -> Table:
    table = _table()
    if task.held_out:
        ngram = WittenBell(5).fit(task.train, task.vocabulary.characters)
        found = trainer.records[-1].held_out_bits_per_char
        table.add_row("bits per character on held-out names", bits(found))
        other = ngram.bits_per_character(task.held_out)
        table.add_row("the same of a 5-gram (Witten-Bell)", bits(other), end_section=True)
    counts = novelty(_sampler(trainer, task).names(SAMPLES), task.train, task.held_out)
    table.add_row(f"of {counts.sampled} sampled names: new", str(counts.new))
    table.add_row("copied from the training names", str(counts.copied))
    table.add_row("held-out names, never seen", str(counts.held_out))
    table.add_row("double", str(counts.doubled))
    return table


def _text_table(trainer: Trainer, task: TextTask) -> Table:
    table = _table()
    if len(task.held_out):
        found = trainer.records[-1].held_out_bits_per_char
        table.add_row("bits per character on the held-out end", bits(found))
    table.add_row(f"smoothed loss, nats per window of {task.window} characters", f"{trainer.smoothed:.2f}")
    return table


def _table() -> Table:
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    return table
