"""What a data set shows: sizes, spacings, orientations and intensities of its training images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medcl.data.geometry import Geometry
from medcl.data.grid import CANONICAL_DEGREES, canonical_axes, slice_axis_first
from medcl.errors import DataError

if TYPE_CHECKING:
    from medcl.data.dataset import Case, Dataset

MOST_CASES = 128
"""Larger sets are surveyed on this many cases, evenly spaced over the sorted names."""

SAMPLE = 20_011
"""About how many voxels per case and channel enter intensity statistics."""

HOUNSFIELD_MINIMUM = -200.0
"""Images that reach below this hold signed absolute units: in CT, fat lies near -100 and air at -1000."""


@dataclass(frozen=True)
class ChannelSurvey:
    """Intensities of one channel over the cases.

    Attributes:
        name: As in dataset.json.
        minimum: Lowest value per case.
        maximum: Highest value per case.
        zeros: Share of exact zeros per case.
        kinds: Numpy type per case, such as `uint8`.
        sample: Values of all cases, evenly spaced over the voxels.
        foreground: The same, only where a structure (class 1 or higher) is stroked or labelled; gathered only for
            channels that may hold CT.
    """

    name: str
    minimum: np.ndarray
    maximum: np.ndarray
    zeros: np.ndarray
    kinds: tuple[str, ...]
    sample: np.ndarray
    foreground: np.ndarray


@dataclass(frozen=True)
class Survey:
    """Facts about the training images of a data set.

    Attributes:
        sizes: (cases, 3) voxels (z, y, x), the slice axis brought to z.
        spacings_mm: (cases, 3), the same order.
        turned_sizes: (cases, 3) voxels with LPS axes.
        turned_spacings_mm: (cases, 3) with LPS axes.
        canonical: Whether the axes of all cases lie within `CANONICAL_DEGREES` of the patient's.
        channels: One entry per channel.
    """

    sizes: np.ndarray
    spacings_mm: np.ndarray
    turned_sizes: np.ndarray
    turned_spacings_mm: np.ndarray
    canonical: bool
    channels: tuple[ChannelSurvey, ...]


def looks_like_ct(name: str) -> bool:
    """Whether a channel's name says CT, as nnU-Net's `CT`, alone or before a remark: `CT (windowed)`."""
    return name.strip().lower().split(" ")[0].rstrip(":,;") == "ct"


def survey(dataset: Dataset) -> Survey:
    """Read the training images and gather what a plan needs.

    Args:
        dataset: Its `Tr` cases are read, at most `MOST_CASES` of them.

    Raises:
        DataError: There is no training image, or one cannot be read or has another number of channels.
    """
    cases = sorted(dataset.cases("Tr"), key=lambda case: case.id)
    if not cases:
        raise DataError(f"{dataset.folder}: expected images in imagesTr, got none; add them or check the names.")
    if len(cases) > MOST_CASES:
        cases = [cases[i] for i in np.linspace(0, len(cases) - 1, MOST_CASES).round().astype(int)]
    geometries: list[Geometry] = []
    gathered: list[list[_ChannelOfCase]] = []
    for case in cases:
        image = dataset.read_image(case)
        if image.array.shape[0] != len(dataset.channels):
            raise DataError(
                f"case {case.id}: expected {len(dataset.channels)} channels ({', '.join(dataset.channels)}), "
                f"got {image.array.shape[0]}; correct channel_names in dataset.json or the files."
            )
        geometries.append(image.geometry)
        gathered.append(_channels_of(dataset, case, image.array))
    plain = [slice_axis_first(g) for g in geometries]
    turned = [canonical_axes(g) for g in geometries]
    return Survey(
        sizes=_reorder([g.size for g in geometries], plain),
        spacings_mm=_reorder([g.spacing_mm for g in geometries], plain),
        turned_sizes=_reorder([g.size for g in geometries], [order for order, _, _ in turned]),
        turned_spacings_mm=_reorder([g.spacing_mm for g in geometries], [order for order, _, _ in turned]),
        canonical=all(angle <= CANONICAL_DEGREES for _, _, angle in turned),
        channels=tuple(
            _merge(name, [channels[index] for channels in gathered]) for index, name in enumerate(dataset.channels)
        ),
    )


@dataclass(frozen=True)
class _ChannelOfCase:
    minimum: float
    maximum: float
    zeros: float
    kind: str
    sample: np.ndarray
    foreground: np.ndarray


def _channels_of(dataset: Dataset, case: Case, array: np.ndarray) -> list[_ChannelOfCase]:
    result = []
    inside: np.ndarray | None = None
    for name, channel in zip(dataset.channels, array, strict=True):
        minimum, maximum = float(channel.min()), float(channel.max())
        if not (np.isfinite(minimum) and np.isfinite(maximum)):
            raise DataError(
                f"case {case.id}: expected finite values in channel {name}, got NaN or infinity; repair it."
            )
        foreground = channel.reshape(-1)[:0]
        if looks_like_ct(name) or minimum < HOUNSFIELD_MINIMUM:
            if inside is None:
                inside = _structures(dataset, case, channel.shape)
            foreground = _thin_out(channel[inside])
        sample = _thin_out(channel)
        zeros = float(np.mean(sample == 0))
        result.append(_ChannelOfCase(minimum, maximum, zeros, str(array.dtype), sample, foreground))
    return result


def _structures(dataset: Dataset, case: Case, shape: tuple[int, ...]) -> np.ndarray:
    """Where a class other than background is drawn, or labelled if nothing is drawn: bool (Z, Y, X)."""
    if case.scribble is not None:
        values = dataset.read_scribble(case)
    elif case.label is not None:
        values = dataset.read_label(case)
    else:
        return np.zeros(shape, dtype=bool)
    if values.shape != shape:
        raise DataError(f"case {case.id}: expected strokes of shape {shape} like the image, got {values.shape}.")
    return values > 0


def _thin_out(values: np.ndarray) -> np.ndarray:
    """Return about `SAMPLE` values, evenly spaced; an odd step does not run along one column of an even grid."""
    step = max(1, values.size // SAMPLE) | 1
    return values.reshape(-1)[::step].astype(np.float32)


def _reorder(triples: list[tuple[int, int, int]] | list[tuple[float, float, float]], orders: list) -> np.ndarray:
    return np.array([[triple[axis] for axis in order] for triple, order in zip(triples, orders, strict=True)])


def _merge(name: str, cases: list[_ChannelOfCase]) -> ChannelSurvey:
    return ChannelSurvey(
        name=name,
        minimum=np.array([case.minimum for case in cases]),
        maximum=np.array([case.maximum for case in cases]),
        zeros=np.array([case.zeros for case in cases]),
        kinds=tuple(case.kind for case in cases),
        sample=np.concatenate([case.sample for case in cases]),
        foreground=np.concatenate([case.foreground for case in cases]),
    )
