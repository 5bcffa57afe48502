"""Strokes for a whole dataset folder, or for one label file, written so that `medcl train` can learn from them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from medcl import __version__
from medcl.data.dataset import Dataset
from medcl.data.geometry import Geometry
from medcl.data.io import read_geometry, read_map, write_map
from medcl.data.labels import IGNORE, UNLABELLED, Encoding
from medcl.data.layout import SPLITS, Split, split_ending
from medcl.errors import DataError
from medcl.files import atomic_folder, check_place, write_json
from medcl.scribbles.compare import StrokeDistance, compare_strokes, summarise
from medcl.scribbles.measure import StrokeRow, measure_strokes
from medcl.scribbles.settings import ScribbleSettings
from medcl.scribbles.simulator import Drawing, draw

MEASURED_SLICES = 12
"""How many slices of a case are measured for the summary, spread over the case."""


@dataclass(frozen=True)
class CaseStrokes:
    """What was drawn on one case.

    Attributes:
        case: Case id.
        file: The file written.
        strokes: Number of strokes.
        slices: Number of slices drawn in.
        length_mm: Length of all strokes.
        share: Share of all pixels that are stroked.
        seconds: What it would have cost a person, by the cost model.
    """

    case: str
    file: Path
    strokes: int
    slices: int
    length_mm: float
    share: float
    seconds: float


@dataclass(frozen=True)
class ScribbleResult:
    """What `scribble` wrote.

    Attributes:
        folder: Dataset folder (or the folder of a single file).
        scribbles: Folder of the files.
        cases: One entry per case.
        skipped: Cases without a dense label.
        measured: Rows of `measure_strokes` on some slices of every case.
        against: How far the strokes are from those that the dataset had; empty where it had none.
    """

    folder: Path
    scribbles: Path
    cases: tuple[CaseStrokes, ...]
    skipped: tuple[str, ...] = ()
    measured: tuple[StrokeRow, ...] = field(default=(), repr=False)
    against: tuple[StrokeDistance, ...] = ()


def scribble(
    dataset: str | Path,
    out: str | Path | None = None,
    *,
    settings: ScribbleSettings | None = None,
    seed: int = 0,
    name: str | None = None,
    split: Split = "Tr",
    real: str | None = None,
    overwrite: bool = False,
    copy: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> ScribbleResult:
    """Draw strokes on the dense labels of a dataset folder.

    Args:
        dataset: Folder with dense labels (`labelsTr`).
        out: New dataset folder: links to the images and labels, and the strokes in `scribblesTr`. Without it the
            strokes go into the dataset itself: to `scribblesTr`, or to `scribblesTr/<name>`.
        settings: How to draw; `preset(name)` gives settings fitted to real people.
        seed: Same seed, same strokes; a case depends on nothing but it and its id.
        name: Folder of the strokes below `scribbles<split>`, as if an annotator of that name had drawn them.
        split: Tr, Val or Ts.
        real: Which strokes of the dataset to compare with, where several people drew.
        overwrite: Replace files that are there, real strokes too.
        copy: With `out`: copy images and labels instead of linking to them.
        progress: Called before each case with cases done, cases in all and the case's id.

    Returns:
        What was written, measured on some slices of every case.

    Raises:
        DataError: No such dataset, no dense label in it, strokes that would be overwritten, or no `ignore` value in
            `dataset.json` where strokes shall be added to it.
    """
    settings = settings or ScribbleSettings()
    folder = Path(dataset)
    source = _open(folder, real)
    cases = [case for case in source.cases(split) if case.label is not None]
    if not cases:
        raise DataError(f"{folder}: expected dense labels in labels{split} to draw strokes from, found none.")
    encoding, content = _encoding(source, folder, new=out is not None)
    place = Path(f"scribbles{split}") / (name or "")
    names = {case.id: f"{case.id}{split_ending(case.label.name)[1]}" for case in cases if case.label}
    root = folder if out is None else Path(out)
    _check_free(root, place, names, split, fresh=out is not None, overwrite=overwrite)
    has_real = [case for case in cases if case.scribble is not None]
    with ExitStack() as stack:
        target = root if out is None else stack.enter_context(atomic_folder(root))
        if out is not None:
            _bring(folder, target, place.parts[0], copy)
            write_json(target / "dataset.json", content)
        done: list[CaseStrokes] = []
        rows: list[StrokeRow] = []
        real_rows: list[StrokeRow] = []
        for number, case in enumerate(cases):
            if progress is not None:
                progress(number, len(cases), case.id)
            label, geometry = source.read_label(case), read_geometry(case.images[0])
            drawing = draw(_drawable(label, encoding), geometry.spacing_mm, settings, case_seed(seed, case.id))
            write_map(target / place / names[case.id], encoding.encode(drawing.scribble), geometry)
            done.append(_account(case.id, root / place / names[case.id], drawing))
            rows += _measure(drawing.scribble, geometry, label, case.id)
            if case in has_real:
                real_rows += _measure(source.read_scribble(case), geometry, label, case.id)
        against = compare_strokes(real_rows, rows)
        write_json(target / _record_name(split, name), _record(settings, seed, done, rows, against))
    skipped = tuple(case.id for case in source.cases(split) if case.label is None)
    return ScribbleResult(root, root / place, tuple(done), skipped, tuple(rows), tuple(against))


def scribble_file(
    label: str | Path,
    out: str | Path,
    *,
    settings: ScribbleSettings | None = None,
    seed: int = 0,
    ignore: int | None = None,
    overwrite: bool = False,
) -> ScribbleResult:
    """Draw strokes on one label file; its values are the classes, 0 is background.

    Args:
        label: Label file.
        out: File to write.
        settings: How to draw.
        seed: Same seed, same strokes.
        ignore: Value of unlabelled, in the label and in what is written; default: the next integer after the label's
            highest value.
        overwrite: Replace a file that is there.

    Raises:
        DataError: The label cannot be read, or `out` exists.
    """
    source, target = Path(label), Path(out)
    if target.exists() and not overwrite:
        raise DataError(f"{target}: exists; choose another name, or overwrite it on purpose (overwrite).")
    check_place(target.parent)
    array, geometry = read_map(source)
    unlabelled = int(array.max(initial=0)) + 1 if ignore is None else ignore
    signed = array.astype(np.int64)
    drawing = draw(signed, geometry.spacing_mm, settings, seed, ignore=unlabelled)
    write_map(target, drawing.scribble, geometry)
    case = split_ending(source.name)[0]
    drawn = np.where(drawing.scribble == unlabelled, UNLABELLED, drawing.scribble)
    dense = np.where(signed == unlabelled, UNLABELLED, signed)
    counted = replace(drawing, scribble=drawn)
    return ScribbleResult(
        target.parent,
        target.parent,
        (_account(case, target, counted),),
        (),
        tuple(_measure(drawn, geometry, dense, case)),
    )


def case_seed(seed: int, case: str) -> int:
    """Return the seed of a case: a pure function of the set's seed and the case's id."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{case}".encode()).digest()[:6], "big")


