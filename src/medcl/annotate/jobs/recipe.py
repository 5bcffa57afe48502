"""Settings of `medcl train` that bring something to look at within a minute or two on a laptop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medcl.annotate.jobs.processes import threads
from medcl.annotate.schemas import NewJob
from medcl.errors import SettingsError, unknown_name
from medcl.settings import TrainSettings, nested

START: dict[str, Any] = {
    # Strokes come one at a time: a slice in which only Myo is drawn may well show LV.
    "presence": "never",
    "optim": {"ema": 0.97},
    "checkpoint_minutes": 1.0,
    "holdout": 0.0,
    "sample_pictures": 0,
    "validate_every": 1.0,
}
"""From nothing."""

GO_ON: dict[str, Any] = {"optim": {"ema": 0.98, "learning_rate": 2e-3, "warm_up": 0.1}}
"""Beyond that, from the newest model on: a lower rate, so that what it knows is not thrown away."""

GO_ON_MEDCL: dict[str, Any] = {"start": 0.0, "ramp": 0.1}
"""MedCL from the newest model on: it knows enough for the terms without supervision to begin at once."""

ALLOWED = ("budget", "seed", "batch_size", "plan", "augment", "optim", "device", "precision", "oversample", "presence",
           "reach", "enclosed", "unannotated", "method", "backbone")  # fmt: skip
"""Settings that callers may change. The others say where files are, what is held back, or who is told over the net."""


def settings_for(asked: NewJob, *, start: Path | None) -> dict[str, Any]:
    """Return the settings of a training job.

    Args:
        asked: What the caller wants; its `settings` win, keys may be dotted as on the command line.
        start: Model folder to start from; None: from nothing.

    Raises:
        SettingsError: A key that callers may not set, or a path through a single value.
    """
    wanted = nested(asked.settings)
    unknown = [unknown_name("setting of a training here", key, ALLOWED) for key in wanted if key not in ALLOWED]
    if unknown:
        raise SettingsError(" ".join(unknown))
    values = nested(START, {"threads": threads()})
    method = wanted.pop("method", {})
    method = {"name": method} if isinstance(method, str) else dict(method)
    method = {"name": asked.method or method.get("name", "medcl")} | method
    backbone = wanted.pop("backbone", {})
    backbone = {"name": backbone} if isinstance(backbone, str) else dict(backbone)
    if "weights" in backbone:
        raise SettingsError(
            "backbone.weights: expected none, as a training here starts from the newest model; for other weights use "
            "'medcl train'."
        )
    if start is not None:
        values = nested(values, GO_ON)
        if method["name"] == "medcl":
            method = GO_ON_MEDCL | method
        backbone = {"weights": str(start)} | backbone
    return nested(values, wanted) | {"method": method, "backbone": backbone or "unet"}


def has_file(settings: Mapping[str, Any]) -> bool:
    """Whether these settings start from a model."""
    backbone = settings.get("backbone")
    return isinstance(backbone, Mapping) and "weights" in backbone


def check(asked: NewJob) -> None:
    """Refuse settings that training would refuse, as far as can be told without loading it.

    Raises:
        SettingsError: An unknown key or a value out of range.
    """
    values = settings_for(asked, start=None)
    rest = {key: value for key, value in values.items() if key not in ("method", "backbone")}
    TrainSettings.parse(rest, where="settings")
