"""The step that Lightning repeats: augment, ask the method for losses, average the weights."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from medcl.augment.intensity import intensity
from medcl.augment.spatial import spatial
from medcl.backbones.latent import Latent
from medcl.batch import Batch
from medcl.errors import RunError
from medcl.methods import Method, Network, Task, branches_of, modules_of, teacher_decay_of, views_of
from medcl.settings import TrainSettings
from medcl.training.features import FeatureCache
from medcl.training.schedule import Clock, learning_rate
from medcl.training.teacher import Teacher, averaged_copy


class TrainingModule(lightning.LightningModule):
    """Backbone, method and averaged weights as one trainable unit.

    Args:
        network: (N, channels, *S) -> logits (N, C, *S); `medcl.backbones.Branching` where the method has two branches.
        method: Turns a batch and the network into losses.
        task: Classes, groups, dimensions.
        settings: Augmentation, optimiser, seed.
        patch: Size of the augmented patch.
        clock: The budget.
        channels_last: Memory layout of tensors.
        features: Keeps what a frozen encoder made of an image; None: everything is computed.
    """

    def __init__(
        self,
        network: nn.Module,
        method: Method,
        task: Task,
        settings: TrainSettings,
        *,
        patch: tuple[int, ...],
        clock: Clock,
        channels_last: bool,
        features: FeatureCache | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.method = method
        self.task = task
        self.train_settings = settings
        self.patch, self.clock, self.features = patch, clock, features
        self.done_steps = 0
        self.memory_format = (
            torch.contiguous_format
            if not channels_last
            else torch.channels_last
            if task.ndim == 2
            else torch.channels_last_3d
        )
        self.extra = modules_of(method, task)
        self.branch: nn.Module | None = network.branch() if branches_of(method) == 2 else None  # type: ignore[operator]
        ema = settings.optim.ema
        self.averaged = averaged_copy(network, ema) if ema else None
        decay = teacher_decay_of(method) or ema
        # A method may want a teacher that is slower or faster than the weights that are handed on.
        self.own_teacher = averaged_copy(network, decay) if decay != ema else None
        if channels_last:
            for part in (self.network, self.averaged, self.own_teacher, self.branch):
                if part is not None:
                    part.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        self.optimiser_state: dict[str, Any] | None = None
        self.last_losses: dict[str, float] = {}
        self.share = 0.0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW over backbone and the method's own parameters, with the state of a resumed run."""
        optim = self.train_settings.optim
        trained = (self.network, self.extra, self.branch)
        parameters = [p for m in trained if m is not None for p in m.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(parameters, lr=optim.learning_rate, weight_decay=optim.weight_decay)
        if self.optimiser_state is not None:
            optimiser.load_state_dict(self.optimiser_state)
        return optimiser

    def on_train_batch_start(self, batch: tuple[int, Batch], batch_idx: int) -> None:
        """Set the learning rate of this step."""
        # All processes of a distributed training must take the same step: the first one's clock counts.
        share = self.clock.progress(self.done_steps)
        self.share = self.trainer.strategy.broadcast(share) if self.trainer.world_size > 1 else share
        rate = learning_rate(self.share, self.train_settings.optim)
        optimiser = self.optimizers()
        for group in optimiser.param_groups:  # type: ignore[union-attr]
            group["lr"] = rate

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move the batch of a (step, batch) pair."""
        step, samples = batch
        return step, samples.to(device)

    def training_step(self, batch: tuple[int, Batch], batch_idx: int) -> Tensor:
        """Return the sum of the method's losses for one batch of canvases."""
        step, canvases = batch
        settings = self.train_settings
        # One seed per step makes a resumed run repeat an uninterrupted one without saving any random state.
        seed = (settings.seed * 1_000_003 + step) * 64 + self.global_rank
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            samples = spatial(canvases.repeat(views_of(self.method)), self.patch, settings.augment, generator)
            samples = intensity(samples, settings.augment, generator)
        losses = self.method.step(samples, self._handle(generator))
        total = torch.stack([loss.float() for loss in losses.values()]).sum()
        values = torch.stack([*(loss.detach().float() for loss in losses.values()), total.detach()]).tolist()
        self.last_losses = dict(zip([*losses, "loss"], values, strict=True))
        if not all(torch.isfinite(torch.tensor(values))):
            raise RunError(self._diagnosis(step, samples))
        return total

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, average the weights and count; callbacks that run later see the finished step."""
        super().optimizer_step(*args, **kwargs)
        for follower in (self.averaged, self.own_teacher):
            if follower is not None:
                follower.update_parameters(self.network)
        self.done_steps += 1

    def final_network(self) -> nn.Module:
        """Return a copy of the network that is handed on: the averaged one, or the last one where averaging is off."""
        source = self.network if self.averaged is None else self.averaged.module
        return copy.deepcopy(source)

    def _handle(self, generator: torch.Generator) -> Network:
        """Return what the method may use during this step."""
        averaged = self.own_teacher or self.averaged
        network: Any = self.network
        return Network(
            forward=self._in_layout(self._forward(network)),
            task=self.task,
            extra=self.extra,
            generator=generator,
            progress=self.share,
            teacher=None
            if averaged is None
            else Teacher(averaged.module, self._in_layout(self._forward(averaged.module))),
            encode=None if self.branch is None else self._in_layout(self._encode(network)),
            decoders=() if self.branch is None else (network.decode, self.branch),
            latent=network if isinstance(network, Latent) else None,
        )

    def _forward(self, network: Any) -> Any:
        return network if self.features is None else self.features.through(network)

    def _encode(self, network: Any) -> Any:
        return network.encode if self.features is None else partial(self.features.encode, network)

    def _in_layout(self, function: Any) -> Any:
        def call(image: Tensor) -> Any:
            return function(image.contiguous(memory_format=self.memory_format))

        return call

    def _diagnosis(self, step: int, samples: Batch) -> str:
        bad = [name for name, value in self.last_losses.items() if not abs(value) < float("inf")]
        image = samples.image.float()
        weights = [name for name, p in self.network.named_parameters() if not torch.isfinite(p).all()]
        cause = (
            "the images hold NaN or infinite values: run 'medcl check'"
            if not torch.isfinite(image).all()
            else f"the weights are no longer finite ({len(weights)} tensors, first {weights[0]}): start a new run with "
            "a lower optim.learning_rate or a smaller optim.gradient_clip"
            if weights
            else "images and weights are finite: start a new run with precision=fp32 or a lower optim.learning_rate"
        )
        return (
            f"step {step}: expected finite losses, got {', '.join(bad)} = nan or inf "
            f"(image range {image.nan_to_num().min():.3g} to {image.nan_to_num().max():.3g}); {cause}."
        )
