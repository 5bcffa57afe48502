"""Write docs/results.md from a benchmark folder and the speed figures in it: nothing in it is typed by hand.

python benchmarks/results.py RUNS [--out docs/results.md] [--only NAME ...] [--earlier RUNS --earlier-was TEXT]

RUNS is the --out of `medcl benchmark`; the speed scripts leave their JSON there too. Runs of an earlier version go into
a part of their own at the end of the page, under a sentence that says what was different.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from math import prod
from pathlib import Path

from medcl.benchmark.advice import u_scores
from medcl.benchmark.family import bench_scores, load_costs
from medcl.benchmark.markdown import page as benchmark_page
from medcl.benchmark.markdown import render
from medcl.benchmark.results import load_results, recipes_in
from medcl.benchmark.tables import summary_table
from medcl.files import atomic_write

sys.path.insert(0, str(Path(__file__).parent))

SECTIONS = {
    "annotation": "Where to draw next",
    "query_cost": "What strokes cost",
    "calibration": "Calibration and quality without labels",
    "sources": "Sources of uncertainty",
    "raters": "Several people",
    "ood": "Is this scan like the others",
    "adapt": "Adapting to another scanner",
    "explain": "Explaining",
}
"""Parts of the page with a module of their own, `section_NAME.py`, whose `lines` read what RUNS/NAME.json holds."""


def number(value: float | None, digits: int = 3) -> str:
    """Return a rounded number, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def table(columns: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]


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
            ["volume (z, y, x)", "network", "peak GB", "seconds", "per megavoxel", "processor seconds per megavoxel"],
            [
                [
                    " x ".join(map(str, row["size"])),
                    row.get("network", f"{row['ndim']}D"),
                    number(row["peak_gb"], 2),
                    number(row["seconds"], 1),
                    number(row["seconds"] * 1e6 / prod(row["size"]), 2),
                    number(row.get("cpu_seconds_per_megavoxel"), 2),
                ]
                for row in json.loads(path.read_text(encoding="utf-8"))
            ],
        )
    path = runs / "stroke_speed.json"
    if path.exists():
        content = json.loads(path.read_text(encoding="utf-8"))
        size = " x ".join(map(str, content["size"]))
        lines += [
            "## Speed of the stroke simulator",
            "",
            f"`benchmarks/stroke_speed.py`, {content['slices']} slices of {size} pixels, four classes, one core.",
            "",
        ]
        lines += table(
            ["settings", "slices per processor second", "slices per second"],
            [
                [name, number(rate["slices_per_cpu_second"], 0), number(rate["slices_per_second"], 0)]
                for name, rate in content["presets"].items()
            ],
        )
    return lines


def cost_lines(runs: Path) -> list[str]:
    """Return the table of backbones: what each costs, and its Dice on ACDC with equal minutes.

    Reads what `medcl backbones --bench RUNS --data acdc --size 160,160 --out RUNS/backbones_cost.json` left.
    """
    path = runs / "backbones_cost.json"
    if not path.is_file():
        return []
    costs = load_costs(path)
    dice = {name: score.dice for name, score in bench_scores(runs, "acdc").items()}
    scores = u_scores(costs, dice)
    made = next((cost.made_with for cost in costs if cost.made_with), "")
    columns = ["parameters M", "GMACs", "training images/s", "prediction ms", "memory MB", "Dice", "U-Score"]
    return [
        "## Accuracy and cost of the backbones",
        "",
        f"MedCL on ACDC, 20 minutes each (recipe `backbones`); costs of one image of 160 x 160: {made}.",
        "The U-Score is explained in [backbones.md](backbones.md).",
        "",
        *table(
            ["backbone", *columns],
            [
                [
                    cost.name,
                    number((cost.parameters or 0) / 1e6, 2),
                    number(cost.gmacs, 2),
                    number(cost.images_per_second, 1),
                    number(cost.predict_ms, 1),
                    number(cost.memory_mb, 0),
                    number(dice.get(cost.name)),
                    number(scores.get(cost.name)),
                ]
                for cost in sorted(costs, key=lambda cost: -scores.get(cost.name, 0))
                if not cost.problem
            ],
        ),
    ]


def page(
    runs: Path, only: list[str] | None = None, *, earlier: Path | None = None, earlier_was: str | None = None
) -> str:
    """Return the Markdown page: what `medcl benchmark` found, recipe by recipe, then speed and memory.

    Args:
        runs: Benchmark folder.
        only: Recipes; None takes all.
        earlier: Benchmark folder of an earlier version.
        earlier_was: What was different there.
    """
    lines = [
        "# Results",
        "",
        "Written by `python benchmarks/results.py RUNS` from what `medcl benchmark RECIPE --out RUNS` and the speed",
        "scripts left. Scores at the volumes' own resolution: 3D Dice per volume and structure, mean over volumes",
        "(both empty: 1), of the last weights of each training.",
        "",
    ]
    names = [name for name in recipes_in(runs) if only is None or name in only]
    lines += glance(runs, names)
    for name in names:
        lines += ["#" + line if line.startswith("#") else line for line in _lines(runs, name)]
    lines += cost_lines(runs)
    lines += speed_lines(runs)
    lines += import_module("section_annotate").lines(runs)
    for name, title in SECTIONS.items():
        found = runs / f"{name}.json"
        if found.is_file():
            part = import_module(f"section_{name}").lines(json.loads(found.read_text(encoding="utf-8")))
            lines += [*([] if part[0].startswith("## ") else [f"## {title}", ""]), *part, ""]
    if earlier is not None:
        lines += ["## Earlier version", "", earlier_was or "Settings and commit: see the tables of versions.", ""]
        for name in recipes_in(earlier):
            lines += ["##" + line if line.startswith("#") else line for line in _lines(earlier, name)]
    return "\n".join(lines).rstrip() + "\n"


def glance(runs: Path, names: list[str]) -> list[str]:
    """Return MedCL beside the best other stroke method and dense supervision, one row per comparison."""
    groups = {
        group.title if group.title.startswith(name) else f"{name}, {group.title}": group
        for name in names
        for group in load_results(runs, name).groups
    }
    table = summary_table(groups, "medcl", bound="dense")
    if table is None:
        return []
    return ["## At a glance", "", "Mean Dice with its 95 % interval; equal minutes in each row.", "", *render(table)]


def _lines(runs: Path, name: str) -> list[str]:
    return [*benchmark_page(load_results(runs, name)).splitlines(), ""]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    parser.add_argument("--only", nargs="*", help="Names of recipes; default: all that were run.")
    parser.add_argument("--earlier", type=Path, metavar="RUNS", help="Benchmark folder of an earlier version.")
    parser.add_argument("--earlier-was", metavar="TEXT", help="What was different there.")
    options = parser.parse_args()
    with atomic_write(options.out) as temporary:
        temporary.write_text(
            page(options.runs, options.only, earlier=options.earlier, earlier_was=options.earlier_was), encoding="utf-8"
        )
    print(options.out)


if __name__ == "__main__":
    main()
