"""Train and score the jobs of a recipe, one after the other; finished jobs are kept, interrupted ones resumed.

python benchmarks/run.py benchmarks/recipes/main.yaml --data DATA --out RUNS [--only NAME ...]
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import time
from pathlib import Path
from typing import Any

import yaml


def jobs_of(recipe: Path) -> list[dict[str, Any]]:
    """Return one entry per job and seed, defaults filled in."""
    content = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    defaults = content.get("defaults", {})
    jobs = []
    for name, own in content["jobs"].items():
        job = {**defaults, **(own or {})}
        job["settings"] = {**defaults.get("settings", {}), **(own or {}).get("settings", {})}
        jobs += [
            {**job, "name": f"{name}-s{seed}", "group": name, "recipe": recipe.stem, "seed": seed}
            for seed in job["seeds"]
        ]
    return jobs


def train_and_score(job: dict[str, Any], data: Path, out: Path) -> None:
    """Train one job and score its last weights, and its best checkpoint for orientation."""
    import medcl
    from medcl.files import write_json
    from medcl.settings import set_by_path

    folder = out / job["recipe"] / job["name"]
    if (folder / "benchmark.json").exists():
        print(f"{job['name']}: done before", flush=True)
        return
    dataset = data / job["data"]
    assignments = [f"method.name={job['method']}", f"seed={job['seed']}"]
    values = set_by_path({}, [*assignments, *(f"{key}={value}" for key, value in job["settings"].items())])
    started = time.time()
    result = medcl.train(
        dataset,
        folder,
        budget=job["budget"],
        settings=values,
        resume=(folder / "run.json").exists(),
        store=out / "store",
    )
    if not result.finished:
        raise SystemExit(f"{job['name']}: interrupted; run the same command again to go on")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    scores = {
        "last": score(folder / "model", dataset, job, folder / "masks"),
        "largest": score(folder / "model", dataset, job, folder / "largest_masks", largest_component="group"),
    }
    if (folder / "best_model").is_dir():
        scores["best"] = score(folder / "best_model", dataset, job, folder / "best_masks")
    write_json(
        folder / "benchmark.json",
        {
            **job,
            "steps": result.steps,
            "minutes": round(result.minutes, 2),
            "wall_minutes": (time.time() - started) / 60,
            "peak_mb": round(peak_mb),
            "scores": scores,
            "hardware": list(result.hardware),
        },
    )
    print(
        f"{job['name']}: last {scores['last']['dice']:.4f}, {result.steps} steps, {result.minutes:.1f} min", flush=True
    )


def score(
    model_folder: Path, dataset: Path, job: dict[str, Any], masks: Path, *, largest_component: Any = None
) -> dict[str, Any]:
    """Predict the scoring part and return mean Dice, HD95 and the same per structure."""
    import medcl
    from medcl.data.io import read_image, write_map

    model = medcl.Model.load(model_folder, device="cpu", engine="torch")
    for image in sorted((dataset / job["images"]).glob("*_0000.nii.gz")):
        prediction = model.predict(read_image(image), largest_component=largest_component)
        write_map(masks / f"{image.name.removesuffix('_0000.nii.gz')}.nii.gz", prediction.mask, prediction.geometry)
    result = medcl.evaluate(masks, dataset / job["labels"])
    rows = {row.structure: row for row in result.summary if row.metric == "dice"}
    far = {row.structure: row for row in result.summary if row.metric == "hd95_mm"}
    overall = next(name for name in rows if name not in result.classes)

    def number(value: float) -> float | None:
        return None if math.isnan(value) else value  # HD95 of a structure that was never found

    return {
        "dice": rows[overall].mean,
        "hd95_mm": number(far[overall].mean),
        "cases": rows[overall].cases,
        "interval": [number(rows[overall].low), number(rows[overall].high)],
        "per_class": {
            name: {"dice": rows[name].mean, "hd95_mm": number(far[name].mean)} for name in result.classes[1:]
        },
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="Folder that holds the dataset folders.")
    parser.add_argument("--out", type=Path, required=True, help="Folder for runs.")
    parser.add_argument("--only", nargs="*", help="Names of jobs, with seed, such as all-terms-s0.")
    options = parser.parse_args()
    jobs = jobs_of(options.recipe)
    unknown = set(options.only or ()) - {job["name"] for job in jobs}
    if unknown:
        raise SystemExit(f"no such job: {', '.join(sorted(unknown))}; known: {', '.join(job['name'] for job in jobs)}")
    failed = 0
    for job in jobs if not options.only else [j for j in jobs if j["name"] in options.only]:
        # A process per job, so that its peak memory is its own.
        child = os.fork()
        if child == 0:
            train_and_score(job, options.data, options.out)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            failed += 1
            print(f"{job['name']}: failed with status {os.waitstatus_to_exitcode(status)}", flush=True)
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
