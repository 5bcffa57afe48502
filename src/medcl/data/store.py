"""Prepared cases on disk: memory-mapped arrays that are whole, up to date, or not there.

    <folder>/<key>/store.json
    <folder>/<key>/<split>/<case>.image.npy, .scribble.npy, .label.npy

The key is a digest of everything the arrays depend on, so a store made from other files or another plan has another
name and is never opened by mistake. A store is written under a temporary name and renamed when it is whole. Arrays that
another store of the folder holds already are linked, not prepared again: who draws one stroke waits for one map.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from medcl.data.geometry import Geometry
from medcl.data.grid import Grid
from medcl.data.labels import UNLABELLED
from medcl.data.plan import Plan
from medcl.data.prepare import prepare_image, prepare_map
from medcl.data.reuse import Known, link
from medcl.errors import DataError, unknown_name
from medcl.files import TEMPORARY_PREFIX, check_place, read_json, write_json

if TYPE_CHECKING:
    from medcl.data.dataset import Case, Dataset
    from medcl.data.layout import Split

FORMAT = 2
"""Raise when preparation gives other arrays for the same files and plan: older stores are then no longer found."""

STALE_SECONDS = 24 * 3600.0
"""Unfinished folders of other machines are removed at this age; those of this machine once their process is gone."""

Progress = Callable[[str, int, int], None]
"""Called with the case, its number counted from 1 and the number of cases, before the case is prepared."""


@dataclass(frozen=True)
class PreparedCase:
    """A case on a plan's grid; arrays are read-only memory maps.

    Attributes:
        id: Name of the case.
        split: Tr, Val or Ts.
        image: (C, Z, Y, X) float32, normalised.
        scribble: (Z, Y, X) int8 (int16 above 127 classes), class indices and `UNLABELLED`; None without strokes.
        label: The same for the dense label; None without.
        annotated: Indices of the classes that were looked for.
        drawn: (Z, classes) bool, classes in each slice of the scribble (of the label where there is no scribble).
        grid: The case's own grid and the way back to it; `restore_probabilities(p, case.grid)`.
    """

    id: str
    split: str
    image: np.ndarray
    scribble: np.ndarray | None
    label: np.ndarray | None
    annotated: tuple[int, ...]
    drawn: np.ndarray
    grid: Grid

    @property
    def geometry(self) -> Geometry:
        """The grid of the case as in its files."""
        return self.grid.geometry

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Spacing (z, y, x) of the prepared arrays."""
        return self.grid.spacing_mm


