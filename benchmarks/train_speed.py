"""Training throughput: bf16 channels-last against fp32 default, and against a padded valid-convolution U-Net.

    python benchmarks/train_speed.py --out RUNS/train_speed.json [--threads 2] [--rounds 5]

The variants take turns, so that a drift of the machine's speed hits all alike; medians over the rounds.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional


class ValidUNet(nn.Module):
    """The layout that the MedCL reference code trains: padding of 92 pixels, valid 3 x 3 convolutions, skips cropped.

    Rebuilt from the description of the released code (five levels from `base` channels, two up-convolutions that emit
    four channels), for comparison of speed only.
    """

    def __init__(self, base: int, classes: int) -> None:
        super().__init__()
        widths = [base * 2**i for i in range(5)]
        self.encoder = nn.ModuleList(_valid_block(i, o) for i, o in zip([1, *widths], widths, strict=False))
        narrow = [4, 4, *widths[1::-1]]
        self.up = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(widths[:0:-1], narrow, strict=True))
        self.decoder = nn.ModuleList(_valid_block(n + w, w) for n, w in zip(narrow, widths[-2::-1], strict=True))
        self.head = nn.Conv2d(base, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, 1, 212, 212) to logits of the same size."""
        features = functional.pad(image, (92, 92, 92, 92))
        skips = []
        for level, block in enumerate(self.encoder):
            features = block(functional.max_pool2d(features, 2) if level else features)
            skips.append(features)
        for up, block, skip in zip(self.up, self.decoder, skips[-2::-1], strict=True):
            features = up(functional.interpolate(features, scale_factor=2.0))
            cut = (skip.shape[-1] - features.shape[-1]) // 2
            skip = skip[..., cut : cut + features.shape[-2], cut : cut + features.shape[-1]]
            features = block(torch.cat((features, skip), dim=1))
        logits: Tensor = self.head(features)
        return logits


def _valid_block(inside: int, outside: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inside, outside):
        layers += [nn.Conv2d(channels, outside, 3), nn.BatchNorm2d(outside), nn.LeakyReLU()]
    return nn.Sequential(*layers)


def stepper(network: nn.Module, batch: int, size: int, *, bf16: bool, channels_last: bool) -> Callable[[], float]:
    """Return a function that takes one training step and returns its images per second."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network.to(memory_format=layout)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    image = torch.randn(batch, 1, size, size).contiguous(memory_format=layout)

    def step() -> float:
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = network(image)
        logits.float().logsumexp(dim=1).mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        return batch / (time.perf_counter() - start)

    return step


def unet(base: int) -> nn.Module:
    """Return medcl's U-Net for one channel and four classes."""
    from medcl.backbones import build_backbone

    return build_backbone("unet", in_channels=1, classes=4, ndim=2, base=base)


def monai_networks() -> dict[str, nn.Module]:
    """Return MONAI's U-Nets with the widths of medcl's: what `docs/architecture.md` compares."""
    from monai.networks.nets.basic_unet import BasicUNet
    from monai.networks.nets.dynunet import DynUNet

    widths = (16, 32, 64, 128, 256)
    kernels, strides = [3] * 5, [1, 2, 2, 2, 2]
    return {
        "MONAI BasicUNet": BasicUNet(2, 1, 4, features=(*widths, 16)),
        "MONAI DynUNet": DynUNet(2, 1, 4, kernels, strides, strides[1:], filters=widths),
    }


def default_in_own_process(threads: int) -> Callable[[], float]:
    """Return a stepper with torch as it comes: medcl's allocator setting would reach all variants of one process."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    context.Process(target=_serve_default, args=(there, threads), daemon=True).start()

    def step() -> float:
        here.send("step")
        speed: float = here.recv()
        return speed

    return step


def _serve_default(pipe: Connection, threads: int) -> None:
    torch.set_num_threads(threads)
    step = stepper(unet(16), 8, 192, bf16=False, channels_last=False)
    with suppress(EOFError):  # the parent has finished
        while True:
            pipe.recv()
            pipe.send(step())


def main() -> None:
    """Run the command line."""
    from medcl.evaluation.provenance import machine, versions
    from medcl.files import write_json
    from medcl.training.hardware import keep_buffers

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    keep_buffers()
    variants: dict[str, Callable[[], float]] = {
        "U-Net base 16, 192 x 192, fp32 default": default_in_own_process(options.threads),
        "U-Net base 16, 192 x 192, bf16 channels-last": stepper(unet(16), 8, 192, bf16=True, channels_last=True),
    }
    widths = ((16, 8), (64, 4))
    for base, batch in widths:
        variants |= {
            f"U-Net base {base}, 160 x 160 (default patch), bf16 channels-last": stepper(
                unet(base), batch, 160, bf16=True, channels_last=True
            ),
            f"U-Net base {base}, 212 x 212, bf16 channels-last": stepper(
                unet(base), batch, 212, bf16=True, channels_last=True
            ),
            f"valid-convolution U-Net base {base}, 212 padded to 396, fp32": stepper(
                ValidUNet(base, 4), batch // 2, 212, bf16=False, channels_last=False
            ),
        }
    for name, network in monai_networks().items():
        for channels_last in (False, True):
            variants[f"{name} base 16, 192 x 192, bf16{' channels-last' if channels_last else ''}"] = stepper(
                network if channels_last else copy.deepcopy(network), 8, 192, bf16=True, channels_last=channels_last
            )
    speeds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(options.rounds + 1):
        for name, step in variants.items():
            speed = step()
            if number:  # the first round warms up
                speeds[name].append(speed)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    names = list(medians)
    ratios = {"bf16 channels-last / fp32 default, same network": medians[names[1]] / medians[names[0]]}
    for first in range(2, 2 + 3 * len(widths), 3):
        patch, same, valid = names[first : first + 3]
        ratios[f"{same} / {valid}"] = medians[same] / medians[valid]
        ratios[f"{patch} / {valid}"] = medians[patch] / medians[valid]
    for name in names[2 + 3 * len(widths) :]:
        ratios[f"{names[1]} / {name}"] = medians[names[1]] / medians[name]
    write_json(
        options.out,
        {
            "images_per_second": medians,
            "ratios": ratios,
            "threads": options.threads,
            "versions": versions(),
            "machine": machine(),
        },
    )
    for name, value in {**medians, **ratios}.items():
        print(f"{value:8.2f}  {name}")


if __name__ == "__main__":
    main()
