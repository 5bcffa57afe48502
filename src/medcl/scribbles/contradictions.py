"""Where several people contradict each other: which classes, how many voxels, per case and pair of raters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medcl.data.check import Finding
from medcl.data.labels import UNLABELLED
from medcl.data.layout import SPLITS
from medcl.data.raters import Kind, RaterSet, people_of
from medcl.errors import DataError

FAR_APART = 0.5
"""Dice of a structure below which two raters are taken to mean different things by it, not to differ at its border."""


@dataclass(frozen=True)
class Contradiction:
    """What two raters say differently about one case.

    Attributes:
        kind: labels or scribbles.
        case: Case id.
        first: A rater.
        second: Another one.
        compared: Voxels on which both said something; unlabelled is no contradiction.
        voxels: Those on which they differ.
        classes: (class of the first, class of the second, voxels), most voxels first.
        dice: Dice coefficient of each structure that one of the two marked, by name, on the compared voxels.
        slice: The slice with most of these voxels.
        at: The first of them there, (z, y, x).
    """

    kind: Kind
    case: str
    first: str
    second: str
    compared: int
    voxels: int
    classes: tuple[tuple[str, str, int], ...]
    dice: dict[str, float]
    slice: int
    at: tuple[int, int, int]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def compare_raters(
    case: str, kind: Kind, raters: Sequence[str], maps: np.ndarray, classes: Sequence[str]
) -> list[Contradiction]:
    """Compare every pair of raters in one case.

    Args:
        case: Case id.
        kind: labels or scribbles.
        raters: Names.
        maps: (R, Z, Y, X) class indices and `UNLABELLED`.
        classes: Class names by index.

    Returns:
        One entry per pair that differs anywhere.
    """
    found = []
    for i in range(len(raters)):
        for j in range(i + 1, len(raters)):
            first, second = maps[i], maps[j]
            both = (first != UNLABELLED) & (second != UNLABELLED)
            differs = both & (first != second)
            if not differs.any():
                continue
            count = len(classes)
            table = np.bincount(first[both].astype(np.int64) * count + second[both], minlength=count**2)
            table = table.reshape(count, count)
            pairs = [(int(table[a, b]), a, b) for a in range(count) for b in range(count) if a != b and table[a, b]]
            named = tuple((classes[a], classes[b], n) for n, a, b in sorted(pairs, key=lambda p: (-p[0], p[1], p[2])))
            z = int(differs.sum(axis=(1, 2)).argmax())
            y, x = (int(v) for v in np.argwhere(differs[z])[0])
            sizes = table.sum(axis=0) + table.sum(axis=1)
            dice = {classes[c]: round(float(2 * table[c, c] / sizes[c]), 4) for c in range(1, count) if sizes[c]}
            voxels = int(differs.sum())
            found.append(
                Contradiction(kind, case, raters[i], raters[j], int(both.sum()), voxels, named, dice, z, (z, y, x))
            )
    return found


def find_contradictions(
    folder: Path,
    kinds: Sequence[Kind],
    *,
    told: Collection[str] = (),
    progress: Callable[[str], None] | None = None,
) -> tuple[list[Contradiction], list[Finding]]:
    """Compare all raters of a dataset folder.

    Args:
        folder: Dataset folder.
        kinds: labels, scribbles or both; a kind that fewer than two people gave is left out.
        told: Cases whose raters' maps are known not to be usable: nothing more is said of them.
        progress: Called with each case's id.

    Returns:
        Contradictions, and findings about labels: pairs that are far apart, structures that a rater never marked, maps
        that cannot be read. Contradicting strokes are findings of the check of scribbles.
    """
    contradictions: list[Contradiction] = []
    findings: list[Finding] = []
    for kind in kinds:
        if len(people_of(folder, kind)) < 2:
            continue
        try:
            rated = RaterSet.open(folder, kind=kind)
        except DataError as error:
            findings.append(_unusable(kind, None, error))
            continue
        missed: dict[tuple[str, str], list[str]] = {}
        for case in (case for split in SPLITS for case in rated.cases(split)):
            if progress is not None:
                progress(case.id)
            try:
                maps = rated.read(case)
            except DataError as error:
                # the check of scribbles reads and reports strokes
                if kind == "labels" and case.id not in told:
                    findings.append(_unusable(kind, case.id, error))
                continue
            theirs = compare_raters(case.id, kind, rated.raters, maps, rated.classes)
            contradictions += theirs
            if kind == "labels":
                findings += [_far_apart(one) for one in theirs if min(one.dice.values(), default=1.0) < FAR_APART]
                _count_missed(rated, case.id, maps, missed)
        findings += [_missed(rater, name, cases) for (rater, name), cases in missed.items()]
    return contradictions, findings


def _count_missed(rated: RaterSet, case: str, maps: np.ndarray, missed: dict[tuple[str, str], list[str]]) -> None:
    """Note structures that most raters of the case marked and one did not."""
    spoke = [r for r in range(len(maps)) if (maps[r] != UNLABELLED).any()]
    for c in range(1, len(rated.classes)):
        marked = [r for r in spoke if (maps[r] == c).any()]
        if len(marked) * 2 > len(spoke):
            for r in set(spoke) - set(marked):
                missed.setdefault((rated.raters[r], rated.classes[c]), []).append(case)


def _missed(rater: str, name: str, cases: list[str]) -> Finding:
    shown = ", ".join(cases[:3]) + (f" and {len(cases) - 3} more" if len(cases) > 3 else "")
    return Finding(
        "warning",
        "rater-misses-class",
        None,
        None,
        f"{rater} never marked '{name}' in {len(cases)} cases in which most others did: {shown}",
        "Ask whether the rater looked for it; fusion by quality takes such silence for little",
        {"rater": rater, "class": name, "cases": cases},
    )


def _far_apart(one: Contradiction) -> Finding:
    name, worst = min(one.dice.items(), key=lambda item: item[1])
    a, b, n = one.classes[0]
    return Finding(
        "warning",
        "raters-disagree",
        one.case,
        None,
        f"{one.first} and {one.second} differ in {one.voxels} of {one.compared} voxels, most of them {a} against {b} "
        f"({n}); '{name}' has a Dice of {worst:.2f} between them; look at slice {one.slice}",
        "Let both people look at the place, or fuse the maps with medcl fuse",
        one.to_dict(),
    )


def _unusable(kind: Kind, case: str | None, error: DataError) -> Finding:
    text = f"the {kind} of the raters cannot be used: {error}"
    return Finding("error", "rater-map", case, None, text, "Correct the file, or take it out of the rater's folder")
