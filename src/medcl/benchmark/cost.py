"""What a backbone costs on this machine: size, work, speed and memory, measured in a process of its own.

`python -m medcl.benchmark.cost JSON` measures one and prints JSON; `measure` runs it.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field

from medcl.errors import MedclError
from medcl.settings import Settings


class _Named(Settings):
    """A backbone with settings, and what a table calls it."""

    backbone: str = Field(description="Registered name.")
    settings: dict[str, Any] = Field({}, description="Settings of the family.")
    label: str = Field("", description="Name in tables; default: the registered one.")

    @property
    def name(self) -> str:
        """Name in tables."""
        return self.label or self.backbone


class CostRequest(_Named):
    """What to measure."""

    size: tuple[int, ...] = Field(min_length=2, max_length=3, description="Image, (y, x) or (z, y, x).")
    channels: int = Field(1, ge=1, description="Channels of the image.")
    classes: int = Field(4, ge=2, description="Channels of the logits.")
    batch: int = Field(4, ge=1, description="Images per training step.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="Where to measure.")
    seconds: float = Field(4.0, gt=0, description="How long training steps, and then predictions, are repeated.")


class Cost(_Named):
    """What was measured."""

    parameters: int | None = Field(None, description="Trained numbers.")
    gmacs: float | None = Field(None, description="Multiply-adds of one prediction, in units of 1e9.")
    images_per_second: float | None = Field(None, description="Training: forward, backward and optimiser step.")
    predict_ms: float | None = Field(None, description="Milliseconds of one image at a time.")
    memory_mb: float | None = Field(None, description="Peak of the training process; on a GPU of its tensors.")
    made_with: str = Field("", description="Device, precision and threads.")
    problem: str = Field("", description="Why it could not be measured; empty if it was.")


def measure(request: CostRequest) -> Cost:
    """Measure one backbone in a fresh process, so that its memory is its own.

    A backbone that cannot be built or run here says why in `problem`; nothing is raised for it.
    """
    call = [sys.executable, "-W", "ignore", "-m", "medcl.benchmark.cost", request.model_dump_json()]
    done = subprocess.run(call, capture_output=True, text=True, check=False, encoding="utf-8", errors="replace")
    if done.returncode == 0:
        return Cost.parse(json.loads(done.stdout.strip().splitlines()[-1]), where="cost")
    words = (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]
    return Cost(**_who(request), problem=words[:300])


def _who(request: CostRequest) -> dict[str, Any]:
    return {"backbone": request.backbone, "settings": request.settings, "label": request.label}


def measure_here(request: CostRequest) -> Cost:
    """Measure one backbone in this process.

    Multiply-adds are half of what torch's flop counter counts in a forward pass of one image. Training is one view with
    dense cross-entropy: MedCL's step makes two to four such passes. Prediction runs in torch, in the precision and
    layout of training.

    Raises:
        MedclError: It cannot be built.
    """
    import torch
    from torch.nn import functional
    from torch.utils.flop_counter import FlopCounterMode

    from medcl.backbones import build_backbone
    from medcl.settings import TrainSettings
    from medcl.training.hardware import choose_hardware, keep_buffers
    from medcl.training.validation import forward_in

    hardware = choose_hardware(TrainSettings.parse({"device": request.device}))
    torch.set_num_threads(hardware.threads)
    if hardware.accelerator == "cpu":
        keep_buffers()
    ndim, device = len(request.size), hardware.device
    torch.manual_seed(0)
    network = build_backbone(
        request.backbone, in_channels=request.channels, classes=request.classes, ndim=ndim, **request.settings
    ).to(device)
    image = torch.randn(request.batch, request.channels, *request.size, device=device)
    target = torch.randint(request.classes, (request.batch, *request.size), device=device)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network.eval()(image[:1])
    layout = torch.contiguous_format
    if hardware.channels_last:
        layout = torch.channels_last if ndim == 2 else torch.channels_last_3d
    network.to(memory_format=layout)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)
    bf16 = hardware.precision != "32-true"

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = network(image.contiguous(memory_format=layout))
        functional.cross_entropy(logits.float(), target).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    network.train()
    if request.batch == 1:  # batch normalisation cannot take one value per channel
        network.eval()
    step_seconds = _median_seconds(step, request.seconds, device)
    network.eval()
    predict = forward_in(network, device, hardware.precision, layout)
    predict_seconds = _median_seconds(lambda: predict(image[:1]), request.seconds / 2, device)
    return Cost(
        **_who(request),
        parameters=sum(p.numel() for p in network.parameters()),
        gmacs=counter.get_total_flops() / 2e9,
        images_per_second=request.batch / step_seconds,
        predict_ms=1e3 * predict_seconds,
        memory_mb=_peak_mb(device),
        made_with="; ".join(reason.partition(":")[0] for reason in hardware.reasons),
    )


def _median_seconds(work: Callable[[], object], seconds: float, device: Any) -> float:
    """Return the median time of a piece of work after one that warms up; at least three, at most 200 times."""
    import torch

    def once() -> float:
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    once()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < seconds and len(times) < 200):
        times.append(once())
    return statistics.median(times)


def _peak_mb(device: Any) -> float:
    import torch

    from medcl.benchmark.work import peak_mb

    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else peak_mb()


if __name__ == "__main__":
    try:
        print(measure_here(CostRequest.parse(json.loads(sys.argv[1]), where="cost")).model_dump_json())
    except MedclError as error:
        sys.exit(str(error))
