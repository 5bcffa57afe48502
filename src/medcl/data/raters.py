"""Data sets that several people annotated: whose maps there are, and all of them for a case at once.

    labelsTr/<rater>/<case>.<ending>       dense labels of one person
    scribblesTr/<rater>/<case>.<ending>    strokes of one person
    softTr/<name>/<case>.nii.gz            shares of the classes (C components), written by fusion
    raters/<name>.json                     says that <name> is no person but fused from others, how, and their scores

The same for Val and Ts. Files that lie in `labelsTr` itself belong to nobody in particular; they stay what a data set
opens with when no rater is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from medcl.data.dataset import Dataset
from medcl.data.geometry import Geometry
from medcl.data.io import read_geometry
from medcl.data.labels import UNLABELLED
from medcl.data.layout import SPLITS, Case, Split, rater_folders
from medcl.errors import DataError, unknown_name

Kind = Literal["labels", "scribbles"]
FUSED = "raters"
"""Folder of a data set that says which maps were fused from those of people."""


@dataclass(frozen=True)
class RatedCase:
    """One case with the maps of several people.

    Attributes:
        id: Name of the case.
        split: Tr, Val or Ts.
        by: Rater -> the case as a data set of this rater alone sees it; only raters who annotated it.
    """

    id: str
    split: Split
    by: Mapping[str, Case]

    @property
    def first(self) -> Case:
        """The case as its first rater sees it: images are the same for all."""
        return next(iter(self.by.values()))


@dataclass(frozen=True, eq=False)
class RaterSet:
    """A dataset folder with the labels or strokes of several people. Make one with `RaterSet.open`.

    Attributes:
        folder: Where it lies.
        kind: labels or scribbles.
        raters: Names of the people, sorted.
        fused: Names of fused maps of this kind; they are not raters.
        datasets: Rater -> the folder opened with this rater's maps.
        leave_out: Rater -> cases whose map is not used.
    """

    folder: Path
    kind: Kind
    raters: tuple[str, ...]
    fused: tuple[str, ...]
    datasets: Mapping[str, Dataset]
    leave_out: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        kind: Kind | None = None,
        raters: Sequence[str] | None = None,
        leave_out: Mapping[str, Sequence[str]] | None = None,
    ) -> RaterSet:
        """Open the maps of all raters of a folder.

        Args:
            folder: Dataset folder.
            kind: labels or scribbles; default: labels where two or more people labelled, else scribbles.
            raters: Which people; default: all who are not fused maps.
            leave_out: Rater -> cases whose map is known to be wrong, such as one that belongs to another image.

        Raises:
            DataError: Not a dataset folder, fewer than two raters, an unknown rater or case.
        """
        folder = Path(folder)
        there = {one: people_of(folder, one) for one in ("labels", "scribbles")} if folder.is_dir() else {}
        if kind is None:
            kind = "scribbles" if len(there.get("labels", ())) < 2 and len(there.get("scribbles", ())) > 1 else "labels"
        people = there.get(kind, ())
        for name in raters or ():
            if name not in rater_folders(folder, kind):
                raise DataError(f"{folder}: {kind}: {unknown_name('rater', name, people)}")
        chosen = tuple(dict.fromkeys(raters)) if raters else people
        if len(chosen) < 2:
            if not (folder / "dataset.json").is_file():
                Dataset.open(folder)  # says what is wrong
            raise DataError(
                f"{folder}: expected {kind} of two or more raters in {kind}Tr/<rater>/, got "
                f"{', '.join(chosen) or 'none'}; put each person's files into a folder of their name."
            )
        opened = {name: _open(folder, kind, name) for name in chosen}
        result = cls(folder, kind, chosen, fused_names(folder, kind), opened, _left_out(leave_out, opened, folder))
        if not any(result.cases(split) for split in SPLITS):
            raise DataError(f"{folder}: expected {kind} of {', '.join(chosen)} for at least one image, got none.")
        return result

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by index; index 0 is background."""
        return next(iter(self.datasets.values())).classes

    def cases(self, split: Split) -> list[RatedCase]:
        """Return the cases of a split that at least one rater annotated, sorted by id."""
        found: dict[str, dict[str, Case]] = {}
        for rater, dataset in self.datasets.items():
            for case in dataset.cases(split):
                path = case.label if self.kind == "labels" else case.scribble
                if path is not None and case.id not in self.leave_out.get(rater, ()):
                    found.setdefault(case.id, {})[rater] = case
        return [RatedCase(name, split, found[name]) for name in sorted(found)]

    def read(self, case: RatedCase) -> np.ndarray:
        """Read the maps of all raters of the set.

        Returns:
            int16 (R, Z, Y, X) in the order of `raters`: class indices, `UNLABELLED` where a rater said nothing; a rater
            without a map of this case said nothing anywhere.

        Raises:
            DataError: A map is unreadable, holds unknown values or lies on another grid than the image.
        """
        maps: dict[str, np.ndarray] = {}
        for rater, theirs in case.by.items():
            dataset = self.datasets[rater]
            maps[rater] = dataset.read_label(theirs) if self.kind == "labels" else dataset.read_scribble(theirs)
        nothing = np.full(next(iter(maps.values())).shape, UNLABELLED, np.int16)
        return np.stack([maps.get(rater, nothing) for rater in self.raters])

    def geometry(self, case: RatedCase) -> Geometry:
        """Return the grid of a case."""
        return read_geometry(case.first.images[0])

    def copies(self) -> dict[str, list[tuple[str, ...]]]:
        """Return, by rater, the cases whose files are the same to the last byte: at most one of them can be right.

        Maps that hold one value only, such as background alone, are no copies.
        """
        from medcl.files import file_digest

        found: dict[str, list[tuple[str, ...]]] = {}
        for rater in self.raters:
            same: dict[str, list[str]] = {}
            for split in SPLITS:
                for case in self.cases(split):
                    if rater in case.by:
                        theirs = case.by[rater]
                        path = theirs.label if self.kind == "labels" else theirs.scribble
                        assert path is not None  # `cases` lists only what is there
                        same.setdefault(file_digest(path), []).append(case.id)
            several = [tuple(cases) for cases in same.values() if len(cases) > 1 and self._says_more(rater, cases[0])]
            if several:
                found[rater] = several
        return found

    def _says_more(self, rater: str, case_id: str) -> bool:
        dataset = self.datasets[rater]
        case = next(case for split in SPLITS for case in dataset.cases(split) if case.id == case_id)
        array = dataset.read_label(case) if self.kind == "labels" else dataset.read_scribble(case)
        return bool(array.min() != array.max())


