"""Peak memory and time of prediction, each volume in a fresh process: 600 x 512 x 512 and a cardiac stack.

    python benchmarks/predict_memory.py [--model RUN] [--size Z Y X] [--network 2D 2.5D attention views 3D]
        [--probabilities] [--out FILE.json]

Without --model a U-Net (base 16, 4 classes) with random weights predicts made-up 16-bit volumes at its own spacing, so
that nothing gets smaller on the way. Counted is everything that `medcl predict` does, imports included. Prints JSON,
then rows of a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

LARGE, CARDIAC = (600, 512, 512), (15, 480, 480)

NETWORKS = {
    "2D": {},
    "2.5D": {"context": 1},
    "attention": {"context": 1, "neighbours": "attention"},
    "views": {"views": ("z", "y", "x"), "spacing_mm": (1.0, 1.0, 1.0)},
    "3D": {"ndim": 3, "spacing_mm": (1.0, 1.0, 1.0), "patch": (64, 128, 128)},
}
"""What the plan of each kind of network says apart from that of a 2D network."""

_CHILD = """
import json, resource, sys, time
from medcl.inference.model import Model
from medcl.inference.predict import predict_files
model, image, out, options = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
loaded = Model.load(model, device="cpu")
started, worked = time.perf_counter(), time.process_time()
told = []
report = predict_files(loaded, image, out, within=told.append, **options)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
if report.failed:
    sys.exit(report.failed[0].reason + report.failed[0].trace)
found = {"peak_gb": peak / 1e9, "seconds": time.perf_counter() - started, "progress_reports": len(told)}
found["cpu_seconds"] = time.process_time() - worked  # of all threads: holds on a busy machine too
print(json.dumps({**found, "engine": report.engine}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--size", type=int, nargs=3, help="One volume (z, y, x) in the place of the two.")
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=["2D"])
    parser.add_argument("--flips", action="store_true")
    parser.add_argument("--probabilities", action="store_true", help="Also write probabilities and uncertainty.")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    sizes = [tuple(arguments.size)] if arguments.size else [LARGE, CARDIAC]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.network:
            model = arguments.model or make_model(Path(folder) / f"model-{name}", **NETWORKS[name])
            for size in sizes:
                image = Path(folder) / f"image-{'x'.join(map(str, size))}.nii"
                make_volume(image, size)
                options = {
                    "flips": arguments.flips,
                    "probabilities": arguments.probabilities,
                    "uncertainty": arguments.probabilities,
                    "largest_component": "class",
                    "overlap": 0.25,
                }
                call = [sys.executable, "-c", _CHILD, str(model), str(image), f"{folder}/out", json.dumps(options)]
                found = json.loads(
                    subprocess.run(call, check=True, capture_output=True, text=True, encoding="utf-8").stdout
                )
                ndim = NETWORKS[name].get("ndim", 2)
                megavoxels = size[0] * size[1] * size[2] / 1e6
                rows.append(
                    {
                        "size": size,
                        "network": name,
                        "ndim": ndim,
                        "options": options,
                        "seconds_per_megavoxel": found["seconds"] / megavoxels,
                        "cpu_seconds_per_megavoxel": found["cpu_seconds"] / megavoxels,
                        **found,
                    }
                )
                image.unlink()
    print(json.dumps(rows, indent=2))
    per_megavoxel = "seconds per megavoxel | CPU seconds per megavoxel"
    print(f"\n| volume (z, y, x) | network | options | peak memory | seconds | {per_megavoxel} |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        extras = "mask, probabilities, uncertainty" if arguments.probabilities else "mask"
        size = " x ".join(map(str, row["size"]))
        print(
            f"| {size} | {row['network']} | {extras} | {row['peak_gb']:.2f} GB | {row['seconds']:.1f} | "
            f"{row['seconds_per_megavoxel']:.2f} | {row['cpu_seconds_per_megavoxel']:.2f} |"
        )
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def make_volume(path: Path, size: tuple[int, ...]) -> None:
    """Write a noisy volume with a bright ball, slice after slice of the same noise."""
    import numpy as np

    from medcl.data.geometry import Geometry, Image
    from medcl.data.io import write_image

    noise = np.random.default_rng(0).gamma(2.0, 100.0, size=size[1:]).astype(np.int16)
    array = np.empty((1, *size), dtype=np.int16)
    y, x = (np.arange(n) - n / 2 for n in size[1:])
    for z in range(size[0]):
        inside = (y[:, None] ** 2 + x**2 + (z - size[0] / 2) ** 2) < (min(size) / 3) ** 2
        array[0, z] = noise + 400 * inside
    write_image(path, Image(array, Geometry((size[0], size[1], size[2]))))


def make_model(folder: Path, **changes: object) -> Path:
    import torch

    from medcl.backbones.for_plan import build_for_plan
    from medcl.data.plan import Plan
    from medcl.inference.model import save_model

    values = {
        "dataset": "made up",
        "classes": ("background", "a", "b", "c"),
        "groups": {},
        "channels": [{"name": "CT", "normalisation": "zscore"}],
        "ndim": 2,
        "spacing_mm": (None, 1.0, 1.0),
        "size": (600, 512, 512),
        "patch": (256, 256),
        "orientation": "as-stored",
        "fingerprint": "benchmark",
    }
    plan = Plan.parse({**values, **changes})
    torch.manual_seed(0)
    return save_model(
        folder,
        network=build_for_plan(plan, "unet", base=16),
        backbone="unet",
        backbone_settings={"base": 16},
        plan=plan,
        method="none",
        settings={},
        metrics={},
    )


if __name__ == "__main__":
    main()
