"""One job from start to end, round by round; a round that is finished is not done again."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from medcl.benchmark.simulation.jobs import AnnotationJob
from medcl.benchmark.simulation.rounds import (
    MASKS,
    Report,
    draw_round,
    look,
    score,
    strokes_in,
    train_round,
    wants_samples,
)
from medcl.benchmark.simulation.stage import Stage, set_the_stage
from medcl.benchmark.simulation.state import ROUND, State, round_folder
from medcl.benchmark.work import result_holds, where_from, write_result
from medcl.data.dataset import Dataset
from medcl.errors import RunError


def finished(job: AnnotationJob, out: Path) -> bool:
    """Return whether a job is done as its definition says."""
    return result_holds(job.folder(out), "key", job.key)


def do_job(job: AnnotationJob, out: Path, report: Report, *, parallel: int = 1) -> None:
    """Do a job in this process, as `medcl.benchmark.work.do_job` does; finished rounds are not done again."""
    folder = job.folder(out)
    began = time.monotonic()
    stage = set_the_stage(job.data, job.entry, job.draw, job.seed, out, job.plan_wishes, job.plan_key, report)
    facts = _full(job, stage, folder, report) if job.what == "full" else _rounds(job, stage, out, report)
    dice = [value for case in facts["dice"].values() for value in case.values() if value is not None]
    write_result(
        folder,
        {
            "name": job.name,
            "what": job.what,
            "data": job.data,
            "strategy": job.label,
            "seed": job.seed,
            "key": job.key,
            "classes": list(stage.dataset.classes),
            "pool": [case.id for case in stage.pool],
            "foreground_voxels": _foreground(stage),
            **facts,
            "mean_dice": float(np.mean([value for value in dice if not math.isnan(value)])) if dice else None,
            "seconds": round(time.monotonic() - began, 1),
            "jobs_at_once": parallel,
            **where_from(),
        },
    )


def _rounds(job: AnnotationJob, stage: Stage, out: Path, report: Report) -> dict[str, Any]:
    """Do the rounds that are not done yet; return what came of all of them."""
    folder = job.folder(out)
    first, last = (0, 0) if job.what == "start" else (1, job.spending.rounds)
    states = [] if job.what == "start" else [State.load(round_folder(job.beginning().folder(out), 0))]
    count = last - first + 1
    for number in range(first, last + 1):
        here = round_folder(folder, number)
        if not (here / ROUND).exists():
            before = None
            if number:
                before = round_folder(folder if number > 1 else job.beginning().folder(out), number - 1)
            share = _within(report, f"round {number}: " if number else "", (number - first) / count, 1 / count)
            _one_round(job, stage, number, here, before, states[-1].next() if states else State(), share)
        states.append(State.load(here))
    return {
        "points": [
            {
                "round": state.round,
                "seconds": round(state.seconds, 2),
                "strokes": sum(state.strokes),
                "voxels": state.voxels,
                "slices": sum(len(slices) for slices in state.drawn.values()),
                "cases": len(state.drawn),
                "dice": state.dice,
                "train_seconds": state.train_seconds,
                "exhausted": state.exhausted,
            }
            for state in states
        ],
        "dice": states[-1].dice,
    }


def _one_round(
    job: AnnotationJob, stage: Stage, number: int, here: Path, before: Path | None, state: State, report: Report
) -> None:
    from medcl.inference.model import Model

    assert job.asking is not None  # only the reference has none
    here.mkdir(parents=True, exist_ok=True)
    drawn = here / "drawn"
    if not (drawn / ROUND).exists():  # what is drawn is drawn, whatever happens to the training
        report("asking and drawing", 0.0, None)
        draw_round(
            stage,
            state,
            before,
            here,
            job.asking,
            until=job.spending.start + job.spending.round * number,
            total=job.spending.total,
            what=job.draw.what if number else job.draw.start,
            seed=job.seed,
        )
        state.save(drawn)
    state = State.load(drawn)
    if not strokes_in(stage, here):
        raise RunError(f"{job.name}: the strategy found no place to draw in; see the report of its choices.")
    weights = before / "run" / "model" if before is not None and job.training.warm else None
    settings = job.settings(number, weights)
    model_folder, state.steps, state.train_seconds = train_round(stage, here, settings, report)
    model = Model.load(model_folder, device=settings.get("device", "auto"), engine="torch")
    state.dice = score(stage, model, job.pieces, report, keep=here / MASKS)
    if job.what == "start" or number < job.spending.rounds:
        samples = []
        if wants_samples(job.asking) and before is not None:
            # checkpoints of an annotation: the models of this round and of the rounds before
            samples = [Model.load(before / "run" / "model", device=settings.get("device", "auto"), engine="torch")]
        look(stage, model, here, report, samples=samples)
    state.save(here)


def _full(job: AnnotationJob, stage: Stage, folder: Path, report: Report) -> dict[str, Any]:
    """Train on all dense labels of the training part and score."""
    from medcl.inference.model import Model

    whole: Dataset = stage.dataset
    from dataclasses import replace

    data = replace(whole, _cases={"Tr": [c for c in whole.cases("Tr") if c.label is not None], "Val": [], "Ts": []})
    settings = job.full_settings()
    model_folder, steps, seconds = train_round(stage, folder, settings, report, learn=data)
    model = Model.load(model_folder, device=settings.get("device", "auto"), engine="torch")
    return {"dice": score(stage, model, job.pieces, report), "steps": steps, "train_seconds": seconds}


def _foreground(stage: Stage) -> int:
    """Return how many voxels of structures the pool's dense labels have."""
    return sum(int((stage.label(case) > 0).sum()) for case in stage.pool)


def _within(report: Report, words: str, start: float, share: float) -> Report:
    """Tell a part's progress as progress of the whole."""

    def tell(doing: str, part: float, left: float | None) -> None:
        weight = {"training": 0.8, "scoring": 0.1, "predicting the pool": 0.1}.get(doing, 0.0)
        offset = {"scoring": 0.8, "predicting the pool": 0.9}.get(doing, 0.0)
        report(words + doing, start + share * (offset + weight * part), None)

    return tell
