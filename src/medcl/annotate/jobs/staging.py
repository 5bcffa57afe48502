"""The files that a training reads: copies in `.medcl/staged` that nobody changes while it prepares.

People go on drawing, undoing and reviewing. A training that read the files of the data set would find them gone, or
learn from slices that were held back since.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medcl.data.dataset import Dataset
from medcl.data.io import write_map
from medcl.data.layout import Case, split_ending
from medcl.files import TEMPORARY_PREFIX, file_digest

if TYPE_CHECKING:
    from medcl.annotate.context import Context


class Staging:
    """The folder of staged files. What is there as it shall be stays, so that little is written for one more stroke.

    Args:
        context: Whose.
        dataset: As it was opened for this training; says which value a class has in files.
    """

    def __init__(self, context: Context, dataset: Dataset) -> None:
        self._context, self._dataset = context, dataset
        self._folder = context.state / "staged"
        self._used: set[Path] = set()

    def strokes(self, case: Case, drawn: np.ndarray) -> Path:
        """Write strokes.

        Args:
            case: Whose.
            drawn: In the view grid (K, J, I), class indices and `UNLABELLED`.
        """
        view = self._context.view(case)
        path = self._place("strokes", f"{case.id}.nii.gz")
        new = _new(path)
        write_map(new, self._dataset.labels.strokes.encode(view.from_view(drawn)), view.grid.geometry)
        if path.is_file() and file_digest(path) == file_digest(new):
            new.unlink()
        else:
            new.replace(path)
        return path

    def file(self, case: Case, source: Path, digest: str) -> Path | None:
        """Copy a stroke file.

        Args:
            case: Whose.
            source: The file.
            digest: What it is known to be; None is returned where it is no longer so.
        """
        path = self._place("strokes", case.id + split_ending(source.name)[1])
        if path.is_file() and file_digest(path) == digest:
            return path
        new = _new(path)
        try:
            shutil.copyfile(source, new)
            if file_digest(new) != digest:
                return None
            new.replace(path)
        except FileNotFoundError:
            return None
        finally:
            new.unlink(missing_ok=True)
        return path

    def label(self, label: Path) -> Path | None:
        """Link a dense label, or copy it where it lies on another disk; None: it is gone.

        Labels are put in place and taken away whole, so a link keeps what was there; no time goes into copies.
        """
        path = self._place("labels", label.name)
        try:
            if path.is_file() and _same(path, label):
                return path
            real, new = label.resolve(), _new(path)
            try:
                os.link(real, new)
            except FileNotFoundError:
                raise
            except OSError:  # another disk, or one that knows no links
                shutil.copy2(real, new)
            new.replace(path)
        except FileNotFoundError:
            return None
        return path

    def tidy(self) -> None:
        """Remove what this training does not read."""
        if not self._folder.is_dir():
            return
        for path in [*self._folder.iterdir(), *self._folder.glob("*/*")]:
            if path.is_file() and path not in self._used:
                path.unlink(missing_ok=True)

    def _place(self, kind: str, name: str) -> Path:
        folder = self._folder / kind
        folder.mkdir(parents=True, exist_ok=True)
        self._used.add(folder / name)
        return folder / name


def _new(path: Path) -> Path:
    new = path.with_name(f"{TEMPORARY_PREFIX}{path.name}")
    new.unlink(missing_ok=True)  # of a training that was killed
    return new


def _same(staged: Path, label: Path) -> bool:
    """Whether a label is staged already: linked, or copied with its time."""
    one, other = staged.stat(), label.stat()
    return os.path.samestat(one, other) or (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
