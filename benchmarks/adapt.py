"""Does adapting without labels help, and does the guard tell when it does not? Writes JSON; resumable.

    python benchmarks/adapt.py --runs RUNS --data FOLDER --heart FOLDER --out RUNS/adapt.json [--only NAME ...]

`--runs` is the folder of a benchmark (jobs/NAME-KEY/run), `--data` holds acdc and mscmr. Scored are the test cases of
the new images, which no adaptation sees. Experiments: LGE to cine heart MR (mscmr -> acdc), made-up hearts with changed
contrast, and cases that must be refused. A variant is what a user gets: the state that the guard likes best. "Last
state" is what the guard would not keep, and what it refuses is written all the same, so that its word can be compared
with the true Dice.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medcl.evaluation.metrics import dice
from medcl.evaluation.provenance import code_version, machine, versions
from medcl.files import write_json
from medcl.inference.model import Model
from medcl.training.adaptation.run import adapt
from medcl.training.adaptation.sizes import SIZES_FILE, measure_sizes, write_sizes

STATISTICS = {"parameters": "none", "statistics": 1.0}
ALL: dict[str, Any] = {"statistics": 1.0}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "statistics alone": STATISTICS,
    "half of the statistics alone": {**STATISTICS, "statistics": 0.5},
    "entropy and ratio, last state": ALL,
    "entropy without ratio, last state": {**ALL, "ratio": 0.0},
    "ratio without entropy, last state": {**ALL, "entropy": 0.0},
    "prediction first in the divergence, last state": {**ALL, "first": "prediction"},
    "learning rate 0.002, last state": {**ALL, "learning_rate": 0.002},
    "all weights, last state": {**ALL, "parameters": "all", "learning_rate": 1e-4},
    "old statistics, last state": {"statistics": 0.0},
}
HARMFUL: dict[str, dict[str, Any]] = {
    "high rate, no ratio, last state": {"parameters": "all", "learning_rate": 0.01, "ratio": 0.0},
}


@dataclass
class Experiment:
    """A model, images to adapt it to, and what it is scored on."""

    name: str
    model: Path
    images: Path
    tests: Path
    labels: Path
    variants: dict[str, dict[str, Any]] = field(default_factory=lambda: VARIANTS)
    volumes_ml: dict[str, float] | None = None


def spread(files: Sequence[Path], count: int) -> list[Path]:
    """Return at most `count` files, evenly spread."""
    return [files[i] for i in np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int)]


def true_dice(model: Model, experiment: Experiment, count: int) -> dict[str, float]:
    """Return the mean Dice per structure on test cases that nobody learned from."""
    from medcl.data.io import read_map

    rows = []
    for image in spread(sorted(experiment.tests.glob("*_0000*")), count):
        truth, _ = read_map(experiment.labels / image.name.replace("_0000", ""))
        mask = model.predict(image).mask
        rows.append([dice(mask == c, truth == c) for c in range(1, len(model.classes))])
    return dict(zip(model.classes[1:], np.mean(rows, axis=0).round(4).tolist(), strict=True))


def copied_model(run: Path, place: Path, source_images: Path, count: int = 10) -> Path:
    """Copy a model and give it class sizes, measured once on images like those of training."""
    if not (place / SIZES_FILE).exists():
        from medcl.data.io import read_image
        from medcl.data.prepare import prepare_image

        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(run / "model", place)
        model = Model.load(place, device="cpu", engine="torch")
        files = spread(sorted(source_images.glob("*_0000*")), count)
        prepared = (prepare_image(read_image(file), model.plan) for file in files)
        write_sizes(place, measure_sizes(model.engine, model.plan, prepared, source=f"{len(files)} training images"))
    return place


def changed_phantom(folder: Path, out: Path, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """Copy a made-up data set with other grey values; labels stay."""
    from medcl.data.geometry import Image
    from medcl.data.io import read_image, write_image

    if not (out / "done").exists():
        for part in ("imagesTr", "imagesTs"):
            for file in sorted((folder / part).iterdir()):
                image = read_image(file)
                write_image(out / part / file.name, Image(change(image.array.astype(np.float32)), image.geometry))
        (out / "done").touch()
    return out


def lower_contrast(array: np.ndarray) -> np.ndarray:
    """Lower the contrast between blood and muscle and brighten what is dark: gamma 0.4 of the image scaled to 0..1."""
    low, high = float(array.min()), float(array.max())
    return ((array - low) / max(high - low, 1e-6)) ** 0.4 * 1000


def another_scanner(array: np.ndarray) -> np.ndarray:
    """Gamma 0.4, a coil that brightens one side four times over, and noise of 6 % of the range."""
    fall = np.linspace(0.4, 1.6, array.shape[-1], dtype=np.float32)
    noise = np.random.default_rng(0).normal(0, 60, array.shape).astype(np.float32)
    return lower_contrast(array) * fall + noise


def inverted(array: np.ndarray) -> np.ndarray:
    """Bright becomes dark."""
    return float(array.max()) - array


def find_run(runs: Path, name: str) -> Path:
    found = sorted((runs / "jobs").glob(f"{name}-*"))
    if not found:
        raise SystemExit(f"{runs}: expected a job {name}-KEY; train it first (see docs/results.md).")
    return found[0] / "run"


def experiments(runs: Path, data: Path, work: Path, heart: Path | None) -> list[Experiment]:
    mscmr = copied_model(find_run(runs, "mscmr-medcl-full-s0"), work / "mscmr", data / "mscmr" / "imagesTr")
    acdc = data / "acdc"
    to_acdc = {"images": acdc / "imagesTr", "tests": acdc / "imagesTs", "labels": acdc / "labelsTs"}
    own = copied_model(find_run(runs, "acdc-medcl-full-s0"), work / "acdc", acdc / "imagesTr")
    found = [
        Experiment("mscmr -> acdc", mscmr, **to_acdc),
        Experiment("mscmr -> acdc, made to harm", mscmr, **to_acdc, variants=HARMFUL),
        Experiment("acdc -> acdc (nothing to gain)", own, **to_acdc, variants={"default": {}}),
        Experiment(
            "acdc -> acdc, volumes stated four times too large",
            own,
            **to_acdc,
            variants={"default": {"learning_rate": 3e-3}},
            volumes_ml={"RV": 460.0, "Myo": 530.0, "LV": 520.0},
        ),
    ]
    if heart is not None:
        model = copied_model(find_run(runs, "heart-unet-short-s0"), work / "heart", heart / "imagesTr")
        for name, change, variants in (
            ("gamma 0.4", lower_contrast, VARIANTS),
            ("gamma 0.4, bias field and noise", another_scanner, VARIANTS),
            ("inverted", inverted, {"default": {}}),
        ):
            other = changed_phantom(heart, work / name.replace(" ", "-"), change)
            places = {"images": other / "imagesTr", "tests": other / "imagesTs", "labels": heart / "labelsTs"}
            found.append(Experiment(f"made-up hearts, {name}", model, **places, variants=variants))
    return found


def measure(experiment: Experiment, variant: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Adapt with one variant and score it; the guard's word is kept, and overruled."""
    old = Model.load(experiment.model, device="cpu", engine="torch")
    files = spread(sorted(experiment.images.glob("*_0000*")), arguments.images)
    with tempfile.TemporaryDirectory(prefix="medcl-") as scratch:
        result = adapt(
            old,
            files,
            Path(scratch) / "adapted",
            budget=f"{arguments.steps}steps",
            settings={"rounds": arguments.rounds, "batch_size": 6, **experiment.variants[variant]},
            # Nothing gains that much: the guard refuses, and what is forced is the last state.
            guard={"gain": 9.0} if variant.endswith("last state") else {},
            volumes_ml=experiment.volumes_ml,
            force=True,
            show=lambda moment: print(moment.message, flush=True) if moment.message.startswith("guard") else None,
        )
        assert result.model is not None
        after = true_dice(Model.load(result.model, device="cpu", engine="torch"), experiment, arguments.tests)
    return {
        "experiment": experiment.name,
        "variant": variant,
        "settings": experiment.variants[variant],
        "dice": after,
        "mean": float(np.mean(list(after.values()))),
        "refused": [reason for reason in result.reasons if "9 more" not in reason],
        "guard_before": result.before.as_dict(),
        "guard_after": result.after.as_dict(),
        "steps": result.steps,
        "minutes": result.minutes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--heart", type=Path, help="Made-up hearts that heart-unet-short-s0 learned from.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", help="Experiments whose name contains one of these.")
    parser.add_argument("--variants", nargs="*", help="These variants only.")
    parser.add_argument("--images", type=int, default=24, help="Images to adapt to.")
    parser.add_argument("--tests", type=int, default=10, help="Test cases.")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    work = arguments.out.with_suffix("")
    work.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = (
        json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.exists() else {"rows": []}
    )
    content |= {"images": arguments.images, "tests": arguments.tests, "steps": arguments.steps, "seed": 0}
    content |= {"versions": versions(), "code": code_version(), "machine": machine()}
    rows = content["rows"]
    for experiment in experiments(arguments.runs, arguments.data, work, arguments.heart):
        if arguments.only and not any(part in experiment.name for part in arguments.only):
            continue
        done = {row["variant"] for row in rows if row["experiment"] == experiment.name}
        if "before" not in done:
            scores = true_dice(Model.load(experiment.model, device="cpu", engine="torch"), experiment, arguments.tests)
            mean = float(np.mean(list(scores.values())))
            rows.append({"experiment": experiment.name, "variant": "before", "dice": scores, "mean": mean})
            write_json(arguments.out, content)
            print(f"{experiment.name} before: {mean:.3f}", flush=True)
        for variant in experiment.variants:
            if variant in done or (arguments.variants and variant not in arguments.variants):
                continue
            rows.append(measure(experiment, variant, arguments))
            write_json(arguments.out, content)
            print(f"{experiment.name} {variant}: {rows[-1]['mean']:.3f} {rows[-1]['refused']}", flush=True)


if __name__ == "__main__":
    main()
