"""One job from start to end: train, predict, score. Whatever was done before is not done again."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from medcl.benchmark.folders import training_folder
from medcl.benchmark.jobs import Job
from medcl.data.dataset import Dataset
from medcl.data.io import write_map
from medcl.data.layout import Case
from medcl.evaluation.metrics import METRICS, Score, case_scores
from medcl.evaluation.provenance import code_version, machine, versions
from medcl.files import atomic_write, read_json, write_json
from medcl.inference.postprocess import keep_largest

RESULT, TRAINED, PROGRESS, FAILURE, LOG = "benchmark.json", "trained.json", "progress.json", "failure.json", "job.log"
DONE, FAILED, STOPPED, BUSY = 0, 1, 130, 75
"""Exit codes of a job's process: finished; failed, see failure.json; interrupted; another process works on it."""

COLUMNS = ("view", "truth", "case", "structure", "metric", "value")
"""Columns of a job's `scores.csv`: which mask, what it is compared with, and one number per line."""

STROKES = "strokes"
"""What a score is compared with, where it is not dense labels (`labels`)."""

Report = Callable[[str, float, float | None], None]
"""Called with what is going on, the share of it that is done, and seconds left or None."""


class Stopped(Exception):  # noqa: N818 - no error: somebody asked for it
    """The job was interrupted; everything is saved."""


def finished(job: Job, out: Path) -> bool:
    """Return whether a job is trained and scored as its definition says."""
    return result_holds(job.folder(out), "scoring_key", job.scoring_key)


def result_holds(folder: Path, name: str, key: str) -> bool:
    """Return whether a job's folder holds a result of this definition.

    Args:
        folder: The job's folder.
        name: The entry of the result that tells definitions apart.
        key: What it must be.
    """
    path = folder / RESULT
    return path.exists() and read_json(path).get(name) == key


