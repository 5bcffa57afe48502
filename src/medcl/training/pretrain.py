"""`pretrain`: an encoder learns from images alone, by Barlow Twins; what it learnt is a file for `--weights`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from medcl.augment.intensity import intensity
from medcl.augment.spatial import spatial
from medcl.backbones import backbones, build_backbone, check_dims, has_branches
from medcl.backbones.weights import write_weights
from medcl.batch import Batch
from medcl.data.dataset import Dataset
from medcl.data.plan import Plan, make_plan
from medcl.data.store import Store
from medcl.errors import RunError, SettingsError
from medcl.files import check_place
from medcl.losses.barlow import barlow_twins
from medcl.settings import AugmentSettings, BudgetSettings, OptimSettings, PlanSettings, Settings, TrainSettings
from medcl.training.hardware import choose_hardware, keep_buffers
from medcl.training.sampling import CANVAS
from medcl.training.schedule import Clock, learning_rate
from medcl.training.supervisor import Progress, Show

SAY_EVERY = 1.0
"""Seconds between two lines of progress."""


class PretrainSettings(Settings):
    """Everything that may vary besides the backbone."""

    seed: int = Field(0, ge=0, description="Seed of every random draw.")
    batch_size: int = Field(
        16, ge=4, description="Images per step, each in two views; correlations are taken over them."
    )
    code: int = Field(128, ge=2, description="Numbers in the code of an image.")
    off_diagonal: float = Field(5e-3, gt=0, description="Weight of the correlations between different numbers.")
    budget: BudgetSettings = Field(BudgetSettings(minutes=20.0), description="How long to train.")
    plan: PlanSettings = Field(PlanSettings(), description="Wishes for the plan.")
    augment: AugmentSettings = Field(AugmentSettings(), description="Random changes that tell the two views apart.")
    optim: OptimSettings = Field(OptimSettings(learning_rate=1e-3), description="Optimiser and schedule.")
    device: str = Field("auto", description="Where to train: auto, cpu, cuda or mps.")
    precision: str = Field("auto", description="Arithmetic of the forward pass: auto, bf16 or fp32.")
    threads: int | None = Field(None, ge=1, description="CPU threads; default: all cores unless the machine is busy.")


@dataclass(frozen=True)
class PretrainResult:
    """What a pre-training left.

    Attributes:
        file: Weights for `backbone.weights`.
        steps: Steps done.
        minutes: Minutes of training.
        first_loss: Mean loss of the first tenth of the steps.
        last_loss: Mean loss of the last tenth.
        finished: False if it was interrupted; the file holds what was learnt until then.
    """

    file: Path
    steps: int
    minutes: float
    first_loss: float
    last_loss: float
    finished: bool


def pretrain(
    dataset: Dataset | Path | str,
    out: Path | str,
    *,
    backbone: str | Mapping[str, Any] = "swin",
    budget: str | BudgetSettings | None = None,
    settings: Mapping[str, Any] | None = None,
    store: Path | str | None = None,
    show: Show | None = None,
) -> PretrainResult:
    """Train the encoder of a backbone on the images of the training part; strokes and labels are not looked at.

    Two augmented views of each image are encoded; the mean of the coarsest features goes through a projector whose
    outputs are made alike between views and unlike between each other (`medcl.losses.barlow`). Written are the layers
    that the coarsest features come from; the decoder, and the projector, are not part of the file.

    Args:
        dataset: A dataset folder, or an opened one.
        out: File to write, .safetensors.
        backbone: Name, or mapping with `name` and settings, of a family in two parts (`Branching`).
        budget: '20m', '500steps' or settings.
        settings: Keys of `PretrainSettings`.
        store: Folder for prepared arrays; default: `medcl-store` beside `out`.
        show: Called with progress.

    Raises:
        SettingsError: A setting is unknown, or the family has no encoder of its own.
        DataError: The data cannot be used.
        RunError: The loss is no longer finite.
    """
    out, show = Path(out), show or (lambda progress: None)
    if out.suffix != ".safetensors":
        raise SettingsError(f"{out}: expected a file name that ends in .safetensors, which --weights reads.")
    check_place(out.parent)
    values = dict(settings or {})
    if budget is not None:
        chosen = budget if isinstance(budget, BudgetSettings) else BudgetSettings.from_text(str(budget))
        values["budget"] = chosen.model_dump(exclude_none=True)
    config = PretrainSettings.parse(values)
    hardware = choose_hardware(
        TrainSettings.parse({"device": config.device, "precision": config.precision, "threads": config.threads})
    )
    options = {"name": backbone} if isinstance(backbone, str) else dict(backbone)
    name = str(options.pop("name", "swin"))
    if not has_branches(backbones.get(name)):
        able = [key for key in backbones if has_branches(backbones.get(key))]
        raise SettingsError(f"backbone '{name}': expected one with an encoder of its own: {', '.join(able)}.")
    opened = dataset if isinstance(dataset, Dataset) else Dataset.open(Path(dataset))
    wish = config.plan
    plan = make_plan(opened, ndim=wish.ndim, spacing_mm=wish.spacing_mm, patch=wish.patch)
    check_dims(name, plan.ndim)
    torch.set_num_threads(hardware.threads)
    if hardware.accelerator == "cpu":
        keep_buffers()
    torch.manual_seed(config.seed)
    network = build_backbone(name, in_channels=len(plan.channels), classes=len(plan.classes), ndim=plan.ndim, **options)
    prepared = Store.prepare(
        opened,
        plan,
        Path(store) if store else out.parent / "medcl-store",
        splits=("Tr",),
        progress=lambda case, i, n: show(Progress(0, 0.0, None, message=f"preparing {case} ({i} of {n})")),
    )
    for reason in hardware.reasons:
        show(Progress(0, 0.0, None, message=reason))
    images = _Images(prepared, plan, config)
    layout = torch.channels_last if plan.ndim == 2 else torch.channels_last_3d
    network.to(hardware.device, memory_format=layout if hardware.channels_last else torch.contiguous_format)  # type: ignore[call-overload]
    trainer = _Pretraining(network.train(), plan, config, hardware.device, hardware.precision)
    return trainer.run(images, out, show)


class _Images:
    """Draws images anywhere in the training cases: step k is a pure function of data, seed and k."""

    def __init__(self, store: Store, plan: Plan, config: PretrainSettings) -> None:
        self.plan, self.config = plan, config
        self.cases = [store[name].image for name in store.cases("Tr")]
        self.canvas = tuple(max(p, round(p * CANVAS)) for p in plan.patch)

    def batch(self, step: int) -> Batch:
        """Return canvases without any annotation."""
        rng = np.random.default_rng([self.config.seed, step])
        count, channels = self.config.batch_size, len(self.plan.channels)
        image = np.zeros((count, channels, *self.canvas), np.float32)
        for k in range(count):
            case = self.cases[rng.integers(len(self.cases))]
            values = case[:, rng.integers(case.shape[1])] if self.plan.ndim == 2 else case
            self._cut(values, image[k], rng)
        nothing = torch.zeros(count, 1, *self.canvas)
        flags = torch.zeros(count, 1, dtype=torch.bool)
        return Batch(torch.from_numpy(image), nothing, flags, ~flags, nothing.clone())

    def _cut(self, values: np.ndarray, canvas: np.ndarray, rng: np.random.Generator) -> None:
        """Copy a random part of (C, *S) into the middle of a canvas that it may be smaller than."""
        there, here = [], []
        for size, side in zip(values.shape[1:], self.canvas, strict=True):
            begin, length = int(rng.integers(max(0, size - side) + 1)), min(size, side)
            there.append(slice(begin, begin + length))
            here.append(slice((side - length) // 2, (side - length) // 2 + length))
        canvas[(slice(None), *here)] = values[(slice(None), *there)]


class _Pretraining:
    """Network, projector and optimiser of one pre-training."""

    def __init__(
        self, network: nn.Module, plan: Plan, config: PretrainSettings, device: torch.device, precision: str
    ) -> None:
        self.network, self.plan, self.config, self.device = network, plan, config, device
        self.bf16 = precision != "32-true"
        with torch.no_grad():
            sample = torch.zeros(2, len(plan.channels), *plan.patch, device=device)
            width = network.encode(sample)[-1].shape[1]  # type: ignore[operator]
        # Zbontar et al. project to many more numbers than they encode to; a small batch carries fewer.
        self.projector = nn.Sequential(
            nn.Linear(width, 2 * config.code, bias=False),
            nn.BatchNorm1d(2 * config.code),
            nn.ReLU(inplace=True),
            nn.Linear(2 * config.code, config.code, bias=False),
        ).to(device)
        trained = [*network.parameters(), *self.projector.parameters()]
        self.optimiser = torch.optim.AdamW(
            trained, lr=config.optim.learning_rate, weight_decay=config.optim.weight_decay
        )
        self.parts: tuple[str, ...] = ()

    def run(self, images: _Images, out: Path, show: Show) -> PretrainResult:
        clock, step, losses, said, finished = Clock(self.config.budget), 0, [], 0.0, True
        try:
            while clock.progress(step) < 1:
                for group in self.optimiser.param_groups:
                    group["lr"] = learning_rate(clock.progress(step), self.config.optim)
                losses.append(self._step(images.batch(step), step))
                step += 1
                if time.monotonic() - said > SAY_EVERY:
                    said = time.monotonic()
                    recent = {"loss": float(np.mean(losses[-20:]))}
                    show(Progress(step, clock.progress(step), clock.seconds_left(step), losses=recent))
        except KeyboardInterrupt:
            finished = False
            if not step:
                raise
        clock.stop()
        state = {k: v for k, v in self.network.state_dict().items() if k.startswith(self.parts)}
        write_weights(out, state, covers=self.parts)
        tenth = max(1, len(losses) // 10)
        first, last = float(np.mean(losses[:tenth])), float(np.mean(losses[-tenth:]))
        return PretrainResult(out, step, clock.seconds / 60, first, last, finished)

    def _step(self, canvases: Batch, step: int) -> float:
        seed = self.config.seed * 1_000_003 + step
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        augment = self.config.augment.resolved(colour=False)
        with torch.no_grad():
            views = spatial(canvases.to(self.device).repeat(2), self.plan.patch, augment, generator)
            image = intensity(views, augment, generator).image
        with torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else contextlib.nullcontext():
            features: Tensor = self.network.encode(image)[-1]  # type: ignore[operator]
        codes = self.projector(features.float().flatten(2).mean(dim=2))
        loss = barlow_twins(codes[0::2], codes[1::2], off_diagonal=self.config.off_diagonal)
        if not bool(loss.isfinite()):
            raise RunError(f"step {step}: the loss is not finite; lower optim.learning_rate or set precision=fp32.")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if not self.parts:
            self.parts = _learning_parts(self.network)
        if self.config.optim.gradient_clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.optim.gradient_clip)
        self.optimiser.step()
        return float(loss.detach())


def _learning_parts(network: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of the parts that the coarsest features come from: those that a gradient reached."""
    reached = {name.partition(".")[0] for name, p in network.named_parameters() if p.grad is not None}
    return tuple(f"{part}." for part in sorted(reached))
