"""Which files of a dataset folder belong to which case. Names only: no file is opened."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from medcl.data.io import IMAGE_ENDINGS
from medcl.errors import DataError, unknown_name

T = TypeVar("T")
Split = Literal["Tr", "Val", "Ts"]
SPLITS: tuple[Split, ...] = ("Tr", "Val", "Ts")
CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})", re.DOTALL)
"""A name without ending that ends in a channel."""

DICOM_ENDINGS = (".zip", ".dcm", ".ima")
"""Endings of single files that hold DICOM; folders of DICOM have none."""


@dataclass(frozen=True)
class Case:
    """One study of a dataset folder.

    Attributes:
        id: Name of the case: the file name without ending and channel suffix.
        split: Tr (training), Val (validation) or Ts (test).
        images: One file (or DICOM folder) per channel in channel order, or one that holds all channels.
        scribble: Scribble file, if there is one.
        label: Dense label file, if there is one.
        annotated: Class indices that somebody looked for in this case; classes not in it are unknown, not absent.
        missing: Channel indices without a file while other channels of the case have one.
    """

    id: str
    split: Split
    images: tuple[Path, ...]
    scribble: Path | None
    label: Path | None
    annotated: tuple[int, ...]
    missing: tuple[int, ...] = ()


@dataclass(frozen=True)
class Problem:
    """Something about the names in a dataset folder.

    Attributes:
        kind: duplicate-file, duplicate-case, unknown-channel, missing-channel, map-without-image or stray-file.
        case: Id of the case, or the file's name where no case can be told.
        message: One sentence: expected, got, do this.
        fatal: True where the folder cannot be used without choosing for the user.
    """

    kind: str
    case: str
    message: str
    fatal: bool


def split_ending(name: str) -> tuple[str, str]:
    """Part a name from its ending in lower case: 'A.NII.GZ' gives ('A', '.nii.gz'); an unknown ending is ''."""
    for ending in (*IMAGE_ENDINGS, *DICOM_ENDINGS):
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)], ending
    return name, ""


def by_channel(stems: Mapping[T, str]) -> list[tuple[str, tuple[T, ...], bool]]:
    """Group files outside a dataset folder by case: `case_0000`, `case_0001`, ... are the channels of `case`.

    A number that no `_0000` goes with is part of the name.

    Args:
        stems: File -> its name without ending; with its folders where files of several folders are given.

    Returns:
        Case, its files by channel, and whether the channels count from 0 without a gap, once each.
    """
    matches = {file: CHANNEL.fullmatch(stem) for file, stem in stems.items()}
    with_first = {match["case"] for match in matches.values() if match and match["channel"] == "0000"}
    groups: dict[tuple[str, int], list[tuple[int, T]]] = {}
    for at, (file, match) in enumerate(matches.items()):
        if match and match["case"] in with_first:
            groups.setdefault((match["case"], -1), []).append((int(match["channel"]), file))
        else:
            groups[stems[file], at] = [(0, file)]
    found = []
    for (case, _), channels in groups.items():
        channels.sort(key=lambda channel: channel[0])
        whole = [number for number, _ in channels] == list(range(len(channels)))
        found.append((case, tuple(file for _, file in channels), whole))
    return found


def probability_name(case: str, index: int, class_name: str) -> str:
    """Return the name, without ending, of the file in which prediction writes the probability of a class."""
    label = re.sub(r"[^\w.-]+", "-", class_name)
    return f"{case}_{index}_{label}"


def entries(folder: Path, *, folders: bool) -> tuple[dict[str, list[Path]], list[Path]]:
    """List what a folder holds, by name without ending.

    Args:
        folder: Folder to list; a missing one is empty.
        folders: Whether sub-folders and zip files count (an image may be a folder or a zip of DICOM).

    Returns:
        Stem -> paths (two when the same name has two endings), and what has no known ending. Hidden entries are left
        out.
    """
    found: dict[str, list[Path]] = {}
    strays: list[Path] = []
    if not folder.is_dir():
        return found, strays
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if folders:
                found.setdefault(path.name, []).append(path)
        elif split_ending(path.name)[1] in (IMAGE_ENDINGS + DICOM_ENDINGS if folders else IMAGE_ENDINGS):
            found.setdefault(split_ending(path.name)[0], []).append(path)
        else:
            strays.append(path)
    return found, strays


def find_images(folder: Path, channels: int) -> tuple[dict[str, dict[int, Path]], list[Problem]]:
    """Group the files of an image folder by case and channel.

    Names end in the channel (`case_0000.nii.gz`). A folder in which no name does so holds one file per case.

    Args:
        folder: imagesTr, imagesVal or imagesTs.
        channels: Number of channels that `dataset.json` names.

    Returns:
        Case id -> channel index -> file, and what is wrong with names.
    """
    found, strays = entries(folder, folders=True)
    problems = [_stray(path) for path in strays]
    matches = {stem: CHANNEL.fullmatch(stem) for stem in found}
    plain = not any(matches.values())
    cases: dict[str, dict[int, Path]] = {}
    for stem, paths in found.items():
        match = matches[stem]
        case, channel = (match["case"], int(match["channel"])) if match else (stem, 0)
        if len(paths) > 1:
            problems.append(_duplicate(folder, case, paths))
        if (match is None and not plain) or channel >= channels:
            suffixes = ", ".join(f"_{index:04d}" for index in range(channels))
            text = (
                f"{folder.name}/{paths[0].name}: expected a name that ends in the channel ({suffixes}); "
                "rename it or name all channels in dataset.json (channel_names)."
            )
            problems.append(Problem("unknown-channel", case, text, True))
            continue
        cases.setdefault(case, {})[channel] = paths[0]
    return cases, problems


def find_maps(folder: Path) -> tuple[dict[str, Path], list[Problem]]:
    """Group the files of a scribble or label folder by case, as `find_images` does."""
    found, strays = entries(folder, folders=False)
    problems = [_stray(path) for path in strays]
    for case, paths in found.items():
        if len(paths) > 1:
            problems.append(_duplicate(folder, case, paths))
    return {case: paths[0] for case, paths in found.items()}, problems


def choose_scribbles(folder: Path, wanted: str | None) -> str:
    """Return the part of the scribble folders' path below `scribbles<split>`: '' or the name of an annotator's folder.

    Args:
        folder: Dataset folder.
        wanted: 'scribblesTr', 'scribblesTr/<annotator>' or '<annotator>', or None.

    Raises:
        DataError: The folder does not exist, or several annotators are there and none was chosen.
    """
    for split in SPLITS:
        base = folder / f"scribbles{split}"
        people = sorted(p.name for p in base.iterdir() if p.is_dir() and p.name[0] != ".") if base.is_dir() else []
        if not people:
            continue
        options = ", ".join(f"scribbles{split}/{name}" for name in people)
        if wanted is None:
            if entries(base, folders=False)[0]:
                return ""
            raise DataError(f"{base}: holds one folder per annotator; choose one with scribbles=: {options}.")
        name = wanted.rstrip("/").rpartition("/")[2]
        if name in people:
            return name
        if name != base.name:
            raise DataError(f"{folder}: no scribble folder '{wanted}'; there are: {options}.")
    if wanted is not None and not (folder / wanted).is_dir():
        there = sorted(p.name for p in folder.glob("scribbles*") if p.is_dir())
        raise DataError(f"{folder}: no scribble folder '{wanted}'; there are: {', '.join(there) or 'none'}.")
    return ""


def choose_labels(folder: Path, wanted: str | None) -> str:
    """Return the part of the label folders' path below `labels<split>`: '' or the name of a rater's folder.

    Args:
        folder: Dataset folder.
        wanted: 'labelsTr/<rater>' or '<rater>', or None for the files that lie in the label folders themselves.

    Raises:
        DataError: No part has a folder of that name.
    """
    if wanted is None:
        return ""
    name = wanted.rstrip("/").rpartition("/")[2]
    there = rater_folders(folder, "labels")
    if name not in there:
        raise DataError(f"{folder}: labels: {unknown_name('rater', wanted, there)}")
    return name


def rater_folders(folder: Path, kind: Literal["labels", "scribbles"]) -> tuple[str, ...]:
    """Return the sub-folders of the label (or scribble) folders of all parts: one per rater or fused map, sorted."""
    bases = [folder / f"{kind}{split}" for split in SPLITS]
    names = {p.name for base in bases if base.is_dir() for p in base.iterdir() if p.is_dir() and p.name[0] != "."}
    return tuple(sorted(names))


def find_cases(
    folder: Path,
    channels: Sequence[str],
    annotator: str,
    annotated: dict[str, tuple[int, ...]],
    classes: int,
    *,
    rater: str = "",
) -> tuple[dict[Split, list[Case]], list[Problem]]:
    """Put images, scribbles and labels of all splits together.

    Args:
        folder: Dataset folder.
        channels: Channel names.
        annotator: Sub-folder of the scribble folders, or ''.
        annotated: Case id -> class indices, for the cases that say so.
        classes: Number of classes; all of them are annotated in the other cases.
        rater: Sub-folder of the label folders, or ''.

    Returns:
        Cases by split, sorted by id, and problems in the order found.
    """
    cases: dict[Split, list[Case]] = {}
    problems: list[Problem] = []
    for split in SPLITS:
        images, found = find_images(folder / f"images{split}", len(channels))
        problems += found
        maps: list[dict[str, Path]] = []
        for base in (folder / f"scribbles{split}" / annotator, folder / f"labels{split}" / rater):
            files, found = find_maps(base)
            problems += found
            for case in files.keys() - images.keys():
                text = f"{base.name}/{files[case].name}: no image of this name in images{split}; add it or remove this."
                problems.append(Problem("map-without-image", case, text, False))
            maps.append(files)
        cases[split] = []
        for case, files_by_channel in sorted(images.items()):
            missing = tuple(sorted(set(range(len(channels))) - files_by_channel.keys()))
            if set(files_by_channel) == {0}:
                missing = ()  # one file may hold all channels; reading tells
            if missing:
                names = ", ".join(f"{channels[index]} (_{index:04d})" for index in missing)
                problems.append(Problem("missing-channel", case, f"images{split}: case {case} lacks {names}.", False))
            files_in_order = tuple(files_by_channel[index] for index in sorted(files_by_channel))
            who = annotated.get(case, tuple(range(classes)))
            cases[split].append(Case(case, split, files_in_order, maps[0].get(case), maps[1].get(case), who, missing))
    both = {case.id for case in cases["Tr"]} & {case.id for case in cases["Val"]}
    for name in sorted(both):
        text = f"case {name} is in imagesTr and in imagesVal; validation needs other cases, remove or rename one."
        problems.append(Problem("duplicate-case", name, text, True))
    return cases, problems


def _duplicate(folder: Path, case: str, paths: Sequence[Path]) -> Problem:
    names = " and ".join(path.name for path in paths)
    return Problem("duplicate-file", case, f"{folder.name}: {names} are both of case {case}; keep one.", True)


def _stray(path: Path) -> Problem:
    text = f"{path.parent.name}/{path.name}: not an image (known endings: {', '.join(IMAGE_ENDINGS)}); it is not used."
    return Problem("stray-file", path.name, text, False)
