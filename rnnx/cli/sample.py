"""The command ``rnnx sample``: new names, or new text, from a trained model."""

from pathlib import Path
from typing import Annotated

import typer

from rnnx.charlm import run
from rnnx.charlm.sampling import Sampler
from rnnx.cli.paths import path


def sample(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", parser=path, help="The folder that rnnx train left.", show_default=False
        ),
    ],
    count: Annotated[int, typer.Option(help="How many names, or passages of a text.")] = 10,
    temperature: Annotated[
        float, typer.Option(help="1 is the model's own; less is safer, more is wilder.")
    ] = 1.0,
    prompt: Annotated[str, typer.Option(help="What each one starts with.", show_default=False)] = "",
    seed: Annotated[int, typer.Option(help="The same seed gives the same names.")] = 0,
    length: Annotated[int, typer.Option(help="Characters of a passage; names end by themselves.")] = 200,
) -> None:
    """Print new names from a trained model, or new passages if it was trained with --text.

    Example: rnnx sample runs/towns-20240509-101500 --count 20 --prompt San
    """
    trained = run.load(folder)
    sampler = Sampler(trained.model, trained.params, trained.vocabulary, temperature, seed)
    if trained.config.text:
        typer.echo("\n\n".join(sampler.passages(count, prompt, length)))
    else:
        typer.echo("\n".join(sampler.names(count, prompt)))
