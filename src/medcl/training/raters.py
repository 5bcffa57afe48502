"""Learning from several people: one person's map per draw, the shares of their votes, or fused shares from a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medcl.batch import Batch
from medcl.data.dataset import Dataset
from medcl.data.grid import Grid
from medcl.data.io import read_image
from medcl.data.labels import UNLABELLED
from medcl.data.layout import entries, rater_folders
from medcl.data.plan import Plan
from medcl.data.raters import FUSED, Kind, people_of
from medcl.data.resample import resize
from medcl.data.store import PreparedCase, Store
from medcl.errors import DataError, SettingsError, unknown_name
from medcl.files import atomic_write, file_digest, read_json
from medcl.settings import TrainSettings
from medcl.training.sampling import Sampler, _Source

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Rated:
    """What several people said, on the plan's grid.

    Attributes:
        kind: labels or scribbles.
        stores: Rater -> prepared cases with this rater's maps; empty where fused shares are learnt.
        shares: Case -> file with fused shares (C, Z, Y, X); empty where people's maps are.
        sampled: Whether a draw learns from one person's map; else from shares of votes.
    """

    kind: Kind
    stores: Mapping[str, Store]
    shares: Mapping[str, Path]
    sampled: bool

    @property
    def key(self) -> str:
        """Digest of everything that it depends on, for runs that are resumed."""
        parts = [store.path.name for store in self.stores.values()]
        parts += [path.parent.name for path in list(self.shares.values())[:1]]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def open_for_training(dataset: Dataset | Path | str, train: TrainSettings) -> Dataset:
    """Open a data set for a run: with the labels and strokes that the settings name.

    Where several people annotated and all of them are learnt from, images, parts and validation come from the first.

    Raises:
        DataError: As `Dataset.open`, or no fused shares of the name in `soft`.
    """
    if isinstance(dataset, Dataset):
        return dataset
    folder, scribbles, labels = Path(dataset), train.scribbles, train.labels
    if train.soft is not None and folder.is_dir():
        _shares_of(folder, train.soft)
        if train.soft in rater_folders(folder, "scribbles"):
            scribbles = scribbles or train.soft
        elif train.soft in rater_folders(folder, "labels"):
            strokes = people_of(folder, "scribbles")  # they play no part, but the folder opens with one of them alone
            labels, scribbles = labels or train.soft, scribbles or (strokes[0] if strokes else None)
    if train.raters is not None and folder.is_dir():
        strokes = people_of(folder, "scribbles")
        scribbles = scribbles or (strokes[0] if strokes else None)
        if labels is None and not entries(folder / "labelsTr", folders=False)[0]:
            people = people_of(folder, "labels")
            labels = people[0] if people else None
    return Dataset.open(folder, scribbles=scribbles, labels=labels)


def choose_raters(dataset: Dataset, train: TrainSettings, *, dense: bool) -> tuple[Kind, tuple[str, ...]] | None:
    """Return whose maps a run learns from, before anything is prepared; None where `raters` is not set.

    Args:
        dataset: The data set of the run.
        train: Settings of the run.
        dense: Whether the method learns from dense labels where there are strokes too.

    Raises:
        SettingsError: Both `raters` and `soft` are given.
        DataError: Fewer than two raters, or no fused shares of this name.
    """
    if train.raters is not None and train.soft is not None:
        raise SettingsError("raters, soft: expected one of the two, got both; leave one out.")
    if train.soft is not None:
        _shares_of(dataset.folder, train.soft)
    if train.raters is None:
        return None
    labelled, drew = people_of(dataset.folder, "labels"), people_of(dataset.folder, "scribbles")
    kind: Kind = "labels" if len(labelled) > 1 and (dense or len(drew) < 2) else "scribbles"
    people = labelled if kind == "labels" else drew
    if len(people) < 2:
        raise DataError(
            f"{dataset.folder}: raters={train.raters}: expected labelsTr/<rater> or scribblesTr/<rater> of two or more "
            f"people, got {', '.join(people or labelled) or 'none'}."
        )
    return kind, people


def prepare_raters(
    dataset: Dataset, plan: Plan, folder: Path, store: Store, train: TrainSettings, *, dense: bool, tell: Tell
) -> Rated | None:
    """Prepare what several people said; None where the settings ask for nothing of the kind.

    Images are prepared once: the stores of further raters link them.

    Args:
        dataset: The data set of the run.
        plan: Its plan.
        folder: Cache folder of stores.
        store: The run's own store.
        train: Settings of the run.
        dense: Whether the method learns from dense labels where there are strokes too.
        tell: Called before a case is prepared.

    Raises:
        SettingsError, DataError: As `choose_raters`.
    """
    chosen = choose_raters(dataset, train, dense=dense)
    if train.soft is not None:
        return _fused(dataset, plan, folder, store, train.soft)
    if chosen is None:
        return None
    kind, people = chosen
    drew = people_of(dataset.folder, "scribbles")
    stores = {}
    for name in people:
        options = {"labels": name, "scribbles": drew[0] if drew else None} if kind == "labels" else {"scribbles": name}
        opened = Dataset.open(dataset.folder, **options)
        stores[name] = Store.prepare(opened, plan, folder, splits=("Tr",), progress=tell)
    return Rated(kind, stores, {}, train.raters == "sampled")


def build_sampler(rated: Rated | None, store: Store, *args: Any, everyone: bool = False, **options: Any) -> Sampler:
    """Return the sampler of a run; arguments as for `Sampler`.

    Args:
        rated: What several people said; None: the store's own maps are learnt.
        store: Prepared cases of the run.
        *args: Cases and plan.
        everyone: Also give the maps of all raters (`Batch.raters`).
        **options: The other arguments of `Sampler`.
    """
    if rated is None:
        return Sampler(store, *args, **options)
    return RaterSampler(rated, store, *args, everyone=everyone, **options)


class RaterSampler(Sampler):
    """Draws batches as `Sampler` does, with targets from several people.

    Patches are centred on what most of them marked. A draw with nobody's annotation in it has none.

    Args:
        rated: What they said.
        store: Prepared cases of the run, for the images.
        case_ids: The cases to train on.
        plan: Classes, dimensions and patch.
        everyone: Also give the maps of all raters.
        **options: As for `Sampler`.
    """

    def __init__(
        self, rated: Rated, store: Store, case_ids: list[str], plan: Plan, *, everyone: bool = False, **options: Any
    ) -> None:
        self.rated, self.everyone = rated, everyone
        self._shares = {case: np.load(path, mmap_mode="r") for case, path in rated.shares.items() if case in case_ids}
        self._maps = {case: _maps_of(rated, case) for case in case_ids} if rated.stores else {}
        self._cuts: list[np.ndarray] = []
        merged: Any = {case: self._merged(store[case], len(plan.classes)) for case in case_ids}
        super().__init__(merged, case_ids, plan, **options)

    def _merged(self, case: PreparedCase, classes: int) -> PreparedCase:
        """Return the case with what most people said in the place of its map."""
        if case.id in self._shares:
            shares = self._shares[case.id]
            chosen = np.where(shares.sum(axis=0) > 0, shares.argmax(axis=0), UNLABELLED).astype(np.int16)
        elif any(one is not None for one in self._maps.get(case.id, ())):
            there = [one for one in self._maps[case.id] if one is not None]
            votes = np.stack([sum((one == c).astype(np.int8) for one in there) for c in range(classes)])
            chosen = np.where(votes.sum(axis=0) > 0, votes.argmax(axis=0), UNLABELLED).astype(np.int16)
        else:
            return replace(case, label=None, scribble=None)
        if self.rated.kind == "labels":
            return replace(case, label=chosen, scribble=None)
        return replace(case, scribble=chosen, label=None)

    def batch(self, step: int, rank: int = 0) -> Batch:
        """Return the canvases of one step; see `Sampler.batch`."""
        self._cuts = []
        batch = super().batch(step, rank)
        cuts, self._cuts = self._cuts, []
        rng = np.random.default_rng([self.seed, rank, step, 1])
        if self._shares:
            target = torch.from_numpy(np.stack(cuts))
        else:
            everyone = torch.stack([self._one_hot(cut) for cut in cuts])  # (N, R, C, *canvas)
            target = self._drawn_rater(everyone, rng) if self.rated.sampled else _vote_shares(everyone)
            if self.everyone:
                batch = replace(batch, raters=everyone)
        shown = target.flatten(2).sum(dim=2) > 0
        free = (target.sum(dim=1, keepdim=True) == 0).float()
        return replace(batch, target=target, present=batch.present | shown, absent=batch.absent * free)

    def _drawn_rater(self, everyone: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        target = torch.zeros_like(everyone[:, 0])
        for k, maps in enumerate(everyone):
            spoke = np.flatnonzero(maps.flatten(1).sum(dim=1).numpy())
            if len(spoke):
                target[k] = maps[int(spoke[rng.integers(len(spoke))])]
        return target

    def _cut(self, source: _Source, z: int, corner: tuple[int, ...], *into: np.ndarray) -> None:
        super()._cut(source, z, corner, *into)
        shares = self._shares.get(source.case.id)
        raters = self._maps.get(source.case.id, [])
        # a case that is used as an image alone has no annotation, whoever annotated it
        used = source.annotation is not None
        cut: np.ndarray
        if self._shares:
            cut = np.zeros((self.classes, *self.canvas), np.float32)
        else:
            cut = np.full((len(self.rated.stores), *self.canvas), UNLABELLED, np.int64)
        overlap = self._overlap(source, corner)
        if used and overlap is not None:
            inside, place = overlap
            where: Any = (z, *inside) if self.plan.ndim == 2 else inside
            if shares is not None:
                cut[(slice(None), *place)] = np.moveaxis(shares, source.axis - 3, -3)[(slice(None), *where)]
            for r, array in enumerate(raters):
                if array is not None:
                    cut[r][place] = np.moveaxis(array, source.axis - 3, -3)[where]
        self._cuts.append(cut)


def _vote_shares(everyone: torch.Tensor) -> torch.Tensor:
    """(N, R, C, *S) -> (N, C, *S): shares of the votes, all zero where nobody voted."""
    votes = everyone.sum(dim=1)
    return votes / votes.sum(dim=1, keepdim=True).clamp(min=1)


def _maps_of(rated: Rated, case: str) -> list[np.ndarray | None]:
    maps: list[np.ndarray | None] = []
    for store in rated.stores.values():
        prepared = store[case]  # every rater's store holds every image
        maps.append(prepared.label if rated.kind == "labels" else prepared.scribble)
    return maps


def _shares_of(folder: Path, name: str) -> dict[str, Path]:
    """Return case -> file with fused shares."""
    files = {path.name.removesuffix(".nii.gz"): path for path in (folder / "softTr" / name).glob("*.nii.gz")}
    if not files:
        there = sorted(path.stem for path in (folder / FUSED).glob("*.json"))
        raise DataError(
            f"{folder}: soft: {unknown_name('fused map', name, there)}; make it with medcl fuse --out {name}."
        )
    return files


def _fused(dataset: Dataset, plan: Plan, folder: Path, store: Store, name: str) -> Rated:
    """Bring fused shares to the plan's grid, in files beside the store; what is there already is used."""
    files = _shares_of(dataset.folder, name)
    kind: Kind = read_json(dataset.folder / FUSED / f"{name}.json")["kind"]
    cases = {case: files[case] for case in store.cases("Tr") if case in files}
    depends = [store.path.name, *(file_digest(path) for path in cases.values())]
    place = folder / f"shares-{hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:24]}"
    prepared = {}
    for case, path in cases.items():
        prepared[case] = place / f"{case}.npy"
        if not prepared[case].is_file():
            shares = prepare_shares(read_image(path).array, store[case].grid, len(plan.classes), where=str(path))
            place.mkdir(parents=True, exist_ok=True)
            with atomic_write(prepared[case]) as temporary:
                np.save(temporary, shares, allow_pickle=False)
    return Rated(kind, {}, prepared, sampled=False)


def prepare_shares(shares: np.ndarray, grid: Grid, classes: int, *, where: str) -> np.ndarray:
    """Bring shares of the classes to a plan's grid.

    Args:
        shares: (C, Z, Y, X) on the case's own grid, all zero where nothing is known.
        grid: The case's grid on the plan's.
        classes: Number of classes C.
        where: File, for the message.

    Returns:
        float16 (C, Z, Y, X) on the plan's grid.

    Raises:
        DataError: Another number of classes or another size.
    """
    if shares.shape != (classes, *grid.geometry.size):
        raise DataError(f"{where}: expected shares of shape {(classes, *grid.geometry.size)}, got {shares.shape}.")
    result = np.empty((classes, *grid.size), np.float16)
    for c in range(classes):
        turned = grid.turn(shares[c])
        result[c] = resize(np.stack([resize(plane, grid.size[1:]) for plane in turned]), grid.size)
    return result
