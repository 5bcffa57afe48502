"""Volumes and thumbnails of cases, made once, kept in the state folder, and sent from there."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from medcl.annotate.context import Context, file_status
from medcl.annotate.labels import newest_label
from medcl.annotate.nifti_view import as_index_bytes, as_rgb, as_shown, window_of, write_volume
from medcl.annotate.problems import Refused
from medcl.data.layout import DICOM_ENDINGS, Case, split_ending
from medcl.data.opening import opened
from medcl.files import atomic_write

CACHE_BYTES = 20 << 30
"""The cache is cut down to this size, what was made longest ago first."""

_GRACE_SECONDS = 60

_WAITING = ("upload-", "waiting-")
"""Files in the same folder that are no cache: uploads that are looked at, labels that are about to be put in place."""

_LAYOUT = 1
"""Goes up when the content of cached files changes for the same scan."""

_locks: dict[Path, threading.Lock] = {}
_locks_guard = threading.Lock()
_colors: dict[tuple[str, str], bool] = {}


def is_color(context: Context, case: Case) -> bool:
    """Whether the channels of a case are red, green and blue of one picture."""
    if len(case.images) != 1 or len(context.dataset().channels) != 3:
        return False
    ending = split_ending(case.images[0].name)[1]
    if ending in (*DICOM_ENDINGS, "") or case.images[0].is_dir():
        return True
    key = (str(case.images[0]), _stamp(case, case.images[0]))
    if key not in _colors:
        with opened(case.images[0], ending) as file:
            _colors[key] = file.picture is not None or bool(file.metadata.get("colour"))
    return _colors[key]


def image_volume(context: Context, case: Case, channel: int) -> tuple[str, Callable[[], Path]]:
    """Return the tag of a channel as a volume of the view grid, and what makes its file.

    Raises:
        Refused: 404, no such channel.
    """
    channels = 1 if is_color(context, case) else len(context.dataset().channels)
    if channel >= channels:
        raise Refused(404, f"case {case.id}: unknown channel {channel}; known: 0 to {channels - 1}.")
    tag = _tag("image", case.id, channel, *_stamps(case, *case.images))

    def build(path: Path) -> None:
        image = context.dataset().read_image(case)
        if is_color(context, case):
            write_volume(path, context.view(case), as_rgb(image.array))
        else:
            array = as_shown(image.array[channel])
            write_volume(path, context.view(case), array, window_of(array))

    return tag, lambda: cached(context, f"image-{tag}.nii", build)


def map_volume(context: Context, case: Case, what: Literal["scribble", "label"]) -> tuple[str, Callable[[], Path]]:
    """Return the tag of what is drawn on a case, or of its dense label, and what makes its file.

    The volume is uint8: 0 unlabelled, class index + 1 elsewhere.

    Raises:
        Refused: 404, the case has no dense label; 422, more classes than a byte holds.
    """
    if len(context.dataset().classes) > 255:
        raise Refused(422, f"expected at most 255 classes, got {len(context.dataset().classes)}.")
    name = f"{what}-{_tag(case.id)}"
    if what == "scribble":
        indices, version = context.strokes_and_version(case)
        tag = _tag(what, case.id, version, *_stamps(case, *case.images))
    else:
        indices, tag = None, _label_tag(case)

    def build(path: Path) -> None:
        array = newest_label(context, case) if indices is None else indices
        if what == "label" and (array is None or _label_tag(context.case(case.id)) != tag):
            raise ChangedError(case)
        assert array is not None
        write_volume(path, context.view(case), as_index_bytes(array))
        drop_older(path.parent, name)

    return tag, lambda: cached(context, f"{name}-{tag}.nii", build)


class ChangedError(Refused):
    """The label of a case changed while it was read."""

    def __init__(self, case: Case) -> None:
        super().__init__(409, f"case {case.id}: its label changed while it was read; ask again.")


def _label_tag(case: Case) -> str:
    if case.label is None:
        raise Refused(404, f"case {case.id}: has no dense label.")
    if not case.label.is_file():  # it was there when the case was looked up
        raise ChangedError(case)
    return _tag("label", case.id, *_stamps(case, case.label, *case.images))


def thumbnail(context: Context, case: Case) -> tuple[str, Callable[[], Path]]:
    """Return the tag of a small picture of a case, and what makes its file."""
    tag = _tag("thumbnail", case.id, *_stamps(case, *case.images))

    def build(path: Path) -> None:
        from medcl.annotate.thumbnails import draw

        image = context.dataset().read_image(case)
        view = context.view(case)
        array = as_rgb(image.array) if is_color(context, case) else as_shown(image.array[:1])
        draw(view.to_view(array), view.spacing_mm).save(path, "PNG")

    return tag, lambda: cached(context, f"thumbnail-{tag}.png", build)


def zipped(context: Context, path: Path) -> Path:
    """Return a cached file packed with gzip, fast rather than small."""

    def build(target: Path) -> None:
        with path.open("rb") as source, gzip.open(target, "wb", compresslevel=1) as packed:
            shutil.copyfileobj(source, packed, 1 << 20)

    return cached(context, f"{path.name}.gz", build)


def cached(context: Context, name: str, build: Callable[[Path], None]) -> Path:
    """Return a file of the cache; who comes first makes it, others wait for it."""
    path = context.state / "cache" / name
    with contextlib.suppress(FileNotFoundError):
        os.utime(path)  # in use: the last to be removed
        return path
    with _locks_guard:
        lock = _locks.setdefault(path, threading.Lock())
    with lock:
        if not path.is_file():
            with atomic_write(path) as temporary:
                build(temporary)
            trim(path.parent, keep=path)
    with _locks_guard:
        _locks.pop(path, None)
    return path


def trim(folder: Path, *, keep: Path, limit: int | None = None) -> None:
    """Remove files of the cache, those that were made longest ago first, until it is small enough."""
    files = []
    for path in folder.iterdir():
        if not path.name.startswith((".", *_WAITING)):
            with contextlib.suppress(FileNotFoundError):  # removed by another since it was listed
                files.append((path.stat(), path))
    size = sum(status.st_size for status, _ in files)
    for status, path in sorted(files, key=lambda pair: pair[0].st_mtime_ns):
        if size <= (CACHE_BYTES if limit is None else limit):
            break
        if path != keep:
            path.unlink(missing_ok=True)
            size -= status.st_size


def drop_older(folder: Path, name: str) -> None:
    """Remove earlier maps of a case, but for those that somebody may be about to send."""
    for path in folder.glob(f"{name}-*"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - _GRACE_SECONDS:
                path.unlink()


def _stamps(case: Case, *paths: Path) -> list[str]:
    """What tells files of a case from what they were before; of a DICOM folder that of all its files."""
    return [_stamp(case, path) for path in paths]


def _stamp(case: Case, path: Path) -> str:
    if path.is_dir():
        inside = sorted(file for file in path.rglob("*") if file.is_file())
        return hashlib.sha256("\n".join(f"{file.name}:{_stamp(case, file)}" for file in inside).encode()).hexdigest()
    status = file_status(case, path)
    return f"{status.st_size}:{status.st_mtime_ns}"


def _tag(*parts: object) -> str:
    return hashlib.sha256("\n".join(map(str, (_LAYOUT, *parts))).encode("utf-8", "surrogateescape")).hexdigest()[:32]


__all__ = ["cached", "drop_older", "image_volume", "is_color", "map_volume", "thumbnail", "trim", "zipped"]