def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Write what came of a job; from then on it is finished, and what was left on the way goes."""
    write_json(folder / RESULT, result)
    for name in (PROGRESS, FAILURE):
        (folder / name).unlink(missing_ok=True)


def where_from() -> dict[str, Any]:
    """Return what a result says of its code, versions and machine."""
    return {"code": code_version(), "versions": versions(), "machine": machine()}


def do_job(job: Job, out: Path, report: Report, *, parallel: int = 1) -> None:
    """Train and score a job in this process; afterwards `benchmark.json` lies in its folder.

    Args:
        job: What to do.
        out: The benchmark's folder.
        report: Told how far it is.
        parallel: How many jobs share the machine, for the record.

    Raises:
        Stopped: Interrupted while training; the next call goes on.
        MedclError: It cannot be done; one sentence.
    """
    folder = job.folder(out)
    report("preparing", 0.0, None)
    data = training_folder(job, out)
    dataset = Dataset.open(data, scribbles=job.entry.scribbles)
    if not (folder / TRAINED).exists():
        _train(job, folder, dataset, out, report, parallel)
    facts = _score(job, folder, dataset, report)
    trained = read_json(folder / TRAINED)
    definition = {
        name: getattr(job, name) for name in ("name", "data", "method", "cases", "protocol", "seed", "settings")
    }
    write_result(
        folder,
        {
            **definition,
            "key": job.key,
            "scoring_key": job.scoring_key,
            "part": job.entry.part,
            "pieces": list(job.scoring.pieces),
            "classes": list(dataset.classes),
            **trained,
            **facts,
        },
    )


def _train(job: Job, folder: Path, dataset: Dataset, out: Path, report: Report, parallel: int) -> None:
    import torch

    import medcl

    run = folder / "run"
    started = time.monotonic()
    budget_left = None if job.minutes is None else 60 * job.minutes

    def show(moment: Any) -> None:
        left = moment.seconds_left if moment.seconds_left is not None else budget_left
        report(moment.message if moment.message.startswith("preparing") else "training", moment.share, left)

    result = medcl.train(
        dataset, run, settings=job.settings, resume=(run / "run.json").exists(), store=out / "store", show=show
    )
    if not result.finished:
        raise Stopped
    gpu_mb = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None
    write_json(
        folder / TRAINED,
        {
            "steps": result.steps,
            "train_minutes": round(result.minutes, 3),
            "wall_minutes": round((time.monotonic() - started) / 60, 3),
            "peak_mb": round(peak_mb()),
            "gpu_mb": None if gpu_mb is None else round(gpu_mb),
            "jobs_at_once": parallel,
            "hardware": list(result.hardware),
            "dataset_digest": dataset.digest,
            "trained_with": _settings_digest(run),
            **where_from(),
        },
    )


def _settings_digest(run: Path) -> str:
    """Return a digest of all settings of a run, defaults included, but for what differs from seed to seed."""
    settings = {k: v for k, v in read_json(run / "run.json")["settings"].items() if k != "seed"}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def peak_mb() -> float:
    """Return the largest memory this process ever had, in MiB."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _score(job: Job, folder: Path, dataset: Dataset, report: Report) -> dict[str, Any]:
    import torch

    import medcl

    run = folder / "run"
    device = job.settings.get("device", "auto")
    cases = [case for case in dataset.cases(job.entry.part) if case.label is not None]
    strokes = _left_out(job)
    rows: list[tuple[str, str, Score]] = []
    seconds: list[float] = []
    sources = {"": run / "model"}
    if job.scoring.best and (run / "best_model").is_dir():
        sources["best"] = run / "best_model"
    for view, source in sources.items():
        model = medcl.Model.load(source, device=device, engine="torch", threads=torch.get_num_threads())
        first = job.scoring.pieces[0]
        for number, case in enumerate(cases):
            report(f"scoring {view}".strip(), number / len(cases), None)
            started = time.perf_counter()
            prediction = model.predict(dataset.read_image(case), largest_component="none")
            if not view:
                seconds.append(time.perf_counter() - started)
            for pieces in job.scoring.pieces if not view else (first,):
                mask = keep_largest(prediction.mask, model.unions(pieces))
                if not view and pieces == first:
                    write_map(folder / "masks" / f"{case.id}.nii.gz", mask, prediction.geometry)
                truths = [("labels", dataset.read_label(case))]
                if case.id in strokes:
                    truths.append((STROKES, strokes[case.id]))
                for truth, label in truths:
                    rows += [
                        (view or pieces, truth, score)
                        for score in case_scores(
                            mask,
                            label,
                            prediction.geometry.spacing_mm,
                            dataset.classes,
                            job.scoring.tolerance_mm,
                            case=case.id,
                            annotated=case.annotated,
                        )
                    ]
        if not view:
            _example(folder, dataset, model, first)
            parameters = model.info.parameters
    _write_scores(folder / "scores.csv", rows)
    return {
        "seconds_per_case": round(float(np.median(seconds)), 4),
        "parameters": parameters,
        "dice": _headline(rows, job.scoring.pieces[0]),
        "scored_cases": len(cases),
    }


def _left_out(job: Job) -> dict[str, np.ndarray]:
    """Return the strokes of the left-out annotator by case, as class indices."""
    person = job.entry.left_out_strokes
    if person is None:
        return {}
    theirs = Dataset.open(job.entry.folder, scribbles=person)
    unused = job.entry.leave_out.get(person, ())
    return {
        case.id: theirs.read_scribble(case)
        for case in theirs.cases(job.entry.part)
        if case.scribble is not None and case.id not in unused
    }


def example_case(dataset: Dataset) -> Case | None:
    """Return the training case that pictures show: the first one with strokes, the same for all jobs of a data set."""
    return next((case for case in dataset.cases("Tr") if case.scribble is not None), None)


def _example(folder: Path, dataset: Dataset, model: Any, pieces: Any) -> None:
    """Predict one case with strokes, for pictures."""
    case = example_case(dataset)
    if case is not None:
        prediction = model.predict(dataset.read_image(case), largest_component=pieces)
        write_map(folder / "example" / f"{case.id}.nii.gz", prediction.mask, prediction.geometry)


def _write_scores(path: Path, rows: list[tuple[str, str, Score]]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for view, truth, score in rows:
            for metric in METRICS:
                writer.writerow([view, truth, score.case, score.structure, metric.key, getattr(score, metric.key)])


def _headline(rows: list[tuple[str, str, Score]], view: str) -> float | None:
    cases: dict[str, list[float]] = {}
    for shown, truth, score in rows:
        if shown == view and truth == "labels":
            cases.setdefault(score.case, []).append(score.dice)
    means = [np.nanmean(values) for values in cases.values() if not np.isnan(values).all()]
    return round(float(np.mean(means)), 5) if means else None
