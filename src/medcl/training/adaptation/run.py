"""`adapt`: a trained model learns to read images of another scanner, from those images alone."""

from __future__ import annotations

import contextlib
import copy
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medcl.errors import DataError, ModelError, RunError
from medcl.files import check_place
from medcl.inference.files import collect_cases
from medcl.inference.model import Model, save_model
from medcl.losses.class_ratio import inverse_ratio_weights, mean_ratio, ratio_divergence, weighted_entropy
from medcl.settings import BudgetSettings, TrainSettings
from medcl.training.adaptation.guard import Vitals, harm, vitals
from medcl.training.adaptation.images import Draws, Target, prepare_targets, split
from medcl.training.adaptation.layers import BatchStatistics, choose_parameters
from medcl.training.adaptation.settings import AdaptSettings, GuardSettings
from medcl.training.adaptation.sizes import (
    ClassSizes,
    measure_sizes,
    read_sizes,
    stated_sizes,
    voxel_ml,
    write_sizes,
)
from medcl.training.hardware import Hardware, choose_hardware, keep_buffers
from medcl.training.schedule import Clock
from medcl.training.supervisor import Progress, Show
from medcl.training.validation import forward_in

STATISTICS_BATCHES = 40
"""Batches from which the statistics of the new images are measured."""

MOST_HELD_OUT = 6
"""Held-out images that the guard looks at; its rounds must not take longer than the learning."""

SHARES = (0.5, 1.0)
"""Shares of the new images' statistics that are tried, beside none."""

LEAST_SHARE = 1e-3
"""Expected share of all structures below which losses grow no further."""

SAY_EVERY = 1.0


@dataclass(frozen=True)
class AdaptResult:
    """What an adaptation came to.

    Attributes:
        model: Folder of the adapted model, or None where the guard refused.
        reasons: Why it was refused; empty where it was not. With `force` the model is written all the same.
        before: What the guard saw before.
        after: What it saw of the state that was kept, or of the best refused one.
        steps: Steps of the state that was kept or refused; 0: statistics alone.
        rounds: Every look of the guard: step, values and reasons.
        minutes: Minutes of adapting, looks included.
        finished: False if it was interrupted; the best state until then counts.
    """

    model: Path | None
    reasons: tuple[str, ...]
    before: Vitals
    after: Vitals
    steps: int
    rounds: tuple[Mapping[str, Any], ...]
    minutes: float
    finished: bool


@dataclass
class _State:
    """A state of the network that the guard looked at."""

    step: int
    share: float  # of the new images in the statistics
    vitals: Vitals
    reasons: list[str]
    weights: dict[str, Tensor] = field(repr=False, default_factory=dict)


def _worth(state: _State) -> tuple[bool, float]:
    """Order states: those that nothing speaks against first, then by score."""
    return not state.reasons, state.vitals.score


