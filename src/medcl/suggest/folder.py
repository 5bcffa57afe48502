"""The folder of results: whether it takes files, and which pictures in it are ours to remove."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medcl.errors import DataError
from medcl.files import TEMPORARY_PREFIX, atomic_write, check_place, read_json, write_json
from medcl.queries import Query
from medcl.queries.listing import JSON_NAME, read_list

CACHE, PICTURES = ".cases", "pictures"
RECORD = ".pictures.json"
"""Names of the pictures that were drawn or were about to be: the list names none before all are there."""

_PICTURE = re.compile(r"\d{3,}_[A-Za-z0-9._-]*_(axial|coronal|sagittal)\d+\.png")


class UnwritableError(DataError):
    """A result cannot be written, which says nothing about the case that it is about."""


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Do as `medcl.files.atomic_write`.

    Raises:
        UnwritableError: The file cannot be written.
    """
    try:
        with atomic_write(path) as temporary:
            yield temporary
    except OSError as error:
        raise UnwritableError(
            f"{path}: cannot be written ({error.strerror or error}); make room or choose another place (--out)."
        ) from None
    except DataError as error:
        raise UnwritableError(str(error)) from None


def try_place(out: Path) -> None:
    """Refuse a folder that takes no file, found out by making it and a file in it; what was made is removed.

    Raises:
        DataError: It cannot be made or written.
    """
    check_place(out)
    missing = [place for place in (out, *out.parents) if not place.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        for place in (out, out / CACHE, out / PICTURES):
            if place.exists():
                probe = place / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
                try:
                    probe.write_bytes(b"")
                finally:
                    with suppress(OSError):
                        probe.unlink()
    except OSError as error:
        raise DataError(
            f"{out}: expected a folder that results can be written to, got one that cannot ({error.strerror}); "
            "choose another place (--out)."
        ) from None
    finally:
        for place in missing:
            with suppress(OSError):
                place.rmdir()


def picture_name(rank: int, query: Query) -> str:
    """Return the name of the picture of a place."""
    return f"{rank:03d}_{re.sub(r'[^A-Za-z0-9._-]+', '-', query.case)}_{query.plane}{query.slice + 1}.png"


def our_pictures(out: Path) -> set[str]:
    """Return names in `pictures/` that an earlier call drew: those of its list and of its record, if named our way."""
    names: set[object] = set()
    with suppress(DataError):  # not a list of ours, or one of another version
        if (out / JSON_NAME).is_file():
            given = [Path(place.picture) for place in read_list(out).places if place.picture]
            names |= {path.name for path in given if path.parent == Path(PICTURES)}
    with suppress(DataError):
        told = read_json(out / RECORD) if (out / RECORD).is_file() else []
        names |= {name for name in told if isinstance(name, str)} if isinstance(told, list) else set()
    return {name for name in names if isinstance(name, str) and _PICTURE.fullmatch(name)}


def note_pictures(out: Path, planned: Collection[str]) -> set[str]:
    """Note, before any is drawn, which pictures will be ours, so that an interrupted call leaves none for ever.

    Args:
        out: Folder for the results.
        planned: Names of pictures that shall be drawn.

    Returns:
        Those of earlier calls and the planned ones; files of somebody else that bear such a name are none of them.
    """
    earlier = our_pictures(out)
    ours = earlier | {name for name in planned if not (out / PICTURES / name).exists()}
    if ours:
        write_json(out / RECORD, sorted(ours))
    return ours


def keep_pictures(out: Path, ours: Collection[str], kept: Collection[str]) -> None:
    """Remove those of our pictures that no list names any more."""
    for name in set(ours) - set(kept):
        (out / PICTURES / name).unlink(missing_ok=True)
    if ours:
        write_json(out / RECORD, sorted(kept))
