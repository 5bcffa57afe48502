"""How far a folder of predictions can be trusted: calibration of its probabilities, and of its expected Dice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medcl.data.io import IMAGE_ENDINGS, read_image
from medcl.data.layout import probability_name
from medcl.errors import DataError
from medcl.evaluation.blocks import Block, Card, Cards, Curve, Figure, Figures, Section, Table
from medcl.evaluation.calibration import CalibrationSums, Reliability, correlation, risk_coverage
from medcl.evaluation.matching import Pair
from medcl.evaluation.metrics import Score
from medcl.evaluation.plots import agreement_plot, line_plot
from medcl.evaluation.reading import PREDICTION_JSON, Codes, read_pair
from medcl.evaluation.results import Finding
from medcl.files import read_json

PROBABILITIES = "probabilities"
"""Folder that `medcl predict --probabilities` writes beside its masks."""


@dataclass
class Trust:
    """What is known of a folder of predictions.

    Attributes:
        classes: Class names by index.
        sums: Calibration over all cases with probabilities.
        cases: How many those are.
        expected: (case, structure) -> expected Dice, as `medcl predict` wrote it.
        true: (case, structure) -> Dice.
    """

    classes: tuple[str, ...]
    sums: CalibrationSums = field(default_factory=CalibrationSums)
    cases: int = 0
    expected: dict[tuple[str, str], float] = field(default_factory=dict)
    true: dict[tuple[str, str], float] = field(default_factory=dict)

    def pairs(self) -> dict[str, tuple[list[float], list[float]]]:
        """Return structure -> (expected, true) of the cases that have both."""
        found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in self.classes[1:]}
        for (case, name), value in self.expected.items():
            other = self.true.get((case, name), math.nan)
            if name in found and not math.isnan(value) and not math.isnan(other):
                found[name][0].append(value)
                found[name][1].append(other)
        return found

    def case_means(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean expected and true Dice of every case, over the structures that have both."""
        both = {key: (value, self.true.get(key, math.nan)) for key, value in self.expected.items()}
        kept = {key: value for key, value in both.items() if not any(map(math.isnan, value))}
        cases = dict.fromkeys(case for case, _ in kept)
        means = [np.mean([value for (case, _), value in kept.items() if case == one], axis=0) for one in cases]
        table = np.array(means, dtype=float).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    def as_dict(self) -> dict[str, Any]:
        """Return the scores as plain data."""
        expected, true = self.case_means()
        values: dict[str, Any] = {}
        if self.cases:
            values |= {"cases_with_probabilities": self.cases, **self.sums.scores()}
        if len(expected):
            pooled = self.pairs().values()
            flat = [np.concatenate([one[side] for one in pooled]) for side in (0, 1)]
            values["expected_dice"] = {
                "cases": len(expected),
                "mean_expected": float(expected.mean()),
                "mean_true": float(true.mean()),
                "r_cases": correlation(expected, true),
                "r_structures": correlation(*flat),
            }
        return values


def trust_of(
    pairs: Sequence[Pair], codes: Codes, scores: Sequence[Score], spacing_mm: Sequence[float] | None
) -> tuple[Trust | None, list[Finding]]:
    """Read probabilities and expected Dice beside the masks, where `medcl predict` left them.

    Where `prediction.json` is there too, only probabilities that it lists are read: others may belong to masks of an
    earlier prediction.

    Args:
        pairs: The cases.
        codes: What file values mean.
        scores: Scores of the masks.
        spacing_mm: Spacing of arrays; arrays have no probabilities beside them.

    Returns:
        What was found, or None; and what could not be read.
    """
    first = pairs[0].prediction
    if not isinstance(first, Path):
        return None, []
    folder = first.parent
    trust, findings = Trust(codes.dense.classes), []
    trust.true = {(score.case, score.structure): score.dice for score in scores}
    written = _written(folder / PREDICTION_JSON)
    trust.expected = _expected(written or [])
    listed = None if written is None else _listed(written, folder)
    scored = {score.case for score in scores}
    unlisted = []
    for pair in pairs:
        if pair.case not in scored:
            continue
        files = _files(folder / PROBABILITIES, pair.case, trust.classes)
        if listed is not None:
            unlisted += [pair.case] if files and not listed.get(pair.case) else []
            files = listed.get(pair.case, [])
        if not files:
            continue
        try:
            if len(files) != len(trust.classes):
                raise DataError(f"expected one file for each of {len(trust.classes)} classes, got {len(files)}.")
            shares = np.concatenate([read_image(path).array for path in files])
            trust.sums.add(shares, read_pair(pair, codes, spacing_mm)[1])
            trust.cases += 1
        except DataError as error:
            findings.append(Finding("warning", pair.case, f"probabilities: {error}"))
    if unlisted:
        text = (
            f"probabilities of {len(unlisted)} case(s), {unlisted[0]} first, are not scored: {PREDICTION_JSON} does "
            "not list them, so they may belong to other masks; predict all cases in one call with --probabilities."
        )
        findings.append(Finding("warning", "", text))
    return (trust if trust.cases or trust.expected else None), findings