def adapt(
    model: Model | Path | str,
    images: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    budget: str | BudgetSettings | None = None,
    settings: Mapping[str, Any] | None = None,
    guard: Mapping[str, Any] | None = None,
    volumes_ml: Mapping[str, float] | None = None,
    sizes_from: Path | str | Sequence[Path | str] | None = None,
    force: bool = False,
    show: Show | None = None,
) -> AdaptResult:
    """Adapt a model to images without labels; no image of its training is needed.

    The statistics of batch normalisation move towards the new images, then scale and shift of the normalisation layers
    learn: predictions shall be certain (entropy), and structures as large as in training (class ratio). Source: Bateson
    et al., Source-Relaxed Domain Adaptation for Image Segmentation, MICCAI 2020, and Medical Image Analysis 82, 2022.
    On held-out images the guard compares what the network says before and after, several times; the best state that it
    passes is written, none if it passes none.

    Args:
        model: A loaded model, a model folder or a run folder. It is not changed.
        images: Image files, folders of them, DICOM folders or zips.
        out: Model folder to write; an older model there is replaced.
        budget: '120steps', '2m' or settings; part of `settings` otherwise.
        settings: Keys of `AdaptSettings`.
        guard: Keys of `GuardSettings`.
        volumes_ml: Volume of each structure in ml, where the model holds none or the new patients differ.
        sizes_from: Images like those of training; they are segmented once for the volumes and not learned from. For
            models that hold no class sizes.
        force: Write the last state although the guard refuses it.
        show: Called with progress.

    Raises:
        ModelError: The model holds no class sizes and none are given.
        DataError: An image cannot be read or does not fit the model, or `out` holds something that is no model.
        SettingsError: A setting is unknown or cannot be used.
        RunError: The loss is no longer finite.
    """
    show = show or (lambda progress: None)
    values = dict(settings or {})
    if budget is not None:
        chosen = budget if isinstance(budget, BudgetSettings) else BudgetSettings.from_text(str(budget))
        values["budget"] = chosen.model_dump(exclude_none=True)
    config, limits = AdaptSettings.parse(values), GuardSettings.parse(dict(guard or {}), where="guard")
    hardware = choose_hardware(
        TrainSettings.parse({"device": config.device, "precision": config.precision, "threads": config.threads})
    )
    out = Path(out)
    check_place(out.parent)
    loaded = model if isinstance(model, Model) else Model.load(model, device="cpu", engine="torch")
    _check_out(out, loaded.folder)
    cases = collect_cases([images] if isinstance(images, str | Path) else images)
    torch.set_num_threads(hardware.threads)
    if hardware.accelerator == "cpu":
        keep_buffers()
    network = copy.deepcopy(loaded.network)
    layout = torch.channels_last if loaded.plan.ndim == 2 else torch.channels_last_3d
    network.to(hardware.device, memory_format=layout if hardware.channels_last else torch.contiguous_format)  # type: ignore[call-overload]
    with tempfile.TemporaryDirectory(prefix="medcl-") as scratch:
        work = _Adaptation(loaded, network, config, limits, hardware, show)
        work.sizes = _sizes(loaded, work, volumes_ml, sizes_from, Path(scratch))
        if work.sizes is None and config.ratio:
            raise ModelError(
                f"{loaded.folder}: expected class sizes (class_sizes.json), the model was written without; give "
                "sizes_from (--sizes-from: images like those of training), volumes_ml (--volume NAME=ML), or ratio=0 "
                "(--set ratio=0) to do without."
            )
        folder = Path(scratch) / "targets"
        folder.mkdir()
        targets = prepare_targets(cases, loaded.plan, folder, tell=work.tell_reading)
        return work.run(targets, out, force=force)


def _check_out(out: Path, model: Path) -> None:
    """Refuse a folder that could not be replaced without losing something else than an older model.

    Raises:
        DataError: It holds something that is no model.
        ModelError: It is, holds or lies in the folder of the model to adapt.
    """
    here, there = out.resolve(), model.resolve()
    if here == there or here in there.parents:
        raise ModelError(f"{out}: holds the model to adapt; choose another folder, so that the old one is kept.")
    if there in here.parents:
        raise ModelError(f"{out}: lies in the folder of the model to adapt, {model}; choose a folder outside of it.")
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: expected a folder or nothing, got a file; remove it or choose another name.")
    if out.is_dir() and any(out.iterdir()) and not (out / "model.json").is_file():
        raise DataError(
            f"{out}: expected a model folder to replace, got a folder without model.json, all of which would be lost; "
            "choose another folder."
        )


def _sizes(
    model: Model,
    work: _Adaptation,
    volumes_ml: Mapping[str, float] | None,
    sizes_from: Path | str | Sequence[Path | str] | None,
    scratch: Path,
) -> ClassSizes | None:
    if volumes_ml is not None:
        return stated_sizes(volumes_ml, model.plan)
    if sizes_from is None:
        return read_sizes(model.folder, model.plan)
    sources = collect_cases([sizes_from] if isinstance(sizes_from, str | Path) else sizes_from)
    folder = scratch / "sources"
    folder.mkdir()
    found = prepare_targets(sources, model.plan, folder, tell=work.tell_reading)
    work.say(f"measuring class sizes on {len(found)} images like those of training")
    words = f"predictions on {len(found)} images given as like those of training"
    return measure_sizes(work.forward, model.plan, (target.prepared for target in found), source=words)


