"""What a made-up dataset may vary: one definition for command line, YAML and Python."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medcl.phantom.strokes import StrokeSettings
from medcl.settings import Settings

Extent = Annotated[int, Field(ge=1, le=1024)]


class PhantomSettings(Settings):
    """How many cases, on which grid, how different from each other, and how they are annotated and stored."""

    cases: int = Field(16, ge=1, le=9999, description="Training cases (with strokes).")
    validation: int = Field(4, ge=0, le=9999, description="Validation cases (with dense labels).")
    test: int = Field(0, ge=0, le=9999, description="Test cases (with dense labels).")
    ndim: Literal[2, 3] = Field(3, description="2: one slice per case; 3: volumes.")
    size: tuple[Extent, ...] | None = Field(
        None, min_length=1, max_length=3, description="Voxels: (side), (y, x) or (z, y, x)."
    )
    seed: int = Field(0, ge=0, description="Seed of every random draw; a case depends on nothing but it and its name.")
    raters: tuple[str, ...] = Field(
        (),
        description="Made-up people who label every case and draw its strokes, each in a folder of their name: "
        "careful, large, small, misses, noisy.",
    )
    dense: bool = Field(False, description="Also write dense labels of the training cases (labelsTr).")
    file_ending: Literal[".nii.gz", ".nrrd", ".mha", ".png"] = Field(".nii.gz", description="Format; .png for 2D only.")
    spacing_jitter: float = Field(0.12, ge=0, le=0.5, description="Largest relative change of a case's spacing.")
    tilt_degrees: float = Field(3.0, ge=0, le=30, description="Standard deviation of the slices' tilt.")
    rotation_degrees: float | None = Field(
        None, ge=0, le=180, description="Standard deviation of the in-plane rotation; default: 10, abdomen 3."
    )
    mixed_axes: bool = Field(False, description="Store each case with axes reversed at random, as its header says.")
    strokes: StrokeSettings = Field(StrokeSettings(), description="How the made-up annotator draws.")
