"""Are probabilities right, and can bad masks be found without labels? Ways to calibrate from strokes, compared.

    python benchmarks/calibration.py --runs OUT --data DATA --out calibration.json

OUT holds the jobs of the benchmark (`jobs/acdc-medcl-full-s0-*` and so on), DATA the folders acdc and mscmr. Every way
sees training images and strokes only; scores are on dense labels of cases that no way saw. `oracle` is fitted on those
labels, to show what one temperature can reach. Probability maps are kept in `--cache`, so a run that is broken off
goes on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from medcl.data.dataset import Case, Dataset
from medcl.data.regions import BAND_VOXELS, plane_distance
from medcl.evaluation.calibration import CalibrationSums, correlation, risk_coverage
from medcl.evaluation.provenance import machine, versions
from medcl.files import atomic_write, read_json, write_json
from medcl.inference.model import Model
from medcl.inference.quality import Tally, estimates
from medcl.inference.scaling import LEAST, Scaling
from medcl.inference.sources import SourceSettings
from medcl.training.fit_scaling import Voxels, fit, fit_temperature

SETS = {
    "acdc": {"model": "acdc-medcl-full-s0", "others": ["acdc-medcl-fast-s1"], "part": "Ts", "cases": 27},
    # this run held four training cases back, so that strokes it did not learn from can be tried too
    "acdc, held back": {
        "folder": "acdc",
        "model": "acdc-medcl-fast-s1",
        "others": ["acdc-unet-20m-s0"],
        "part": "Ts",
        "cases": 13,
        "varied": False,
    },
    "mscmr": {"model": "mscmr-medcl-full-s0", "others": ["mscmr-medcl-fast-s1"], "part": "Val", "cases": 9},
}
PAIRS = {
    "acdc": (
        "Ts",
        [
            ("acdc-medcl-full-s0", "acdc-medcl-fast-s1"),
            ("acdc-medcl-full-s0", "acdc-unet-20m-s0"),
            ("acdc-unet-20m-s0", "acdc-medcl-fast-s1"),
            ("acdc-unet-20m-s0", "acdc-medcl-full-s0"),
            ("acdc-medcl-fast-s1", "acdc-unet-20m-s0"),
            ("acdc-medcl-fast-s1", "acdc-medcl-full-s0"),
        ],
    ),
}
"""Which run is asked about which: does it matter whether the other one is the better or the worse?"""

NEAR, FAR, VARIED = 8000, 2000, 4
RECOMMENDED = "agreement"


def main() -> None:
    """Measure every set and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--pairs", action="store_true", help="only compare temperatures of pairs of runs")
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    asked = parser.parse_args()
    where = asked.cache or asked.out.with_suffix(".cache")
    if asked.pairs:
        rows = [row for name in PAIRS for row in pairs(Lab(asked.runs, asked.data / name, where), *PAIRS[name])]
        write_json(asked.out, {"pairs": rows, "seed": 0, "versions": versions(), "machine": machine()})
        return
    found = {}
    for name in asked.sets:
        settings: dict[str, Any] = {"folder": name, **SETS[name]}
        found[name] = measure(Lab(asked.runs, asked.data / settings.pop("folder"), where), **settings)
    write_json(
        asked.out,
        {"sets": found, "recommended": RECOMMENDED, "seed": 0, "versions": versions(), "machine": machine()},
    )


class Lab:
    """Models and their probability maps, kept in files."""

    def __init__(self, runs: Path, folder: Path, where: Path) -> None:
        self.runs, self.where = runs, where
        self.dataset = Dataset.open(folder)
        self.model = cache(self._model)

    def _model(self, name: str) -> Model:
        (job,) = sorted((self.runs / "jobs").glob(f"{name}-????????"))
        return Model.load(job / "run", calibrated=False)

    def logits(self, name: str, part: str, case: Case, source: str = "softmax") -> np.ndarray:
        """Return log probabilities (C, Z, Y, X) float32 of the mean over the source's maps."""
        (job,) = sorted((self.runs / "jobs").glob(f"{name}-????????"))
        suffix = "" if source == "softmax" else f"-{source}{VARIED}"
        path = self.where / f"{job.name}{suffix}" / f"{part}-{case.id}.npz"
        if not path.is_file():
            settings = SourceSettings(name=source, samples=VARIED)  # type: ignore[arg-type]
            image = self.dataset.read_image(case)
            found = self.model(name).predict(image, probabilities=True, uncertainty_from=settings).probabilities
            assert found is not None
            with atomic_write(path) as temporary, temporary.open("wb") as stream:
                np.savez(stream, lp=np.log(np.maximum(found, LEAST)).astype(np.float16))
        return np.load(path)["lp"].astype(np.float32)


