"""How a training looks in a terminal: a bar with the time left, losses and scores; plain lines where there is none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from medcl.training.supervisor import Progress as Moment

PLAIN_SECONDS = 30.0


class TrainingProgress:
    """Shows moments of a training on stderr; use as a context manager and call it."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("step {task.fields[step]}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[numbers]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("training", total=1.0, step=0, left="", numbers="")
        self._printed = 0.0

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, moment: Moment) -> None:
        """Show one moment."""
        if moment.message:
            self.console.print(moment.message, highlight=False, markup=False)
        if not moment.losses and not moment.scores:
            return
        numbers = [f"loss {moment.losses['loss']:.3f}"] if "loss" in moment.losses else []
        numbers += [f"{name} {value:.3f}" for name, value in list(moment.scores.items())[:1]]
        left = "" if moment.seconds_left is None else f"{clock(moment.seconds_left)} left"
        self.bar.update(self.task, completed=moment.share, step=moment.step, left=left, numbers=" ".join(numbers))
        if self.bar.disable and moment.losses and time.monotonic() - self._printed > PLAIN_SECONDS:
            self._printed = time.monotonic()
            terms = " ".join(f"{name} {value:.3f}" for name, value in moment.losses.items())
            self.console.print(
                f"step {moment.step}, {moment.share:.0%}, {left}: {terms}", highlight=False, markup=False
            )


def clock(seconds: float) -> str:
    """Return a duration as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
