"""What a folder holds: its images, its maps, and every value in them with its share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from medcl.data.init.groups import FileGroup, find_groups, in_layout, propose_sources
from medcl.data.init.patterns import assign, list_sources
from medcl.data.io import read_image, read_map
from medcl.data.layout import SPLITS, find_images, find_maps
from medcl.errors import DataError

Kind = Literal["scribbles", "labels"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ValueCount:
    """How often a value occurs in the maps of one kind.

    Attributes:
        value: The integer in the files.
        voxels: Number of voxels over all files.
        share: Part of all voxels of all files, 0..1.
        files: Number of files that hold it.
    """

    value: int
    voxels: int
    share: float
    files: int


@dataclass(frozen=True)
class Survey:
    """What was found in a folder.

    Attributes:
        folder: The folder.
        layout: Whether it has the dataset layout already.
        sources: Dataset folder name -> patterns; empty in the dataset layout.
        files: Dataset folder name ('imagesTr', 'scribblesTr/annotator0', ...) -> case -> files, relative paths.
        values: 'scribbles' and 'labels' -> every value in these files, ascending; a kind without files is left out.
        unreadable: Relative path -> why a map could not be read.
        channels: Number of channels of the images.
        colour: Whether the channels are red, green and blue of one picture file.
    """

    folder: Path
    layout: bool
    sources: dict[str, tuple[str, ...]]
    files: dict[str, dict[str, tuple[str, ...]]]
    values: dict[Kind, tuple[ValueCount, ...]]
    channels: int
    colour: bool
    unreadable: dict[str, str] = field(default_factory=dict)


def survey(
    folder: str | Path, sources: Mapping[str, Sequence[str]] | None = None, *, progress: Progress | None = None
) -> Survey:
    """Find images and maps and count every value. Reads all maps, one at a time, and the first image.

    Args:
        folder: Folder of images, in the dataset layout or in any other.
        sources: Dataset folder name ('imagesTr', 'scribblesTr', 'labelsTs', ...) -> patterns, see `Pattern`; needed
            unless the folder has the dataset layout.
        progress: Called with (done, total) after each map.

    Raises:
        DataError: No such folder, no image, names that do not pair up, or `sources` needed: the message proposes some.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of images, found {'a file' if folder.exists() else 'nothing'}.")
    layout = not sources and in_layout(folder)
    files = _layout_files(folder) if layout else _pattern_files(folder, sources or {})
    maps = [(key, path) for key, cases in files.items() if _kind(key) for paths in cases.values() for path in paths]
    counts: dict[Kind, dict[int, tuple[int, int]]] = {}
    totals: dict[Kind, int] = {}
    unreadable: dict[str, str] = {}
    for number, (key, path) in enumerate(maps):
        kind = _kind(key)
        assert kind is not None
        try:
            array = read_map(folder / path)[0]
        except DataError as error:
            unreadable[path] = str(error)
            continue
        totals[kind] = totals.get(kind, 0) + array.size
        table = counts.setdefault(kind, {})
        for value, voxels in _count(array).items():
            before = table.get(value, (0, 0))
            table[value] = (before[0] + voxels, before[1] + 1)
        if progress is not None:
            progress(number + 1, len(maps))
    values = {
        kind: tuple(ValueCount(value, n, n / totals[kind], among) for value, (n, among) in sorted(table.items()))
        for kind, table in counts.items()
    }
    channels, colour = _channels(folder, files["imagesTr"])
    return Survey(folder, layout, dict(_frozen(sources)), files, values, channels, colour, unreadable)


def list_groups(folder: Path) -> list[FileGroup]:
    """List the ways of naming files below a folder, with a proposal of what each is."""
    return find_groups(list_sources(folder))


