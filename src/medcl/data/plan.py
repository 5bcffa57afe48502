"""The plan: everything derived from the data before training, readable and editable as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from medcl.errors import SettingsError
from medcl.files import read_json, write_json
from medcl.settings import Settings

if TYPE_CHECKING:
    from medcl.data.dataset import Dataset


Axis = Literal["z", "y", "x"]
Neighbours = Literal["channels", "attention"]


class ChannelPlan(Settings):
    """How one image channel is brought to a common scale.

    `zscore`: per case, clip to the `clip` percentiles, then (v - mean) / standard deviation of the voxels between them.
    `ct`: clip to [low, high] as found on the data set, then (v - mean) / std of the data set; absolute units matter.
    `unit`: divide by `scale`, then (v - mean) / std of the data set: colour and 8-bit pictures.
    """

    name: str = Field(description="Name of the channel as in dataset.json.")
    normalisation: Literal["zscore", "ct", "unit"] = Field(description="Which rule scales the intensities.")
    clip: tuple[float, float] = Field((0.5, 99.5), description="zscore: percentiles of the case to clip to.")
    skip_zeros: bool = Field(False, description="zscore: leave exact zeros (blank background) out of the statistics.")
    low: float | None = Field(None, description="ct: lower clipping bound.")
    high: float | None = Field(None, description="ct: upper clipping bound.")
    scale: float | None = Field(None, gt=0, description="unit: the value that stands for 1, such as 255.")
    mean: float | None = Field(None, description="ct, unit: mean over the data set.")
    std: float | None = Field(None, gt=0, description="ct, unit: standard deviation over the data set.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needed = {"zscore": (), "ct": ("low", "high", "mean", "std"), "unit": ("scale", "mean", "std")}
        missing = [name for name in needed[self.normalisation] if getattr(self, name) is None]
        if missing:
            raise ValueError(f"channel {self.name}: normalisation {self.normalisation} needs {', '.join(missing)}")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"channel {self.name}: low {self.low} must be below high {self.high}")
        if not 0 <= self.clip[0] < self.clip[1] <= 100:
            raise ValueError(f"channel {self.name}: clip {self.clip} must rise within 0..100")
        return self


class Plan(Settings):
    """What training and prediction need to know about the data.

    Same data, same plan. Users may edit the JSON; unknown keys are refused.
    """

    dataset: str = Field(description="Name of the data set.")
    classes: tuple[str, ...] = Field(min_length=2, description="Class names by index; index 0 is background.")
    groups: dict[str, tuple[int, ...]] = Field(description="Named unions of class indices.")
    channels: tuple[ChannelPlan, ...] = Field(min_length=1, description="One entry per image channel.")
    ndim: Literal[2, 3] = Field(description="2: slices are segmented one by one; 3: volumes.")
    spacing_mm: tuple[float | None, float, float] = Field(
        description="Target spacing (z, y, x) in mm; z is null in 2D: slices stay as they are (unless views turn them)."
    )
    size: tuple[int, int, int] = Field(description="Typical grid (z, y, x) at the target spacing (median over cases).")
    patch: tuple[int, ...] = Field(
        description="Training patch (y, x) or (z, y, x), multiples of 16 (or 8, 4 along a short z)."
    )
    strides: tuple[tuple[int, ...], ...] | None = Field(
        None,
        description="Step per axis from each resolution level of the network to the next; null in plans of earlier "
        "versions. A backbone takes them unless its own settings say otherwise.",
    )
    kernels: tuple[tuple[int, ...], ...] | None = Field(
        None,
        description="Convolution kernel per axis of each level, one more than there are strides; null: by strides.",
    )
    context: int = Field(
        0, ge=0, le=8, description="2D: neighbouring slices on each side that the network sees beside the slice (2.5D)."
    )
    neighbours: Neighbours = Field(
        "channels",
        description="2.5D: how the network takes the neighbours. channels: as further channels; attention: each pixel "
        "weighs the slices.",
    )
    views: tuple[Axis, ...] = Field(
        ("z",),
        min_length=1,
        description="2D: axes across which volumes are sliced; with several, their probabilities are averaged.",
    )
    orientation: Literal["as-stored", "LPS"] = Field(
        description="as-stored: axes as in the files, coarse axis brought to z; LPS: canonical axes first."
    )
    fingerprint: str = Field(description="Digest of the data that the plan was made from.")
    notes: tuple[str, ...] = Field((), description="Why the plan is as it is, where the data did not speak clearly.")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(self.patch) != self.ndim or min(self.patch) < 1:
            raise ValueError(f"patch {self.patch}: expected {self.ndim} positive lengths for {self.ndim}D")
        if (self.spacing_mm[0] is None) != (self.ndim == 2 and self.views == ("z",)):
            raise ValueError(
                f"spacing_mm {self.spacing_mm}: z is null in 2D and a length in 3D or with other views than z, "
                f"ndim is {self.ndim}, views {', '.join(self.views)}"
            )
        if any(s is not None and not 0 < s < float("inf") for s in self.spacing_mm):
            raise ValueError(f"spacing_mm {self.spacing_mm}: expected positive lengths")
        if self.ndim == 3 and (self.context or self.views != ("z",)):
            raise ValueError("context and views: expected none in 3D, a 3D network sees all slices; set ndim 2")
        if self.neighbours == "attention" and not self.context:
            raise ValueError("neighbours attention: expected context of at least 1, got 0; set plan.context")
        if len(set(self.views)) != len(self.views):
            raise ValueError(f"views {self.views}: expected each axis once")
        self._check_levels()
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes {self.classes}: names must differ")
        for name, members in self.groups.items():
            if not members or any(not 1 <= index < len(self.classes) for index in members):
                raise ValueError(f"group {name} {members}: expected class indices 1..{len(self.classes) - 1}")
        return self

    def _check_levels(self) -> None:
        for name, steps in (("strides", self.strides), ("kernels", self.kernels)):
            for step in steps or ():
                if len(step) != self.ndim or min(step) < 1:
                    raise ValueError(f"{name} {step}: expected {self.ndim} positive numbers, one per axis")
        if self.kernels is not None:
            if self.strides is None or len(self.kernels) != len(self.strides) + 1:
                levels = len(self.strides or ()) + 1
                raise ValueError(
                    f"kernels: expected one per level, {levels} for these strides, got {len(self.kernels)}"
                )
            if any(length % 2 == 0 for kernel in self.kernels for length in kernel):
                raise ValueError(f"kernels {self.kernels}: expected odd lengths")

    @property
    def input_channels(self) -> int:
        """Channels that the network reads: those of the slice and of its neighbours, slice by slice."""
        return len(self.channels) * (2 * self.context + 1)

    def save(self, path: Path | str) -> None:
        """Write the plan as readable JSON, atomically."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def load(cls, path: Path | str) -> Plan:
        """Read a plan, also one edited by hand.

        Raises:
            DataError: The file is missing or not JSON.
            SettingsError: A key is unknown or values do not fit together; all problems at once.
        """
        values = read_json(path)
        if not isinstance(values, dict):
            raise SettingsError(f"plan {path}: expected keys and values, got {type(values).__name__}.")
        return cls.parse(values, where=f"plan {path}")


