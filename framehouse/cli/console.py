"""What commands share for talking to people: a reporter that draws on the terminal's standard error."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

WIDE = 100

err = Console(stderr=True, highlight=False)
out = Console(highlight=False)


def for_wide_tables() -> Console:
    """Standard output; where it is a pipe, which has no width of its own, wide enough to cut nothing."""
    return out if out.is_terminal else Console(width=200, highlight=False)


class TerminalReporter:
    """Draws steps and bars; on a pipe or in a log it prints one plain line a step."""

    def __init__(self, console: Console = err) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            # On a narrow terminal the text folds; the bar and the time keep their places.
            bar_width = 28 if self._console.width >= WIDE else 8
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False, table_column=Column()),
                BarColumn(bar_width, table_column=Column(width=bar_width)),
                TextColumn("{task.fields[detail]}", markup=False, table_column=Column(no_wrap=True)),
                TimeElapsedColumn(table_column=Column(width=7)),
                console=self._console,
            )
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            if self._task is not None and error is None:
                self._finish(self._task)
            self._progress.stop()

    def step(self, text: str) -> None:
        if self._progress is None:
            self._console.print(f"  {text}", markup=False)
            return
        if self._task is not None:
            self._finish(self._task)
        self._task = self._progress.add_task(text, total=None, detail="")

    def advance(self, done: float, total: float, text: str = "") -> None:
        if self._progress is None:
            return
        if self._task is None:
            self.step("")
        assert self._task is not None
        self._progress.update(self._task, completed=done, total=total, detail=text)

    def _finish(self, task: TaskID) -> None:
        assert self._progress is not None
        total = self._progress.tasks[task].total or 1
        self._progress.update(task, total=total, completed=total, detail="")
        self._progress.stop_task(task)