def measure(lab: Lab, model: str, others: list[str], part: str, cases: int, *, varied: bool = True) -> dict[str, Any]:
    """Return temperatures of every way, scores on labelled cases, and how well quality is foretold."""
    started = time.perf_counter()
    training = lab.dataset.cases("Tr")
    places = np.unique(np.linspace(0, len(training) - 1, min(cases, len(training))).round().astype(int))
    tests = [case for case in lab.dataset.cases(part) if case.label is not None]  # type: ignore[arg-type]
    scalings = fit_all(lab, model, others, [training[i] for i in places], tests, part, varied=varied)
    sums = {name: CalibrationSums() for name in scalings}
    quality: dict[str, list[dict[str, Any]]] = {"as it is": [], RECOMMENDED: []}
    for case in tests:
        label = lab.dataset.read_label(case)
        shares = torch.softmax(torch.from_numpy(lab.logits(model, part, case)), 0)
        distance = plane_distance(shares.argmax(0).numpy())  # once for all ways: temperatures change no class
        for name, scaling in scalings.items():
            corrected = shares if name == "as it is" else scaling.apply(shares, torch.from_numpy(distance))
            sums[name].add(corrected.numpy(), label, distance <= BAND_VOXELS)
            if name in quality:
                quality[name] += foretold(lab, lab.model(model), case, corrected, label)
        print(case.id, flush=True)
    ways = {
        name: {**sums[name].scores(), "temperature": scaling.temperature, "far": scaling.far, "kind": scaling.kind}
        for name, scaling in scalings.items()
    }
    return {
        "model": model,
        "others": others,
        "training_cases_seen": len(places),
        "test_cases": len(tests),
        "ways": ways,
        "quality": {name: summary(rows) for name, rows in quality.items()},
        "rows": quality,
        "seconds": round(time.perf_counter() - started),
    }


