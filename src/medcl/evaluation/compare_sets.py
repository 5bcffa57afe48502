"""Do two sets of scans look alike? `compare_sets` reads, measures, compares and writes pictures, JSON and a report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from medcl.data.dataset import Dataset
from medcl.data.geometry import Image
from medcl.data.io import IMAGE_ENDINGS, read_image
from medcl.data.layout import by_channel, entries, split_ending
from medcl.errors import DataError, MedclError
from medcl.evaluation.frechet import FEWEST_A, FEWEST_B, SetDistance, set_distance, standardise
from medcl.evaluation.radiomics import Library, choose_library, scan_features
from medcl.files import check_place, write_json

UNUSUAL = 0.05
"""Sets are called unlike when at most this share of the splits of A lies as far apart."""

Split = Literal["Tr", "Val", "Ts"]


@dataclass(frozen=True)
class Difference:
    """One feature in both sets.

    Attributes:
        name: Of the feature.
        mean_a: Mean over A.
        mean_b: Mean over B.
        shift: Difference of the means in standard deviations of A.
        p: Of the Mann-Whitney U test, two-sided, not corrected.
    """

    name: str
    mean_a: float
    mean_b: float
    shift: float
    p: float


@dataclass(frozen=True)
class SetComparison:
    """What `compare_sets` found.

    Attributes:
        distance: Frechet distance and what is usual within A.
        differences: All features, those that differ most first.
        cases: Ids of the scans of A and B.
        library: What computed the features.
        skipped: Scans that could not be read or measured, and why.
        features: Scan features (A and B), in the order of `differences` names of `names`.
        names: Feature names.
    """

    distance: SetDistance
    differences: tuple[Difference, ...]
    cases: tuple[tuple[str, ...], tuple[str, ...]]
    library: str
    skipped: tuple[str, ...]
    features: tuple[np.ndarray, np.ndarray]
    names: tuple[str, ...]

    @property
    def unlike(self) -> bool:
        """Whether the sets lie further apart than is usual within A."""
        return self.distance.share <= UNUSUAL

    @property
    def sentence(self) -> str:
        """The answer for a person."""
        usual = self.distance.usual
        low, middle, high = (float(np.percentile(usual, q)) for q in (5, 50, 95))
        head = f"distance {self.distance.distance:.3g}; usual within A: {middle:.3g} ({low:.3g} to {high:.3g})"
        if not self.unlike:
            return f"{head}: B looks like A."
        most = " and ".join(one.name for one in self.differences[:2])
        return f"{head}: B looks unlike A, most of all in {most}."


def compare_sets(
    first: str | Path,
    second: str | Path,
    out: str | Path | None = None,
    *,
    split: Split = "Tr",
    features: Library = "auto",
    raw: bool = False,
    draws: int = 200,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> SetComparison:
    """Compare the scans of two folders by radiomic features; strokes and labels are not read.

    Args:
        first: A, what is known: a data set, or a folder of images.
        second: B, what is new: the same.
        out: Folder for `compare.json` and `compare.html`; None writes nothing.
        split: Which images of data sets: "Tr", "Val" or "Ts".
        features: "pyradiomics", "simpleitk", or "auto": the first where it is installed.
        raw: Keep intensities as they are (CT); see `scan_features`.
        draws: Random splits of A that say what is usual.
        seed: Of the splits.
        progress: Called with scans done, scans in all and the scan that comes next ("" at the end).

    Raises:
        DataError: A folder without images, too few that can be read, or `out` cannot be written.
        MissingExtraError: PyRadiomics is asked for and not installed.
    """
    library = choose_library(features)
    if out is not None:
        check_place(out)
    sets = [_scans(Path(folder), split) for folder in (first, second)]
    for name, scans, least in (("A", sets[0], FEWEST_A), ("B", sets[1], FEWEST_B)):
        if len(scans) < least:
            raise DataError(f"set {name}: expected at least {least} scans to compare, got {len(scans)}.")
    total, done = len(sets[0]) + len(sets[1]), 0
    skipped: list[str] = []
    rows: list[list[dict[str, float]]] = [[], []]
    cases: list[list[str]] = [[], []]
    shown: list[list[Image]] = [[], []]
    for which, scans in enumerate(sets):
        for number, (case, read) in enumerate(scans.items()):
            if progress is not None:
                progress(done, total, case)
            done += 1
            try:
                image = read()
                rows[which].append(scan_features(image, library=library, raw=raw))
                cases[which].append(case)
                if number in _spread(len(scans)):
                    shown[which].append(image)
            except MedclError as error:
                skipped.append(f"{case}: {error}")
    if progress is not None:
        progress(total, total, "")
    names = sorted(set.intersection(*(set(row) for both in rows for row in both))) if all(rows) else []
    if not names:
        raise DataError(f"no feature could be computed in every scan; {skipped[0] if skipped else 'check the images.'}")
    one, two = (np.array([[row[name] for name in names] for row in both]) for both in rows)
    result = SetComparison(
        set_distance(one, two, draws=draws, seed=seed),
        tuple(_differences(names, one, two)),
        (tuple(cases[0]), tuple(cases[1])),
        library,
        tuple(skipped),
        (one, two),
        tuple(names),
    )
    if out is not None:
        from medcl.evaluation.compare_sets_report import write_set_report

        write_json(Path(out) / "compare.json", as_json(result))
        write_set_report(Path(out) / "compare.html", result, shown, titles=(Path(first).name, Path(second).name))
    return result


def as_json(result: SetComparison) -> dict[str, object]:
    """Return plain values of a comparison, without folders of this machine."""
    from medcl.evaluation.provenance import versions

    low, middle, high = (float(np.percentile(result.distance.usual, q)) for q in (5, 50, 95))
    return {
        "distance": result.distance.distance,
        "usual_within_a": {"median": middle, "low_5": low, "high_95": high, "draws": len(result.distance.usual)},
        "share_of_splits_as_far": result.distance.share,
        "unlike": result.unlike,
        "sentence": result.sentence,
        "scans": {"a": list(result.cases[0]), "b": list(result.cases[1])},
        "scans_per_draw": list(result.distance.sizes),
        "features_by": result.library,
        "differences": [asdict(one) for one in result.differences],
        "skipped": list(result.skipped),
        "versions": versions(),
    }


def _spread(count: int, shown: int = 4) -> set[int]:
    return {round(v) for v in np.linspace(0, count - 1, min(shown, count))}


def _differences(names: list[str], one: np.ndarray, two: np.ndarray) -> list[Difference]:
    from scipy.stats import mannwhitneyu

    shifts = standardise(two, one).mean(0)
    found = [
        Difference(
            name,
            float(one[:, k].mean()),
            float(two[:, k].mean()),
            float(shifts[k]),
            float(mannwhitneyu(one[:, k], two[:, k]).pvalue),
        )
        for k, name in enumerate(names)
    ]
    return sorted(found, key=lambda d: -abs(d.shift))


def _scans(folder: Path, split: Split) -> dict[str, Callable[[], Image]]:
    """Return case -> what reads it, of a data set or a folder of images (their first channels)."""
    if (folder / "dataset.json").is_file():
        dataset = Dataset.open(folder)
        return {case.id: (lambda case=case: dataset.read_image(case)) for case in dataset.cases(split)}  # type: ignore[misc]
    if not folder.is_dir():
        raise DataError(
            f"{folder}: expected a data set or a folder of images, got {'a file' if folder.exists() else 'nothing'}."
        )
    found, _ = entries(folder, folders=False)
    if not found:
        raise DataError(f"{folder}: expected images ({', '.join(IMAGE_ENDINGS)}) or a dataset.json, found neither.")
    chosen: dict[str, Path] = {}
    for case, files, _ in by_channel({path: stem for stem, paths in found.items() for path in paths}):
        first = [path for path in files if split_ending(path.name)[0] in (case, f"{case}_0000")]
        both = [*([chosen[case]] if case in chosen else []), *first]
        if len(both) > 1:
            names = " and ".join(path.name for path in both)
            raise DataError(f"{folder}: expected one scan per name, got {names} for '{case}'; keep or rename one.")
        chosen[case] = both[0]
    return {case: (lambda path=path: read_image(path)) for case, path in chosen.items()}  # type: ignore[misc]
