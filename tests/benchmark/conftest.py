"""A recipe on tiny phantoms, jobs finished by hand in no time, and a benchmark that was really run once."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcl.benchmark.jobs import Job
from medcl.benchmark.quick import quick_recipe
from medcl.benchmark.recipe import Recipe
from medcl.benchmark.work import COLUMNS, RESULT
from medcl.evaluation.metrics import METRICS
from medcl.files import write_json


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Two methods on tiny made-up hearts, two steps each."""
    folder = tmp_path_factory.mktemp("phantoms")
    return quick_recipe(folder, methods=["partial-ce", "dense"], data=["heart"], steps=2)


def _finish(job: Job, out: Path, dice: dict[str, float], *, steps: int = 10, **facts: Any) -> None:
    """Write what a finished job leaves: one structure, one Dice per case, HD95 ten times what is missing to 1."""
    folder = job.folder(out)
    (folder / "run").mkdir(parents=True, exist_ok=True)
    job.save(folder)
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for case, value in dice.items():
            for view, worse in (("auto", 0.0), ("none", 0.1)):
                numbers = {"dice": value - worse, "hd95_mm": 10 * (1 - value) if value else np.nan}
                for metric in METRICS:
                    writer.writerow([view, "labels", case, "LV", metric.key, numbers.get(metric.key, 0.5)])
    log = "step,minutes,kind,name,value\n5,0.5,validation,dice,0.3\n10,1.0,validation,dice,0.6\n"
    (folder / "run" / "log.csv").write_text(log, encoding="utf-8")
    names = ("name", "data", "method", "cases", "protocol", "seed", "settings")
    write_json(
        folder / RESULT,
        {
            **{name: getattr(job, name) for name in names},
            "scoring_key": job.scoring_key,
            "pieces": ["auto", "none"],
            "classes": ["background", "LV"],
            "steps": steps,
            "train_minutes": 1.0,
            "peak_mb": 500,
            "gpu_mb": None,
            "jobs_at_once": 1,
            "trained_with": "same",
            "code": {"commit": "abc", "changed": False},
            "versions": {"medcl": "0.1.0"},
            "machine": {"processor": "chip"},
            "seconds_per_case": 0.25,
            "parameters": 7000,
            "dice": float(np.mean(list(dice.values()))),
            **facts,
        },
    )


@pytest.fixture
def finish() -> Callable[..., None]:
    """Return the function that finishes a job by hand."""
    return _finish