def _open(folder: Path, real: str | None) -> Dataset:
    try:
        return Dataset.open(folder, scribbles=real)
    except DataError:
        # several people drew and none was chosen: nothing to compare with, which is no reason not to draw
        people = sorted(p.name for p in (folder / "scribblesTr").glob("*") if p.is_dir() and not p.name.startswith("."))
        if real is not None or not people:
            raise
        opened = Dataset.open(folder, scribbles=people[0])
        stripped = {part: [replace(case, scribble=None) for case in opened.cases(part)] for part in SPLITS}
        return replace(opened, _cases=stripped)


def _encoding(source: Dataset, folder: Path, *, new: bool) -> tuple[Encoding, dict[str, Any]]:
    """Return the encoding of strokes and `dataset.json`, with an `ignore` value added where there is none."""
    content = dict(source.content)
    encoding = source.labels.strokes
    if encoding.ignore is None:
        unlabelled = max(value for value in encoding.values if value is not None) + 1
        if not new:
            raise DataError(
                f'{folder / "dataset.json"}: "labels" names no "ignore", the value of pixels nobody drew on; add '
                f'"ignore": {unlabelled}, or write a new dataset folder (out), where it is added.'
            )
        encoding = replace(encoding, ignore=unlabelled)
        content["labels"] = {**content["labels"], IGNORE: unlabelled}
    return encoding, content


