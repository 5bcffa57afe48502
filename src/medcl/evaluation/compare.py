"""Compare predictions with labels: `evaluate` reads, scores, summarises and writes the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from medcl.errors import DataError, SettingsError
from medcl.evaluation.matching import Input, Pair, beside, match
from medcl.evaluation.metrics import Score, case_scores
from medcl.evaluation.provenance import versions
from medcl.evaluation.reading import Classes, Codes, find_codes, read_pair
from medcl.evaluation.results import EvaluationResult, Finding, write_tables
from medcl.evaluation.statistics import RESAMPLES, summarise
from medcl.evaluation.trust import Trust, trust_of
from medcl.files import check_place

Progress = Callable[[int, int, str], None]
"""Called with (cases done, number of cases, case just done)."""


def evaluate(
    predictions: Input,
    labels: Input,
    out: str | Path | None = None,
    *,
    classes: Classes | None = None,
    ignore: int | None = None,
    images: Input | None = None,
    scribbles: Input | None = None,
    spacing_mm: Sequence[float] | None = None,
    tolerance_mm: float = 2.0,
    seed: int = 0,
    title: str = "Evaluation",
    progress: Progress | None = None,
) -> EvaluationResult:
    """Score predictions against labels, in 3D per volume and structure (in 2D where Z = 1).

    Definitions of the metrics and answers for empty masks: see `medcl.evaluation.metrics`.

    Args:
        predictions: Folder of masks named by case, one mask file, one array (Z, Y, X), or a mapping case -> array.
            They hold the same values as the labels; masks that `medcl predict` wrote hold class indices, which its
            `prediction.json` beside them tells.
        labels: The same kind. Voxels that are unlabelled take part in no metric.
        out: Folder for `report.html`, `scores.csv`, `summary.csv` and `evaluation.json`; None writes nothing.
        classes: Class names by value, background first, or a mapping name -> value. Default: the `dataset.json` in or
            above the folder of the labels; without one, the values that occur, and a finding that says so.
        ignore: Value that means unlabelled. Default: what `dataset.json` says; -1 for arrays.
        images: Images for the pictures, same kind. Default: `images<split>` beside a folder `labels<split>`.
        scribbles: Strokes for the pictures, same kind. Default: `scribbles<split>` likewise.
        spacing_mm: Voxel spacing (z, y, x) in mm; needed for arrays, refused for files, which know their own.
        tolerance_mm: Tolerance of the surface Dice in mm.
        seed: Seed of the bootstrap.
        title: Heading of the report.
        progress: Called with (cases done, cases, case) after every case.

    Returns:
        Scores, summary and findings. A case that cannot be read or lies on another grid is a finding of severity
        "error" and is not scored.

    Raises:
        DataError: Nothing could be scored (with a single pair, the reason itself), or `out` cannot be written.
        SettingsError: Options that contradict the inputs.
    """
    _check_options(predictions, spacing_mm, tolerance_mm)
    if out is not None:
        check_place(out)
    images = beside(labels, "images") if images is None else images
    scribbles = beside(labels, "scribbles") if scribbles is None else scribbles
    pairs, findings = match(predictions, labels, images, scribbles)
    codes, notes = find_codes(labels, pairs, classes, ignore, spacing_mm)
    findings += notes

    scores: list[Score] = []
    for done, pair in enumerate(pairs, start=1):
        try:
            scores += _score(pair, codes, spacing_mm, tolerance_mm)
        except DataError as error:
            if len(pairs) == 1:
                raise
            findings.append(Finding("error", pair.case, str(error)))
        if progress is not None:
            progress(done, len(pairs), pair.case)
    if not scores:
        first = next(finding for finding in findings if finding.case == pairs[0].case)
        raise DataError(f"not one of {len(pairs)} cases could be scored; the first, {first.case}: {first.message}")
    settings = {
        "predictions": _name(predictions),
        "labels": _name(labels),
        "images": _name(images),
        "scribbles": _name(scribbles),
        "classes": f"{codes.dense.describe()} ({codes.origin})",
        "surface Dice tolerance": f"{tolerance_mm:g} mm",
        "bootstrap": f"{RESAMPLES} resamples of the cases, 95 % percentile interval, seed {seed}",
    }
    trust, notes = trust_of(pairs, codes, scores, spacing_mm)
    findings += notes
    result = EvaluationResult(codes.dense.classes, scores, summarise(scores, seed=seed), findings, settings, versions())
    if trust is not None:
        result = replace(result, trust=trust.as_dict())
    if out is None:
        return result
    return _write(Path(out), result, pairs, codes, spacing_mm, title, trust)


def _score(pair: Pair, codes: Codes, spacing_mm: Sequence[float] | None, tolerance_mm: float) -> list[Score]:
    prediction, label, geometry = read_pair(pair, codes, spacing_mm)
    return case_scores(
        prediction,
        label,
        geometry.spacing_mm,
        codes.dense.classes,
        tolerance_mm,
        case=pair.case,
        annotated=codes.annotated.get(pair.case),
    )


def _check_options(predictions: Input, spacing_mm: Sequence[float] | None, tolerance_mm: float) -> None:
    arrays = not isinstance(predictions, (str, Path))
    if arrays and spacing_mm is None:
        raise SettingsError("spacing_mm: expected the spacing (z, y, x) in mm of the arrays, got none.")
    if not arrays and spacing_mm is not None:
        raise SettingsError("spacing_mm: files know their own spacing; leave it out, or correct the files.")
    if not tolerance_mm > 0:
        raise SettingsError(f"tolerance_mm: expected more than 0 mm, got {tolerance_mm}.")


def _name(source: Input | None) -> str:
    """Return what may stand in a report: the last part of a path, never the folders above it."""
    if source is None:
        return "none"
    return Path(source).absolute().name if isinstance(source, (str, Path)) else "arrays"


def _write(
    out: Path,
    result: EvaluationResult,
    pairs: Sequence[Pair],
    codes: Codes,
    spacing_mm: Sequence[float] | None,
    title: str,
    trust: Trust | None,
) -> EvaluationResult:
    from medcl.evaluation.examples import example_section  # matplotlib and jinja2 load only for a report
    from medcl.evaluation.report import write_report
    from medcl.evaluation.trust import trust_section

    section, notes = example_section(result, pairs, codes, spacing_mm)
    result = replace(result, findings=[*result.findings, *notes], report=out / "report.html")
    write_tables(out, result)
    write_report(
        out / "report.html",
        result,
        title=title,
        settings=result.settings,
        versions=result.versions,
        extra_sections=[section, *([] if trust is None else [trust_section(trust)])],
    )
    return result
