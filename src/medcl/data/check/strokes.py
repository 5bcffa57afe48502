"""Do the strokes of a case, and of all cases together, say what a network needs to be told?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from medcl.data.check.findings import Finding, runs_of, shorten
from medcl.data.labels import UNLABELLED

_ACCEPTED_SHARE = 0.01


def check_unlabelled(case: str, file: str, scribble: np.ndarray, classes: Sequence[str]) -> list[Finding]:
    """Tell strokes from a map in which *not annotated* was written as a class.

    Strokes leave most pixels unlabelled. Where they do not, the usual reason is that `dataset.json` has background and
    ignore the wrong way round, or that the tool wrote 0 for both.

    Args:
        case: Case id.
        file: Scribble file relative to the data set folder.
        scribble: Map (Z, Y, X) of class indices and UNLABELLED.
        classes: Class names by index.

    Returns:
        An error `no-pixel-unlabelled`, a warning `ignore-not-dominant`, or nothing.
    """
    counts = np.bincount(scribble.reshape(-1).astype(np.int64) + 1, minlength=len(classes) + 1)
    unlabelled = int(counts[0])
    largest = int(np.argmax(counts[1:]))
    share, top = unlabelled / scribble.size, int(counts[1 + largest]) / scribble.size
    amounts = {"unlabelled_share": share, "largest_class": classes[largest], "largest_share": top}
    if unlabelled == 0:
        return [
            Finding(
                "error",
                "no-pixel-unlabelled",
                case,
                file,
                f"no pixel has the ignore value, and {top:.1%} are '{classes[largest]}'",
                "If that value is where nobody drew, it is 'ignore' in dataset.json; if this is a dense label, move "
                "it to labelsTr",
                amounts,
            )
        ]
    if top > share:
        return [
            Finding(
                "warning",
                "ignore-not-dominant",
                case,
                file,
                f"'{classes[largest]}' covers {top:.1%} of the pixels, ignore only {share:.1%}",
                "Look at the file: are background and ignore swapped in dataset.json?",
                amounts,
            )
        ]
    return []


def check_classes(
    case: str,
    file: str,
    scribble: np.ndarray,
    classes: Sequence[str],
    annotated: Sequence[int],
    label: np.ndarray | None = None,
) -> list[Finding]:
    """Say which classes a case's strokes leave out, and in which slices.

    Args:
        case: Case id.
        file: Scribble file relative to the data set folder.
        scribble: Map (Z, Y, X) of class indices and UNLABELLED.
        classes: Class names by index.
        annotated: Class indices that somebody looked for in this case.
        label: Dense label of the case, if there is one: tells a class that was forgotten from one that is not there.

    Returns:
        `no-stroke` (warning), `background-not-drawn` (warning), `class-not-drawn` (note; warning where the label
        holds the class), `class-not-annotated` (error), `slices-without-stroke` and `class-skips-slice` (notes).
    """
    drawn = scribble != UNLABELLED
    if not drawn.any():
        todo = "Draw in it, or remove the file: the case then counts as an image without strokes"
        return [Finding("warning", "no-stroke", case, file, "not one pixel is drawn", todo)]
    findings = []
    per_slice = {index: (scribble == index).any(axis=(1, 2)) for index in range(len(classes))}
    for index, slices in per_slice.items():
        name = classes[index]
        if slices.any() and index not in annotated:
            findings.append(
                Finding(
                    "error",
                    "class-not-annotated",
                    case,
                    file,
                    f"strokes of '{name}', which dataset.json leaves out under 'annotated' for this case",
                    "Add the class there, or remove the strokes",
                    {"class": name},
                )
            )
        if not slices.any() and index in annotated:
            findings.append(_not_drawn(case, file, index, name, label))
        skipped = [int(z) + 1 for z in np.flatnonzero(~slices[1:-1] & slices[:-2] & slices[2:])]
        if skipped:
            findings.append(
                Finding(
                    "note",
                    "class-skips-slice",
                    case,
                    file,
                    f"'{name}' is drawn in the slices before and after, but not in slice {runs_of(skipped)}",
                    "Draw it there too if it can be seen",
                    {"class": name, "slices": skipped},
                )
            )
    empty = [int(z) for z in np.flatnonzero(~drawn.any(axis=(1, 2)))]
    if empty:
        findings.append(
            Finding(
                "note",
                "slices-without-stroke",
                case,
                file,
                f"{len(empty)} of {len(scribble)} slices have no stroke: {runs_of(empty)}",
                "Draw at least background there, or leave them: they are not learned from",
                {"slices": empty, "of": len(scribble)},
            )
        )
    return findings


def _not_drawn(case: str, file: str, index: int, name: str, label: np.ndarray | None) -> Finding:
    if index == 0:
        return Finding(
            "warning",
            "background-not-drawn",
            case,
            file,
            "no stroke says where background is",
            "Draw background: a network that is never shown any lets the structures flood the image",
        )
    pixels = 0 if label is None else int(np.count_nonzero(label == index))
    if pixels:
        message = f"'{name}' is never drawn, though the dense label has {pixels} pixels of it"
        return Finding(
            "warning", "class-not-drawn", case, file, message, "Draw it", {"class": name, "label_pixels": pixels}
        )
    todo = f"Nothing if '{name}' is not in this case; else draw it"
    return Finding("note", "class-not-drawn", case, file, f"'{name}' is never drawn", todo, {"class": name})


def compare_maps(
    case: str,
    file: str,
    first: np.ndarray,
    other_file: str,
    second: np.ndarray,
    classes: Sequence[str],
    *,
    dense: bool,
) -> list[Finding]:
    """Compare two maps of one case where both say something.

    Args:
        case: Case id.
        file: First file (a scribble).
        first: Its map (Z, Y, X).
        other_file: Second file: the dense label, or another person's scribble.
        second: Its map, same shape.
        classes: Class names by index.
        dense: Whether the second file is the dense label.

    Returns:
        Nothing where they agree; else one finding `scribble-against-label` or `annotators-disagree`: a warning from
        one pixel of a hundred on, a note below.
    """
    both = (first != UNLABELLED) & (second != UNLABELLED)
    compared = int(np.count_nonzero(both))
    differs = both & (first != second)
    wrong = int(np.count_nonzero(differs))
    if not wrong:
        return []
    pairs = Counter(zip(first[differs].tolist(), second[differs].tolist(), strict=True))
    named = [f"{classes[a]} against {classes[b]} {n}" for (a, b), n in pairs.most_common()]
    at = tuple(int(i) for i in np.unravel_index(int(np.argmax(differs)), differs.shape))
    return [
        Finding(
            "warning" if wrong >= _ACCEPTED_SHARE * compared else "note",
            "scribble-against-label" if dense else "annotators-disagree",
            case,
            file,
            f"{wrong} of {compared} pixels ({wrong / compared:.2%}) contradict {other_file}: {shorten(named, 3)}; "
            f"the first at (z, y, x) {at}",
            "Look at the place and correct the file that is wrong"
            if dense
            else "Let both people look at the place, or leave one of the two scribbles out",
            {
                "pixels": wrong,
                "compared": compared,
                "share": wrong / compared,
                "other_file": other_file,
                "pairs": [[classes[a], classes[b], n] for (a, b), n in pairs.most_common()],
                "first_at": list(at),
            },
        )
    ]


def check_all_drawn(classes: Sequence[str], drawn_in: Counter[int], sources: int) -> list[Finding]:
    """Say which classes the training part never shows.

    Args:
        classes: Class names by index.
        drawn_in: Class index -> training cases in which it was drawn (dense labels count where there is no scribble).
        sources: Training cases with any stroke or label.

    Returns:
        Errors `nothing-annotated`, `class-never-drawn` and `background-never-drawn`.
    """
    if sources == 0:
        todo = "Draw strokes (scribblesTr), or add dense labels (labelsTr)"
        return [Finding("error", "nothing-annotated", None, None, "no training case has a stroke or a label", todo)]
    findings = []
    for index, name in enumerate(classes):
        if drawn_in[index]:
            continue
        if index == 0:
            findings.append(
                Finding(
                    "error",
                    "background-never-drawn",
                    None,
                    None,
                    f"none of {sources} training cases has a background stroke",
                    "Draw some in every case; if background strokes are there, 'ignore' and 'background' are mixed up "
                    "in dataset.json",
                )
            )
        else:
            findings.append(
                Finding(
                    "error",
                    "class-never-drawn",
                    None,
                    None,
                    f"none of {sources} training cases shows '{name}'",
                    f"Draw '{name}' where it can be seen, or take it out of dataset.json",
                    {"class": name},
                )
            )
    return findings
