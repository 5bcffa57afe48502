"""What a made-up annotator may vary: one definition for command line, YAML and Python."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from medcl.errors import SettingsError, unknown_name
from medcl.scribbles.styles import STYLES
from medcl.settings import Settings

_UNITS = {
    "%": ("pixels", 0.01),
    "strokes": ("strokes", 1.0),
    "stroke": ("strokes", 1.0),
    "slices": ("slices", 1.0),
    "slice": ("slices", 1.0),
    "s": ("seconds", 1.0),
    "min": ("seconds", 60.0),
    "m": ("seconds", 60.0),
    "h": ("seconds", 3600.0),
}


class StrokeCost(Settings):
    """Seconds of a person's time: `per_stroke_s` x strokes + `per_mm_s` x length + `per_slice_s` x slices.

    A stated model, not a measurement of your annotators: put your own numbers in. The default of a stroke is the median
    time of a first click on an object (2.4 s; Bearman et al., ECCV 2016); length and slice change are assumptions.
    """

    per_stroke_s: float = Field(2.4, ge=0, description="Seconds to find the place and set the pen down.")
    per_mm_s: float = Field(0.05, ge=0, description="Seconds per mm drawn, on the scale of the image.")
    per_slice_s: float = Field(2.0, ge=0, description="Seconds to go to another slice and look at it.")


class StrokeBudget(Settings):
    """What may be spent on one case. Every limit that is given is kept; without any, all is drawn."""

    pixels: float | None = Field(None, gt=0, le=1, description="Share of all pixels of the case.")
    strokes: int | None = Field(None, ge=1, description="Strokes per class and slice; background counts as a class.")
    slices: int | None = Field(None, ge=1, description="Slices per case.")
    seconds: float | None = Field(None, gt=0, description="Seconds of a person's time per case, by the cost model.")

    @classmethod
    def from_text(cls, text: str) -> StrokeBudget:
        """Read '1%', '2strokes', '5slices', '90s', '3m', or several of them with commas between.

        Raises:
            SettingsError: A part has no known unit or no number, or a limit is named twice.
        """
        values: dict[str, float] = {}
        for part in text.split(","):
            match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(%|[a-z]+)\s*", part)
            if match is None or match[2] not in _UNITS:
                raise SettingsError(
                    f"budget: expected limits such as 1%, 2strokes, 5slices, 90s or 3m, got '{part.strip()}'."
                )
            key, factor = _UNITS[match[2]]
            if key in values:
                raise SettingsError(f"budget: '{text}' limits {key} twice; give one of the two.")
            values[key] = float(match[1]) * factor
        return cls.parse(values, where=f"budget '{text}'")


class BackgroundSettings(Settings):
    """How background is drawn: outlines close to the structures, loops around them, strokes far away."""

    outlines: float = Field(0.0, ge=0, le=10, description="Mean number of lines close around each group of structures.")
    outline_distance: float = Field(3.0, ge=0, description="Distance of an outline from the structures in pixels.")
    outline_thickness: float | None = Field(
        None, ge=1, le=99, description="Width of outlines in pixels; default: as for structures."
    )
    loops: float = Field(1.0, ge=0, le=10, description="Mean number of wide loops around each group of structures.")
    loop_distance: float = Field(
        0.25, ge=0, le=5, description="Distance of a loop as a share of the radius of a disc of the group's area."
    )
    loop_turns: float = Field(1.0, gt=0, le=5, description="Mean number of turns of a loop; above 1 its ends overlap.")
    loop_thickness: float | None = Field(
        None, ge=1, le=99, description="Width of loops in pixels; default: as for structures."
    )
    far: float = Field(1.0, ge=0, le=20, description="Mean number of free strokes away from the structures.")
    far_length: float = Field(
        0.35, gt=0, le=3, description="Mean length of a far stroke as a share of the image's side."
    )
    holes: bool = Field(True, description="Whether background that a structure encloses is drawn like a structure.")
    empty_slices: float = Field(1.0, ge=0, le=1, description="Share of slices without any structure that are drawn in.")


class ScribbleSettings(Settings):
    """How the made-up annotator draws. Lengths in pixels mean pixels of the finer axis of the slice drawn in."""

    style: str = Field("mix", description="How structures are stroked: the name of a style, or mix.")
    mix: dict[str, float] = Field(
        {"spiral": 0.3, "curve": 0.25, "zigzag": 0.2, "centreline": 0.15, "contour": 0.1},
        description="Style to weight, for structures without a hole, where style is mix.",
    )
    ring_mix: dict[str, float] = Field(
        {"centreline": 0.9, "contour": 0.1},
        description="Style to weight, for rings (a wall around something), where style is mix.",
    )
    consistency: float = Field(0.7, ge=0, le=1, description="Chance that a stroke keeps to the case's favourite style.")
    thickness: float = Field(2.0, ge=1, le=99, description="Median width of a stroke in pixels.")
    thickness_spread: float = Field(0.15, ge=0, le=1, description="Spread of the width between cases (log scale).")
    depth: float = Field(0.4, ge=0, le=1, description="How deep contours and spirals run: 0 on the border, 1 middle.")
    wobble: float = Field(0.15, ge=0, le=2, description="Sideways wander as a share of the structure's half width.")
    length: float = Field(0.85, gt=0, le=2, description="Mean share of a line that is drawn; closed lines may overlap.")
    length_spread: float = Field(0.15, ge=0, le=1, description="Standard deviation of that share.")
    breaks: float = Field(0.25, ge=0, le=20, description="Mean number of gaps in a line.")
    gap: float = Field(0.1, gt=0, lt=1, description="Mean length of a gap as a share of the line.")
    planes: Literal["slices", "orthogonal"] = Field(
        "slices", description="Draw in the slices along z, or in slices along all three axes."
    )
    slices: float = Field(1.0, gt=0, le=1, description="Share of the slices that are drawn in.")
    missing_classes: float = Field(0.0, ge=0, le=1, description="Chance that a class is forgotten in a slice.")
    mistakes: float = Field(0.0, ge=0, le=1, description="Share of strokes of structures that leave their structure.")
    minimum_area: float = Field(1.0, ge=1, description="Smallest piece of a structure, in pixels, that gets a stroke.")
    most_pieces: int = Field(8, ge=1, description="Most pieces of one class that are stroked in one slice.")
    background: BackgroundSettings = Field(BackgroundSettings(), description="Background strokes.")
    budget: StrokeBudget = Field(StrokeBudget(), description="What may be spent on a case.")
    cost: StrokeCost = Field(StrokeCost(), description="What drawing costs a person.")

    @field_validator("style")
    @classmethod
    def _known_style(cls, name: str) -> str:
        if name not in STYLES.names():
            raise ValueError(unknown_name("stroke style", name, STYLES.names()))
        return name

    @model_validator(mode="after")
    def _known_mix(self) -> Self:
        for field, weights in (("mix", self.mix), ("ring_mix", self.ring_mix)):
            for name, weight in weights.items():
                if name == "mix" or name not in STYLES.names():
                    raise ValueError(f"{field}: " + unknown_name("stroke style", name, set(STYLES.names()) - {"mix"}))
                if weight < 0:
                    raise ValueError(f"{field}: expected weights of 0 or more, got {weight} for {name}")
            if not sum(weights.values()) > 0:
                raise ValueError(f"{field}: expected at least one style with a weight above 0")
        return self