def pairs(lab: Lab, part: str, chosen: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return the temperature that agreement asks for and the one that labels ask for, for pairs of runs."""
    training = lab.dataset.cases("Tr")[::10]
    tests = lab.dataset.cases(part)[::2]  # type: ignore[arg-type]
    random, classes, rows = np.random.default_rng(0), len(lab.dataset.classes), []
    for model, other in chosen:
        temperatures, agree = {}, []
        for name, cases in (("agreement", training), ("labels", tests)):
            parts = []
            for case in cases:
                logits = lab.logits(model, "Tr" if name == "agreement" else part, case)
                mask = logits.argmax(0)
                says = lab.logits(other, "Tr", case).argmax(0) if name == "agreement" else lab.dataset.read_label(case)
                parts.append(draw(logits, mask, one_hot(says, classes), says >= 0, random)[0])
            near = Voxels.joined(parts)
            temperatures[name] = fit_temperature(near)
            agree.append(float(near.target[np.arange(len(near.logits)), near.logits.argmax(1)].mean()))
        rows.append({"model": model, "other": other, **temperatures, "agree_near": agree[0], "accuracy_near": agree[1]})
        print(rows[-1], flush=True)
    return rows


def fit_all(
    lab: Lab, model: str, others: list[str], training: list[Case], tests: list[Case], part: str, *, varied: bool
) -> dict[str, Scaling]:
    """Return one scaling per way of fitting it."""
    classes = len(lab.dataset.classes)
    drawn: dict[str, list[tuple[Voxels, Voxels]]] = {}

    def add(name: str, pair: tuple[Voxels, Voxels]) -> None:
        drawn.setdefault(name, []).append(pair)

    random = np.random.default_rng(0)
    for case in training:
        logits = lab.logits(model, "Tr", case)
        mask = logits.argmax(0)
        strokes = lab.dataset.read_scribble(case)
        border = ndimage.maximum_filter(mask, (1, 5, 5)) != ndimage.minimum_filter(mask, (1, 5, 5))
        for name, place in (("learnt strokes", strokes >= 0), ("learnt strokes at borders", (strokes >= 0) & border)):
            add(name, draw(logits, mask, one_hot(strokes, classes), place, random))
        everywhere = np.ones(mask.shape, dtype=bool)
        said = [np.exp(lab.logits(other, "Tr", case)) for other in others]
        votes = np.mean([one_hot(one.argmax(0), classes) for one in said], axis=0)
        add(RECOMMENDED, draw(logits, mask, votes, everywhere, random))
        add("probabilities of the other run", draw(logits, mask, np.mean(said, axis=0), everywhere, random))
    learnt = read_json(lab.model(model).folder.parent / "run.json")["annotated_cases"]
    for case in lab.dataset.cases("Tr"):
        if case.id not in learnt and case.scribble is not None:
            logits, strokes = lab.logits(model, "Tr", case), lab.dataset.read_scribble(case)
            add(
                "held-back strokes",
                draw(logits, logits.argmax(0), one_hot(strokes, classes), strokes >= 0, random),
            )
    for case in training[::4] if varied else []:
        logits = lab.logits(model, "Tr", case)
        changed = np.exp(lab.logits(model, "Tr", case, "tta"))
        everywhere = np.ones(logits.shape[1:], dtype=bool)
        mask = logits.argmax(0)
        add("test-time augmentation, mean", draw(logits, mask, changed, everywhere, random))
        calls = one_hot(changed.argmax(0), classes)
        add("test-time augmentation, class", draw(logits, mask, calls, everywhere, random))
    for case in tests:
        logits = lab.logits(model, part, case)
        label = lab.dataset.read_label(case)
        add("oracle", draw(logits, logits.argmax(0), one_hot(label, classes), label >= 0, random))
    pooled = {name: tuple(Voxels.joined(parts) for parts in zip(*pairs, strict=True)) for name, pairs in drawn.items()}
    near, far = pooled["learnt strokes"]
    pooled["learnt strokes, classes alike"] = (near.balanced(), far)
    found = {"as it is": Scaling.of(1.0, classes)}
    for name, (near, far) in pooled.items():
        if name.startswith(("learnt", "held", "oracle", RECOMMENDED)):
            found[name] = fit(near, far, "temperature")
        else:  # soft targets have no accuracy to guard by
            found[name] = Scaling.of(fit_temperature(near), classes, far=fit_temperature(far))
        print(name, found[name].temperature, found[name].far, flush=True)
    found["agreement, per class"] = fit(*pooled[RECOMMENDED], "vector")
    only_near = found[RECOMMENDED].model_copy(update={"far": 1.0})
    found["agreement, far as it is"] = only_near
    return found


def one_hot(mask: np.ndarray, classes: int) -> np.ndarray:
    """Return (C, Z, Y, X) float32; all zero where nothing is labelled."""
    return np.stack([mask == index for index in range(classes)]).astype(np.float32)


def draw(
    logits: np.ndarray, mask: np.ndarray, target: np.ndarray, place: np.ndarray, random: np.random.Generator
) -> tuple[Voxels, Voxels]:
    """Draw voxels near what is called a structure, and elsewhere."""
    distance = plane_distance(mask)
    found = []
    for part, most in ((distance <= BAND_VOXELS, NEAR), (distance > 2 * BAND_VOXELS, FAR)):
        chosen = np.flatnonzero(place & part)
        chosen = random.choice(chosen, min(most, chosen.size), replace=False)
        flat = [values.reshape(len(values), -1)[:, chosen].T.astype(np.float64) for values in (logits, target)]
        found.append(Voxels(flat[0], flat[1], np.ones(chosen.size)))
    return found[0], found[1]


def foretold(lab: Lab, model: Model, case: Case, shares: torch.Tensor, label: np.ndarray) -> list[dict[str, Any]]:
    """Return expected and true Dice and volume of every structure of a case, for the mask that prediction writes."""
    from medcl.inference.postprocess import keep_largest

    tally, mask = Tally(), shares.numpy().argmax(0)
    for z in range(label.shape[0]):
        tally.add(z, shares[:, z], mask[z])
    mask = keep_largest(mask, model.unions("auto"))
    tally.keep(mask)
    voxel = lab.dataset.read_image(case).geometry.voxel_volume_ml
    rows = []
    for index, one in enumerate(estimates(tally, model.classes, voxel), start=1):
        both = int(((mask == index) & (label == index)).sum())
        total = int((mask == index).sum()) + int((label == index).sum())
        rows.append(
            {
                "case": case.id,
                "structure": one.structure,
                "expected": one.expected_dice,
                "true": 2 * both / total if total else float("nan"),
                "volume_ml": float((label == index).sum()) * voxel,
                "low_ml": one.low_ml,
                "high_ml": one.high_ml,
            }
        )
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return how well the expected Dice tells the true one, and how often the interval holds the true volume."""
    column: Callable[[str], np.ndarray] = lambda key: np.array([row[key] for row in rows])  # noqa: E731
    cases = list(dict.fromkeys(row["case"] for row in rows))
    means = {
        key: np.array([np.nanmean([row[key] for row in rows if row["case"] == case]) for case in cases])
        for key in ("expected", "true")
    }
    _, risk = risk_coverage(means["expected"], 1 - means["true"])
    held = (column("low_ml") <= column("volume_ml")) & (column("volume_ml") <= column("high_ml"))
    return {
        "r_cases": correlation(means["expected"], means["true"]),
        "r_structures": correlation(column("expected"), column("true")),
        "mean_expected": float(np.nanmean(column("expected"))),
        "mean_true": float(np.nanmean(column("true"))),
        "dice_of_surest_half": float(1 - risk[len(risk) // 2 - 1]),
        "volume_in_interval": float(held.mean()),
        "interval_width_share": float(np.mean((column("high_ml") - column("low_ml")) / column("volume_ml"))),
    }


if __name__ == "__main__":
    main()
