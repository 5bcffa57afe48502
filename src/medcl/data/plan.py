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
        description="Target spacing (z, y, x) in mm; z is null in 2D: slices stay as they are."
    )
    size: tuple[int, int, int] = Field(description="Typical grid (z, y, x) at the target spacing (median over cases).")
    patch: tuple[int, ...] = Field(
        description="Training patch (y, x) or (z, y, x), multiples of 16 (or 8, 4 along a short z)."
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
        if (self.spacing_mm[0] is None) != (self.ndim == 2):
            raise ValueError(f"spacing_mm {self.spacing_mm}: z is null in 2D and a length in 3D, ndim is {self.ndim}")
        if any(s is not None and not 0 < s < float("inf") for s in self.spacing_mm):
            raise ValueError(f"spacing_mm {self.spacing_mm}: expected positive lengths")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes {self.classes}: names must differ")
        for name, members in self.groups.items():
            if not members or any(not 1 <= index < len(self.classes) for index in members):
                raise ValueError(f"group {name} {members}: expected class indices 1..{len(self.classes) - 1}")
        return self

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


def make_plan(
    dataset: Dataset,
    *,
    ndim: Literal["auto", 2, 3] = "auto",
    spacing_mm: float | Sequence[float | None] | None = None,
    patch: Sequence[int] | None = None,
) -> Plan:
    """Derive a plan from the training images of a data set.

    Args:
        dataset: Its training images are read once.
        ndim: 2 segments slices, 3 volumes; auto: 2 where slices are single, few or thick, else 3.
        spacing_mm: Target spacing in mm: one number, (y, x) or (z, y, x); default: by the data.
        patch: Training patch, (y, x) or (z, y, x); default: by the data.

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
    dimensions = planning.choose_ndim(facts, ndim, notes)
    orientation = planning.choose_orientation(facts, dimensions, notes)
    spacing = planning.choose_spacing(facts, dimensions, orientation, spacing_mm, notes)
    size = planning.typical_size(facts, orientation, spacing)
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
            "patch": tuple(patch) if patch is not None else planning.choose_patch(size, spacing, dimensions),
            "orientation": orientation,
            "fingerprint": dataset.digest,
            "notes": tuple(notes),
        },
        where="plan",
    )
