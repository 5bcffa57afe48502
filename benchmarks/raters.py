"""Several people: does fusion find the truth, do scores rank people rightly, do sampled masks look like people's?

    python benchmarks/raters.py --runs RUNS/raters --data DATA --out RUNS/raters.json

Made-up hearts with raters whose faults are known (one too large, one too small, one who misses a structure, one noisy),
and medscribble, three people's strokes with dense labels to judge them by (left out where the folder is not there).
What is done is kept in `--runs` and in the file; a second call goes on.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from medcl import Dataset, Model, RaterSet, make_phantom, train
from medcl.data.labels import UNLABELLED
from medcl.evaluation.ged import generalised_energy_distance
from medcl.evaluation.provenance import code_version, machine, versions
from medcl.files import read_json, write_json
from medcl.inference.latent import sample_masks
from medcl.scribbles.fusion import Fusion, FusionSettings

TEAMS = {
    "five people": ("careful", "large", "small", "misses", "noisy"),
    "no careful one": ("large", "small", "misses", "noisy"),
}
WAYS: dict[str, dict[str, Any]] = {
    "majority": {"how": "majority"},
    "STAPLE, whole image": {"how": "staple", "margin": None},
    "STAPLE, near structures": {"how": "staple"},
    "quality": {"how": "quality"},
}
LEARNERS: dict[str, dict[str, Any]] = {
    "plain U-Net, sampled raters": {"method": "dense", "backbone": {"name": "unet"}},
    "probabilistic, energy": {"method": {"name": "probabilistic-unet", "distance": "energy"}},
    "probabilistic, no distance": {"method": {"name": "probabilistic-unet", "distance": "none"}},
    "probabilistic, hausdorff": {"method": {"name": "probabilistic-unet", "distance": "hausdorff"}},
    "probabilistic, sinkhorn": {"method": {"name": "probabilistic-unet", "distance": "sinkhorn"}},
}
SEEDS = range(3)
TRAIN_SEEDS = range(2)
SAMPLES = 8


def dice(mask: np.ndarray, truth: np.ndarray, classes: int) -> float:
    """Mean Dice of the structures that the truth holds; unlabelled in the mask counts as background."""
    held = [c for c in range(1, classes) if (truth == c).any()]
    return float(
        np.mean([2 * ((mask == c) & (truth == c)).sum() / ((mask == c).sum() + (truth == c).sum()) for c in held])
    )


def fuse_phantom(folder: Path, team: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Fuse the labels of made-up raters by every way, and compare all with the truth."""
    if not folder.exists():
        make_phantom(folder, "heart", cases=8, validation=0, size=(8, 96, 96), raters=team, dense=True, seed=seed)
    rated, true = RaterSet.open(folder), Dataset.open(folder)
    classes = len(rated.classes)
    cases = rated.cases("Tr")
    maps = [rated.read(case) for case in cases]
    by_id = {case.id: case for case in true.cases("Tr")}
    truth = [true.read_label(by_id[case.id]) for case in cases]
    people = {
        name: float(np.mean([dice(one[r], t, classes) for one, t in zip(maps, truth, strict=True)]))
        for r, name in enumerate(rated.raters)
    }
    result: dict[str, Any] = {"seed": seed, "raters": people, "mean rater": float(np.mean(list(people.values())))}
    for name, settings in WAYS.items():
        fusion = Fusion.fit(maps, classes, FusionSettings.parse(settings))
        fused = [fusion.fuse(one, n).label for n, one in enumerate(maps)]
        result[name] = float(np.mean([dice(one, t, classes) for one, t in zip(fused, truth, strict=True)]))
    scores = [score.score for score in fusion.scores]
    result["scores"] = dict(zip(rated.raters, scores, strict=True))
    result["rank correlation"] = float(spearmanr(scores, [people[name] for name in rated.raters]).statistic)
    return result


def fuse_strokes(folder: Path) -> dict[str, Any]:
    """Merge three people's strokes and judge each pixel by the dense label."""
    plain = RaterSet.open(folder, kind="scribbles")
    copies = {rater: [c for group in groups for c in group] for rater, groups in plain.copies().items()}
    rated = RaterSet.open(folder, kind="scribbles", leave_out=copies)
    dense = Dataset.open(folder, scribbles=rated.raters[0])
    by_id = {case.id: case for case in dense.cases("Tr")}
    cases = rated.cases("Tr")
    maps = [rated.read(case) for case in cases]
    truth = [dense.read_label(by_id[case.id]) for case in cases]
    rows = {
        name: judge(((one[r], t) for one, t in zip(maps, truth, strict=True))) for r, name in enumerate(rated.raters)
    }
    ways = {
        "majority": FusionSettings(how="majority"),
        "quality": FusionSettings(),
        "quality, certain 0.9": FusionSettings(certain=0.9),
    }
    disputed = [_disputed(one) for one in maps]
    for name, settings in ways.items():
        fusion = Fusion.fit(maps, 2, settings, strokes=True)
        fused = [fusion.fuse(one, n).label for n, one in enumerate(maps)]
        rows[name] = judge(zip(fused, truth, strict=True))
        decided = [f[d] != UNLABELLED for f, d in zip(fused, disputed, strict=True)]
        right = [f[d] == t[d] for f, t, d in zip(fused, truth, disputed, strict=True)]
        rows[name]["disputed decided"] = float(np.concatenate(decided).mean())
        whole = np.concatenate(decided)
        rows[name]["disputed right"] = float(np.concatenate(right)[whole].mean()) if whole.any() else None
    scores = {rater: score.score for rater, score in zip(rated.raters, fusion.scores, strict=True)}
    means = {}
    for r, rater in enumerate(rated.raters):
        drawn = [(one[r], t) for one, t in zip(maps, truth, strict=True) if (one[r] != UNLABELLED).any()]
        means[rater] = float(np.mean([judge([pair])["balanced"] for pair in drawn]))
    case_truth, case_scores = [], []
    for n, (one, t) in enumerate(zip(maps, truth, strict=True)):
        for r in range(len(rated.raters)):
            score = fusion.case_scores[n][r].score
            if score is not None and (one[r] != UNLABELLED).any():
                case_scores.append(score)
                case_truth.append(judge([(one[r], t)])["balanced"])
    return {
        "cases": len(cases),
        "left out": {rater: len(names) for rater, names in copies.items()},
        "disputed pixels": int(sum(d.sum() for d in disputed)),
        "rows": rows,
        "scores": scores,
        "right, mean of cases": means,
        "case rank correlation": float(spearmanr(case_scores, case_truth).statistic),
        "cases and people": len(case_scores),
    }


