"""Files that are whole or not there: atomic writing, JSON and digests."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medcl.errors import DataError

TEMPORARY_PREFIX = ".tmp-"
"""Names that start so are unfinished; whoever lists a folder leaves them out (they are hidden files anyway)."""


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Give a temporary path to write to; it takes the place of `path` when the block ends without an error.

    Readers see the old file or the whole new one, never a part, whenever the process dies. The temporary file lies in
    the same folder and keeps the ending, so that writers which choose a format by the ending work.

    Args:
        path: Where the file shall be; missing folders are made.

    Yields:
        The path to write to.

    Raises:
        DataError: The block wrote no file, or the folder cannot be written.
    """
    path = Path(path)
    temporary = _temporary_name(path)
    mode = _usual_mode(temporary)
    try:
        yield temporary
        if not temporary.is_file():
            raise DataError(f"{path}: expected a file to be written, but none was.")
        # Some writers (safetensors) make files for their owner alone, which a group could then not share.
        temporary.chmod(mode)
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Give a temporary folder to fill; it takes the place of `path` when the block ends without an error.

    An older folder at `path` is moved aside first and deleted last; between the two renames, and only then, a killed
    process leaves the old content under its temporary name.

    Args:
        path: Where the folder shall be; missing parents are made.

    Yields:
        The folder to write into; it exists and is empty.

    Raises:
        DataError: `path` is a file, or its parent cannot be written.
    """
    with atomic_folders([path]) as (temporary,):
        yield temporary


@contextmanager
def atomic_folders(paths: Sequence[Path | str], *, gone: Sequence[Path | str] = ()) -> Iterator[tuple[Path, ...]]:
    """Give temporary folders to fill; all take their places when the block ends without an error, or none does.

    As `atomic_folder`, for folders that belong together: nothing is renamed before all are whole, a rename that fails
    takes back those before it, and what was there before is deleted last.

    Args:
        paths: Where the folders shall be; missing parents are made.
        gone: Folders that shall not be there afterwards; missing ones are fine.

    Yields:
        The folders to write into, in the order of `paths`; they exist and are empty.

    Raises:
        DataError: One of `paths` is a file, or its parent cannot be written.
    """
    places = [Path(path) for path in paths]
    for path in places:
        if path.is_file():
            raise DataError(f"{path}: expected a folder or nothing, got a file; remove it or choose another name.")
    new: dict[Path, Path] = {}
    old: dict[Path, Path] = {}
    try:
        for path in places:
            new[path] = _temporary_name(path)
            new[path].mkdir()
        yield tuple(new.values())
        for temporary in new.values():
            for folder, _, names in os.walk(temporary):
                for name in names:
                    sync(Path(folder) / name)
                sync(Path(folder))
        _swap(new, [Path(path) for path in gone], old)
    finally:
        for temporary in (*new.values(), *old.values()):
            shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Mapping[Path, Path], gone: Sequence[Path], old: dict[Path, Path]) -> None:
    """Put new folders in their places; `old` then says what was moved aside where, which is nothing after an error."""
    placed: list[Path] = []
    try:
        for path in (*new, *gone):
            if path.exists():
                old[path] = _temporary_name(path)
                os.replace(path, old[path])
            if path in new:
                os.replace(new[path], path)
                placed.append(path)
    except BaseException:  # an interrupt too: the caller deletes what is still in `old`
        for path in placed:
            os.replace(path, new[path])
        while old:
            path, aside = old.popitem()
            if aside.exists():
                os.replace(aside, path)
        raise
    for parent in {path.parent for path in (*placed, *old)}:
        sync(parent)


def check_place(folder: Path | str) -> None:
    """Refuse a folder for results that could not be made or written, before the work whose results it shall hold.

    Nothing is made.

    Args:
        folder: Where results shall go; it need not exist.

    Raises:
        DataError: It, or a folder above it, is a file or cannot be written.
    """
    folder = Path(folder)
    nearest = next((place for place in (folder, *folder.absolute().parents) if place.exists()), folder)
    if not nearest.is_dir():
        raise DataError(f"{folder}: expected a folder for results, but {nearest} is a file; choose another place.")
    if not os.access(nearest, os.W_OK):
        raise DataError(f"{folder}: {nearest} cannot be written; check its permissions or choose another place.")


def write_json(path: Path | str, obj: Any) -> None:
    """Write readable JSON atomically: UTF-8, two spaces, keys in the order given, a newline at the end.

    Raises:
        DataError: The object holds something that JSON does not know (NaN and infinity included).
    """
    try:
        text = json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: expected values that JSON can hold ({error}).") from None
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises:
        DataError: The file is missing, unreadable, not text or not JSON; the message says where it breaks.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: expected JSON in UTF-8, got other bytes.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{path}: expected JSON, got something else at {where} ({error.msg}).") from None
    except RecursionError:
        raise DataError(f"{path}: expected JSON, got brackets nested too deep.") from None


def check_readable(path: Path | str) -> None:
    """Say why a file cannot be opened, before a reader that would call it damaged.

    Raises:
        DataError: It is missing or may not be read.
    """
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions.") from None


def file_digest(path: Path | str) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path.") from None


def _temporary_name(path: Path) -> Path:
    """Return a free name beside `path` with the same ending, and make the folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path.parent}: folder cannot be made ({error.strerror}); choose another place.") from None
    if not os.access(path.parent, os.W_OK):
        raise DataError(f"{path.parent}: folder cannot be written; check its permissions or choose another place.")
    return path.parent / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:12]}-{path.name}"


def _usual_mode(free: Path) -> int:
    """Return the permissions that a new file gets here.

    A file is made and removed: the umask could only be read by changing it, for all threads of the process.
    """
    handle = os.open(free, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(handle).st_mode)
    finally:
        os.close(handle)
        free.unlink()


def sync(path: Path) -> None:
    """Flush a file or folder to the disk, where the system lets folders be opened (Windows does not)."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