class _Adaptation:
    """Network, images and guard of one adaptation."""

    def __init__(
        self,
        model: Model,
        network: nn.Module,
        config: AdaptSettings,
        limits: GuardSettings,
        hardware: Hardware,
        show: Show,
    ) -> None:
        self.model, self.network, self.config, self.limits = model, network, config, limits
        self.plan, self.hardware, self.show = model.plan, hardware, show
        self.sizes: ClassSizes | None = None
        layout = torch.contiguous_format
        if hardware.channels_last:
            layout = torch.channels_last if self.plan.ndim == 2 else torch.channels_last_3d
        self.layout = layout
        self.forward = forward_in(network, hardware.device, hardware.precision, layout)
        self.running: Tensor | None = None
        self.share = 0.0
        self.rounds: list[dict[str, Any]] = []

    def say(self, *messages: str) -> None:
        for message in messages:
            self.show(Progress(0, 0.0, None, message=message))

    def tell_reading(self, number: int, total: int, case: str) -> None:
        self.say(f"preparing {case} ({number + 1} of {total})")

    def run(self, targets: list[Target], out: Path, *, force: bool) -> AdaptResult:
        started = time.monotonic()
        config = self.config
        learn, held = split(targets, config.held_out, config.seed)
        held = held[:: -(-len(held) // MOST_HELD_OUT)]
        if len(targets) < 4:
            self.say(f"only {len(targets)} image(s): the guard looks at what is learned from, so it says less")
        self.say(*self.hardware.reasons, f"learning from {len(learn)} images, {len(held)} held out for the guard")
        draws = Draws(learn, self.plan, batch_size=config.batch_size, seed=config.seed)
        before = self._look(held)
        self._note(0, before, [], "before")
        states: list[_State] = []
        finished = True
        try:
            self._mix_statistics(draws, len(learn), states, before, held)
            if choose_parameters(self.network, config.parameters):
                self._learn(draws, states, before, held)
        except KeyboardInterrupt:
            if not states:  # the guard has seen nothing that could be kept
                raise
            finished = False
        minutes = round((time.monotonic() - started) / 60, 2)
        return self._decide(states, before, len(learn), held, out, minutes, force=force, finished=finished)

    def _mix_statistics(
        self, draws: Draws, images: int, states: list[_State], before: Vitals, held: list[Target]
    ) -> None:
        """Start from the share of the new images' statistics that was asked for, or that the guard likes best."""
        batches = (draws(2**21 + index)[0] for index in range(min(STATISTICS_BATCHES, 2 * images)))
        statistics = BatchStatistics(self.network, self.forward, batches)
        asked = self.config.statistics
        if asked and not statistics:
            self.say(f"statistics={asked:g}: the model has no batch normalisation with statistics; nothing is mixed")
            asked = 0.0
        for share in SHARES if statistics and asked is None else (asked or 0.0,):
            statistics.mix(share)
            self.share = share
            self._judge(states, 0, before, held)
        best = max(states, key=_worth)
        if asked is None and before.score > best.vitals.score:
            self.share = 0.0
        elif asked is None:
            self.share = best.share
        statistics.mix(self.share)
        if statistics:
            self.say(f"statistics of batch normalisation: {self.share:.0%} of the new images")

    def _learn(self, draws: Draws, states: list[_State], before: Vitals, held: list[Target]) -> None:
        config = self.config
        chosen = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        optimiser = torch.optim.Adam(chosen, lr=config.learning_rate)
        clock, step, looked, said = Clock(config.budget), 0, 0, 0.0
        while clock.progress(step) < 1:
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * (1 + math.cos(math.pi * clock.progress(step))) / 2
            losses = self._step(*draws(step), optimiser, step)
            step += 1
            if time.monotonic() - said > SAY_EVERY:
                said = time.monotonic()
                self.show(Progress(step, clock.progress(step), clock.seconds_left(step), losses=losses))
            if clock.progress(step) * config.rounds >= looked + 1:
                looked += 1
                self._judge(states, step, before, held)

    def _step(
        self, image: Tensor, places: Tensor, target: Target, optimiser: torch.optim.Optimizer, step: int
    ) -> dict[str, float]:
        """Take one step; the statistics stay as they are, as prediction will use them."""
        config, hardware = self.config, self.hardware
        self.network.eval()
        image = image.to(hardware.device).contiguous(memory_format=self.layout)
        # torch 2.13 crashes in the channels-last backward pass of a group norm whose input needs no gradient, as it is
        # behind frozen convolutions: let everything need one.
        image.requires_grad_(any(isinstance(module, nn.GroupNorm) for module in self.network.modules()))
        bf16 = hardware.precision != "32-true"
        with torch.autocast(hardware.device.type, torch.bfloat16) if bf16 else contextlib.nullcontext():
            logits = self.network(image)
        # The prior is that of the image as it is: neither padding nor where windows lie may count.
        prior, places = self._prior(target).to(logits.device), places.to(logits.device)
        weights = inverse_ratio_weights(prior) * len(prior)
        # Per structure, not per image: a mean over all pixels would shrink with the field of view.
        share = max(float(1 - prior[0]), LEAST_SHARE)
        entropy = config.entropy / share * weighted_entropy(logits, weights, places)
        loss, losses = entropy, {"entropy": float(entropy.detach())}
        if config.ratio:
            predicted = self._remembered(mean_ratio(logits, places))
            divergence = config.ratio / share * ratio_divergence(predicted, prior, first=config.first)
            loss, losses["ratio"] = loss + divergence, float(divergence.detach())
        if not bool(loss.isfinite()):
            raise RunError(f"step {step}: the loss is not finite; lower learning_rate or set precision=fp32.")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return {"loss": float(loss.detach()), **losses}

    def _prior(self, target: Target) -> Tensor:
        classes = len(self.plan.classes)
        if self.sizes is None:
            return torch.full((classes,), 1 / classes)
        voxels = math.prod(target.prepared.array.shape[1:])
        return self.sizes.ratio(self.plan, voxel_ml(target.prepared) * voxels)

    def _remembered(self, ratio: Tensor) -> Tensor:
        """Return the batch's ratio drawn to the mean of earlier ones; its gradient is that of the batch alone.

        A batch is a part of one case. Patients differ, and it is their mean that shall be as in training.
        """
        now = ratio.detach()
        self.running = now if self.running is None else torch.lerp(now, self.running, self.config.memory)
        return ratio + (self.running - now)

    def _look(self, held: list[Target]) -> Vitals:
        return vitals(
            self.forward,
            held,
            self.plan,
            sizes=self.sizes,
            one_piece=self.model.info.one_piece,
            seed=self.config.seed,
        )

    def _judge(self, states: list[_State], step: int, before: Vitals, held: list[Target]) -> None:
        after = self._look(held)
        reasons = harm(before, after, self.limits)
        weights = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
        states.append(_State(step, self.share, after, reasons, weights))
        best = max(states, key=_worth)
        for state in states:
            if state is not best and state is not states[-1]:
                state.weights = {}
        self._note(step, after, reasons, "")

    def _note(self, step: int, seen: Vitals, reasons: list[str], name: str) -> None:
        self.rounds.append({"step": step, "state": name or "adapted", **seen.as_dict(), "reasons": list(reasons)})
        misfit = "" if seen.misfit is None else f", volumes off by a factor of {math.exp(seen.misfit):.2f}"
        verdict = f"; refused: {' '.join(reasons)}" if reasons else ""
        self.say(
            f"guard {name or f'after step {step}'}: agreement {seen.consistency:.3f}, stray {seen.stray:.3f}{misfit}, "
            f"score {seen.score:.3f}{verdict}"
        )

    def _decide(
        self,
        states: list[_State],
        before: Vitals,
        learned: int,
        held: list[Target],
        out: Path,
        minutes: float,
        *,
        force: bool,
        finished: bool,
    ) -> AdaptResult:
        best = max(states, key=_worth)
        reasons = list(best.reasons)
        gain = best.vitals.score - before.score
        if not reasons and gain < self.limits.gain:
            reasons.append(
                f"nothing is gained: the guard's score is {before.score:.3f} before and {best.vitals.score:.3f} after "
                f"(at least {self.limits.gain:g} more is asked for)."
            )
        if reasons and force:
            best = states[-1]  # whoever overrules the guard wants what was learned
        elif reasons:
            return AdaptResult(
                None, tuple(reasons), before, best.vitals, best.step, tuple(self.rounds), minutes, finished
            )
        self.network.load_state_dict(best.weights)
        info = self.model.info
        earlier = info.history.get("adapted", {})
        facts = {
            "from_weights": info.weights_sha256,
            "learned_from": {"images without labels": learned, "held out for the guard": len(held)},
            "steps": best.step,
            "share_of_new_statistics": best.share,
            "minutes": minutes,
            "settings": self.config.model_dump(mode="json"),
            "class_sizes": None if self.sizes is None else self.sizes.model_dump(mode="json"),
            "before": before.as_dict(),
            "after": best.vitals.as_dict(),
            "forced_against": reasons,
        }
        # Scores were measured before, on images of the old kind: they say nothing about this model.
        save_model(
            out,
            network=self.network,
            backbone=info.backbone,
            backbone_settings=info.backbone_settings,
            plan=self.plan,
            method=info.method,
            settings=info.settings,
            metrics={"before_adaptation": info.metrics},
            history={**info.history, "adapted": {**earlier, str(len(earlier) + 1): facts}},
            one_piece=info.one_piece,
        )
        if self.sizes is not None:
            write_sizes(out, self.sizes)
        return AdaptResult(out, tuple(reasons), before, best.vitals, best.step, tuple(self.rounds), minutes, finished)
