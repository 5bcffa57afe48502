"""Dense labels that a review accepts: written whole, an older label kept aside, and taken back when a case is reopened.

What a review wrote is noted in `.medcl/accepted/<case>.json` (the label's digest, and where an older one was put), so
that taking it back never touches a label that somebody else made.
"""

from __future__ import annotations

import os
import shutil
import uuid
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from medcl.annotate.context import Context, status_of
from medcl.annotate.masks import inside_folder
from medcl.data.geometry import Geometry
from medcl.data.io import IMAGE_ENDINGS, read_geometry, write_map
from medcl.data.labels import UNLABELLED
from medcl.data.layout import Case, split_ending
from medcl.data.opening import JPEG_ENDINGS
from medcl.errors import DataError
from medcl.files import TEMPORARY_PREFIX, atomic_write, file_digest, read_json, write_json

REPLACED = "replaced"
"""Folder of labels that made room for others, inside the state folder."""

_ACCEPTED = "accepted"
_TRIES = 5


class PreparedLabel:
    """A dense label on its way: encoded and on the disk, so that putting it in place is one rename.

    Args:
        context: The data set.
        case: Whose label it is.
        indices: (Z, Y, X) class indices; `UNLABELLED` where nobody knows.

    Attributes:
        case: Whose label it is.
        path: Where it will lie.

    Raises:
        DataError: The labels' folder leads out of the data set, or a class has no value.
    """

    def __init__(self, context: Context, case: Case, indices: np.ndarray) -> None:
        self._context = context
        self.case = case
        geometry = read_geometry(case.images[0])
        self.path = inside_folder(context, label_path(context, case, geometry))
        values = context.dataset().labels.dense.encode(_known_only(context, case, indices))
        ending = split_ending(self.path.name)[1]
        self._waiting = context.state / "cache" / f"waiting-{uuid.uuid4().hex}{ending}"
        write_map(self._waiting, values, geometry)
        self._digest = file_digest(self._waiting)

    def place(self) -> str:
        """Put it in place.

        Returns:
            A sentence about an older label, or ''.
        """
        note, notice = _record(self._context, self.case), ""
        before: str | None = None
        self.path.parent.mkdir(exist_ok=True)
        if os.path.lexists(self.path):
            if _digest(self.path) == self._digest:
                self.discard()
                return ""
            aside = _aside(self._context, self.case, self.path)
            mine = _is_ours(self.path, note)
            before = note.get("before") if mine else aside.relative_to(self._context.state).as_posix()
            if not mine:
                notice = (
                    f"The label that was there is kept as .medcl/{aside.relative_to(self._context.state).as_posix()}."
                )
            _keep(self.path, aside)
        os.replace(self._waiting, self.path)  # over the old one: there is a label at every moment
        content = {"label": self.path.name, "digest": self._digest, "before": before}
        write_json(self._context.state / _ACCEPTED / f"{self.case.id}.json", content)
        return notice

    def discard(self) -> None:
        """Remove it, where it was not put in place."""
        self._waiting.unlink(missing_ok=True)


def withdraw_label(context: Context, case: Case) -> str:
    """Take back the label that an earlier review wrote; an older one that it replaced comes back.

    A label that was changed since, or never came from here, stays.

    Returns:
        A sentence about what happened, or ''.
    """
    note = _record(context, case)
    record = context.state / _ACCEPTED / f"{case.id}.json"
    if case.label is None or not note:
        record.unlink(missing_ok=True)
        return ""
    if not _is_ours(case.label, note):
        record.unlink(missing_ok=True)
        return f"The label {case.label.name} was changed by another program since it was accepted; it stays."
    place = inside_folder(context, case.label)
    aside = _aside(context, case, place)
    _keep(place, aside)
    name = aside.relative_to(context.state).as_posix()
    notice = f"The accepted label is no longer part of the data set; it is kept as .medcl/{name}."
    before = context.state / str(note["before"]) if note.get("before") else None
    back: Path | None = None
    # The folder decides, not where a link in it leads: labels may lie elsewhere, and `medcl init --out` links them.
    if (
        before is not None
        and before.parent.resolve() == (context.state / REPLACED).resolve()
        and os.path.lexists(before)
    ):
        back = place.with_name(case.id + split_ending(before.name)[1])
        _move(before, back)
        notice = f"The label from before is back; the accepted one is kept as .medcl/{name}."
    if back != place:
        place.unlink(missing_ok=True)
    record.unlink(missing_ok=True)
    return notice


