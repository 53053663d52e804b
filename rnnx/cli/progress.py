"""How a training run is shown: a live bar on a terminal, a line for each evaluation elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from rnnx.charlm.run import Record
from rnnx.charlm.trainer import Observer
from rnnx.charlm.trainer import Progress as Progressed


class Lines(Observer):
    """A line for each evaluation."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def evaluated(self, record: Record) -> None:
        print(
            f"step {record.step} of {self.steps}, loss {record.train_loss:.3f} nats, "
            f"held out {bits(record.held_out_bits_per_char)} bits per character, "
            f"{record.chars_per_second:,.0f} characters per second, {record.seconds:.1f} s",
            flush=True,
        )


def whole() -> Column:
    """Return a column that is never cut while the bar itself can give way."""
    return Column(no_wrap=True)


class Bar(Lines):
    """A live bar: step, loss, held-out bits per character, characters per second, time left."""

    def __init__(self, steps: int, console: Console) -> None:
        super().__init__(steps)
        self._bar = Progress(
            TextColumn("{task.completed}/{task.total}", table_column=whole()),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            TextColumn("loss {task.fields[loss]}", table_column=whole()),
            TextColumn("held out {task.fields[bits]} bits", table_column=whole()),
            TextColumn("{task.fields[speed]}/s", table_column=whole()),
            TimeRemainingColumn(table_column=whole()),
            TextColumn("left", table_column=whole()),
            console=console,
            expand=True,
            auto_refresh=False,  # drawn when there is news, so that no thread competes with the training
        )
        self._task = self._bar.add_task("", total=steps, loss="-", bits="-", speed="-")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def progressed(self, progress: Progressed) -> None:
        self._bar.update(
            self._task,
            completed=progress.step,
            loss=f"{progress.loss:.4g}",
            bits=bits(progress.held_out_bits_per_char),
            speed=f"{progress.chars_per_second:,.0f} chars",
        )
        self._bar.refresh()

    def evaluated(self, record: Record) -> None:
        found = bits(record.held_out_bits_per_char)
        self._bar.update(self._task, completed=record.step, bits=found, refresh=True)


def bits(value: float | None) -> str:
    """Bits per character as they are shown; a dash where nothing is held out."""
    return "-" if value is None else f"{value:.3f}"


def observer(steps: int, console: Console) -> Lines:
    """Return the bar where there is a terminal, else the lines."""
    return Bar(steps, console) if console.is_terminal else Lines(steps)
