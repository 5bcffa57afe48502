"""What happens around the steps: log, progress, checkpoints, validation, pictures, the end of the budget."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import nn

from medcl.training.checkpoint import save_checkpoint
from medcl.training.hardware import is_first_process
from medcl.training.log import RunLog
from medcl.training.module import TrainingModule

LOG_SECONDS = 5.0
"""Losses are averaged over at least this many seconds before they become a line of the log."""


@dataclass(frozen=True)
class Progress:
    """What a progress display shows.

    Attributes:
        step: Steps done.
        share: Share of the budget, 0..1.
        seconds_left: Expected seconds until the end, or None.
        losses: Mean losses since the last log line.
        scores: The latest validation scores.
        message: Something to print once, or empty.
    """

    step: int
    share: float
    seconds_left: float | None
    losses: dict[str, float] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    message: str = ""


Show = Callable[[Progress], None]
Scorer = Callable[[nn.Module], dict[str, float]]
Stop = Callable[[TrainingModule, float], bool]


def say(show: Show, *messages: str) -> None:
    """Show messages that belong to no step."""
    for message in messages:
        show(Progress(0, 0.0, None, message=message))


def also_to_file(show: Show, path: Path) -> Show:
    """Return a display that also writes each message with its time to a file, once the run folder is there."""

    def both(moment: Progress) -> None:
        if moment.message and path.parent.is_dir() and is_first_process():
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {moment.message}\n")
        show(moment)

    return both


class Supervisor(lightning.Callback):
    """Watches a run.

    Args:
        out: The run folder.
        log: The log.
        score: Scores a network for validation; None where there is nothing to score.
        draw: Writes a picture of a network's masks; called at each validation with network and step.
        show: Shows progress.
        state: Plain values to keep in checkpoints: best score, its step, next validation.
        stop: Asked after each step, with the share of the budget, whether to end here.
        keep_snapshot: Keeps a network under a number, from 1 on, with its step (setting `snapshots`).
    """

    def __init__(
        self,
        out: Path,
        log: RunLog,
        *,
        score: Scorer | None,
        draw: Callable[[nn.Module, int], None] | None,
        show: Show,
        state: dict[str, Any],
        keep_best: Callable[[nn.Module, dict[str, float], int], None],
        stop: Stop | None = None,
        keep_snapshot: Callable[[nn.Module, int, int], None] | None = None,
    ) -> None:
        # not `self.log`: Lightning puts its own function there
        self.out, self.run_log, self.score, self.draw, self.show = out, log, score, draw, show
        self.keep_best, self.stop, self.keep_snapshot = keep_best, stop, keep_snapshot
        self.snapshots: int = state.get("snapshots", 0)
        self.best: float = state.get("best", float("-inf"))
        self.next_validation: float = state.get("next_validation", 0.0)
        self.scores: dict[str, float] = state.get("scores", {})
        self.interrupted = self.stopped = False
        self._sums: dict[str, float] = {}
        self._count = 0
        self._logged = self._saved = 0.0

    @property
    def checkpoint(self) -> Path:
        """The file that a resume reads."""
        return self.out / "checkpoints" / "last.ckpt"

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write a first checkpoint, so that there is something to resume from the first moment on."""
        module = _own(pl_module)
        self._logged = self._saved = module.clock.seconds
        if not self.next_validation:
            self.next_validation = module.train_settings.validate_every
        if trainer.is_global_zero and not self.checkpoint.exists():
            self.save(module)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count, log, save, validate and stop when it is time."""
        module = _own(pl_module)
        settings, clock, step = module.train_settings, module.clock, module.done_steps
        share = clock.progress(step)
        interrupted = self.interrupted  # read once: a signal may come at any moment
        if trainer.world_size > 1:
            # Clocks and signals of the processes differ a little. They must stop at one step, with its checkpoint.
            share = trainer.strategy.broadcast(share)
            interrupted = trainer.strategy.reduce_boolean_decision(interrupted, all=False)
            self.interrupted = self.interrupted or interrupted
        for name, value in module.last_losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        last = share >= 1
        if trainer.is_global_zero:
            if last or clock.seconds - self._logged >= LOG_SECONDS:
                self._log_losses(trainer, module, share)
            if last or share >= self.next_validation:
                self._validate(trainer, module, last=last)
                while self.next_validation <= share:
                    self.next_validation += settings.validate_every
            due = snapshots_due(share, settings.snapshots)
            if due > self.snapshots and self.keep_snapshot is not None:
                self.snapshots = due
                self.keep_snapshot(module.final_network(), due, module.done_steps)
            self.stopped = self.stop is not None and self.stop(module, share) and not last
            if last or interrupted or self.stopped or clock.seconds - self._saved >= 60 * settings.checkpoint_minutes:
                self.save(module)
        if trainer.world_size > 1 and self.stop is not None:
            self.stopped = trainer.strategy.broadcast(self.stopped)
        if last or interrupted or self.stopped:
            trainer.should_stop = True

    def save(self, module: TrainingModule) -> None:
        """Write the checkpoint."""
        self._saved = module.clock.seconds
        save_checkpoint(
            self.checkpoint,
            module,
            {
                "seconds": module.clock.seconds,
                "best": self.best,
                "scores": self.scores,
                "next_validation": self.next_validation,
                "snapshots": self.snapshots,
            },
        )

    def _log_losses(self, trainer: lightning.Trainer, module: TrainingModule, share: float) -> None:
        means = {name: total / self._count for name, total in self._sums.items()}
        self._sums, self._count, self._logged = {}, 0, module.clock.seconds
        minutes = module.clock.seconds / 60
        self.run_log.add(module.done_steps, minutes, "loss", means)
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.run_log.add(module.done_steps, minutes, "rate", {"learning_rate": rate})
        for logger in trainer.loggers:
            logger.log_metrics({f"loss/{k}": v for k, v in means.items()} | {"learning_rate": rate}, module.done_steps)
        self.show(Progress(module.done_steps, share, module.clock.seconds_left(module.done_steps), means, self.scores))

    def _validate(self, trainer: lightning.Trainer, module: TrainingModule, *, last: bool) -> None:
        if self.score is None and self.draw is None:
            return
        network = module.final_network()
        if self.score is not None:
            self.scores = self.score(network)
            self.run_log.add(module.done_steps, module.clock.seconds / 60, "validation", self.scores)
            for logger in trainer.loggers:
                # 'dice' and 'dice/RV' cannot be file and folder at once
                named = {f"validation/{k.replace('/', '_')}": v for k, v in self.scores.items()}
                logger.log_metrics(named, module.done_steps)
            main = next(iter(self.scores.values()))
            if main > self.best:
                self.best = main
                self.keep_best(network, self.scores, module.done_steps)
        else:
            network.eval()
        if self.draw is not None:
            self.draw(network, module.done_steps)
        share = module.clock.progress(module.done_steps)
        words = ", ".join(f"{k} {v:.3f}" for k, v in self.scores.items())
        self.show(
            Progress(
                module.done_steps,
                share,
                module.clock.seconds_left(module.done_steps),
                {},
                self.scores,
                message=f"step {module.done_steps}: {words}" if words else "",
            )
        )

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Turn the first Ctrl-C or SIGTERM into a checkpoint and a clean stop; a second one stops at once."""

        def stop(number: int, frame: object) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True

        old = {}
        try:
            for name in (signal.SIGINT, signal.SIGTERM):
                try:
                    old[name] = signal.signal(name, stop)
                except ValueError:  # not the main thread: whoever owns the signals decides
                    break
            yield
        finally:
            for name, handler in old.items():
                signal.signal(name, handler)


def snapshots_due(share: float, wanted: int) -> int:
    """Return how many snapshots should be kept by now: evenly over the second half, the end itself left out."""
    if share < 0.5 or share >= 1 or not wanted:
        return 0
    return min(wanted, 1 + int((share - 0.5) * 2 * wanted))


def _own(module: lightning.LightningModule) -> TrainingModule:
    assert isinstance(module, TrainingModule)  # the run builds no other
    return module


def seed_everything(seed: int) -> None:
    """Seed torch for the weights' start; steps seed themselves."""
    torch.manual_seed(seed)