def newest_label(context: Context, case: Case) -> np.ndarray | None:
    """Read the dense label that a case has now; what changes while it is read is read again.

    Returns:
        int16 (Z, Y, X) as `Dataset.read_label`; None: it has none.

    Raises:
        DataError: It cannot be read, or keeps changing.
    """
    for _ in range(_TRIES):
        case = context.case(case.id)  # a label may have come or gone since the caller looked it up
        if case.label is None:
            return None
        before = status_of(case.label)
        try:
            indices = context.dataset().read_label(case)
        except (DataError, OSError):
            if before is not None and status_of(case.label) == before:
                raise
            continue
        if status_of(case.label) == before:
            return indices
    raise DataError(f"case {case.id}: its label changes again and again while it is read; try again.")


def label_path(context: Context, case: Case, geometry: Geometry) -> Path:
    """Return where the dense label of a case belongs: where it lies, else with the ending that the folder uses."""
    if case.label is not None:
        return case.label
    wanted = context.dataset().content.get("file_ending")
    flat = geometry.file_ndim == 2
    for ending in (wanted, split_ending(case.images[0].name)[1], ".nii.gz"):
        lossless = ending in IMAGE_ENDINGS and ending not in JPEG_ENDINGS
        if lossless and (flat or ending != ".png"):
            return context.folder / f"labels{case.split}" / f"{case.id}{ending}"
    raise AssertionError("the last ending always fits")


def _known_only(context: Context, case: Case, indices: np.ndarray) -> np.ndarray:
    """Mark classes that nobody looked for in this case as unlabelled: `annotated` says that they are unknown here."""
    hidden = np.isin(indices, sorted(set(range(len(context.dataset().classes))) - set(case.annotated)))
    if not hidden.any():
        return indices
    dataset = context.dataset()
    if dataset.labels.dense.ignore is None:
        names = ", ".join(dataset.classes[index] for index in np.unique(indices[hidden]))
        raise DataError(
            f"case {case.id}: the mask holds {names}, which dataset.json does not list under annotated for this case, "
            'and "labels" names no "ignore" for such voxels; add one or correct annotated.'
        )
    return np.where(hidden, UNLABELLED, indices)


def _aside(context: Context, case: Case, label: Path) -> Path:
    folder = context.state / REPLACED
    folder.mkdir(exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    return folder / f"{case.id}-{stamp}{split_ending(label.name)[1]}"


def _keep(label: Path, aside: Path) -> None:
    """Keep what a label holds under another name; the label stays where it is."""
    if label.is_symlink():
        there = Path(os.readlink(label))
        aside.symlink_to(there if there.is_absolute() else _relative(label.parent / there, aside.parent))
        return
    try:
        os.link(label, aside)
    except OSError:  # file systems without hard links
        with atomic_write(aside) as temporary:
            shutil.copy2(label, temporary)


def _relative(path: Path, folder: Path) -> str:
    """Return a path as a link in a folder names it; the path itself may be a link."""
    return os.path.relpath(path.parent.resolve() / path.name, folder.resolve())


def _move(source: Path, target: Path) -> None:
    """Move a file; a relative link goes on to lead to the same file from its new place."""
    if not source.is_symlink() or os.path.isabs(os.readlink(source)):
        os.replace(source, target)
        return
    link = target.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}{split_ending(target.name)[1]}")
    link.symlink_to(_relative(source.parent / os.readlink(source), target.parent))
    os.replace(link, target)
    source.unlink()


def _record(context: Context, case: Case) -> dict[str, str]:
    path = context.state / _ACCEPTED / f"{case.id}.json"
    if not path.is_file():
        return {}
    content = read_json(path)
    return content if isinstance(content, dict) else {}


def _is_ours(label: Path, note: dict[str, str]) -> bool:
    return bool(note) and _digest(label) == note.get("digest")


def _digest(path: Path) -> str:
    return file_digest(path) if path.is_file() else ""
