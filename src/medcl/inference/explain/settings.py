"""What may vary when a prediction is explained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medcl.settings import Settings

MethodName = Literal["occlusion", "rise", "grad-cam"]


class ExplainSettings(Settings):
    """Everything that may vary when a prediction is explained."""

    method: MethodName = Field(
        "occlusion",
        description="occlusion: cover one place after another; rise: many random covers; grad-cam: gradients.",
    )
    region: str = Field(
        "predicted",
        description="Where covers are tried: predicted (around the structure explained), whole (everywhere), or the "
        "name of a class or group, around which as predicted.",
    )
    margin_mm: float = Field(25.0, ge=0, description="Width of the rim that the region has around the structure.")
    cell_mm: float = Field(12.0, gt=0, description="Side of a cover (occlusion) or of a cell of covers (rise).")
    step: float = Field(0.5, gt=0, le=1, description="occlusion: distance of covers as a share of their side.")
    masks_per_cell: float = Field(4.0, gt=0, description="rise: random covers per cell of the region.")
    least_masks: int = Field(100, ge=2, description="rise: random covers at least.")
    visible: float = Field(0.5, gt=0, lt=1, description="rise: share of the cells that a cover leaves visible.")
    layer: str | None = Field(
        None, description="grad-cam: name of the layer; default: the last activation on the coarsest grid."
    )
    steps: int = Field(20, ge=2, description="Steps of the insertion and deletion curves; see scores.")
    scores: bool = Field(True, description="Whether insertion and deletion are scored.")
    batch_size: int = Field(16, ge=1, description="Covered images at a time.")
    seed: int = Field(0, ge=0, description="Seed of random covers.")