class Store:
    """Prepared cases of a data set under one plan. Make one with `Store.prepare`."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path = path
        self._cases: dict[str, dict[str, Any]] = content["cases"]

    @classmethod
    def prepare(
        cls,
        dataset: Dataset,
        plan: Plan,
        folder: Path | str,
        *,
        splits: Sequence[Split] = ("Tr", "Val"),
        progress: Progress | None = None,
    ) -> Self:
        """Open the store of a data set under a plan; make it first where it is missing, damaged or out of date.

        Any number of processes may do this at once: each works for itself, the first to finish is kept.

        Args:
            dataset: An opened data set.
            plan: Which grid and normalisation to prepare for.
            folder: Cache folder, made where it is missing; may hold stores of other data sets and plans.
            splits: Which splits to prepare.
            progress: Told about each case before it is prepared; not called where the store is there already.

        Raises:
            DataError: A case cannot be prepared (the message names file and case), two splits hold a case of the same
                name, or data set and plan differ in classes or channels.
        """
        _check_match(dataset, plan)
        cases = _cases_of(dataset, splits)
        folder = Path(folder)
        path = folder / _key(dataset, plan, cases)
        content = _read_store(path)
        if content is None:
            check_place(folder)
            folder.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(folder)
            content = _build(dataset, plan, cases, path, progress)
        return cls(path, content)

    def cases(self, split: Split) -> list[str]:
        """Return the names of the cases of a split, sorted."""
        return sorted(name for name, entry in self._cases.items() if entry["split"] == split)

    def __len__(self) -> int:
        return len(self._cases)

    def __contains__(self, case_id: object) -> bool:
        return case_id in self._cases

    def __getitem__(self, case_id: str) -> PreparedCase:
        """Open a case.

        Raises:
            DataError: There is no such case, or its files were removed since the store was opened.
        """
        entry = self._cases.get(case_id)
        if entry is None:
            raise DataError(unknown_name("case", case_id, self._cases))
        arrays = {name: self._map(entry["arrays"][name]["file"]) for name in entry["arrays"]}
        return PreparedCase(
            id=case_id,
            split=entry["split"],
            image=arrays["image"],
            scribble=arrays.get("scribble"),
            label=arrays.get("label"),
            annotated=tuple(entry["annotated"]),
            drawn=_flags(entry["drawn"], entry["classes"]),
            grid=Grid.from_json(entry["grid"]),
        )

    def _map(self, name: str) -> np.ndarray:
        try:
            return np.load(self.path / name, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path / name}: cannot be opened ({error}); start again, it is made anew.") from None


def _check_match(dataset: Dataset, plan: Plan) -> None:
    if tuple(dataset.classes) != plan.classes:
        raise DataError(
            f"{dataset.folder}: expected the plan's classes {', '.join(plan.classes)}, "
            f"got {', '.join(dataset.classes)}; make a new plan."
        )
    channels = tuple(channel.name for channel in plan.channels)
    if len(dataset.channels) != len(channels):
        raise DataError(
            f"{dataset.folder}: expected the plan's channels {', '.join(channels)}, got {', '.join(dataset.channels)}; "
            "make a new plan."
        )


def _cases_of(dataset: Dataset, splits: Sequence[Split]) -> list[Case]:
    cases = [case for split in dict.fromkeys(splits) for case in dataset.cases(split)]
    seen: dict[str, str] = {}
    for case in cases:
        if case.id in seen:
            raise DataError(
                f"case {case.id}: is in both images{seen[case.id]} and images{case.split}; rename one of them."
            )
        seen[case.id] = case.split
    return cases


def _what_counts(plan: Plan) -> dict[str, Any]:
    """Return what arrays depend on beside the files."""
    parts = {"classes", "channels", "ndim", "spacing_mm", "orientation"}
    return {"format": FORMAT, "plan": plan.model_dump(mode="json", include=parts)}


def _key(dataset: Dataset, plan: Plan, cases: list[Case]) -> str:
    """Return a readable name with a digest of all that the arrays depend on."""
    depends = {
        **_what_counts(plan),
        "cases": [[case.split, case.id, dataset.case_digest(case)] for case in cases],
    }
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:32]
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", dataset.name)[:40].strip("-") or "data"
    return f"{readable}-{digest}"


def _read_store(path: Path) -> dict[str, Any] | None:
    """Return what a store says of itself if all its files are there in full length, else None."""
    try:
        content = read_json(path / "store.json")
        if content["format"] != FORMAT:
            return None
        for entry in content["cases"].values():
            Grid.from_json(entry["grid"])
            for array in entry["arrays"].values():
                if (path / array["file"]).stat().st_size != array["bytes"]:
                    return None
    except (DataError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return dict(content)


def _build(dataset: Dataset, plan: Plan, cases: list[Case], path: Path, progress: Progress | None) -> dict[str, Any]:
    temporary = path.parent / f"{TEMPORARY_PREFIX}{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}-{path.name}"
    temporary.mkdir()
    try:
        entries = {}
        known = Known(path.parent, json.dumps(_what_counts(plan), sort_keys=True))
        for number, case in enumerate(cases, start=1):
            if progress is not None:
                progress(case.id, number, len(cases))
            entries[case.id] = _write_case(dataset, plan, case, temporary, known)
        content = {"format": FORMAT, "dataset": dataset.name, "plan": plan.model_dump(mode="json"), "cases": entries}
        for entry in entries.values():
            for array in entry["arrays"].values():
                _to_disk(temporary / array["file"])  # all at the end: one by one takes many times longer
        write_json(temporary / "store.json", content)
        return _publish(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_case(dataset: Dataset, plan: Plan, case: Case, folder: Path, known: Known) -> dict[str, Any]:
    source = case.images[0]
    small = np.int8 if len(plan.classes) <= 127 else np.int16
    keys = {kind: known.key(digest) for kind, digest in dataset.part_digests(case).items()}
    arrays: dict[str, dict[str, Any]] = {}

    def there(kind: str) -> str | None:
        """Link the array from another store; return the grid that it lies on."""
        name = _array_name(case, kind)
        found = known.find(keys[kind])
        if found is None or not link(found.path, folder / name):
            return None
        arrays[kind] = {"file": name, "bytes": found.bytes, "key": keys[kind]}
        return found.grid

    def write(kind: str, array: np.ndarray) -> None:
        arrays[kind] = _write_array(folder, _array_name(case, kind), array) | {"key": keys[kind]}

    try:
        linked = there("image")
        if linked is None:
            prepared = prepare_image(dataset.read_image(case), plan)
            write("image", prepared.array)
            grid = prepared.grid
        else:
            grid = Grid.from_json(json.loads(linked))
        for kind, path, read in (
            ("scribble", case.scribble, dataset.read_scribble),
            ("label", case.label, dataset.read_label),
        ):
            if path is not None and there(kind) is None:
                source = path
                write(kind, prepare_map(read(case), grid, plan).astype(small))
    except DataError as error:
        if f"case {case.id})" in str(error) or f"case {case.id}:" in str(error):
            raise
        reason = str(error).removeprefix(f"{source}: ")
        raise DataError(f"{source} (case {case.id}): {reason}") from None
    shown = next((kind for kind in ("scribble", "label") if kind in arrays), None)
    present: list[list[int]] = [[] for _ in range(grid.size[0])]
    if shown is not None:
        planes = np.load(folder / arrays[shown]["file"], allow_pickle=False)
        present = [[value for value in np.unique(plane).tolist() if value != UNLABELLED] for plane in planes]
    return {
        "split": case.split,
        "annotated": list(case.annotated),
        "classes": len(plan.classes),
        "drawn": [" ".join(str(value) for value in values) for values in present],  # one short line per slice
        "grid": grid.as_json(),
        "arrays": arrays,
    }


def _array_name(case: Case, kind: str) -> str:
    return f"{case.split}/{case.id}.{kind}.npy"


def _flags(drawn: list[str], classes: int) -> np.ndarray:
    flags = np.zeros((len(drawn), classes), dtype=bool)
    for z, values in enumerate(drawn):
        flags[z, [int(value) for value in values.split()]] = True
    return flags


def _write_array(folder: Path, name: str, array: np.ndarray) -> dict[str, Any]:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array, allow_pickle=False)
    return {"file": name, "bytes": path.stat().st_size}


def _to_disk(path: Path) -> None:
    with path.open("r+b") as stream:
        os.fsync(stream.fileno())


def _publish(temporary: Path, path: Path) -> dict[str, Any]:
    """Give a finished store its name. A whole store that is there already stays; a damaged one makes room.

    Whoever finishes second finds equal arrays, and others may be reading them: so ours goes. One process at a time
    looks and moves: between a look at a damaged store and its removal another one could have put a whole store there.
    """
    from filelock import FileLock

    # The lock lies outside the cache folder, so that this holds nothing but stores.
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    user = os.getuid() if hasattr(os, "getuid") else 0  # another user's lock file could not be opened
    with FileLock(Path(tempfile.gettempdir()) / f"medcl-{user}-{place}.lock"):
        content = _read_store(path)
        if content is not None:
            return content
        if path.exists():
            damaged = temporary.with_name(temporary.name + "-damaged")
            path.rename(damaged)
            shutil.rmtree(damaged, ignore_errors=True)
        temporary.rename(path)
        content = _read_store(path)
    if content is None:
        raise DataError(f"{path}: was damaged while it was written; check the disk.")
    return content


def _machine() -> str:
    """Return a name of this machine for temporary names: process numbers mean something only on their own machine."""
    return re.sub(r"[^A-Za-z0-9]+", "", platform.node())[:24] or "local"


def _remove_leftovers(folder: Path) -> None:
    """Remove unfinished folders that nobody works on any more."""
    pattern = re.compile(rf"{re.escape(TEMPORARY_PREFIX)}([A-Za-z0-9]+)-(\d+)-[0-9a-f]{{8}}-.+")
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        match = pattern.fullmatch(path.name)
        if match is None or not path.is_dir():
            continue
        try:
            age = time.time() - path.stat().st_mtime
        except FileNotFoundError:
            continue
        if age > STALE_SECONDS or (match[1] == _machine() and not _alive(int(match[2]))):
            shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    if os.name == "nt":
        return True  # signal 0 would end the process there; age decides
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
