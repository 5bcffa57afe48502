"""Which files and folders are which cases to predict, and where their results go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from medcl.data.io import IMAGE_ENDINGS, strip_ending
from medcl.data.layout import by_channel
from medcl.errors import DataError
from medcl.files import check_place

_DICOM_ENDINGS = (".dcm", ".ima")
_LOOKED_AT = 200  # files opened at most to find out whether a folder holds DICOM


@dataclass(frozen=True)
class InputCase:
    """One study to predict.

    Attributes:
        id: Name of the case; results are named after it.
        sources: One file per channel in order, or one file, DICOM folder or zip.
        problem: Why it cannot be read, where names alone tell; else None.
    """

    id: str
    sources: tuple[Path, ...]
    problem: str | None = None

    @property
    def source(self) -> Path | tuple[Path, ...]:
        """What `read_image` takes."""
        return self.sources[0] if len(self.sources) == 1 else self.sources


def collect_cases(inputs: Sequence[Path | str]) -> list[InputCase]:
    """Turn files and folders into cases, sorted by id.

    A folder of images gives its files (and zips and sub-folders of DICOM); a folder of DICOM files gives one case, a
    folder of such folders one each. `case_0000`, `case_0001`, ... in one folder are the channels of `case`; a number
    that no `_0000` goes with is part of the name.

    Args:
        inputs: Files and folders.

    Raises:
        DataError: A path does not exist or holds no image, or two cases have one name.
    """
    cases: list[InputCase] = []
    files: dict[Path, list[Path]] = {}
    for path in (Path(entry) for entry in inputs):
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; check the path.")
        if path.is_dir():
            images, studies = _in_folder(path)
            cases += studies
        else:
            images = [path]
        for image in images:
            listed = files.setdefault(image.parent.resolve(), [])
            if image.resolve() not in {other.resolve() for other in listed}:
                listed.append(image)
    for images in files.values():
        cases += _by_channel(images)
    if not cases:
        raise DataError("expected at least one image to predict, got none.")
    seen: dict[str, InputCase] = {}
    for case in cases:
        if case.id in seen and seen[case.id].sources != case.sources:
            both = f"{seen[case.id].sources[0]} and {case.sources[0]}"
            raise DataError(
                f"case '{case.id}' comes twice ({both}), one result would be lost; predict them separately."
            )
        seen[case.id] = case
    return [seen[name] for name in sorted(seen)]


def check_output(cases: Sequence[InputCase], out: Path, ending: str) -> None:
    """Refuse a place for results where they could be taken for images or overwrite one.

    Raises:
        DataError: `out` is a file or cannot be written, holds an input, or the ending is unknown or loses voxels.
    """
    if ending not in IMAGE_ENDINGS or ending in (".jpg", ".jpeg"):
        known = ", ".join(e for e in IMAGE_ENDINGS if e not in (".jpg", ".jpeg"))
        raise DataError(f"ending: expected one of {known}, got '{ending}'.")
    if out.is_file():
        raise DataError(f"{out}: expected a folder for the results, got a file; choose another one.")
    check_place(out)
    place = out.resolve()
    for case in cases:
        for source in case.sources:
            if place in (source.resolve(), source.resolve().parent):
                raise DataError(f"{out}: holds the input {source.name}; choose another folder for the results.")


def _in_folder(folder: Path) -> tuple[list[Path], list[InputCase]]:
    """Return the image files of a folder, and its DICOM studies."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    images = [entry for entry in entries if entry.is_file() and _is_image_name(entry.name)]
    if not images and any(entry.is_file() and _is_dicom_file(entry) for entry in entries[:_LOOKED_AT]):
        return [], [InputCase(folder.resolve().name, (folder,))]
    studies = [InputCase(entry.name, (entry,)) for entry in entries if entry.is_dir() and _holds_dicom(entry)]
    if not images and not studies:
        endings = ", ".join(IMAGE_ENDINGS)
        raise DataError(f"{folder}: expected images ({endings}) or DICOM, found none in {len(entries)} entries.")
    return images, studies


def _by_channel(files: Sequence[Path]) -> list[InputCase]:
    """Group the files of one folder by case."""
    cases: list[InputCase] = []
    for case, sources, whole in by_channel({path: _stem(path) for path in files}):
        found = ", ".join(path.name for path in sources)
        problem = f"{sources[0].parent}: expected case {case} with channels _0000, _0001, ... once each, got {found}."
        cases.append(InputCase(case, sources, None if whole else problem))
    return cases


def _stem(path: Path) -> str:
    return strip_ending(path.name) if path.name.lower().endswith(IMAGE_ENDINGS) else path.stem


def _is_image_name(name: str) -> bool:
    return name.lower().endswith((*IMAGE_ENDINGS, ".zip"))


def _holds_dicom(folder: Path) -> bool:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return any(_is_dicom_file(path) for path in islice(files, _LOOKED_AT))


def _is_dicom_file(path: Path) -> bool:
    """Say whether a file is DICOM by its ending or the four letters after its preamble (DICOM PS3.10, section 7.1)."""
    if path.suffix.lower() in _DICOM_ENDINGS:
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False  # an unreadable stray beside the images is not a study; unreadable images are reported when read