def _files(folder: Path, case: str, classes: tuple[str, ...]) -> list[Path]:
    """Return one file per class, in order, or nothing where one lacks or there are several of it."""
    names = [probability_name(case, index, name) for index, name in enumerate(classes)]
    found = [[path for ending in IMAGE_ENDINGS if (path := folder / f"{name}{ending}").is_file()] for name in names]
    return [paths[0] for paths in found] if all(len(paths) == 1 for paths in found) else []


def _written(path: Path) -> list[dict[str, Any]] | None:
    """Return what prediction.json says of the cases with a mask; None where there is no such file."""
    if not path.is_file():
        return None
    content = read_json(path)
    rows = content.get("written", []) if isinstance(content, dict) else []
    return [row for row in rows if isinstance(row, dict) and "case" in row]


def _listed(written: list[dict[str, Any]], folder: Path) -> dict[str, list[Path]]:
    """Return, by case, the files of probabilities in the order of the classes."""
    found = {}
    for row in written:
        files = [Path(file) for file in row.get("files", ())]
        found[row["case"]] = [folder / file for file in files if file.parts[:-1] == (PROBABILITIES,)]
    return found


def _expected(written: list[dict[str, Any]]) -> dict[tuple[str, str], float]:
    found = {}
    for row in written:
        for name, values in (row.get("estimates") or {}).items():
            value = values.get("expected_dice")
            found[row["case"], name] = math.nan if value is None else float(value)
    return found


def trust_section(trust: Trust) -> Section:
    """Return reliability diagrams, calibration scores, and expected against true Dice."""
    blocks: list[Block] = []
    figures: list[Figure] = []
    values = trust.as_dict()
    if trust.cases:
        cards = [
            Card("Calibration error", f"{values['ece']:.4f}", "all labelled voxels"),
            Card("Calibration error, structures", f"{values['ece_foreground']:.3f}", _sureness(values)),
        ]
        blocks.append(Cards(cards))
        near = {"structures": trust.sums.top["predicted"], "structures and near them": trust.sums.top["band"]}
        own = dict(zip(trust.classes[1:], trust.sums.classwise[1:], strict=True))
        figures += [
            _diagram("Reliability of the chosen class", near),
            _diagram("Reliability of each structure's probability", own),
        ]
        names = {
            "ece": "ECE, all labelled voxels",
            "ece_foreground": "ECE where a structure is called",
            "ece_band": "ECE there and near it",
            "ece_classwise": "ECE of each structure's own probability, mean",
            "brier": "Brier score",
            "nll": "Negative log-likelihood (nats)",
        }
        rows = [(title, f"{values[key]:.4f}") for key, title in names.items()]
        blocks.append(Table("Calibration (0 is perfect)", ["Score", "Value"], rows))
    expected, true = trust.case_means()
    if len(expected):
        found = values["expected_dice"]
        r = "undefined" if math.isnan(found["r_cases"]) else f"{found['r_cases']:.2f}"
        figures.append(
            Figure(
                agreement_plot(trust.pairs(), "Expected Dice (without labels)", "True Dice"),
                f"True over expected Dice per case and structure; correlation of case means {r}.",
                f"Correlation of case means {r}; mean expected {found['mean_expected']:.3f}, true "
                f"{found['mean_true']:.3f}.",
            )
        )
        coverage, risk = risk_coverage(expected, 1 - true)
        curve = Curve(
            "Mean Dice of the surest cases",
            "Share of cases kept, surest first",
            "Mean Dice",
            {"cases": (coverage.tolist(), (1 - risk).tolist())},
        )
        figures.append(Figure(line_plot(curve), "Mean Dice over the share of cases kept, surest first.", curve.title))
    return Section(
        "Trust",
        [*blocks[:1], Figures(figures), *blocks[1:]],
        intro="Whether probabilities mean what they say, and whether bad masks can be found without labels. On the "
        "diagonal, of all voxels called with probability 0.8 four fifths are right; below it the model is too sure.",
    )


def _sureness(values: dict[str, Any]) -> str:
    gap = values["gap_foreground"]
    return f"too {'sure' if gap > 0 else 'unsure'} by {abs(gap):.3f}" if not math.isnan(gap) else "no structure called"


def _diagram(title: str, lines: dict[str, Reliability]) -> Figure:
    drawn: dict[str, tuple[list[float], list[float]]] = {"perfect": ([0.0, 1.0], [0.0, 1.0])}
    for name, one in lines.items():
        there = one.count > 0
        drawn[name] = (
            (one.confidence[there] / one.count[there]).tolist(),
            (one.correct[there] / one.count[there]).tolist(),
        )
    curve = Curve(title, "Probability", "Share that is right", drawn, y_range=(0.0, 1.0))
    words = ", ".join(f"{name} {one.ece:.3f}" for name, one in lines.items())
    return Figure(line_plot(curve), f"{title}: share that is right over probability.", f"{title}. ECE: {words}.")