def judge(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """Share of foreground and of background strokes that the label confirms, pooled over pixels, and how many."""
    table = np.zeros((2, 2))
    for strokes, label in pairs:
        seen = strokes != UNLABELLED
        table += np.bincount(strokes[seen] * 2 + label[seen], minlength=4).reshape(2, 2)
    right = [float(table[c, c] / table[c].sum()) if table[c].sum() else float("nan") for c in range(2)]
    return {
        "pixels": int(table.sum()),
        "foreground right": right[1],
        "background right": right[0],
        "balanced": float(np.nanmean(right)),
    }


def _disputed(maps: np.ndarray) -> np.ndarray:
    said = np.stack([(maps == c).any(axis=0) for c in range(2)])
    result: np.ndarray = said.all(axis=0)
    return result


def learn(runs: Path, folder: Path, name: str, seed: int, steps: int) -> dict[str, Any]:
    """Train one network on the raters of a phantom and score its sampled masks on test cases."""
    out = runs / f"{name.replace(', ', '-').replace(' ', '-')}-s{seed}-{steps}"
    begin = time.process_time()
    if not (out / "model" / "model.json").exists():
        learner = dict(LEARNERS[name])
        backbone = {**learner.pop("backbone", {"name": "probabilistic-unet"}), "base": 8, "levels": 4}
        settings = {
            "raters": "sampled",
            "seed": seed,
            "threads": 1,
            "validate_every": 1.0,
            "sample_pictures": 0,
            "oversample": 0.8,
            "plan": {"ndim": 2, "patch": (64, 64)},
        }
        train(folder, out, backbone=backbone, budget=f"{steps}steps", settings=settings, **learner)
    seconds = time.process_time() - begin
    model = Model.load(out, device="cpu", engine="torch", precision="fp32", threads=1)
    rated, true = RaterSet.open(folder), Dataset.open(folder)
    by_id = {case.id: case for case in true.cases("Ts")}
    classes = len(rated.classes)
    rows, best = [], []
    for case in rated.cases("Ts"):
        image = true.read_image(by_id[case.id])
        if name.startswith("probabilistic"):
            masks = [one.mask.astype(np.int16) for one in sample_masks(model, image, count=SAMPLES, seed=seed)]
        else:
            mask = model.predict(image, flips=False, largest_component="none").mask.astype(np.int16)
            masks = [mask] * SAMPLES
        drawn = list(rated.read(case))
        rows.append(generalised_energy_distance(masks, drawn, classes))
        best.append(np.mean([max(dice(mask, one, classes) for mask in masks) for one in drawn]))
    return {
        "learner": name,
        "seed": seed,
        "steps": steps,
        "cases": len(rows),
        "cpu_seconds": round(seconds, 1),
        "ged": float(np.mean([row.ged for row in rows])),
        "between": float(np.mean([row.between for row in rows])),
        "diversity": float(np.mean([row.sampled for row in rows])),
        "raters' diversity": float(np.mean([row.raters for row in rows])),
        "best sample per rater, dice": float(np.mean(best)),
    }


def main() -> None:
    """Measure what is missing, and write after every part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="Folder for phantoms and runs.")
    parser.add_argument("--data", type=Path, default=None, help="Folder that holds medscribble.")
    parser.add_argument("--out", type=Path, default=Path("raters.json"))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--only", nargs="*", default=list(LEARNERS), help="Learners; default: all.")
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = read_json(options.out) if options.out.exists() else {"fusion": {}, "learnt": []}
    content |= {"samples": SAMPLES, "versions": versions(), "code": code_version(), "machine": machine()}
    for (team, people), seed in itertools.product(TEAMS.items(), SEEDS):
        rows = content["fusion"].setdefault(team, [])
        if not any(row["seed"] == seed for row in rows):
            rows.append(fuse_phantom(options.runs / f"fusion-{len(people)}-{seed}", people, seed))
            write_json(options.out, content)
            print(team, rows[-1], flush=True)
    if options.data is not None and (options.data / "medscribble").is_dir() and "medscribble" not in content:
        content["medscribble"] = fuse_strokes(options.data / "medscribble")
        write_json(options.out, content)
        print(content["medscribble"], flush=True)
    folder = options.runs / "hearts"
    if not folder.exists():
        people = TEAMS["no careful one"]
        sizes = {"cases": 32, "validation": 2, "test": 12, "ndim": 2, "size": (128,)}
        make_phantom(folder, "heart", raters=people, **sizes)
    for seed, name in itertools.product(TRAIN_SEEDS, options.only):
        if not any(
            (row["learner"], row["seed"], row["steps"]) == (name, seed, options.steps) for row in content["learnt"]
        ):
            content["learnt"].append(learn(options.runs, folder, name, seed, options.steps))
            write_json(options.out, content)
            print(content["learnt"][-1], flush=True)


if __name__ == "__main__":
    main()
