"""A plain folder of scans becomes a data set: the user names the classes, files stay where and as they are.

A folder in the dataset layout (`imagesTr`) gets its `dataset.json`. Any other folder gets a folder `medcl-dataset`
inside it, with `dataset.json` and links to the scans, as `medcl init --out` makes it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from medcl.annotate.schemas import Setup
from medcl.data.init import Survey, init_dataset, survey
from medcl.data.init.groups import find_groups, in_layout
from medcl.data.init.patterns import list_sources
from medcl.data.io import read_image
from medcl.data.labels import BACKGROUND, IGNORE
from medcl.data.layout import by_channel, split_ending
from medcl.errors import DataError

if TYPE_CHECKING:
    from medcl.annotate.context import Context

DATASET_FOLDER = "medcl-dataset"
"""Folder that a plain folder of scans gets."""

_MOST_FOUND = 1000


def dataset_folder(home: Path) -> Path:
    """Return where the data set of a folder is or will be: the folder itself, or `medcl-dataset` in it.

    Raises:
        DataError: No such folder, or nothing in it is an image.
    """
    if not home.is_dir():
        raise DataError(f"{home}: expected a folder of scans, found {'a file' if home.exists() else 'nothing'}.")
    if (home / "dataset.json").is_file() or in_layout(home):
        return home
    if not (home / DATASET_FOLDER / "dataset.json").is_file() and not found_scans(home):
        raise DataError(f"{home}: no images in it or below; known are NIfTI, NRRD, MHA, TIFF, PNG, JPEG, DICOM.")
    return home / DATASET_FOLDER


def named_home(folder: Path) -> Path:
    """Return the folder whose scans a data set links: that above `medcl-dataset`, else the folder itself."""
    made_here = folder.name == DATASET_FOLDER and (folder / "dataset.json").is_file() and not in_layout(folder.parent)
    return folder.parent if made_here and not (folder.parent / "dataset.json").exists() else folder


def not_taken(context: Context) -> str:
    """Say which scans of a plain folder came after its data set was made; '' where none did."""
    if context.needs_setup or context.home == context.folder:
        return ""
    inside = f"{context.folder.relative_to(context.home).as_posix()}/"
    known = {image.resolve() for case in context.cases() for image in case.images}
    new = [path for path in list_sources(context.home) if not path.startswith(inside)]
    new = [path for path in new if (context.home / path).resolve() not in known]
    if not new:
        return ""
    more = f" and {len(new) - 3} more" if len(new) > 3 else ""
    return (
        f"{', '.join(new[:3])}{more}: in the folder, not in its data set, which was made before. To add one, put it or "
        f"a link to it into {inside}imagesTr as NAME_0000 with its ending."
    )


def found_scans(home: Path) -> list[str]:
    """List the scans of a folder that is not set up, relative to it."""
    return list_sources(home)[:_MOST_FOUND]


def set_up(context: Context, answers: Setup) -> None:
    """Write `dataset.json`, and links where the folder is not in the dataset layout.

    Raises:
        DataError: Names that cannot be, scans that cannot be told apart, or a folder that cannot be written.
    """
    if not context.needs_setup:
        raise DataError("this folder is set up already: it has a dataset.json.")
    names = [name.strip() for name in answers.classes]
    for name in names:
        if not name or name.lower() in (BACKGROUND, IGNORE) or not name.isprintable():
            raise DataError(f"classes: expected names of structures, got '{name}'; background needs no name.")
    if len(set(names)) < len(names):
        raise DataError(f"classes: each needs a name of its own, got {', '.join(names)}.")
    for group, members in answers.groups.items():
        if unknown := [member for member in members if member not in names]:
            raise DataError(f"groups: '{group}' names {', '.join(unknown)}; known: {', '.join(names)}.")
    found = survey(context.home) if in_layout(context.home) else _scans(context)
    if found.values:
        raise DataError(_only_you_know(context.home, " and ".join(found.values)))
    channels = ["R", "G", "B"] if found.colour else [answers.channel.strip()]
    if not found.colour and found.channels > 1:
        channels = [f"{answers.channel.strip()} {number + 1}" for number in range(found.channels)]
    init_dataset(
        context.home,
        background=0,
        ignore=len(names) + 1,
        classes=dict(enumerate(names, start=1)),
        channels=channels,
        groups=answers.groups or None,
        name=context.home.name,
        out=None if found.layout else context.folder,
        found=found,
    )


def _scans(context: Context) -> Survey:
    """Take every image of a folder as a case; `case_0000`, `case_0001`, ... are the channels of one.

    Raises:
        DataError: Some files are called like masks or strokes, or the folder itself is one DICOM series, or channels
            are missing.
    """
    home = context.home
    paths = list_sources(home)
    for path in paths:
        context.inside(home / path)
    loose = [path for path in paths if "/" not in path and path.lower().endswith((".dcm", ".ima"))]
    if len(loose) > 1:
        raise DataError(
            f"{home.name}: holds {len(loose)} loose DICOM files; put each series into a folder of its own inside it."
        )
    other = [group for group in find_groups(paths) if group.role not in (None, "images")]
    if other:
        kinds = " and ".join(sorted({str(group.role) for group in other}))
        raise DataError(_only_you_know(home, f"{kinds} (such as {other[0].files[0]})"))
    found = by_channel({path: split_ending(path)[0] for path in paths})
    stems = Counter(whole.rpartition("/")[2] for whole, _, _ in found)
    cases: dict[str, tuple[str, ...]] = {}
    for whole, files, complete in found:
        if not complete:
            raise DataError(
                f"{home.name}: expected channels _0000, _0001, ... of {whole} once each, got {', '.join(files)}; "
                "rename or remove some."
            )
        stem = whole.rpartition("/")[2]
        name = stem if stems[stem] == 1 else whole.replace("/", "_")
        if name in cases:  # the same name with two endings
            name = files[0].replace("/", "_").replace(".", "_")
        if name in cases:
            raise DataError(f"{home.name}: {files[0]} and {cases[name][0]} would be one case; rename one of them.")
        cases[name] = files
    numbers = {len(files) for files in cases.values()}
    if len(numbers) > 1:
        few, many = (next(name for name in cases if len(cases[name]) == n) for n in (min(numbers), max(numbers)))
        raise DataError(
            f"{home.name}: expected as many channels in every case, got {min(numbers)} in {few} and {max(numbers)} in "
            f"{many}; put one kind into a folder of its own."
        )
    first = read_image(home / paths[0])
    channels = max(len(first.array), *numbers)
    return Survey(home, False, {}, {"imagesTr": cases}, {}, channels, bool(first.metadata.get("colour")))


def _only_you_know(home: Path, kinds: str) -> str:
    return f"{home.name}: seems to hold {kinds} too, and only you know what they mean; run: medcl init '{home.name}'"
