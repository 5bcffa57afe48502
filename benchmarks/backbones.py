"""Every backbone trains MedCL on made-up hearts for a few minutes: shows that it learns, and what it costs.

    python benchmarks/backbones.py --out RUNS/backbones [--budget 5m] [--only swin unet] [--jobs 1]

Writes a benchmark's folder, so that `medcl backbones --bench RUNS/backbones` reads the Dice. Prints rows of a table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medcl.benchmark.family import bench_scores
from medcl.benchmark.recipe import Recipe
from medcl.cli.benchmark_progress import BenchmarkProgress
from medcl.phantom import make_phantom

VARIANTS: dict[str, dict[str, Any]] = {
    "unet": {"backbone": "unet", "settings": {"backbone.base": 8}},
    "res-unet": {"backbone": "res-unet", "settings": {"backbone.base": 8, "backbone.levels": 5}},
    "res-unet-dual": {
        "backbone": "res-unet",
        "settings": {
            "backbone.base": 8,
            "backbone.levels": 5,
            "backbone.attention": "dual",
            "backbone.up": "window-attention",
        },
    },
    "res-unet-guided": {
        "backbone": "res-unet",
        "settings": {"backbone.base": 8, "backbone.levels": 5, "backbone.attention": "guided"},
    },
    "unet++": {"backbone": "unet++", "settings": {"backbone.base": 8}},
    "swin": {"backbone": "swin", "settings": {"optim.learning_rate": 0.002}},
    "vision-lstm": {"backbone": "vision-lstm", "settings": {"backbone.base": 8}},
    "max-query": {"backbone": "max-query", "settings": {"backbone.base": 8}},
    "probabilistic-unet": {"backbone": "probabilistic-unet", "settings": {"backbone.base": 8}},
    "sam": {"backbone": "sam", "settings": {"backbone.size": "tiny", "backbone.input_size": 96}},
    "smp": {"backbone": "smp", "settings": {"optim.learning_rate": 0.002}},
}
"""Name -> backbone and settings; narrow ones, as a made-up heart of 64 pixels asks for no more."""

EXTRAS = {"sam": "transformers", "smp": "segmentation_models_pytorch"}
"""Those that need a library of an extra; without it they are left out unless asked for."""


def installed() -> list[str]:
    return [name for name in VARIANTS if name not in EXTRAS or find_spec(EXTRAS[name])]


def recipe(out: Path, *, budget: str = "5m", only: Sequence[str] = ()) -> Recipe:
    """Return the recipe, and write its data set below `out` where it is missing."""
    folder = out / "phantom" / "heart"
    if not (folder / "dataset.json").exists():
        make_phantom(folder, "heart", cases=12, validation=2, test=6, size=(5, 80, 80), dense=True, seed=0)
    return Recipe.parse(
        {
            "name": "-".join(("every-backbone", *only)),
            "title": " ".join((*only, "on made-up hearts")) if only else "Every backbone on made-up hearts",
            "description": "MedCL on 12 made-up hearts with strokes, scored on 6 others.",
            "data": {
                "heart": {
                    "folder": str(folder.absolute()),
                    "part": "Ts",
                    "settings": {"plan": {"ndim": 2, "patch": [64, 64]}},
                }
            },
            "methods": {name: {"method": "medcl", **VARIANTS[name]} for name in only or installed()},
            "seeds": [0],
            "protocols": {"short": {"budget": budget}},
            "settings": {
                "batch_size": 4,
                "optim": {"ema": 0.98},
                "validate_every": 0.5,
                "validation_cases": 2,
                "sample_pictures": 0,
            },
        },
        where="every-backbone",
    )


def main() -> None:
    from medcl.benchmark import run_benchmark

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--only", nargs="*", default=[], choices=list(VARIANTS))
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    chosen = recipe(arguments.out, budget=arguments.budget, only=arguments.only)
    with BenchmarkProgress() as progress:
        run_benchmark(chosen, arguments.out, Path(), jobs=arguments.jobs, show=progress)
    print("| backbone | Dice |\n|---|---|")
    for name, score in bench_scores(arguments.out).items():
        print(f"| {name} | {score.dice:.3f} |")


if __name__ == "__main__":
    main()
