"""How right are strokes that a random walker grows along the image? Prints a Markdown table.

    python benchmarks/grown_strokes.py [--data ../shared/data/acdc] [--every 8] [--spacing 2.2]

Needs a data set with real strokes and dense labels of the same cases. Pixels that were drawn do not count. *Found*:
share of the structure that the grown label of its class covers; *right*: share of that label inside the structure.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from medcl.data.dataset import Dataset
from medcl.data.labels import UNLABELLED
from medcl.data.plan import make_plan
from medcl.data.prepare import prepare_image, prepare_map
from medcl.scribbles.random_walker import Walk
from medcl.training.growing import grow

ROOT = Path(__file__).resolve().parents[1]
WALKS = (
    Walk(),
    Walk(certainty=0.7),
    Walk(certainty=0.51),
    Walk(shrink=1),
    Walk(shrink=1, certainty=0.7),
    Walk(shrink=1, beta=1000),
    Walk(shrink=1, beta=40),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "acdc")
    parser.add_argument("--every", type=int, default=8, help="Use every n-th case only.")
    parser.add_argument("--spacing", type=float, default=2.2, help="Pixel spacing in mm.")
    arguments = parser.parse_args()
    dataset = Dataset.open(arguments.data)
    plan = make_plan(dataset, spacing_mm=arguments.spacing)
    cases = []
    for case in dataset.cases("Tr")[:: arguments.every]:
        prepared = prepare_image(dataset.read_image(case), plan)
        maps = (dataset.read_scribble(case), dataset.read_label(case))
        strokes, truth = (prepare_map(values, prepared, plan) for values in maps)
        cases.append((prepared.array, strokes, truth))
    names = dataset.classes
    print(f"{dataset.name}, {len(cases)} cases at {arguments.spacing} mm\n")
    print("| certainty | shrink | beta |" + "".join(f" {n} found | {n} right |" for n in names))
    print("|---|---|---|" + "---|" * (2 * len(names)))
    for walk in WALKS:
        counts = np.zeros((len(names), 3), np.int64)
        for image, strokes, truth in cases:
            possible = np.stack([[(s == c).any() for c in range(len(names))] for s in strokes])
            grown = grow(image, strokes, possible, walk, across_slices=plan.ndim == 3)
            for c in range(len(names)):
                there = (truth == c) & (strokes == UNLABELLED)
                counts[c] += (there & (grown == c)).sum(), there.sum(), (grown == c).sum()
        cells = (f" {hit / max(1, size):.3f} | {hit / max(1, label):.3f} |" for hit, size, label in counts)
        print(f"| {walk.certainty} | {walk.shrink} | {walk.beta:g} |" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
