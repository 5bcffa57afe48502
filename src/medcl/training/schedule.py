"""Learning rate and averaging as functions of the share of the budget that is spent."""

from __future__ import annotations

import math
import time

from medcl.settings import BudgetSettings, OptimSettings


def learning_rate(progress: float, settings: OptimSettings) -> float:
    """Return the learning rate at a share of the budget.

    Args:
        progress: 0..1.
        settings: Peak, warm-up and shape of the decay.

    Returns:
        Linear warm-up from 1 % of the peak, then poly, cosine or constant.
    """
    if progress < settings.warm_up:
        return settings.learning_rate * max(0.01, progress / settings.warm_up)
    rest = min(1.0, (progress - settings.warm_up) / (1 - settings.warm_up))
    if settings.decay == "poly":
        factor = (1 - rest) ** settings.poly_power
    elif settings.decay == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * rest))
    else:
        factor = 1.0
    return settings.learning_rate * factor


def averaging_decay(step: int, decay: float) -> float:
    """Return the decay of the averaged weights: short memory first, so that the random start is forgotten.

    Source: the warm-up of TensorFlow's ExponentialMovingAverage, min(decay, (1 + step) / (10 + step)).
    """
    return min(decay, (1 + step) / (10 + step))


class Clock:
    """Measures a budget in steps, or in minutes across interruptions.

    Args:
        budget: Steps or minutes.
        seconds_before: Seconds spent before a resume.
    """

    def __init__(self, budget: BudgetSettings, seconds_before: float = 0.0) -> None:
        self.budget = budget
        self._before = seconds_before
        self._start = time.monotonic()
        self._end: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds of training so far, earlier parts of the run included."""
        now = time.monotonic() if self._end is None else self._end
        return self._before + now - self._start

    def stop(self) -> None:
        """Stop counting: what follows is no training."""
        self._end = time.monotonic()

    def progress(self, step: int) -> float:
        """Return the share of the budget spent after `step` steps, 0..1."""
        if self.budget.steps:
            return min(1.0, step / self.budget.steps)
        assert self.budget.minutes is not None  # the budget holds one of the two
        return min(1.0, self.seconds / (60 * self.budget.minutes))

    def seconds_left(self, step: int) -> float | None:
        """Return the expected seconds until the end, or None before the first step."""
        done = self.progress(step)
        return self.seconds * (1 - done) / done if done > 0 else None
