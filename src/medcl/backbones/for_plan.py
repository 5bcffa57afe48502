"""The network of a plan: a backbone, and before it whatever brings the plan's input to what a backbone reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medcl.backbones import build_backbone
from medcl.data.plan import Plan

if TYPE_CHECKING:
    from torch import nn


def build_for_plan(plan: Plan, name: str, **settings: Any) -> nn.Module:
    """Build the network that a plan asks for.

    Args:
        plan: Says channels, classes, dimensions, and how neighbouring slices are seen.
        name: A registered family; see `medcl.backbones.backbones`.
        **settings: Settings of the family, and `tell` of `build_backbone`.

    Returns:
        A module that maps (N, plan.input_channels, *S) float to logits (N, classes, *S) for any spatial size S.

    Raises:
        SettingsError: Unknown family or setting.
    """
    channels, attends = plan.input_channels, plan.context > 0 and plan.neighbours == "attention"
    if attends:
        from medcl.backbones.slice_attention import FEATURES, SliceAttention

        channels = len(plan.channels) + FEATURES
    network = build_backbone(name, in_channels=channels, classes=len(plan.classes), ndim=plan.ndim, **settings)
    return SliceAttention(network, channels=len(plan.channels), context=plan.context) if attends else network
