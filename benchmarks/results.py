"""Write docs/results.md from run folders: nothing in it is typed by hand.

python benchmarks/results.py RUNS [--out docs/results.md]
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from medcl.files import atomic_write
from medcl.training.log import curve, read_log

TITLES = {
    "mscmr-medcl-20m": "mscmr, MedCL, 20 minutes",
    "mscmr-partial-ce-20m": "mscmr, partial cross-entropy, 20 minutes",
    "mscmr-medcl-60m": "mscmr, MedCL, 60 minutes",
    "acdc-medcl-30m": "acdc, MedCL, 30 minutes (20 test volumes)",
}


def load(runs: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return recipe -> group -> finished jobs."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(runs.glob("*/*/benchmark.json")):
        job = json.loads(path.read_text(encoding="utf-8"))
        job["log"] = read_log(path.parent / "log.csv")
        job["run"] = json.loads((path.parent / "run.json").read_text(encoding="utf-8"))
        found[job["recipe"]][job["group"]].append(job)
    return found


def number(value: float | None, digits: int = 3) -> str:
    """Return a rounded number, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def spread(values: list[float | None], digits: int = 3) -> str:
    """Return mean and, from two values on, the standard deviation."""
    known = [v for v in values if v is not None]
    if not known:
        return "-"
    text = number(statistics.mean(known), digits)
    return f"{text} ± {number(statistics.stdev(known), digits)}" if len(known) > 1 else text


def table(columns: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]


def score_rows(groups: dict[str, list[dict[str, Any]]]) -> list[list[str]]:
    """Return one row per group: scores of the last weights, the best checkpoint beside them."""
    rows = []
    for group, jobs in groups.items():
        last = [job["scores"]["last"] for job in jobs]
        names = list(last[0]["per_class"])
        rows.append(
            [
                TITLES.get(group, group),
                ", ".join(str(job["seed"]) for job in jobs),
                spread([s["dice"] for s in last]),
                " / ".join(number(statistics.mean(s["per_class"][n]["dice"] for s in last)) for n in names),
                spread([s["hd95_mm"] for s in last], 1),
                spread([job["scores"]["largest"]["dice"] for job in jobs]),
                spread([job["scores"]["largest"]["hd95_mm"] for job in jobs], 1),
                spread([job["scores"].get("best", {}).get("dice") for job in jobs]),
                f"{min(job['steps'] for job in jobs)}-{max(job['steps'] for job in jobs)}"
                if len(jobs) > 1
                else str(jobs[0]["steps"]),
                str(max(job["peak_mb"] for job in jobs)),
            ]
        )
    return rows


COLUMNS = [
    "what",
    "seeds",
    "Dice, last weights",
    "per structure",
    "HD95 mm",
    "Dice, largest component",
    "HD95 mm, largest component",
    "Dice, best checkpoint",
    "steps",
    "peak MB",
]


def curves(groups: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return a table of validation Dice over the budget for runs that were validated on dense labels."""
    rows = []
    shares = [i / 10 for i in range(1, 11)]
    for group, jobs in groups.items():
        for job in jobs:
            minutes, values = curve(job["log"], "validation", "dice")
            if not values:
                continue
            end = minutes[-1]
            nearest = [values[min(range(len(minutes)), key=lambda i, s=s: abs(minutes[i] - s * end))] for s in shares]
            rows.append([TITLES.get(group, group), str(job["seed"]), *(number(v) for v in nearest)])
    return table(["what", "seed", *(f"{s:.0%}" for s in shares)], rows) if rows else []


def speed_lines(runs: Path) -> list[str]:
    """Return the speed figures that the speed benchmarks left as JSON."""
    lines: list[str] = []
    path = runs / "train_speed.json"
    if path.exists():
        content = json.loads(path.read_text(encoding="utf-8"))
        lines += [
            "## Training speed",
            "",
            f"`benchmarks/train_speed.py`, {content['threads']} thread(s), in turns.",
            "",
        ]
        lines += table(
            ["network", "images / s"], [[name, number(v, 2)] for name, v in content["images_per_second"].items()]
        )
        lines += table(["ratio", "times"], [[name, number(v, 1)] for name, v in content["ratios"].items()])
    path = runs / "predict_speed.json"
    if path.exists():
        content = json.loads(path.read_text(encoding="utf-8"))
        lines += [
            "## Prediction speed",
            "",
            f"`benchmarks/predict_speed.py`, {content['network']}, image {content['image']}, {content['threads']} "
            f"thread(s), median of {content['rounds']} rounds in turns.",
            "",
        ]
        lines += table(["what", "seconds"], [[k, number(v, 3)] for k, v in content["seconds_median"].items()])
        lines += table(
            ["times faster than torch fp32", "times"],
            [[k, number(v, 1)] for k, v in content["times_torch_fp32"].items()],
        )
        lines += table(
            ["same class as torch fp32", "share of voxels"],
            [[k, number(v, 5)] for k, v in content["same_class_as_torch_fp32"].items()],
        )
    path = runs / "predict_memory.json"
    if path.exists():
        lines += ["## Prediction memory", "", "`benchmarks/predict_memory.py`.", ""]
        lines += table(
            ["volume (z, y, x)", "network", "peak GB", "seconds"],
            [
                [
                    " x ".join(map(str, row["size"])),
                    f"{row['ndim']}D",
                    number(row["peak_gb"], 2),
                    number(row["seconds"], 1),
                ]
                for row in json.loads(path.read_text(encoding="utf-8"))
            ],
        )
    return lines


def page(runs: Path) -> str:
    """Return the Markdown page."""
    found = load(runs)
    lines = [
        "# Results",
        "",
        "Written by `python benchmarks/results.py RUNS` from run folders that `benchmarks/run.py` made. Real strokes,",
        "scores at the volumes' own resolution: 3D Dice per volume and structure, mean over volumes (both empty: 1).",
        "*Last weights* are what the training hands on; the best checkpoint was picked on the dense labels and stands",
        "beside it for orientation only. *Largest component*: the same weights predicted with",
        "`--largest-component group`. ± is the standard deviation over seeds.",
        "",
    ]
    main = found.get("main", {})
    if main:
        lines += ["## From strokes to masks", "", *table(COLUMNS, score_rows(main))]
        lines += ["### Validation Dice over the budget", "", *curves(main)]
    ablation = found.get("ablation", {})
    if ablation:
        steps = next(iter(ablation.values()))[0]["budget"]
        lines += [f"## One part of MedCL removed at a time (mscmr, {steps}, seed 0)", ""]
        lines += [*table(COLUMNS, score_rows(ablation)), "### Validation Dice over the budget", "", *curves(ablation)]
    lines += speed_lines(runs)
    jobs = [job for groups in found.values() for jobs in groups.values() for job in jobs]
    if jobs:
        run = jobs[0]["run"]
        lines += ["## Machine and versions", ""]
        lines += table(["", ""], [[str(k), str(v)] for k, v in {**run["machine"], **run["versions"]}.items()])
        hardware = sorted({reason for job in jobs for reason in job["hardware"]})
        lines += [*(f"- {reason}" for reason in hardware), ""]
    return "\n".join(lines)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    options = parser.parse_args()
    with atomic_write(options.out) as temporary:
        temporary.write_text(page(options.runs), encoding="utf-8")
    print(options.out)


if __name__ == "__main__":
    main()
