"""The report of a run: curves over time, pictures, scores of the last weights where there are dense labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medcl.data.dataset import Dataset
from medcl.data.plan import Plan
from medcl.evaluation.blocks import Curve, Gallery, Picture, Section, Text
from medcl.evaluation.metrics import case_scores
from medcl.evaluation.provenance import machine, versions
from medcl.evaluation.report import write_report
from medcl.evaluation.results import EvaluationResult
from medcl.evaluation.statistics import summarise
from medcl.training.configure import RunConfig
from medcl.training.hardware import Hardware
from medcl.training.log import curve, read_log
from medcl.training.sampling import kinds_in_words
from medcl.training.split import Split

MOST_PICTURES = 6
TOLERANCE_MM = 2.0


def write_run_report(
    out: Path, dataset: Dataset, plan: Plan, config: RunConfig, hardware: Hardware, split: Split, kinds: dict[str, int]
) -> Path:
    """Write `report.html` into a finished run folder.

    Args:
        out: The run folder with model, log and pictures.
        dataset: What was trained on.
        plan: Classes and grid.
        config: Settings.
        hardware: Where it ran.
        split: Training and validation cases.
        kinds: How many cases were learnt from strokes, dense labels, images alone.

    Returns:
        The report's path.
    """
    result = _final_scores(out, dataset, split)
    rows = read_log(out / "log.csv")
    names = list(dict.fromkeys((r["kind"], r["name"]) for r in rows))
    curves = [
        _curve("Validation over time", {n: curve(rows, k, n) for k, n in names if k == "validation"}, (0.0, 1.0)),
        _curve("Losses over time", {n: curve(rows, k, n) for k, n in names if k == "loss"}, None),
    ]
    about = [
        Text(
            f"Method {config.method_name} on backbone {config.backbone_name}. Cases learnt: {kinds_in_words(kinds)}. "
            f"Validation: {split.words}."
        ),
        *(Text(reason) for reason in hardware.reasons),
        *(Text(note) for note in plan.notes),
    ]
    sections = [Section("Run", about)]
    pictures = sorted((out / "pictures").glob("step_*.png"))
    if pictures:
        every = max(1, -(-len(pictures) // MOST_PICTURES))
        kept = [*pictures[:-1][::every], pictures[-1]]
        gallery = Gallery(
            [Picture(p.read_bytes(), f"Masks at {p.stem.replace('_', ' ')}", p.stem.replace("_", " ")) for p in kept],
            columns=2,
        )
        sections.append(Section("Pictures during training", [gallery], intro="Above strokes or label, below the mask."))
    path = out / "report.html"
    write_report(
        path,
        result,
        title=f"Training on {dataset.name}",
        settings=config.as_dict(),
        versions={**versions(), **machine()},
        subtitle=f"{config.method_name}, last weights",
        curves=[c for c in curves if c is not None],
        extra_sections=sections,
    )
    return path


def _curve(title: str, lines: dict[str, Any], y_range: tuple[float, float] | None) -> Curve | None:
    if not lines:
        return None
    return Curve(title=title, x_label="minutes", y_label="", lines=lines, y_range=y_range)


def _final_scores(out: Path, dataset: Dataset, split: Split) -> EvaluationResult | None:
    """Predict the validation cases with the last weights and score them in full."""
    if not split.dense:
        return None
    from medcl.data.io import write_map
    from medcl.inference.model import Model

    model = Model.load(out / "model", device="cpu", engine="torch")
    cases = {case.id: case for case in (*dataset.cases("Tr"), *dataset.cases("Val"))}
    scores = []
    for case_id in split.validation:
        case = cases[case_id]
        prediction = model.predict(dataset.read_image(case))
        write_map(out / "validation" / f"{case_id}.nii.gz", prediction.mask, prediction.geometry)
        scores += case_scores(
            prediction.mask,
            dataset.read_label(case),
            prediction.geometry.spacing_mm,
            dataset.classes,
            TOLERANCE_MM,
            case=case_id,
            annotated=case.annotated,
        )
    facts = {"surface Dice tolerance": f"{TOLERANCE_MM:g} mm", "weights": "the last ones", "seed of the bootstrap": "0"}
    return EvaluationResult(dataset.classes, scores, summarise(scores, seed=0), [], facts, versions())
