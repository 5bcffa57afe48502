"""Which source of uncertainty is worth its passes: one map, changed images, dropout, snapshots, several runs.

    medcl benchmark benchmarks/recipes/sources.yaml --data DATA --out OUT
    python benchmarks/sources.py --runs OUT --data DATA --out sources.json

All sources look at the same trainings; scores are on dense labels of cases that training did not see. Nothing is
calibrated. Of several maps the mean gives the mask and the probabilities, its entropy and the maps' mutual
information say where to look.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import mannwhitneyu

from medcl.data.dataset import Dataset
from medcl.data.regions import band_of
from medcl.evaluation.calibration import CalibrationSums, correlation
from medcl.evaluation.provenance import code_version, machine, versions
from medcl.files import write_json
from medcl.inference.model import Model
from medcl.inference.quality import Tally, estimates
from medcl.inference.sources import SourceName, SourceSettings
from medcl.inference.uncertainty import mutual_information, normalised_entropy

PARTS = {"mscmr": "Val", "acdc": "Ts"}
SOURCES: tuple[SourceName, ...] = ("softmax", "tta", "mc-dropout", "checkpoints", "runs")
SAMPLES = 6
"""Maps of tta and mc-dropout: as many as five snapshots and the end of the training are."""

DRAWN = 4000
"""Voxels near structures that each case gives to the area under the curve of its errors."""


def main() -> None:
    """Measure every source on every set and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", default=list(PARTS), choices=list(PARTS))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for name in asked.sets:
        dataset = Dataset.open(asked.data / name)
        models = [_model(asked.runs, f"{name}-medcl-dropout-fast-s{seed}") for seed in (0, 1)]
        tests = [case for case in dataset.cases(PARTS[name]) if case.label is not None]  # type: ignore[arg-type]
        found[name] = {"test_cases": len(tests), "sources": {s: measure(dataset, tests, models, s) for s in SOURCES}}
        write_json(
            asked.out,
            {
                "sets": found,
                "samples": SAMPLES,
                "seed": 0,
                "code": code_version(),
                "versions": versions(),
                "machine": machine(),
            },
        )


def _model(runs: Path, name: str) -> Model:
    (job,) = sorted((runs / "jobs").glob(f"{name}-????????"))
    return Model.load(job / "run", calibrated=False)


def measure(dataset: Dataset, tests: list[Any], models: list[Model], source: SourceName) -> dict[str, float | None]:
    """Return the scores of one source over all test cases."""
    model, others = models[0], models[1:] if source == "runs" else []
    sums = CalibrationSums()
    dice: list[float] = []
    expected: list[float] = []
    areas: dict[str, list[float]] = {"entropy": [], "mutual_information": []}
    random = np.random.default_rng(0)
    for case in tests:
        image, label = dataset.read_image(case), dataset.read_label(case)
        settings = SourceSettings(name=source, samples=SAMPLES)
        maps = [torch.from_numpy(one) for one in model.samples(image, settings, others=others)]
        mean = torch.stack(maps).mean(0)
        shares = mean.numpy()
        mask = shares.argmax(0)
        band = band_of(mask)
        sums.add(shares, label, band)
        tally = Tally()
        for z in range(len(mask)):
            tally.add(z, mean[:, z], mask[z])
        both = [(mask == c) & (label == c) for c in range(1, len(shares))]
        sizes = [int((mask == c).sum()) + int((label == c).sum()) for c in range(1, len(shares))]
        dice.append(float(np.mean([2 * hit.sum() / n if n else 1.0 for hit, n in zip(both, sizes, strict=True)])))
        voxel = image.geometry.voxel_volume_ml
        foretold = [one.expected_dice for one in estimates(tally, model.classes, voxel)]
        expected.append(float(np.nanmean(foretold)))
        places = random.permutation(np.flatnonzero(band & (label >= 0)))[:DRAWN]
        wrong = (mask != label).ravel()[places]
        scores = {"entropy": normalised_entropy(mean).numpy()}
        if len(maps) > 1:
            scores["mutual_information"] = mutual_information(maps).numpy()
        for key, values in scores.items():
            if wrong.any() and not wrong.all():
                areas[key].append(area(values.ravel()[places], wrong))
        print(source, case.id, f"{dice[-1]:.3f}", flush=True)
    return {
        **sums.scores(),
        "dice": float(np.mean(dice)),
        "r_expected": correlation(np.array(expected), np.array(dice)),
        "expected": float(np.mean(expected)),
        **{f"auroc_{key}": float(np.mean(values)) if values else None for key, values in areas.items()},
        "maps": len(maps),
    }


def area(values: np.ndarray, wrong: np.ndarray) -> float:
    """Return the area under the ROC curve: the share of pairs of an error and a right voxel that it is higher in."""
    return float(mannwhitneyu(values[wrong], values[~wrong]).statistic) / (int(wrong.sum()) * int((~wrong).sum()))


if __name__ == "__main__":
    main()
