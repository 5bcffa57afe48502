"""How a benchmark looks in a terminal: one bar for all jobs, one line per running job; plain lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from medcl.cli.training_progress import clock

if TYPE_CHECKING:
    from rich.progress import TaskID

    from medcl.benchmark.runner import Status

PLAIN_SECONDS = 60.0


class BenchmarkProgress:
    """Shows where a benchmark stands on stderr; use as a context manager and call it."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._all = self.bar.add_task("jobs", total=None, left="")
        self._lines: dict[str, TaskID] = {}
        self._printed = time.monotonic()

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, status: Status) -> None:
        """Show where it stands."""
        if status.message:
            self.console.print(status.message, highlight=False, markup=False)
        left = "" if status.seconds_left is None else f"about {clock(status.seconds_left)} left"
        ended = len(status.finished) + len(status.failed)
        self.bar.update(self._all, total=status.total, completed=ended, left=left)
        for name in [name for name in self._lines if name not in status.running]:
            self.bar.remove_task(self._lines.pop(name))
        for name, (doing, share, _) in status.running.items():
            if name not in self._lines:
                self._lines[name] = self.bar.add_task(name, total=100, left="")
            self.bar.update(self._lines[name], completed=round(100 * share), left=doing)
        if self.bar.disable and time.monotonic() - self._printed > PLAIN_SECONDS:
            self._printed = time.monotonic()
            running = ", ".join(f"{name} {doing} {share:.0%}" for name, (doing, share, _) in status.running.items())
            words = f"{ended} of {status.total} jobs, {left}".rstrip(", ")
            self.console.print(f"{words}: {running or 'waiting'}", highlight=False, markup=False)
