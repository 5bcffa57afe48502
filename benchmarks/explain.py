"""What does an explanation cost, and is it as faithful, where covers stay in the region? Writes JSON; resumable.

    python benchmarks/explain.py --runs RUNS --data FOLDER --out RUNS/explain.json [--cases 2] [--slices 1]

Occlusion and RISE over the whole image against the region around the predicted structure, and Grad-CAM, on slices of
test images (acdc) and validation images (mscmr): processor seconds, passes, insertion and deletion.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from medcl.data.io import read_image
from medcl.data.prepare import prepare_image
from medcl.evaluation.provenance import code_version, machine, versions
from medcl.files import write_json
from medcl.inference.explain.build import find_mask
from medcl.inference.explain.run import explain
from medcl.inference.model import Model

SETS = {
    "acdc": ("acdc-medcl-full-s0", "acdc/imagesTs"),
    "mscmr": ("mscmr-medcl-full-s0", "mscmr/imagesVal"),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "occlusion, region": {"method": "occlusion", "region": "predicted"},
    "occlusion, region, half the step": {"method": "occlusion", "region": "predicted", "step": 0.5},
    "RISE, region": {"method": "rise", "region": "predicted"},
    "Grad-CAM": {"method": "grad-cam"},
    "occlusion, whole image": {"method": "occlusion", "region": "whole"},
    "RISE, whole image": {"method": "rise", "region": "whole"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=2, help="Images per data set.")
    parser.add_argument("--slices", type=int, default=1, help="Slices per image, those with most of the structure.")
    parser.add_argument("--structures", nargs="*", default=["LV"])
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS))
    parser.add_argument("--cell-mm", type=float, default=20.0)
    parser.add_argument("--step", type=float, default=1.0)
    parser.add_argument("--masks-per-cell", type=float, default=1.5)
    arguments = parser.parse_args()
    shared = {"cell_mm": arguments.cell_mm, "step": arguments.step, "masks_per_cell": arguments.masks_per_cell}
    content: dict[str, Any] = (
        json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.exists() else {"rows": []}
    )
    content |= {"settings": shared, "seed": 0, "versions": versions(), "code": code_version(), "machine": machine()}
    rows = content["rows"]
    done = {(row["set"], row["case"], row["structure"], row["slice"], row["variant"]) for row in rows}
    for name, (job, folder) in SETS.items():
        if name not in arguments.sets:
            continue
        run = sorted((arguments.runs / "jobs").glob(f"{job}-*"))
        if not run:
            raise SystemExit(f"{arguments.runs}: expected a job {job}-KEY; train it first (see docs/results.md).")
        model = Model.load(run[0] / "run", device="cpu", engine="torch", threads=1)
        files = sorted((arguments.data / folder).glob("*_0000*"))
        count = min(arguments.cases, len(files))
        for file in [files[i] for i in np.linspace(0, len(files) - 1, count).round().astype(int)]:
            image = read_image(file)
            mask = find_mask(model, prepare_image(image, model.plan))
            for structure in arguments.structures:
                area = (mask == model.classes.index(structure)).sum(axis=(1, 2))
                for z in np.argsort(-area, kind="stable")[: arguments.slices].tolist():
                    for variant, settings in VARIANTS.items():
                        key = (name, file.name, structure, z, variant)
                        if key in done or variant not in arguments.variants:
                            continue
                        found = explain(model, image, structure, settings={**shared, **settings}, slices=[z])
                        (place,) = found.places
                        row = dict(zip(("set", "case", "structure", "slice", "variant"), key, strict=True))
                        row |= {"score": place.score, "insertion": place.insertion, "deletion": place.deletion}
                        row |= {"seconds": place.seconds, "cpu_seconds": place.cpu_seconds, "passes": place.passes}
                        rows.append({**row, "region_share": place.region_share})
                        write_json(arguments.out, content)
                        words = f"insertion {place.insertion:.3f}, deletion {place.deletion:.3f}"
                        cost = f"{place.cpu_seconds:.1f} CPU s, {place.passes} passes"
                        print(*key, f"{words}, {cost}", flush=True)


if __name__ == "__main__":
    main()
