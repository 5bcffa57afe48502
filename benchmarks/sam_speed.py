"""Seconds and memory of SAM's image encoder, and what keeping the features of a frozen one saves.

    python benchmarks/sam_speed.py [--size vit_b] [--inputs 1024 512 256] [--threads 1] [--out FILE.json]

Random weights: time does not depend on them. Seconds are those of the process, so that other work on the machine does
not count; with one thread they are those of the clock on an idle machine. Each row is a process of its own, so that its
peak memory is its own. The second table is an epoch of training the decoder on batches of four 160 x 160 images in bf16
where the processor has it: with the encoder computed for every image, and with its features read from disk
(`cached_batches`), as training does both. Prints JSON, then rows of Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH = 4
CLASSES = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="vit_b")
    parser.add_argument("--inputs", type=int, nargs="+", default=[1024, 512, 256])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(
            json.dumps(PARTS[arguments.part](arguments.size, arguments.inputs[0], arguments.threads, arguments.repeats))
        )
        return
    rows = []
    for side in arguments.inputs:
        for part in arguments.parts:
            call = [sys.executable, __file__, "--part", part, "--size", arguments.size, "--inputs", str(side)]
            call += ["--threads", str(arguments.threads), "--repeats", str(arguments.repeats)]
            done = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True, encoding="utf-8")
            found = json.loads(done.stdout.splitlines()[-1])
            rows.append({"part": part, "size": arguments.size, "input": side, "threads": arguments.threads, **found})
            print(json.dumps(rows[-1]), flush=True)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    _tables(rows)


def _tables(rows: list[dict[str, Any]]) -> None:
    print("\n| input | fp32 seconds | bf16 seconds | fp32 peak | bf16 peak |\n|---|---|---|---|---|")
    for exact in [row for row in rows if row["part"] == "fp32"]:
        side = exact["input"]
        fast = next((r for r in rows if r["part"] == "bf16" and r["input"] == side), exact)
        print(
            f"| {side} | {exact['seconds']:.2f} | {fast['seconds']:.2f} "
            f"| {exact['peak_gb']:.2f} GB | {fast['peak_gb']:.2f} GB |"
        )
    print("\n| input | features, computed | features, read | faster | step, computed | step, read | faster |")
    print("|---|---|---|---|---|---|---|")
    for row in [row for row in rows if row["part"] == "cache"]:
        side = row["input"]
        a, b, c, d = (row[k] for k in ("encode", "read", "step_computed", "step_read"))
        print(f"| {side} | {a:.3f} s | {b:.4f} s | {a / b:.0f}x | {c:.3f} s | {d:.3f} s | {c / d:.1f}x |")


def _network(size: str, side: int, tune: str) -> Any:
    import torch

    from medcl.backbones import build_backbone

    torch.manual_seed(0)
    return build_backbone("sam", in_channels=1, classes=CLASSES, ndim=2, size=size, input_size=side, tune=tune)


def _median(work: Callable[[], object], repeats: int) -> float:
    """Return seconds of the process, all threads together: with one thread those of the clock on an idle machine."""
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return statistics.median(seconds)


def encoder(size: str, side: int, threads: int, repeats: int, *, fast: bool) -> dict[str, float]:
    """Return the seconds of one slice through the encoder, and the peak memory of the process."""
    import torch

    torch.set_num_threads(threads)
    network = _network(size, side, "full").eval()
    if fast:
        network.to(torch.bfloat16)
    image = torch.randn(1, 1, side, side, dtype=torch.bfloat16 if fast else torch.float32)
    with torch.inference_mode():
        network.encode(image)
        seconds = _median(lambda: network.encode(image), repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"seconds": seconds, "peak_gb": peak / 1e9}


def cache(size: str, side: int, threads: int, repeats: int) -> dict[str, float]:
    """Return the seconds of a batch: its features computed and read, a whole step of training with each."""
    import torch

    from medcl.inference.engines import device_has_bf16
    from medcl.losses.partial import partial_cross_entropy
    from medcl.training.features import FeatureCache

    torch.set_num_threads(threads)
    network = _network(size, side, "decoder")
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-4)
    images = torch.randn(BATCH, 1, 160, 160)
    target = torch.nn.functional.one_hot(torch.randint(0, CLASSES, (BATCH, 160, 160)), CLASSES).permute(0, 3, 1, 2)
    target = target.float() * (torch.rand(BATCH, 1, 160, 160) < 0.05)
    fast = device_has_bf16(torch.device("cpu"))

    def step(forward: Callable[[torch.Tensor], torch.Tensor]) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            logits = forward(images)
        partial_cross_entropy(logits.float(), target).backward()
        optimiser.step()
        optimiser.zero_grad()

    with tempfile.TemporaryDirectory() as folder:
        kept = FeatureCache(Path(folder), network, "speed")

        def read() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=fast):
                kept.encode(network, images)

        def encode() -> None:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=fast):
                network.encode(images)

        read()  # fills the folder
        step(network)
        step(kept.through(network))
        return {
            "encode": _median(encode, max(1, repeats // 2)),
            "read": _median(read, 5 * repeats),
            "step_computed": _median(lambda: step(network), max(1, repeats // 2)),
            "step_read": _median(lambda: step(kept.through(network)), repeats),
        }


PARTS: dict[str, Callable[[str, int, int, int], dict[str, float]]] = {
    "fp32": lambda *settings: encoder(*settings, fast=False),
    "bf16": lambda *settings: encoder(*settings, fast=True),
    "cache": cache,
}


if __name__ == "__main__":
    main()