def _drawable(label: np.ndarray, encoding: Encoding) -> np.ndarray:
    """Take classes out of a label that scribble files have no value for: they are neither drawn nor background."""
    hidden = [index for index, value in enumerate(encoding.values) if value is None]
    return np.where(np.isin(label, hidden), UNLABELLED, label) if hidden else label


def _check_free(root: Path, place: Path, names: dict[str, str], split: Split, *, fresh: bool, overwrite: bool) -> None:
    """Refuse to write over what is there, before the work."""
    check_place(root)
    if fresh:
        if root.exists() and any(root.iterdir()) and not overwrite:
            raise DataError(f"{root}: expected no folder or an empty one, got files; choose another or overwrite it.")
        if overwrite and root.is_dir() and any(root.iterdir()) and not list(root.glob("strokes*.json")):
            raise DataError(f"{root}: holds no strokes that medcl drew, so it is not replaced; choose another folder.")
        return
    there = [file for file in names.values() if (root / place / file).exists()]
    if there and not overwrite:
        raise DataError(
            f"{root / place}: strokes are there already ({there[0]} and {len(there) - 1} more); give the new ones a "
            f"name (for scribbles{split}/<name>), write a new dataset folder (out), or overwrite them on purpose."
        )


def _bring(folder: Path, target: Path, drawn: str, copy: bool) -> None:
    """Link (or copy) images and labels of all splits into a new dataset folder; strokes of other splits too."""
    for split in SPLITS:
        for part in (f"images{split}", f"labels{split}", f"scribbles{split}"):
            source = folder / part
            if part == drawn or not source.is_dir():
                continue
            if not copy:
                try:
                    os.symlink(source.resolve(), target / part, target_is_directory=True)
                    continue
                except OSError:  # a file system without links
                    pass
            shutil.copytree(source, target / part)


def _account(case: str, file: Path, drawing: Drawing) -> CaseStrokes:
    share = float((drawing.scribble != UNLABELLED).mean()) if drawing.scribble.size else 0.0
    return CaseStrokes(case, file, len(drawing.strokes), drawing.slices, drawing.length_mm, share, drawing.seconds)


def _measure(scribble: np.ndarray, geometry: Geometry, label: np.ndarray, case: str) -> list[StrokeRow]:
    held = np.flatnonzero((scribble != UNLABELLED).any(axis=(1, 2)))
    some = (
        held[np.unique(np.linspace(0, len(held) - 1, min(len(held), MEASURED_SLICES)).astype(int))] if len(held) else []
    )
    return measure_strokes(scribble, geometry.spacing_mm, label, case=case, slices=[int(z) for z in some])


def _record_name(split: Split, name: str | None) -> str:
    parts = ["strokes", *([] if split == "Tr" else [split]), *([name] if name else [])]
    return "-".join(parts) + ".json"


def _record(
    settings: ScribbleSettings,
    seed: int,
    cases: Sequence[CaseStrokes],
    rows: Sequence[StrokeRow],
    against: Sequence[StrokeDistance],
) -> dict[str, Any]:
    return {
        "medcl": __version__,
        "seed": seed,
        "settings": settings.model_dump(mode="json"),
        "cases": [{**asdict(case), "file": case.file.name} for case in cases],
        "measured": summarise(rows),
        "against": [json.loads(json.dumps(asdict(entry)).replace("NaN", "null")) for entry in against],
    }
