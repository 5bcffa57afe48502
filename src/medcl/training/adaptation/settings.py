"""What may vary when a model is adapted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medcl.settings import BudgetSettings, Settings


class AdaptSettings(Settings):
    """Everything that may vary when a model is adapted to images without labels."""

    budget: BudgetSettings = Field(BudgetSettings(steps=120), description="How long to adapt; in steps or minutes.")
    parameters: Literal["norm", "all", "none"] = Field(
        "norm",
        description="What learns: scale and shift of the normalisation layers (norm), every weight (all), or nothing "
        "beyond the statistics (none).",
    )
    statistics: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of the new images in the statistics of batch normalisation; 0 keeps the old ones. "
        "Default: 0, 0.5 or 1, whichever the guard likes best.",
    )
    entropy: float = Field(1.0, ge=0, description="Weight of the entropy.")
    ratio: float = Field(1.0, ge=0, description="Weight of the divergence of class ratios; 0: no prior is used.")
    first: Literal["prior", "prediction"] = Field(
        "prior", description="First distribution of the divergence; with the prior first, lost structures cost most."
    )
    memory: float = Field(
        0.8,
        ge=0,
        lt=1,
        description="How much of earlier batches stays in the predicted class ratio; 0: each batch alone.",
    )
    learning_rate: float = Field(5e-4, gt=0, description="Learning rate of Adam, falling in a cosine to zero.")
    batch_size: int = Field(8, ge=1, description="Slices of one case (3D: windows) per step.")
    rounds: int = Field(6, ge=1, description="How often the guard looks; the best state that it passes is kept.")
    held_out: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="Share of the images that only the guard sees; at least two where there are four, never all.",
    )
    seed: int = Field(0, ge=0, description="Seed of every random draw.")
    device: str = Field("auto", description="Where to compute: auto, cpu, cuda or mps.")
    precision: str = Field("auto", description="Arithmetic of the forward pass: auto, bf16 or fp32.")
    threads: int | None = Field(None, ge=1, description="CPU threads; default: all cores unless the machine is busy.")


class GuardSettings(Settings):
    """What counts as harm on the held-out images. All limits compare after with before."""

    lost_class: float = Field(0.1, ge=0, description="Share of the images that may lose a structure altogether.")
    consistency: float = Field(0.02, ge=0, description="Fall of the agreement between changed copies of an image.")
    stray: float = Field(0.3, ge=0, description="Growth of the share that is cut off as stray pieces.")
    misfit: float = Field(
        0.15, ge=0, description="Growth of the mean distance of volumes from what training saw, as a log ratio."
    )
    least_consistency: float = Field(
        0.6, ge=0, description="Agreement below which the model cannot be said to see anything in the new images."
    )
    gain: float = Field(0.003, ge=0, description="Least gain of the summary score; less is not worth a new model.")
