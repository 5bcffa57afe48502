"""Files that callers send: limited in size, packed and unpacked, named by us, read by the readers of all rooms."""

from __future__ import annotations

import gzip
import math
import os
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock

from medcl.annotate.context import Context
from medcl.annotate.masks import inside_folder
from medcl.annotate.problems import Refused
from medcl.data.io import read_geometry, read_image, read_map
from medcl.data.layout import CHANNEL, Case, entries
from medcl.errors import DataError

UPLOAD_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
MOST_BYTES = 2 << 30
"""Bytes of an upload, and of what it unpacks to."""

MOST_VOXELS = 1 << 29
"""Voxels of an upload."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_CHUNK = 1 << 20


def receive_image(context: Context, name: str, file_name: str, stream: BinaryIO, author: str) -> str:
    """Add a training image to the data set.

    Args:
        context: The data set.
        name: Id for the case; '' takes the file's name.
        file_name: Name that the caller gave the file; only its ending counts.
        stream: The bytes.
        author: Who sends it.

    Returns:
        The id of the case.

    Raises:
        Refused: 409 the id is taken, 413 too large, 422 no usable name, not an image, or several channels wanted.
        DataError: The image cannot be read.
    """
    dataset = context.dataset()
    ending = _ending(file_name)
    case_id = name or Path(file_name.replace("\\", "/")).name[: -len(ending)]
    case_id = case_id[: -len(ending)] if case_id.endswith(ending) else case_id
    if not _NAME.fullmatch(case_id) or CHANNEL.fullmatch(case_id):
        raise Refused(
            422, "image: expected a name of 1 to 100 letters, digits, '.', '_' and '-' that ends in no channel number."
        )
    if len(dataset.channels) > 1:
        raise Refused(
            422, f"this data set has {len(dataset.channels)} channels, and an upload brings one; add the files."
        )
    _refuse_taken(context, case_id)
    folder = context.folder / "imagesTr"
    with _spooled(context, stream, ending) as path:
        channels = read_image(path).array.shape[0]
        if channels != 1:
            raise Refused(422, f"expected an image of one channel, got {channels}.")
        folder.mkdir(exist_ok=True)
        path.chmod(0o644)  # temporary files are for their owner alone
        with FileLock(context.state / "upload.lock"):
            _refuse_taken(context, case_id)  # another upload may have brought it, with another ending
            suffix = "_0000" if _named_by_channel(folder) else ""
            target = inside_folder(context, folder / f"{case_id}{suffix}{ending}")
            if os.path.lexists(target):
                raise Refused(409, f"there is a file {target.name} already; nothing is overwritten.")
            os.replace(path, target)
    with context.database.session() as session:
        context.tell(session, "project", "image", case=case_id, author=author)
    return case_id


def _refuse_taken(context: Context, case_id: str) -> None:
    if case_id in {case.id for case in context.cases()}:
        raise Refused(409, f"there is a case '{case_id}' already; nothing is overwritten, choose another name.")


def receive_map(
    context: Context, case: Case, file_name: str, stream: BinaryIO, meaning: Mapping[int, int]
) -> np.ndarray:
    """Read a label that a caller sends for a case.

    Args:
        context: The data set.
        case: Whose label.
        file_name: Name that the caller gave the file; only its ending counts.
        stream: The bytes.
        meaning: Number in the file -> class index or `UNLABELLED`.

    Returns:
        int16 (Z, Y, X) in the grid of the case's image.

    Raises:
        Refused: 413 too large, 422 another grid, or numbers without a meaning.
        DataError: The file cannot be read.
    """
    ending = _ending(file_name)
    with _spooled(context, stream, ending) as path:
        expected = read_geometry(case.images[0])
        tolerance = 0.1 * min(expected.spacing_mm)  # rounded headers pass, a shift by a voxel does not
        if differs := read_geometry(path).differences(expected, tolerance):
            raise Refused(422, f"label: expected the grid of case {case.id}, but it differs in {'; '.join(differs)}.")
        array, _ = read_map(path)
    result = np.empty(array.shape, np.int16)
    for number in np.unique(array).tolist():
        if number not in meaning:
            known = ", ".join(str(value) for value in sorted(meaning))
            raise Refused(422, f"label: unknown number {number}; known: {known}.")
        result[array == number] = meaning[number]
    return result


@contextmanager
def _spooled(context: Context, stream: BinaryIO, ending: str) -> Iterator[Path]:
    """Give a path that holds what a caller sent, under a name of ours, for the length of the block.

    What is gzipped is unpacked once to nowhere, and the header is read before any voxel, so that a small file cannot
    fill memory or disk later.
    """
    folder = context.state / "cache"
    folder.mkdir(exist_ok=True)
    handle, name = tempfile.mkstemp(prefix="upload-", suffix=ending, dir=folder)
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            _copy(stream, file)
            file.flush()
            os.fsync(file.fileno())
        if ending.endswith(".gz"):
            _check_unpacked(path)
        try:
            if math.prod(read_geometry(path).size) > MOST_VOXELS:
                raise Refused(413, f"expected at most {MOST_VOXELS} voxels, got more; put the file into the folder.")
            yield path
        except DataError as error:  # the name is ours and says nothing to the caller
            raise DataError(str(error).replace(str(path), "the file sent").replace(path.name, "it")) from None
    finally:
        path.unlink(missing_ok=True)


def _copy(stream: BinaryIO, file: BinaryIO) -> None:
    copied = 0
    while chunk := stream.read(_CHUNK):
        copied += len(chunk)
        if copied > MOST_BYTES:
            raise Refused(413, f"expected at most {MOST_BYTES >> 20} MiB, got more; put the file into the folder.")
        file.write(chunk)


def _check_unpacked(path: Path) -> None:
    unpacked = 0
    try:
        with gzip.open(path) as stream:
            while chunk := stream.read(_CHUNK):
                unpacked += len(chunk)
                if unpacked > MOST_BYTES:
                    raise Refused(413, f"expected at most {MOST_BYTES >> 20} MiB unpacked, got more.")
    except (OSError, EOFError, zlib.error):
        raise Refused(422, "expected a gzip file, as its name ends in .gz, got other or damaged bytes.") from None


def _named_by_channel(folder: Path) -> bool:
    """Whether images in a folder end in their channel; an empty folder follows the rule."""
    stems = entries(folder, folders=True)[0]
    return not stems or any(CHANNEL.fullmatch(stem) for stem in stems)


def _ending(file_name: str) -> str:
    for ending in UPLOAD_ENDINGS:
        if file_name.lower().endswith(ending):
            return ending
    raise Refused(422, f"expected a file ending in {', '.join(UPLOAD_ENDINGS)}, got '{Path(file_name).name[-40:]}'.")
