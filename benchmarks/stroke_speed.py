"""Slices per second that the simulator strokes on one core.

    python benchmarks/stroke_speed.py [--slices 200] [--out RUNS/stroke_speed.json]

Made-up short-axis hearts of 256 x 256 pixels with four classes (background included), default settings and each preset.
Seconds are those of the processor, so that other processes do not count; the wall clock is given beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from medcl.files import write_json
from medcl.phantom.heart import heart_volume
from medcl.scribbles import PRESETS, ScribbleSettings, draw, preset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--out", type=Path, help="Where the figures go as JSON, for `benchmarks/results.py`.")
    arguments = parser.parse_args()
    label = np.concatenate([heart_volume(np.random.default_rng(n), (10, 256, 256))[1] for n in range(4)])
    label = np.tile(label, (max(1, arguments.slices // len(label)), 1, 1))
    spacing = (8.4, 1.09, 1.09)
    rates = {}
    for name, settings in {"default": ScribbleSettings(), **{name: preset(name) for name in PRESETS}}.items():
        draw(label[:10], spacing, settings)  # imports and first calls
        cpu, wall = time.process_time(), time.perf_counter()
        draw(label, spacing, settings)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        rates[name] = {"slices_per_cpu_second": len(label) / cpu, "slices_per_second": len(label) / wall}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    numbers = {name: {key: round(value, 1) for key, value in rate.items()} for name, rate in rates.items()}
    found = {"slices": len(label), "size": [256, 256], "load": load, "presets": numbers}
    print(json.dumps(found, indent=2))
    if arguments.out:
        write_json(arguments.out, found)


if __name__ == "__main__":
    main()
