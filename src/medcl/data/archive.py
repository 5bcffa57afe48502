"""Zip files from elsewhere: unpacked where no name, size or link in them can do harm."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medcl.errors import DataError

_MOST_ZIP_BYTES = 32 << 30
_MOST_ZIP_FILES = 200_000


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Give a folder or file to search; a zip is unpacked into a temporary folder for the length of the block."""
    if path.suffix.lower() != ".zip" or path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="medcl-dicom-") as scratch:
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, Path(scratch), path)
        except (
            zipfile.BadZipFile,
            zlib.error,
            NotImplementedError,
            EOFError,
            RuntimeError,
            OSError,
            ValueError,
        ) as error:
            raise DataError(f"{path}: expected a readable zip of DICOM files, got a bad one ({error}).") from None
        yield Path(scratch)


def _unpack(archive: zipfile.ZipFile, target: Path, path: Path) -> None:
    """Unpack under numbers instead of the archive's names, so that no name can point elsewhere."""
    members = [member for member in archive.infolist() if not member.is_dir()]
    claimed = sum(member.file_size for member in members)
    room = min(_MOST_ZIP_BYTES, int(shutil.disk_usage(target).free * 0.9))
    if len(members) > _MOST_ZIP_FILES or claimed > room:
        raise DataError(
            f"{path}: expected a zip of at most {_MOST_ZIP_FILES} files that unpack to {room / 1e9:.1f} GB, "
            f"got {len(members)} files and {claimed / 1e9:.1f} GB; unpack it yourself and pass the folder."
        )
    for number, member in enumerate(members):
        left = member.file_size
        with archive.open(member) as source, (target / f"{number:06d}").open("wb") as file:
            while chunk := source.read(min(left + 1, 1 << 20)):
                left -= len(chunk)
                if left < 0:
                    raise DataError(f"{path}: '{member.filename}' unpacks to more than the zip claims; it is damaged.")
                file.write(chunk)
