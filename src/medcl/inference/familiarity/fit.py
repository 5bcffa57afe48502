"""Give a trained model its memory of the training scans."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medcl.errors import DataError
from medcl.files import read_json
from medcl.inference.familiarity.clouds import Array, Cloud, Distance, Places, Sums
from medcl.inference.familiarity.pieces import Pieces, PieceSums
from medcl.inference.familiarity.reference import Reference, combined, standardised
from medcl.inference.familiarity.seen import SCAN_BLOCKS, Seen, parts_of, pixel_distances, scan_vector, see

if TYPE_CHECKING:
    from medcl.data.dataset import Dataset
    from medcl.inference.model import Model

FEWEST = 4
"""Scans that are needed at least: what is usual cannot be told from fewer."""

_FOLDS = 10
_QUANTILES = 1001


@dataclass(frozen=True)
class Fitted:
    """What `fit_reference` found.

    Attributes:
        reference: To judge by.
        scores: Score of each scan by a reference without it, in the order given.
        parts: The same for every part, standardised.
    """

    reference: Reference
    scores: Array
    parts: list[dict[str, float]]


def fit_familiarity(
    model: Model | Path | str,
    dataset: Dataset | Path | str,
    *,
    cases: Sequence[str] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Fitted:
    """Look at the training scans of a data set and write what is usual into the model's folder.

    Only images are read: neither strokes nor labels. Every scan takes one pass of the network.

    Args:
        model: A model, or the path of a model or run folder.
        dataset: The data set that the model learned from, or its folder.
        cases: Ids of the training cases to look at; default: those that `run.json` beside the model names, without it
            all training cases.
        progress: Called with scans done, scans in all, and the case that comes next ("" at the end).

    Returns:
        What was fitted; `reference` is in the model's folder by then.

    Raises:
        DataError: Too few scans, or one that does not fit the model.
    """
    from medcl.data.dataset import Dataset
    from medcl.data.prepare import prepare_image
    from medcl.inference.model import Model
    from medcl.inference.segment import check_image

    if not isinstance(model, Model):
        model = Model.load(model, engine="torch")
    if not isinstance(dataset, Dataset):
        dataset = Dataset.open(dataset)
    chosen = _chosen(model, dataset, cases)
    seen: list[Seen] = []
    with tempfile.TemporaryDirectory(prefix="medcl-") as scratch:
        for number, case in enumerate(chosen):
            if progress is not None:
                progress(number, len(chosen), case.id)
            image = dataset.read_image(case)
            check_image(image, model.plan, f"case {case.id}")
            one = see(model.network, prepare_image(image, model.plan).array, model.plan)
            one.pixels = [_on_disk(p, Path(scratch) / f"{number}-{k}.npy") for k, p in enumerate(one.pixels)]
            if one.shown is not None:
                one.shown = replace(one.shown, array=_on_disk(one.shown.array, Path(scratch) / f"{number}.npy"))
            seen.append(one)
        fitted = fit_reference(seen, classes=len(model.classes), weights=model.info.weights_sha256)
        seen.clear()  # releases the files before their folder goes
    fitted.reference.save(model.folder)
    if progress is not None:
        progress(len(chosen), len(chosen), "")
    return fitted


def _chosen(model: Model, dataset: Dataset, cases: Sequence[str] | None) -> list[Any]:
    known = {case.id: case for case in dataset.cases("Tr")}
    wanted = cases if cases is not None else _learned_from(model.folder)
    if wanted is not None:
        missing = [case for case in wanted if case not in known]
        if missing:
            raise DataError(f"{dataset.folder}: expected the training case {missing[0]}, found none of that name.")
    chosen = [known[case] for case in (known if wanted is None else wanted)]
    if len(chosen) < FEWEST:
        raise DataError(
            f"{dataset.folder}: expected at least {FEWEST} training scans to tell what is usual, got {len(chosen)}."
        )
    return chosen


def _learned_from(model: Path) -> list[str] | None:
    """Return the training cases of the run that a model folder lies in, or None where nothing tells.

    Their annotation does not matter: cases whose strokes were left out are learned from as well.
    """
    path = model.parent / "run.json"
    content = read_json(path) if path.is_file() else None
    names = content.get("training_cases") if isinstance(content, dict) else None
    return [str(name) for name in names] if isinstance(names, list) else None


def _on_disk(array: np.ndarray, path: Path) -> Any:
    """Keep an image or the features of its places in a file: a hundred scans would fill a laptop's memory."""
    np.save(path, array)
    return np.load(path, mmap_mode="r")


def fit_reference(seen: Sequence[Seen], *, classes: int, weights: str = "", how: Distance = "mahalanobis") -> Fitted:
    """Fit a reference to scans, and calibrate it on each of them as if it were new.

    Scans are left out in turn, in ten groups where there are more: a scan that took part in the covariance always
    looks familiar, and the share that a user reads has to hold for scans that did not.

    Args:
        seen: What was seen of each scan; at least `FEWEST`.
        classes: Number of classes of the model.
        weights: Digest of the model's weights.
        how: Distance to clouds, see `Cloud.distance`.
    """
    groups = [index % min(_FOLDS, len(seen)) for index in range(len(seen))]
    sums = [one.sums(classes) for one in seen]
    sides = [one.shown.side for one in seen if one.shown is not None]
    side = float(np.median(sides)) if sides else 0.0
    spanned = [None if one.shown is None else PieceSums.of(one.shown, side) for one in seen]
    raw: list[dict[str, float]] = [{} for _ in seen]
    sample: list[np.ndarray] = []
    for group in sorted(set(groups)):
        others = [index for index, own in enumerate(groups) if own != group]
        units, scans, pixels = _clouds([seen[i] for i in others], [sums[i] for i in others])
        pieces = _pieces([spanned[i] for i in others], side)
        for index in (i for i, own in enumerate(groups) if own == group):
            raw[index] = parts_of(seen[index], units, scans, pixels, pieces, how)
            sample += [distances.ravel()[::7] for distances in pixel_distances(seen[index], pixels)]
    names = set().union(*raw)
    usual = {n: _usual([parts[n] for parts in raw if n in parts]) for n in sorted(names)}
    parts = [standardised(one, usual) for one in raw]
    scores = np.array([combined(one) for one in parts])
    units, scans, pixels = _clouds(seen, sums)
    quantiles = np.quantile(np.concatenate(sample), np.linspace(0, 1, _QUANTILES))
    reference = Reference(
        units, scans, pixels, quantiles, usual, np.sort(scores), weights, pieces=_pieces(spanned, side)
    )
    return Fitted(reference, scores, parts)


def _pieces(sums: Sequence[PieceSums | None], side: float) -> Pieces | None:
    found = [one for one in sums if one is not None]
    return Pieces.fit(found, side) if found else None


def _usual(values: Sequence[float]) -> tuple[float, float]:
    # 20 %: a few scans that happen to agree must not make a part so sure that it speaks for all
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return float(np.mean(values)), float(np.hypot(spread, 0.2))


def _clouds(seen: Sequence[Seen], sums: Sequence[Sums]) -> tuple[dict[str, Cloud], dict[str, Cloud], Places]:
    units = {name: Cloud.fit(np.concatenate([one.units[name] for one in seen])) for name in seen[0].units}
    scans = {name: Cloud.fit(np.stack([scan_vector(one, name) for one in seen])) for name in SCAN_BLOCKS}
    total = sums[0]
    for one in sums[1:]:
        total = total + one
    return units, scans, Places.fit(total)
