"""Write made-up studies as a dataset folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medcl.data.geometry import Geometry, Image
from medcl.data.io import write_image, write_map
from medcl.data.labels import UNLABELLED
from medcl.errors import DataError, SettingsError, unknown_name
from medcl.files import atomic_folder, write_json
from medcl.phantom.canvas import rotation_matrix
from medcl.phantom.kinds import KINDS, Kind
from medcl.phantom.raters import RATERS, check_raters, rate
from medcl.phantom.settings import PhantomSettings
from medcl.phantom.strokes import draw_strokes

KindName = Literal["heart", "abdomen", "scar"]
SPLITS = {"Tr": "train", "Val": "val", "Ts": "test"}


@dataclass(frozen=True)
class PhantomCase:
    """One made-up study.

    Attributes:
        image: float32 (Z, Y, X).
        label: int16 (Z, Y, X), class indices.
        scribble: int16 (Z, Y, X), class indices and UNLABELLED.
        geometry: Where the grid lies.
    """

    image: np.ndarray
    label: np.ndarray
    scribble: np.ndarray
    geometry: Geometry


def make_phantom(out: Path | str, kind: KindName, **options: Any) -> Path:
    """Write a made-up dataset: images, strokes for the training cases, dense labels for validation and test.

    Args:
        out: Folder to write; it must not exist or be empty.
        kind: heart, abdomen or scar.
        **options: Fields of `PhantomSettings`, such as cases=16, validation=4, ndim=2, seed=0, dense=True.

    Returns:
        The folder.

    Raises:
        SettingsError: Unknown kind or option, or values that do not fit together.
        DataError: The folder holds something already.
    """
    settings = PhantomSettings.parse(options, where="phantom")
    chosen = _kind(kind)
    if settings.file_ending == ".png" and settings.ndim != 2:
        raise SettingsError("phantom: .png holds single slices; use ndim=2 or another file_ending.")
    check_raters(settings.raters)
    out = Path(out)
    if out.is_dir() and any(out.iterdir()):
        raise DataError(f"{out}: expected no folder or an empty one, got files; choose another name or remove it.")
    numbers = {"Tr": settings.cases, "Val": settings.validation, "Ts": settings.test}
    with atomic_folder(out) as folder:
        for split, number in numbers.items():
            for index in range(number):
                case = phantom_case(kind, split, index, settings)
                name = f"{kind}_{SPLITS[split]}{index:03d}"
                _write_case(folder, chosen, name, split, case, settings)
                for rater in settings.raters:
                    _write_rater(folder, chosen, rater, name, split, index, case, settings)
        write_json(folder / "dataset.json", describe(kind, settings))
    return out


def phantom_case(kind: str, split: str, index: int, settings: PhantomSettings) -> PhantomCase:
    """Make one case in memory. It depends on seed, kind, split and index, not on how many cases there are.

    Args:
        kind: heart, abdomen or scar.
        split: Tr, Val or Ts.
        index: Number of the case within its split, from 0.
        settings: As for `make_phantom`; stroke settings change nothing but the strokes.
    """
    chosen = _kind(kind)
    key = [settings.seed, sum(ord(c) * 257**i for i, c in enumerate(kind)) % 2**31, list(SPLITS).index(split), index]
    placing, anatomy, drawing = (np.random.default_rng(s) for s in np.random.SeedSequence(key).spawn(3))
    size = _size(settings, chosen)
    spacing = _spacing(placing, settings, chosen, size)
    turn = chosen.rotation_degrees if settings.rotation_degrees is None else settings.rotation_degrees
    about_z, about_y, about_x = placing.standard_normal(3) * (turn, settings.tilt_degrees, settings.tilt_degrees)
    rotation = rotation_matrix((float(about_z), float(about_y), float(about_x)))
    image, label = chosen.make(anatomy, size, spacing, rotation)
    scribble = draw_strokes(drawing, label, settings.strokes)
    flips = placing.random(3) < 0.5 if settings.mixed_axes else np.zeros(3, bool)
    axes = tuple(i for i in range(3) if flips[i])
    geometry = _place(placing, chosen, size, spacing, rotation, axes)
    image, label, scribble = (np.ascontiguousarray(np.flip(a, axes)) for a in (image, label, scribble))
    return PhantomCase(image, label, scribble, geometry)


def describe(kind: str, settings: PhantomSettings) -> dict[str, Any]:
    """Return the content of `dataset.json`."""
    chosen = _kind(kind)
    labels: dict[str, int] = {name: value for value, name in enumerate(chosen.classes)}
    return {
        "name": f"phantom-{kind}",
        "description": f"Made-up {kind} studies with strokes; seed {settings.seed}.",
        "channel_names": {"0": chosen.channel},
        "labels": {**labels, "ignore": len(chosen.classes)},
        "groups": {name: [chosen.classes[i] for i in members] for name, members in chosen.groups.items()},
        "numTraining": settings.cases,
        "file_ending": settings.file_ending,
        "licence": "synthetic: made by medcl phantom, shows no person; free of any terms",
        "phantom": settings.model_dump(mode="json"),
    }


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise SettingsError(unknown_name("phantom kind", name, KINDS))
    return KINDS[name]


def _size(settings: PhantomSettings, kind: Kind) -> tuple[int, int, int]:
    given = settings.size or (160,)
    if len(given) == 3:
        depth, height, width = given
        if settings.ndim == 2 and depth != 1:
            raise SettingsError(f"phantom: ndim=2 writes single slices, got size {given}; give (y, x) or ndim=3.")
    else:
        depth, height, width = (1 if settings.ndim == 2 else kind.slices), given[0], given[-1]
    if min(height, width) < 32:
        raise SettingsError(f"phantom: expected at least 32 pixels in plane, got {height} x {width}.")
    return depth, height, width


def _spacing(
    rng: np.random.Generator, settings: PhantomSettings, kind: Kind, size: tuple[int, int, int]
) -> tuple[float, float, float]:
    factor = np.exp(rng.uniform(-1, 1, 2) * np.log1p(settings.spacing_jitter))
    thickness = kind.stack_mm / (size[0] if size[0] > 1 else kind.slices) * float(factor[0])
    in_plane = kind.field_of_view_mm / min(size[1:]) * float(factor[1])
    return round(thickness, 2), round(in_plane, 4), round(in_plane, 4)


def _place(
    rng: np.random.Generator,
    kind: Kind,
    size: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    rotation: np.ndarray,
    flipped: tuple[int, ...],
) -> Geometry:
    """Where the grid lies in the patient; an axis stored in reverse gets the opposite direction and the other end."""
    direction = np.reshape(kind.axes, (3, 3)) @ rotation
    signs = np.array([-1.0 if axis in flipped else 1.0 for axis in (2, 1, 0)])
    direction = direction * signs
    step = np.array(spacing_mm[::-1]) * (np.array(size[::-1]) - 1) / 2
    centre = rng.normal(0, 20, 3)
    x, y, z = (float(v) for v in centre - direction @ step)
    return Geometry(size, spacing_mm, (x, y, z), tuple(float(v) for v in direction.ravel()))


def _write_case(folder: Path, kind: Kind, name: str, split: str, case: PhantomCase, settings: PhantomSettings) -> None:
    ending = settings.file_ending
    picture = ending == ".png"
    geometry = _file_geometry(case, settings)
    image = _stored(case.image, kind, eight_bit=picture)
    write_image(folder / f"images{split}" / f"{name}_0000{ending}", Image(image[None], geometry))
    if split == "Tr":
        stored = np.where(case.scribble == UNLABELLED, len(kind.classes), case.scribble)
        write_map(folder / "scribblesTr" / f"{name}{ending}", stored, geometry)
    if split != "Tr" or settings.dense:
        write_map(folder / f"labels{split}" / f"{name}{ending}", case.label, geometry)


def _write_rater(
    folder: Path,
    kind: Kind,
    rater: str,
    name: str,
    split: str,
    index: int,
    case: PhantomCase,
    settings: PhantomSettings,
) -> None:
    """Write what one made-up person labels, and in training cases draws."""
    key = [settings.seed, list(SPLITS).index(split), index, list(RATERS).index(rater)]
    labelling, drawing = (np.random.default_rng(s) for s in np.random.SeedSequence(key).spawn(2))
    label, geometry = rate(case.label, RATERS[rater], labelling), _file_geometry(case, settings)
    write_map(folder / f"labels{split}" / rater / f"{name}{settings.file_ending}", label, geometry)
    if split == "Tr":
        strokes = draw_strokes(drawing, label, settings.strokes)
        stored = np.where(strokes == UNLABELLED, len(kind.classes), strokes)
        write_map(folder / "scribblesTr" / rater / f"{name}{settings.file_ending}", stored, geometry)


def _file_geometry(case: PhantomCase, settings: PhantomSettings) -> Geometry:
    """A picture has a pixel size, but no place in the patient."""
    if settings.file_ending != ".png":
        return case.geometry
    return Geometry(case.geometry.size, case.geometry.spacing_mm, file_ndim=2)


def _stored(image: np.ndarray, kind: Kind, *, eight_bit: bool) -> np.ndarray:
    """Round to the integers that scanners store: 16 bit, or 8 bit windowed for pictures."""
    if not eight_bit:
        return np.clip(np.rint(image), -32768, 32767).astype(np.int16)
    low, high = kind.display or (0.0, float(np.percentile(image, 99.5)))
    return np.rint(255 * np.clip((image - low) / max(high - low, 1e-6), 0, 1)).astype(np.uint8)
