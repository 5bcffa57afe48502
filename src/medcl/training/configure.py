"""From one nested mapping (YAML, --set, Python) to checked settings of training, method and backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from medcl.backbones import backbones, check_dims, has_branches
from medcl.backbones.for_plan import build_for_plan
from medcl.backbones.latent import has_latent
from medcl.data.plan import Plan
from medcl.data.planning import LEVELS, choose_pooling
from medcl.errors import SettingsError, unknown_name
from medcl.methods import Method, branches_of, methods, needs_latent, needs_teacher, teacher_decay_of
from medcl.settings import Settings, TrainSettings

DEFAULT_REACH = 1.0
"""Multiple of the extent of its strokes beyond which a structure of a volume is not expected."""


@dataclass(frozen=True)
class RunConfig:
    """Checked settings of a run.

    Attributes:
        method_name: Registered name.
        method: The method with its settings.
        backbone_name: Registered name.
        backbone: Settings of the network family.
        train: Everything else.
    """

    method_name: str
    method: Method
    backbone_name: str
    backbone: Settings
    train: TrainSettings

    def as_dict(self) -> dict[str, Any]:
        """Return the settings in the nesting that `configure` reads."""
        method = self.method.model_dump(mode="json", by_alias=True)  # type: ignore[attr-defined]
        return {
            "method": {"name": self.method_name, **method},
            "backbone": {"name": self.backbone_name, **self.backbone.model_dump(mode="json")},
            **self.train.model_dump(mode="json"),
        }


def configure(values: Mapping[str, Any]) -> RunConfig:
    """Check a mapping of settings.

    Args:
        values: Keys of `TrainSettings`, plus `method` and `backbone`: a name, or a mapping with `name` and settings.

    Raises:
        SettingsError: Unknown name or key, or a value out of range.
    """
    rest = dict(values)
    method_name, method_values = _named(rest.pop("method", None) or "medcl", "method", "medcl")
    usual = getattr(methods.get(method_name), "default_backbone", "unet")
    backbone_name, backbone_values = _named(rest.pop("backbone", None) or usual, "backbone", usual)
    unknown = [key for key in rest if key not in TrainSettings.model_fields]
    if unknown:
        known = [*TrainSettings.model_fields, "method", "backbone"]
        raise SettingsError(" ".join(unknown_name("setting", key, known) for key in unknown))
    method_class = methods.get(method_name)
    if not (isinstance(method_class, type) and issubclass(method_class, Settings)):
        raise SettingsError(f"method '{method_name}': expected a class of settings with a step, got {method_class!r}.")
    method = method_class.parse(method_values, where=f"method '{method_name}'")
    backbone = backbones.get(backbone_name).parse(backbone_values, where=f"backbone '{backbone_name}'")
    config = RunConfig(method_name, method, backbone_name, backbone, TrainSettings.parse(rest))
    _check_needs(config)
    return config


def _check_needs(config: RunConfig) -> None:
    """Refuse a method whose teacher or second decoder the other settings cannot give."""
    name, method = config.method_name, config.method
    if needs_teacher(method) and not (teacher_decay_of(method) or config.train.optim.ema):
        raise SettingsError(
            f"method '{name}': expected averaged weights to learn from, got optim.ema 0; "
            "set method.teacher_decay, or optim.ema above 0."
        )
    if branches_of(method) > 1 and not has_branches(config.backbone):
        able = [key for key in backbones if has_branches(backbones.get(key))]
        raise SettingsError(
            f"method '{name}': expected a backbone that can have a second decoder ({', '.join(able)}), "
            f"got '{config.backbone_name}'; choose one of those."
        )
    if needs_latent(method) and not has_latent(config.backbone):
        able = [key for key in backbones if has_latent(backbones.get(key))]
        raise SettingsError(
            f"method '{name}': expected a backbone with a latent space ({', '.join(able)}), got "
            f"'{config.backbone_name}'; choose one of those."
        )
    reason = getattr(config.backbone, "needs_weights", None)
    if reason and not getattr(config.backbone, "weights", None):
        raise SettingsError(
            f"backbone '{config.backbone_name}': expected a file of weights, got none; name one with --weights "
            f"(backbone.weights), as {reason}."
        )


def resolve(config: RunConfig, plan: Plan) -> RunConfig:
    """Fill in the settings whose default depends on the data, so that the run's record shows what was used.

    Raises:
        SettingsError: The backbone cannot do the plan's number of dimensions.
    """
    check_dims(config.backbone_name, plan.ndim)
    train = config.train
    colour = len(plan.channels) == 3 and all(channel.normalisation == "unit" for channel in plan.channels)
    volumes = plan.size[0] > 1  # in single pictures people often mark some of many instances
    chosen = train.model_copy(
        update={
            "augment": train.augment.resolved(colour=colour),
            "reach": train.reach if train.reach is not None else DEFAULT_REACH if volumes else 0.0,
            "enclosed": train.enclosed if train.enclosed is not None else volumes,
        }
    )
    rate = getattr(config.backbone, "learning_rate", None)
    if rate is not None and "learning_rate" not in train.optim.model_fields_set:
        chosen = chosen.model_copy(update={"optim": train.optim.model_copy(update={"learning_rate": rate})})
    return replace(config, train=chosen, backbone=_pooled(config.backbone, plan))


def _pooled(backbone: Settings, plan: Plan) -> Settings:
    """Give a family that has them the strides and kernels of the plan; its own strides or levels win."""
    known, given = type(backbone).model_fields, backbone.model_fields_set
    if "strides" not in known or getattr(backbone, "strides", None) is not None:
        return backbone
    strides, kernels = plan.strides, plan.kernels
    if strides is None or "levels" in given:  # a plan of an earlier version, or the user's own depth
        if plan.ndim == 2:
            return backbone  # 2 along every axis
        strides, kernels = choose_pooling(plan.spacing_mm, plan.patch, getattr(backbone, "levels", LEVELS))
    update: dict[str, Any] = {"strides": strides}
    if "kernels" in known and "kernels" not in given:
        update["kernels"] = kernels
    return backbone.model_copy(update=update)


def build_network(
    config: RunConfig, plan: Plan, *, weights: bool = True, tell: Callable[[str], None] | None = None
) -> nn.Module:
    """Build the network of a run.

    Args:
        config: Resolved settings.
        plan: Channels, classes and dimensions.
        weights: Load the weights that the settings name; not wanted where a checkpoint follows.
        tell: Called with what was done with them.
    """
    settings = config.backbone.model_dump()
    if not weights:
        settings.pop("weights", None)
    return build_for_plan(plan, config.backbone_name, tell=tell, **settings)


def _named(value: object, kind: str, default: str) -> tuple[str, dict[str, Any]]:
    if isinstance(value, str):
        return value, {}
    if isinstance(value, Mapping):
        settings = dict(value)
        return str(settings.pop("name", default)), settings
    raise SettingsError(f"{kind}: expected a name, or a mapping with 'name' and settings, got {value!r}.")