def people_of(folder: Path, kind: Kind) -> tuple[str, ...]:
    """Return the raters of a folder: its sub-folders of labels (or scribbles) that no fusion wrote."""
    fused = fused_names(folder, kind)
    return tuple(name for name in rater_folders(folder, kind) if name not in fused)


def how_to_learn(kind: Kind, people: int) -> str:
    """Return the words that say how to train on the maps of one or several people."""
    one = f"Name the one to train on ({kind}=NAME)"
    return one if people < 2 else f"{one}, learn from all (raters=sampled or raters=soft), or fuse them (medcl fuse)"


def fused_names(folder: Path, kind: Kind) -> tuple[str, ...]:
    """Return the names of fused maps of a kind, sorted."""
    there = rater_folders(folder, kind)
    notes = folder / FUSED
    written = {path.stem for path in notes.glob("*.json")} if notes.is_dir() else set()
    return tuple(name for name in there if name in written)


def _open(folder: Path, kind: Kind, name: str) -> Dataset:
    if kind == "scribbles":
        return Dataset.open(folder, scribbles=name)
    # strokes play no part here: where several people drew, any of them opens the folder
    drawn = rater_folders(folder, "scribbles")
    return Dataset.open(folder, labels=name, scribbles=drawn[0] if drawn else None)


def _left_out(
    wanted: Mapping[str, Sequence[str]] | None, opened: Mapping[str, Dataset], folder: Path
) -> dict[str, frozenset[str]]:
    for rater, cases in (wanted or {}).items():
        if rater not in opened:
            raise DataError(f"{folder}: leave out: {unknown_name('rater', rater, list(opened))}")
        known = [case.id for split in SPLITS for case in opened[rater].cases(split)]
        for case in cases:
            if case not in known:
                raise DataError(f"{folder}: leave out of {rater}: {unknown_name('case', case, known)}")
    return {rater: frozenset(cases) for rater, cases in (wanted or {}).items()}