def neighbours(z: int, context: int, depth: int) -> list[int]:
    """Return the slices that a 2.5D network sees for slice z: `context` on each side, border slices repeated."""
    return [min(max(row, 0), depth - 1) for row in range(z - context, z + context + 1)]


def make_plan(
    dataset: Dataset,
    *,
    ndim: Literal["auto", 2, 3] = "auto",
    spacing_mm: float | Sequence[float | None] | None = None,
    patch: Sequence[int] | None = None,
    context: int = 0,
    neighbours: Neighbours = "channels",
    views: Sequence[Axis] = ("z",),
) -> Plan:
    """Derive a plan from the training images of a data set.

    Args:
        dataset: Its training images are read once.
        ndim: 2 segments slices, 3 volumes; auto: 2 where slices are single, few or thick, else 3.
        spacing_mm: Target spacing in mm: one number, (y, x) or (z, y, x); default: by the data.
        patch: Training patch, (y, x) or (z, y, x); default: by the data.
        context: 2.5D: neighbouring slices on each side that the network sees; asks for 2D.
        neighbours: How it sees them: as further "channels", or by "attention".
        views: Axes across which volumes are sliced, z, y, x; others than z ask for 2D on volumes of near-cubic voxels,
            to which the images are resampled.

    Returns:
        A plan; the same data and arguments give the same plan.

    Raises:
        DataError: A training image cannot be used.
        SettingsError: The arguments do not fit the data.
    """
    from medcl.data import planning
    from medcl.data.survey import survey

    facts = survey(dataset)
    notes: list[str] = []
    turned = tuple(views) != ("z",)
    planning.check_slices(facts, ndim, context=context, views=views)
    dimensions = planning.choose_ndim(facts, 2 if context or turned else ndim, notes)
    orientation = planning.choose_orientation(facts, dimensions, notes)
    spacing = planning.choose_spacing(facts, dimensions, orientation, spacing_mm, notes, cubes=turned)
    size = planning.typical_size(facts, orientation, spacing)
    chosen = tuple(patch) if patch is not None else planning.choose_patch(size, spacing, dimensions, views)
    fits = len(chosen) == dimensions and min(chosen) >= 1  # else the plan says what is wrong
    strides, kernels = planning.choose_pooling(spacing, chosen) if fits else (None, None)
    channels = [planning.choose_normalisation(channel, facts, notes) for channel in facts.channels]
    return Plan.parse(
        {
            "dataset": dataset.name,
            "classes": tuple(dataset.classes),
            "groups": dict(dataset.groups),
            "channels": channels,
            "ndim": dimensions,
            "spacing_mm": spacing,
            "size": size,
            "patch": chosen,
            "strides": strides,
            "kernels": kernels,
            "context": context,
            "neighbours": neighbours,
            "views": tuple(views),
            "orientation": orientation,
            "fingerprint": dataset.digest,
            "notes": tuple(notes),
        },
        where="plan",
    )
