"""What a model says about one case, reduced to what strategies and pictures read, and kept on disk."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medcl.data.dataset import Dataset
from medcl.errors import DataError
from medcl.queries import Place
from medcl.queries.features import image_features
from medcl.queries.places import entropy, places_of
from medcl.suggest.folder import writing
from medcl.suggest.material import Open

if TYPE_CHECKING:
    from medcl.data.geometry import Image
    from medcl.inference.model import Model
    from medcl.inference.sources import SourceSettings
    from medcl.inference.vote import Member

_VERSION = 2
"""Goes up when what is measured changes, so that nothing old is taken for new."""


@dataclass(frozen=True)
class Measured:
    """What is known of one case.

    Attributes:
        places: Per slice (or box) and class; empty without a model.
        features: (slices, F), or None where not asked for.
        mask: Most likely class (K, J, I) uint8 or uint16, or None without a model.
        uncertainty: Normalised entropy (K, J, I) as uint8, 255 for 1, or None without a model.
    """

    places: tuple[Place, ...]
    features: np.ndarray | None
    mask: np.ndarray | None
    uncertainty: np.ndarray | None


def measure(
    dataset: Dataset,
    opened: Open,
    models: Sequence[Model],
    source: SourceSettings,
    *,
    features: bool,
    box_mm: float | None,
    cache: Path,
    progress: Callable[[float], None] | None = None,
) -> Measured:
    """Predict a case, or take what an earlier call kept of it; features that it lacks are added.

    Args:
        dataset: Where the case is from.
        opened: The case.
        models: Models whose mean counts; none: only features.
        source: Where several probability maps come from, which give mutual information.
        features: Whether the slices are described.
        box_mm: Side of boxes; None: whole slices.
        cache: Folder that results are kept in.
        progress: Called with the share that is done, up to 1.

    Raises:
        DataError: The image cannot be read or does not fit a model; names the case.
        UnwritableError: The cache cannot be written.
    """
    key = _key(dataset, opened, models, source, box_mm)
    path = cache / f"{opened.case.id}.npz"
    kept = _read(path, key, opened.case.id)
    if kept is not None and (kept.features is not None or not features):
        return kept
    image = dataset.read_image(opened.case)
    described = image_features(opened.view.to_view(image.array), opened.axis) if features else None
    if kept is not None:
        found = replace(kept, features=described)
        _write(path, key, found)
        return found
    found = Measured((), described, None, None)
    if models:
        from medcl.inference.sources import members_from

        with tempfile.TemporaryDirectory(prefix="medcl-") as scratch:
            members = members_from(source, models)
            maps = []
            for number, member in enumerate(members):
                told = None if progress is None else partial(_tell_part, progress, number, len(members))
                kept_in = Path(scratch) / str(number)
                maps.append(opened.view.to_view(_predict(member, image, opened.case.id, kept_in, told)))
            x, y, z = opened.view.spacing_mm
            samples = maps if len(maps) > 1 else None
            places = places_of(
                opened.case.id,
                None if samples else maps[0],
                (z, y, x),
                opened.axis,
                samples=samples,
                box_mm=box_mm,
            )
            mask = np.empty(opened.view.shape, np.uint8 if len(dataset.classes) <= 256 else np.uint16)
            unsure = np.empty(opened.view.shape, np.uint8)
            for k in range(opened.view.shape[0]):  # slice by slice: the maps may lie in files
                shares = np.mean([m[:, k] for m in maps], axis=0)
                mask[k], unsure[k] = shares.argmax(axis=0), np.rint(255 * entropy(shares))
            del maps
            found = Measured(tuple(places), described, mask, unsure)
    _write(path, key, found)
    return found


def _tell_part(progress: Callable[[float], None], done: int, of: int, share: float) -> None:
    progress((done + share) / of)


def _predict(
    member: Member, image: Image, case: str, scratch: Path, progress: Callable[[float], None] | None
) -> np.ndarray:
    """Return class probabilities (C, Z, Y, X) in the grid of the file, in a file of `scratch`."""
    from medcl.data.prepare import prepare_image
    from medcl.inference.segment import check_image, segment

    check_image(image, member.plan, f"case {case}")
    scratch.mkdir()
    result = segment(
        member.network,
        member.plan,
        prepare_image(image, member.plan),
        flips=member.flips,
        probabilities=True,
        scratch=scratch,
        progress=progress,
        scaling=member.scaling,
    )
    assert result.probabilities is not None  # asked for
    return result.probabilities


def _key(
    dataset: Dataset,
    opened: Open,
    models: Sequence[Model],
    source: SourceSettings,
    box_mm: float | None,
) -> str:
    told = {
        "version": _VERSION,
        "image": dataset.part_digests(opened.case)["image"],
        "models": [model.info.weights_sha256 for model in models],
        "scaling": [None if model.scaling is None else model.scaling.model_dump(mode="json") for model in models],
        "source": source.model_dump(mode="json") if models else None,
        "box_mm": box_mm,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _write(path: Path, key: str, found: Measured) -> None:
    rows = np.array(
        [
            (
                *(p.slice, p.class_index, p.doubt_mm2, p.share, *p.peak, p.entropy, p.information),
                *(p.information_mm2, p.mask_mm2, p.area_mm2, *np.ravel(p.box if p.box else [-1] * 6)),
            )
            for p in found.places
        ],
        float,
    ).reshape(len(found.places), 18)
    arrays = {"key": np.array(key), "places": rows}
    for name in ("features", "mask", "uncertainty"):
        value = getattr(found, name)
        if value is not None:
            arrays[name] = value
    with writing(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]  # numpy's stubs know no mapping here


def _read(path: Path, key: str, case: str) -> Measured | None:
    """Return what is kept under this key; None where it is missing, of another key or damaged: made anew then."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as kept:
            if str(kept["key"]) != key:
                return None
            arrays = {name: kept[name] for name in kept.files}
    except (OSError, ValueError, KeyError, EOFError, DataError):
        return None
    places = []
    for s, c, doubt, share, i, j, k, *more in arrays["places"].tolist():
        low_i, high_i, low_j, high_j, low_k, high_k = (int(value) for value in more[5:])
        box = None if low_i < 0 else ((low_i, high_i), (low_j, high_j), (low_k, high_k))
        told, informed, informed_mm2, mask, area = more[:5]
        peak = (int(i), int(j), int(k))
        found = Place(case, int(s), int(c), doubt, share, peak, told, informed, informed_mm2, mask, area, box)
        places.append(found)
    return Measured(tuple(places), arrays.get("features"), arrays.get("mask"), arrays.get("uncertainty"))
