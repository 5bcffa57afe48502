"""Where the voxels of a study lie in a download: a file, a file of channels, DICOM slices, a picture per slice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from medcl.data.dicom import read_slices
from medcl.data.geometry import Geometry, Image
from medcl.data.io import read_image, read_map, read_time_series
from medcl.errors import DataError


class Volume(Protocol):
    """Channels of an image, or a map."""

    @property
    def path(self) -> Path:
        """The file, or the folder of several, for messages."""
        ...

    def read(self) -> Image:
        """Read it as an image (C, Z, Y, X)."""
        ...

    def read_map(self) -> tuple[np.ndarray, Geometry]:
        """Read it as a map: integers (Z, Y, X) as the source has them, and their geometry."""
        ...


@dataclass(frozen=True)
class File:
    """A volume in a file of its own."""

    path: Path

    def read(self) -> Image:
        """Read the file."""
        return read_image(self.path)

    def read_map(self) -> tuple[np.ndarray, Geometry]:
        """Read the file as a map."""
        return read_map(self.path)


@dataclass(frozen=True)
class Series:
    """A NIfTI file with four axes (x, y, z, channel), as the Decathlon has them."""

    path: Path

    def read(self) -> Image:
        """Read all channels."""
        return read_time_series(self.path)

    def read_map(self) -> tuple[np.ndarray, Geometry]:
        """Maps have no channels."""
        raise DataError(f"{self.path}: expected a map with three axes.")


@dataclass(frozen=True)
class DicomSlices:
    """A volume of DICOM files, one per slice, whatever series they say they are of."""

    files: tuple[Path, ...]

    @property
    def path(self) -> Path:
        """The folder of the files."""
        return self.files[0].parent

    def read(self) -> Image:
        """Read the files, put in order by their positions."""
        return read_slices(self.files)[0]

    def read_map(self) -> tuple[np.ndarray, Geometry]:
        """Maps are not DICOM here."""
        raise DataError(f"{self.path}: expected a map, got DICOM images.")


@dataclass(frozen=True)
class Pictures:
    """A map with one picture per DICOM slice; the n-th name of one kind belongs to the n-th of the other.

    Attributes:
        files: Pictures.
        slices: The DICOM files that they were drawn on, which say where each picture lies.
    """

    files: tuple[Path, ...]
    slices: tuple[Path, ...]

    @property
    def path(self) -> Path:
        """The folder of the pictures."""
        return self.files[0].parent

    def read(self) -> Image:
        """Pictures are maps here."""
        raise DataError(f"{self.path}: expected an image, got pictures of a map.")

    def read_map(self) -> tuple[np.ndarray, Geometry]:
        """Read the pictures and stack them in the order of the slices' positions."""
        if len(self.files) != len(self.slices):
            raise DataError(
                f"{self.path}: expected a picture for each of the {len(self.slices)} slices, got {len(self.files)}."
            )
        image, ordered = read_slices(self.slices)
        picture_of = dict(zip(in_order(self.slices), in_order(self.files), strict=True))
        planes = []
        for file in (picture_of[path] for path in ordered):
            plane, _ = read_map(file)
            if plane.shape[1:] != image.geometry.size[1:]:
                raise DataError(
                    f"{file}: expected {image.geometry.size[1:]} pixels (y, x) as the slices have, got "
                    f"{plane.shape[1:]}."
                )
            planes.append(plane[0])
        return np.stack(planes), image.geometry


def in_order(files: Sequence[Path]) -> list[Path]:
    """Sort files by name, numbers by their value: 2 comes before 10 whether or not names are padded."""

    def key(path: Path) -> list[tuple[int, str]]:
        parts = re.split(r"(\d+)", path.name)
        return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]

    return sorted(files, key=key)