def _count(array: np.ndarray) -> dict[int, int]:
    """Count every value; much faster than sorting where values lie close together, as in maps."""
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    if high - low < 1 << 16:
        counts = np.bincount(array.ravel().astype(np.int64) - low)
        return {int(index) + low: int(counts[index]) for index in np.flatnonzero(counts)}
    return {int(value): int(count) for value, count in zip(*np.unique(array, return_counts=True), strict=True)}


def _frozen(sources: Mapping[str, Sequence[str]] | None) -> dict[str, tuple[str, ...]]:
    return {key: tuple(patterns) for key, patterns in (sources or {}).items()}


def _kind(key: str) -> Kind | None:
    return "scribbles" if key.startswith("scribbles") else "labels" if key.startswith("labels") else None


def _layout_files(folder: Path) -> dict[str, dict[str, tuple[str, ...]]]:
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for split in SPLITS:
        cases, problems = find_images(folder / f"images{split}", channels=10000)
        fatal = [problem.message for problem in problems if problem.fatal]
        if fatal:
            raise DataError(f"{folder}: " + " ".join(fatal))
        for case, channels in cases.items():
            if sorted(channels) != list(range(len(channels))):
                suffixes = ", ".join(f"_{channel:04d}" for channel in sorted(channels))
                raise DataError(
                    f"{folder}/images{split}: case '{case}' has the channels {suffixes}, but they count from _0000; "
                    "add what is missing, or, if these digits belong to the name, "
                    f"use --out with --images 'images{split}/{{case}}'."
                )
            found.setdefault(f"images{split}", {})[case] = tuple(
                str(channels[i].relative_to(folder)) for i in range(len(channels))
            )
        for base in (folder / f"scribbles{split}", folder / f"labels{split}"):
            people = sorted(p for p in base.iterdir() if p.is_dir() and p.name[0] != ".") if base.is_dir() else []
            for place in (base, *people):
                maps = find_maps(place)[0]
                if maps:
                    key = place.relative_to(folder).as_posix()
                    found[key] = {case: (str(path.relative_to(folder)),) for case, path in maps.items()}
    if "imagesTr" not in found:
        raise DataError(f"{folder}/imagesTr: expected images named <case>_0000.<ending>, found none.")
    return found


def _pattern_files(folder: Path, sources: Mapping[str, Sequence[str]]) -> dict[str, dict[str, tuple[str, ...]]]:
    paths = list_sources(folder)
    if not paths:
        raise DataError(f"{folder}: no image files in it or below; known are NIfTI, NRRD, MHA, TIFF, PNG, JPEG, DICOM.")
    if "imagesTr" not in sources:
        groups = find_groups(paths)
        shown = "; ".join(f"'{group.pattern}' ({len(group.files)} files)" for group in groups[:8])
        proposal = propose_sources(groups)
        options = " ".join(f"{option_of(key)} '{text}'" for key, texts in sorted(proposal.items()) for text in texts)
        raise DataError(
            f"{folder}: has no imagesTr, so say which files are what with --images PATTERN and --scribbles PATTERN or "
            f"--labels PATTERN, and where to put the data set with --out DIR; found: {shown}."
            + (f" Proposal: {options}" if options else "")
        )
    for key, texts in sources.items():
        if _kind(key) and len(texts) > 1:
            raise DataError(f"{key}: expected one pattern, got {len(texts)}: {', '.join(texts)}.")
    return assign(paths, sources, folder)


def option_of(key: str) -> str:
    """Return the command line option for a dataset folder name: 'labelsVal' gives '--labels-val'."""
    for split, tail in (("Tr", ""), ("Val", "-val"), ("Ts", "-test")):
        if key.endswith(split):
            return f"--{key.removesuffix(split)}{tail}"
    raise DataError(f"'{key}' is no dataset folder such as imagesTr.")


def _channels(folder: Path, images: Mapping[str, tuple[str, ...]]) -> tuple[int, bool]:
    first = next(iter(images.values()))
    if len(first) > 1:
        return len(first), False
    image = read_image(folder / first[0])
    return image.array.shape[0], bool(image.metadata.get("colour"))
