"""`medcl phantom`: write a made-up dataset."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class Kind(StrEnum):
    """Kinds of studies."""

    heart = "heart"
    abdomen = "abdomen"
    scar = "scar"


class Ending(StrEnum):
    """File formats."""

    nifti = ".nii.gz"
    nrrd = ".nrrd"
    mha = ".mha"
    png = ".png"


class Style(StrEnum):
    """Where strokes run."""

    centreline = "centreline"
    contour = "contour"
    mixed = "mixed"


def phantom(
    out: Annotated[Path, typer.Argument(help="Dataset folder to write; must be new or empty.")],
    kind: Annotated[Kind, typer.Option(help="What the studies show.")] = Kind.heart,
    cases: Annotated[int, typer.Option(min=1, help="Training cases (with strokes).")] = 16,
    validation: Annotated[int, typer.Option(min=0, help="Validation cases (with dense labels).")] = 4,
    test: Annotated[int, typer.Option(min=0, help="Test cases (with dense labels).")] = 0,
    ndim: Annotated[int, typer.Option(min=2, max=3, help="2: one slice per case; 3: volumes.")] = 3,
    size: Annotated[
        str | None, typer.Option(metavar="N|YxX|ZxYxX", help="Voxels, such as 160, 128x160 or 8x128x160.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random draw.")] = 0,
    raters: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="Made-up people who label each case: careful,large,small,misses,noisy."),
    ] = None,
    dense: Annotated[bool, typer.Option("--dense", help="Also write dense labels of the training cases.")] = False,
    file_ending: Annotated[Ending, typer.Option(help="File format; .png for single slices.")] = Ending.nifti,
    spacing_jitter: Annotated[float, typer.Option(help="Largest relative change of a case's spacing.")] = 0.12,
    tilt_degrees: Annotated[float, typer.Option(help="Standard deviation of the slices' tilt.")] = 3.0,
    rotation_degrees: Annotated[
        float | None, typer.Option(help="Standard deviation of the in-plane rotation; default: 10, abdomen 3.")
    ] = None,
    mixed_axes: Annotated[
        bool, typer.Option("--mixed-axes", help="Store each case with axes reversed at random, as its header says.")
    ] = False,
    stroke_style: Annotated[Style, typer.Option(help="Along the middle of a structure or inside its border.")] = (
        Style.centreline
    ),
    stroke_thickness: Annotated[float, typer.Option(help="Width of a stroke in pixels.")] = 2.5,
    stroke_coverage: Annotated[float, typer.Option(help="Mean share of a structure's length that is stroked.")] = 0.75,
    stroke_slices: Annotated[float, typer.Option(help="Share of the slices of a volume that get strokes.")] = 1.0,
    stroke_mistakes: Annotated[float, typer.Option(help="Share of strokes that may leave their structure.")] = 0.0,
) -> None:
    """Write a made-up dataset: images, strokes for training cases, dense labels for validation and test.

    The same seed gives the same cases, however many there are.

    Example: medcl phantom hearts --cases 16 --validation 4
    """
    from medcl.phantom import make_phantom

    strokes = {
        "style": stroke_style.value,
        "thickness": stroke_thickness,
        "coverage": stroke_coverage,
        "slices": stroke_slices,
        "mistakes": stroke_mistakes,
    }
    options: dict[str, Any] = {
        "cases": cases,
        "validation": validation,
        "test": test,
        "ndim": ndim,
        "size": _numbers(size),
        "seed": seed,
        "raters": [] if raters is None else [name.strip() for name in raters.split(",")],
        "dense": dense,
        "file_ending": file_ending.value,
        "spacing_jitter": spacing_jitter,
        "tilt_degrees": tilt_degrees,
        "rotation_degrees": rotation_degrees,
        "mixed_axes": mixed_axes,
        "strokes": strokes,
    }
    folder = make_phantom(out, kind.value, **options)
    typer.echo(f"{folder}: {cases} training, {validation} validation and {test} test cases of kind '{kind.value}'.")


def _numbers(size: str | None) -> list[str] | None:
    """Split '8x128x160'; whether the parts are numbers is for the settings to say."""
    return None if size is None else size.lower().split("x")
