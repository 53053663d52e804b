"""The commands, and the boundary where an expected error becomes a sentence, a hint and an exit status."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from rnnx import __version__
from rnnx.cli.bench import bench
from rnnx.cli.doctor import doctor
from rnnx.cli.gradcheck import gradcheck
from rnnx.cli.sample import sample
from rnnx.cli.train import train
from rnnx.cli.usage import UsageError
from rnnx.errors import MemoryLimitError, RnnxError

MEMORY_HINT = "Lower --hidden, --embedding, --batch or --window."


class Commands(TyperGroup):
    """Commands whose expected errors end in one sentence on stderr and exit status 1, or 2 if mistyped."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except MemoryLimitError as error:  # its hint names the sizes of a call, not the options
            complain(error.problem, MEMORY_HINT)
        except UsageError as error:
            complain(error.problem, error.hint)
            raise typer.Exit(2) from None
        except RnnxError as error:
            complain(error.problem, error.hint)
        except BrokenPipeError:  # the reader, such as head, has gone: Typer ends quietly
            raise
        except OSError as error:
            where = f" {error.filename!r}" if error.filename is not None else ""
            complain(
                f"The system refused{where}: {error.strerror or error}.",
                "Check the disk's space and the permissions.",
            )
        except MemoryError as error:
            complain(f"There is not enough memory. {error}".strip(), MEMORY_HINT)
        raise typer.Exit(1)


app = typer.Typer(
    name="rnnx",
    cls=Commands,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train)
app.command()(sample)
app.command()(gradcheck)
app.command()(doctor)
app.command()(bench)


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context, version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False
) -> None:
    """Recurrent cells with proven gradients: train a model, sample; check gradients, devices, speed."""
    if version:
        typer.echo(f"rnnx {__version__}")
    elif ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def complain(problem: str, hint: str = "") -> None:
    """Print an error and its hint to stderr, each on one line."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text.assemble(("Error: ", "bold red"), problem))
    if hint:
        console.print(Text.assemble(("Hint: ", "bold"), hint))
