"""Seconds to predict one cardiac volume, model loaded: OpenVINO bf16 against torch, interleaved in one process.

    python benchmarks/predict_speed.py [--model RUN] [--image FILE] [--threads 2] [--rounds 5] [--out FILE.json]

Without --model a U-Net with random weights is timed (its scores mean nothing, its arithmetic is the same). Without
--image a validation volume of mscmr is used where it is there, else a made-up one of its size (15 x 480 x 480).
Timed is everything from the image in memory to the mask on its own grid; `with files` adds reading and writing.
Prints JSON, then a row of a Markdown table.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from medcl import __version__
from medcl.backbones import build_backbone
from medcl.data.geometry import Geometry, Image
from medcl.data.io import read_image, write_image, write_map
from medcl.data.plan import Plan
from medcl.data.prepare import prepare_image
from medcl.inference.engines import (
    ChannelsLastEngine,
    Engine,
    OpenVinoEngine,
    TorchEngine,
    device_has_bf16,
    openvino_capabilities,
)
from medcl.inference.model import Model
from medcl.inference.segment import segment

MSCMR = Path(__file__).resolve().parents[2] / "shared" / "data" / "mscmr" / "imagesVal"
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--base", type=int, default=16, help="Width of the network with random weights.")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    image, source = choose_image(arguments.image)
    if arguments.model is not None:
        model = Model.load(arguments.model, device="cpu", engine="torch", precision="fp32")
        plan, network, name = model.plan, model.network, f"{model.info.backbone}, {model.info.parameters:,} parameters"
    else:
        plan = mscmr_plan()
        network = build_backbone("unet", in_channels=1, classes=4, ndim=2, base=arguments.base).eval()
        name = f"unet base {arguments.base}, random weights"

    # every engine gets a network of its own: channels-last lays the weights out anew
    engines: dict[str, Engine] = {"torch fp32": TorchEngine(copy.deepcopy(network), CPU, "fp32")}
    precision = "bf16" if device_has_bf16(CPU) else "fp32"
    engines[f"torch {precision} channels-last"] = ChannelsLastEngine(copy.deepcopy(network), CPU, precision)
    capabilities = openvino_capabilities()
    if capabilities is not None:
        fast = "bf16" if "BF16" in capabilities else "fp32"
        engines[f"OpenVINO {fast}"] = OpenVinoEngine(network, fast, arguments.threads)
    best = list(engines)[-1]

    with tempfile.TemporaryDirectory() as folder:
        path, written = Path(folder) / "image.nii.gz", Path(folder) / "mask.nii.gz"
        write_image(path, image)

        def run(engine: Engine, flips: bool) -> np.ndarray:
            return segment(engine, plan, prepare_image(image, plan), flips=flips).mask

        def with_files(engine: Engine) -> None:
            read = read_image(path)
            prediction = segment(engine, plan, prepare_image(read, plan), flips=True)
            write_map(written, prediction.mask, prediction.geometry)

        masks = {key: run(engine, False) for key, engine in engines.items()}
        tasks: dict[str, Callable[[], object]] = {}
        for key, engine in engines.items():
            tasks[f"{key}, no flips"] = lambda engine=engine: run(engine, False)
            tasks[f"{key}, flips"] = lambda engine=engine: run(engine, True)
        tasks[f"{best}, flips, with files"] = lambda: with_files(engines[best])
        tasks["prepare alone"] = lambda: prepare_image(image, plan)
        seconds: dict[str, list[float]] = {task: [] for task in tasks}
        for _ in range(arguments.rounds):
            for task, call in tasks.items():
                started = time.perf_counter()
                call()
                seconds[task].append(time.perf_counter() - started)

    median = {task: statistics.median(values) for task, values in seconds.items()}
    result = {
        "image": source,
        "size": list(image.geometry.size),
        "network": name,
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "versions": {"medcl": __version__, "torch": torch.__version__, **openvino_version()},
        "seconds_median": {task: round(value, 3) for task, value in median.items()},
        "seconds_least": {task: round(min(values), 3) for task, values in seconds.items()},
        "times_torch_fp32": {
            kind: round(median[f"torch fp32, {kind}"] / median[f"{best}, {kind}"], 1) for kind in ("flips", "no flips")
        },
        "same_class_as_torch_fp32": {key: float((mask == masks["torch fp32"]).mean()) for key, mask in masks.items()},
    }
    print(json.dumps(result, indent=2))
    print("\n| network | engine | flips (s) | no flips (s) | torch fp32 flips / no flips (s) | times faster |")
    print("|---|---|---|---|---|---|")
    print(
        f"| {name} | {best} | {median[f'{best}, flips']:.2f} | {median[f'{best}, no flips']:.2f} "
        f"| {median['torch fp32, flips']:.2f} / {median['torch fp32, no flips']:.2f} "
        f"| {result['times_torch_fp32']['flips']} / {result['times_torch_fp32']['no flips']} |"
    )
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def choose_image(path: Path | None) -> tuple[Image, str]:
    if path is None:
        path = next(iter(sorted(MSCMR.glob("*"))), None)
    if path is not None:
        return read_image(path), path.name
    array = np.random.default_rng(0).gamma(2.0, 100.0, size=(1, 15, 480, 480)).astype(np.int16)
    return Image(array, Geometry((15, 480, 480), (5.0, 0.73, 0.73))), "made up"


def mscmr_plan() -> Plan:
    return Plan.parse(
        {
            "dataset": "mscmr",
            "classes": ("background", "RV", "Myo", "LV"),
            "groups": {"heart": (1, 2, 3)},
            "channels": [{"name": "LGE", "normalisation": "zscore", "skip_zeros": True}],
            "ndim": 2,
            "spacing_mm": (None, 1.367, 1.367),
            "size": (15, 256, 256),
            "patch": (192, 192),
            "orientation": "as-stored",
            "fingerprint": "benchmark",
        }
    )


def openvino_version() -> dict[str, str]:
    if openvino_capabilities() is None:
        return {}
    import openvino

    return {"openvino": openvino.__version__}


if __name__ == "__main__":
    main()
