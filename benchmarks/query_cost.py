"""How long simulated people's strokes are for the area of what they draw: the factors of `medcl.queries.cost`.

    python benchmarks/query_cost.py --data FOLDER --out query_cost.json [--sets acdc hippocampus curvas] [--cases 12]

FOLDER holds data sets with dense labels (`labelsTr`). For each slice and class: total stroke length divided by the
square root of the area (for background: of all structures), with the default strokes of `medcl scribble`.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from medcl.data.dataset import Dataset
from medcl.evaluation.provenance import code_version, machine, versions
from medcl.files import write_json
from medcl.scribbles import draw

SEED = 1


def measure(folder: Path, cases: int) -> list[dict[str, Any]]:
    """Return one row for structures and one for background."""
    dataset = Dataset.open(folder)
    ratios: dict[bool, list[float]] = defaultdict(list)
    for case in dataset.cases("Tr")[:cases]:
        label, spacing = dataset.read_label(case), dataset.read_image(case).geometry.spacing_mm
        lengths: dict[tuple[int, int], float] = defaultdict(float)
        for stroke in draw(label, spacing, seed=SEED).strokes:
            lengths[stroke.index, stroke.value] += stroke.length_mm
        for (z, value), length in lengths.items():
            inside = label[z] == value if value else label[z] > 0  # unlabelled is -1: neither
            area = float(inside.sum()) * spacing[1] * spacing[2]
            if area > 0:
                ratios[value == 0].append(length / area**0.5)
    return [
        {
            "data": dataset.name,
            "what": "background" if background else "structure",
            "slices": len(values),
            "quartiles": np.quantile(values, (0.25, 0.5, 0.75)).round(2).tolist(),
        }
        for background, values in sorted(ratios.items())
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["acdc", "hippocampus", "curvas"])
    parser.add_argument("--cases", type=int, default=12)
    asked = parser.parse_args()
    rows = [row for name in asked.sets for row in measure(asked.data / name, asked.cases)]
    about = {"seed": SEED, "cases": asked.cases, "versions": versions(), "code": code_version(), "machine": machine()}
    write_json(asked.out, {"rows": rows, **about})
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
