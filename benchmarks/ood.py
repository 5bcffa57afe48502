"""How well does a model notice scans that are not like those it learned from? Writes JSON.

    python benchmarks/ood.py --runs OUT --data FOLDER [--phantom FOLDER] --out ood.json [--only acdc] [--every 2]

OUT is a benchmark's folder (`medcl benchmark`), whose jobs hold the models; FOLDER holds acdc, mscmr, curvas and
hippocampus. Every test scan is judged as it is and with every corruption of `medcl.evaluation.corruptions` at every
severity, by a reference of the training scans. Beside the score that medcl uses, every part of it is scored alone, by
Mahalanobis and by kNN distance. Judged scans are kept beside the JSON file, so that a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import mannwhitneyu

from medcl.data.dataset import Dataset
from medcl.data.geometry import Image
from medcl.data.prepare import prepare_image
from medcl.evaluation.corruptions import KINDS, SEVERITIES, corrupt
from medcl.evaluation.provenance import code_version, machine, versions
from medcl.files import write_json
from medcl.inference.familiarity.fit import Fitted, fit_reference
from medcl.inference.familiarity.reference import RARE, SCORED, combined, standardised
from medcl.inference.familiarity.seen import Seen, parts_of, see
from medcl.inference.model import Model

SETS: dict[str, tuple[str, tuple[str, ...], int]] = {
    "acdc": ("acdc-medcl-full-s0", ("Ts",), 1),
    "acdc, max-query": ("acdc-max-query-20m-s0", ("Ts",), 1),
    "mscmr": ("mscmr-medcl-full-s0", ("Val",), 1),
    "phantom": ("heart-unet-short-s0", ("Ts", "Val"), 1),
}
"""Set -> model, splits that are tested, random copies of each corruption (more where there are few scans)."""

WAYS = ("mahalanobis", "knn")

DONORS = ("curvas", "hippocampus")
"""Where the slices of other parts of the body come from: abdomen (CT) and brain (MR)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--phantom", type=Path, help="Data set of phantom hearts that the phantom model learned from.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", action="append", choices=list(SETS))
    parser.add_argument("--every", type=int, default=1, help="Take every n-th training and test scan of large sets.")
    parser.add_argument("--judged", action="store_true", help="Only sum up the scans that are judged already.")
    parser.add_argument("--backwards", action="store_true", help="Last test scan first: a second process may help.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    options = {"backwards": arguments.backwards, "only_judged": arguments.judged}
    found: dict[str, Any] = (
        json.loads(arguments.out.read_text(encoding="utf-8"))["sets"] if arguments.out.is_file() else {}
    )
    for name in arguments.only or SETS:
        folder = arguments.phantom if name == "phantom" else arguments.data / name.split(",")[0]
        if folder is None:
            continue
        every = arguments.every if name.startswith("acdc") else 1
        found[name] = one_set(name, arguments.runs, folder, arguments.data, arguments.out, every, **options)
        facts = {"seed": 0, "versions": versions(), "code": code_version(), "machine": machine()}
        write_json(arguments.out, {"sets": found, **facts})


def one_set(
    name: str, runs: Path, folder: Path, data: Path, out: Path, every: int, *, backwards: bool, only_judged: bool
) -> dict[str, Any]:
    job, splits, copies = SETS[name]
    dataset = Dataset.open(folder)
    training = dataset.cases("Tr")[::every]
    tested = [case for split in splits for case in dataset.cases(split)][::every]
    kept = out.with_suffix("") / name
    kept.mkdir(parents=True, exist_ok=True)
    places = {case.id: kept / f"{case.id}.json" for case in tested}
    if not only_judged and not all(place.is_file() for place in (kept / "training.json", *places.values())):
        model = Model.load(next((runs / "jobs").glob(f"{job}-*")) / "run", engine="torch", device="cpu", threads=1)
        seen = []
        for number, case in enumerate(training):
            seen.append(look_at(model, dataset.read_image(case)))
            print(f"{name}: training scan {number + 1} of {len(training)}", flush=True)
        fitted = {how: fit_reference(seen, classes=len(model.classes), how=how) for how in WAYS}
        del seen
        write_json(kept / "training.json", {how: one.parts for how, one in fitted.items()})
        donors = list(strangers(data))
        for number, case in reversed([*enumerate(tested)]) if backwards else enumerate(tested):
            if not places[case.id].is_file():
                write_json(
                    places[case.id], list(judged(model, dataset.read_image(case), fitted, donors, number, copies))
                )
            print(f"{name}: test scan {number + 1} of {len(tested)}", flush=True)
    left_out = json.loads((kept / "training.json").read_text(encoding="utf-8"))
    done = [place for place in places.values() if place.is_file()]
    rows = [row for place in done for row in json.loads(place.read_text(encoding="utf-8"))]
    scores = np.array([combined(parts) for parts in left_out["mahalanobis"]])
    for row in rows:
        row["ways"] = ways(row)
        share = (1 + int((scores >= row["ways"]["score"]).sum())) / (len(scores) + 1)
        row["strange"] = share <= max(RARE, 1 / (len(scores) + 1))
    result = {
        "model": job,
        "training_scans": len(training),
        "test_scans": len(done),
        "copies": copies,
        "auroc": {way: table(rows, way) for way in rows[0]["ways"]},
        "false_alarms": float(np.mean([row["strange"] for row in rows if row["kind"] == "clean"])),
        "alarms": {
            kind: [
                float(np.mean([row["strange"] for row in rows if (row["kind"], row["severity"]) == (kind, severity)]))
                for severity in SEVERITIES
            ]
            for kind in KINDS
        },
    }
    print(name, {kind: [round(v, 2) for v in values] for kind, values in result["auroc"]["score"].items()}, flush=True)
    return result


def look_at(model: Model, image: Image) -> Seen:
    return see(model.network, prepare_image(image, model.plan).array, model.plan)


def judged(
    model: Model, image: Image, fitted: dict[str, Fitted], donors: list[np.ndarray], number: int, copies: int
) -> Iterator[dict[str, Any]]:
    yield {"kind": "clean", "severity": 0, **parts(look_at(model, image), fitted)}
    for kind in KINDS:
        for severity in SEVERITIES:
            for copy in range(1 if kind == "orientation" else copies):
                seed = 1000 * number + 10 * severity + copy
                volume = corrupt(
                    kind, image.array[0], severity, seed, spacing_mm=image.geometry.spacing_mm, donors=donors
                )
                seen = look_at(model, Image(volume[None], image.geometry))
                yield {"kind": kind, "severity": severity, **parts(seen, fitted)}


def parts(seen: Seen, fitted: dict[str, Fitted]) -> dict[str, Any]:
    """Return the standardised parts of a scan by both distances, and the entropy of its prediction."""
    found: dict[str, Any] = {"entropy": float(seen.units["answer"][:, 1].mean())}
    for how, one in fitted.items():
        reference = one.reference
        raw = parts_of(seen, reference.clouds, reference.scans, reference.pixels, reference.pieces, how)  # type: ignore[arg-type]
        found[how] = standardised(raw, reference.usual)
    return found


def ways(row: dict[str, Any]) -> dict[str, float]:
    """Return every score of a scan: medcl's, each part alone, and others that were tried."""
    found = {
        "score": combined(row["mahalanobis"]),
        "score, kNN": combined(row["knn"]),
        "score without pieces": combined({k: v for k, v in row["mahalanobis"].items() if not k.startswith("pieces")}),
        "largest part": max(value for name, value in row["mahalanobis"].items() if name in SCORED),
        "entropy of the prediction": row["entropy"],
    }
    names = {how: "Mahalanobis" if how == "mahalanobis" else "kNN" for how in WAYS}
    for how, title in names.items():
        found |= {
            f"{part}, {title}": v
            for part, v in row[how].items()
            if how == "mahalanobis" or not part.startswith(("places", "pieces"))
        }
    for part in ("places slice", "places mean", "pieces slice", "pieces change"):  # no structure predicted: as usual
        found.setdefault(f"{part}, Mahalanobis", 0.0)
    return found


def table(rows: list[dict[str, Any]], way: str) -> dict[str, list[float]]:
    """Return the area under the ROC curve of corrupted against clean scans, by corruption and severity."""
    clean = [row["ways"][way] for row in rows if row["kind"] == "clean"]
    result = {}
    for kind in KINDS:
        result[kind] = []
        for severity in SEVERITIES:
            spoilt = [row["ways"][way] for row in rows if (row["kind"], row["severity"]) == (kind, severity)]
            result[kind].append(float(mannwhitneyu(spoilt, clean).statistic) / (len(spoilt) * len(clean)))
    return result


def strangers(data: Path) -> Iterator[np.ndarray]:
    """Yield slices (Y, X) of other parts of the body, in mixed order."""
    slices = []
    for name in DONORS:
        dataset = Dataset.open(data / name)
        for case in dataset.cases("Tr")[:8]:
            volume = dataset.read_image(case).array[0]
            slices += [volume[z] for z in sorted({len(volume) // 3, len(volume) // 2, 2 * len(volume) // 3})]
    yield from (slices[index] for index in np.random.default_rng(0).permutation(len(slices)))


if __name__ == "__main__":
    main()
