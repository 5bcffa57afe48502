"""Fuse the maps of several people in a dataset folder, and write the result beside theirs.

    labelsTr/<name>/<case>.<ending>      the fused map (scribblesTr/<name> for strokes)
    softTr/<name>/<case>.nii.gz          float32 shares of the classes, one component per class; zero where unknown
    raters/<name>.json                   how it was made, and a score per rater, in all and per case

`Dataset.open(folder, labels=<name>)` opens the result; `medcl train --set raters=soft` learns from the shares.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medcl.data.geometry import Geometry, Image
from medcl.data.io import write_image, write_map
from medcl.data.labels import UNLABELLED, Encoding
from medcl.data.layout import SPLITS
from medcl.data.raters import FUSED, Kind, RatedCase, RaterSet, people_of
from medcl.errors import DataError
from medcl.files import atomic_folders, read_json, write_json
from medcl.scribbles.fusion import Fusion, FusionSettings, RaterScore

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class FusionResult:
    """What a fusion left.

    Attributes:
        folder: The dataset folder.
        kind: labels or scribbles.
        name: Name of the fused maps.
        raters: The people, in the order of `scores`.
        scores: How well each agrees with the others.
        cases: Number of cases written.
        left_out: Rater -> cases whose map was not used.
        undecided: Share of the voxels with any vote that stayed unlabelled.
        disputed: Share of the voxels with two or more votes on which they differ.
    """

    folder: Path
    kind: Kind
    name: str
    raters: tuple[str, ...]
    scores: tuple[RaterScore, ...]
    cases: int
    left_out: Mapping[str, tuple[str, ...]]
    undecided: float
    disputed: float


def fuse(
    dataset: str | Path,
    *,
    out: str | None = None,
    settings: FusionSettings | Mapping[str, Any] | None = None,
    kind: Kind | None = None,
    raters: Sequence[str] | None = None,
    leave_out: Mapping[str, Sequence[str]] | None = None,
    leave_out_copies: bool = False,
    soft: bool = True,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> FusionResult:
    """Fuse the labels or strokes of all raters of a dataset folder.

    Every case is read twice, one at a time: once to estimate reliabilities, once to fuse. Maps and shares appear all
    together at the end; an older result stays until then, and for good where anything goes wrong.

    Args:
        dataset: Dataset folder with `labelsTr/<rater>` or `scribblesTr/<rater>`; Val and Ts are fused too.
        out: Name of the result; default: that of the way, such as 'quality'.
        settings: How to fuse.
        kind: labels or scribbles; default: see `RaterSet.open`.
        raters: Which people; default: all.
        leave_out: Rater -> cases whose map is known to be wrong.
        leave_out_copies: Leave out every map of a rater that is the same, to the last byte, as that rater's of another
            case: at most one of them can be right.
        soft: Also write the shares of the classes.
        overwrite: Replace a result of this name.
        progress: Called with cases done, cases in all (both passes) and the case's id.

    Returns:
        Scores per rater and what was written.

    Raises:
        DataError: Fewer than two raters, a name that is taken, STAPLE of strokes, no `ignore` value for what nobody
            decided, or a map that cannot be read.
    """
    chosen = (
        settings if isinstance(settings, FusionSettings) else FusionSettings.parse(dict(settings or {}), where="fusion")
    )
    rated = RaterSet.open(dataset, kind=kind, raters=raters, leave_out=leave_out)
    if chosen.how == "staple" and rated.kind == "scribbles":
        raise DataError(
            f"{rated.folder}: staple: expected labels, got strokes, which share too few voxels for it; use quality."
        )
    name = _free_name(rated, out or chosen.how, overwrite=overwrite)
    encoding = _encoding(rated)
    left_out = {rater: list(cases) for rater, cases in (leave_out or {}).items()}
    if leave_out_copies:
        for rater, groups in rated.copies().items():
            known = left_out.setdefault(rater, [])
            known += [case for group in groups for case in group if case not in known]
        rated = RaterSet.open(dataset, kind=rated.kind, raters=raters, leave_out=left_out)
    cases = [case for split in SPLITS for case in rated.cases(split)]
    show = progress or (lambda done, total, case: None)

    def maps(first: int) -> Iterator[np.ndarray]:
        for number, case in enumerate(cases):
            show(first + number, 2 * len(cases), case.id)
            yield rated.read(case)

    fusion = Fusion.fit(maps(0), len(rated.classes), chosen, strokes=rated.kind == "scribbles")
    kinds = (rated.kind, "soft") if soft else (rated.kind,)
    splits = [split for split in SPLITS if any(case.split == split for case in cases)]
    places = {(one, split): rated.folder / f"{one}{split}" / name for one in kinds for split in splits}
    older = [rated.folder / f"{one}{split}" / name for one in (rated.kind, "soft") for split in SPLITS]
    voted = undecided = shared = disputed = 0
    with atomic_folders(list(places.values()), gone=[path for path in older if path not in places.values()]) as new:
        folders = dict(zip(places, new, strict=True))
        for number, (case, votes) in enumerate(zip(cases, maps(len(cases)), strict=True)):
            try:
                fused = fusion.fuse(votes, number)
            except DataError as error:
                raise DataError(f"{rated.folder}: case {case.id}: {error}") from None
            _write_label(folders[rated.kind, case.split], rated, case, fused.label, encoding)
            if soft:
                path = folders["soft", case.split] / f"{case.id}.nii.gz"
                write_image(path, Image(fused.soft, _volume(rated.geometry(case))))
            any_vote = (votes != UNLABELLED).any(axis=0)
            several = (votes != UNLABELLED).sum(axis=0) > 1
            highest = votes.max(axis=0)
            lowest = np.where(votes == UNLABELLED, np.iinfo(np.int16).max, votes).min(axis=0)
            voted += int(any_vote.sum())
            undecided += int((any_vote & (fused.label == UNLABELLED)).sum())
            shared += int(several.sum())
            disputed += int((several & (highest != lowest)).sum())
        # The note before the maps are in their place: a folder without its note would pass for a person's.
        write_json(rated.folder / FUSED / f"{name}.json", _note(rated, name, chosen, fusion, cases, left_out))
    return FusionResult(
        rated.folder,
        rated.kind,
        name,
        rated.raters,
        fusion.scores,
        len(cases),
        {rater: tuple(names) for rater, names in left_out.items()},
        undecided / max(voted, 1),
        disputed / max(shared, 1),
    )


def _free_name(rated: RaterSet, name: str, *, overwrite: bool) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise DataError(f"out: expected a name of letters, digits, '-', '_' and '.', got '{name}'.")
    # A person of the other kind too: the note would turn this one into a fused map.
    if name in (*rated.raters, *people_of(rated.folder, "labels"), *people_of(rated.folder, "scribbles")):
        raise DataError(f"out: '{name}' is a rater of {rated.folder}; choose another name.")
    note = rated.folder / FUSED / f"{name}.json"
    ours = note.is_file()
    other = _kind_of(note) if ours else rated.kind
    if other != rated.kind:  # scores and shares have one place for both kinds
        raise DataError(
            f"{note}: '{name}' is the name of fused {other}; choose another one for the {rated.kind} with out (--out)."
        )
    bases = [rated.folder / f"{one}{split}" / name for one in (rated.kind, "soft") for split in SPLITS]
    taken = [base for base in bases if base.is_dir()]
    if taken and not (overwrite and ours):
        how = "say overwrite (--overwrite) or " if ours else ""
        raise DataError(f"{taken[0]}: is there already; {how}choose another name with out (--out).")
    return name


def _kind_of(note: Path) -> str:
    content = read_json(note)
    kind = content.get("kind") if isinstance(content, dict) else None
    if kind not in ("labels", "scribbles"):
        raise DataError(f"{note}: expected what a fusion noted, got no kind (labels, scribbles); choose another out.")
    return str(kind)


def _encoding(rated: RaterSet) -> Encoding:
    table = next(iter(rated.datasets.values())).labels
    encoding = table.strokes if rated.kind == "scribbles" else table.dense
    if encoding.ignore is None:
        taken = max(value for value in encoding.values if value is not None)
        raise DataError(
            f"{rated.folder}: fusion needs a value for voxels that nobody decided; add it to labels in dataset.json, "
            f'such as "ignore": {taken + 1}.'
        )
    return encoding


def _write_label(folder: Path, rated: RaterSet, case: RatedCase, label: np.ndarray, encoding: Encoding) -> None:
    source = case.first.label if rated.kind == "labels" else case.first.scribble
    assert source is not None  # the set lists only cases with a map
    write_map(folder / source.name, encoding.encode(label), rated.geometry(case))


def _volume(geometry: Geometry) -> Geometry:
    """Return the geometry of a file of its own: the header of the image's file does not fit another type."""
    return Geometry(geometry.size, geometry.spacing_mm, geometry.origin_mm, geometry.direction, 3)


def _note(
    rated: RaterSet,
    name: str,
    settings: FusionSettings,
    fusion: Fusion,
    cases: Sequence[RatedCase],
    left_out: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    from medcl import __version__

    return {
        "name": name,
        "medcl": __version__,
        "kind": rated.kind,
        "settings": settings.model_dump(mode="json"),
        "classes": list(rated.classes),
        "raters": {
            rater: asdict(fusion.scores[r])
            | {
                "confusion": np.round(fusion.confusion[r], 4).tolist(),
                "cases": {case.id: fusion.case_scores[n][r].score for n, case in enumerate(cases) if rater in case.by},
                "left_out": list(left_out.get(rater, ())),
            }
            for r, rater in enumerate(rated.raters)
        },
    }
