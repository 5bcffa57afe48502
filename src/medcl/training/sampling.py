"""Which images and patches make up step k: a pure function of data, seed, rank and k."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset

from medcl.batch import Batch
from medcl.data.labels import UNLABELLED
from medcl.data.plan import Plan, neighbours
from medcl.data.store import PreparedCase, Store
from medcl.errors import RunError
from medcl.scribbles.random_walker import Walk
from medcl.training.growing import grow
from medcl.training.reach import COARSE, impossible_places

CANVAS = 1.35
"""Side of the canvas around a patch: room for rotation and zoom, so that corners hold image and not padding."""

MOST_STROKES = 20_000
"""Stroke positions kept per case, evenly thinned: enough to centre patches on."""

MOST_BARE = 0.25
"""Largest share of draws from slices (3D: cases) without annotation: with many, steps would learn hardly anything."""


@dataclass(frozen=True)
class _Source:
    """One case with the positions of its strokes, seen across one axis: that axis takes the place of Z."""

    case: PreparedCase
    image: np.ndarray  # (channels, Z, Y, X)
    annotation: np.ndarray | None  # (Z, Y, X) class indices or UNLABELLED; None where the case has neither kind
    drawn: np.ndarray  # (Z, C) bool, classes drawn in the slice
    strokes: np.ndarray  # (n, 3) positions of foreground strokes, or of any stroke where there is none
    far: np.ndarray | None  # (C, Z, y, x) bool on a coarse grid, see `medcl.training.reach`; None without a rule
    grown: np.ndarray | None = None  # (Z, Y, X) class indices or UNLABELLED, see `medcl.training.growing`
    axis: int = 0
    coarse: tuple[int, ...] = (1, COARSE, COARSE)  # voxels per cell of `far`

    def across(self, axis: int) -> _Source:
        """Return the same case sliced across another axis; views, nothing is copied."""
        if axis == 0:
            return self
        order = (axis, *(a for a in range(3) if a != axis))

        def turned(array: np.ndarray | None) -> Any:
            return None if array is None else np.moveaxis(array, axis - 3, -3)

        annotation = turned(self.annotation)
        return replace(
            self,
            image=turned(self.image),
            annotation=annotation,
            drawn=_drawn(annotation, self.image.shape[1 + axis], self.drawn.shape[1]),
            strokes=self.strokes[:, order],
            far=turned(self.far),
            grown=turned(self.grown),
            axis=axis,
            coarse=tuple(self.coarse[a] for a in order),
        )


def _drawn(annotation: np.ndarray | None, depth: int, classes: int) -> np.ndarray:
    """Return (Z, C) bool, classes drawn in each slice."""
    if annotation is None:
        return np.zeros((depth, classes), bool)
    return np.stack([(annotation == c).any(axis=(1, 2)) for c in range(classes)], axis=1)


class Sampler:
    """Draws batches of canvases from prepared cases.

    Args:
        store: Prepared cases.
        case_ids: The cases to train on.
        plan: Classes, dimensions and patch.
        batch_size: Images per batch.
        patch: Patch size, (Y, X) or (Z, Y, X); the canvas is larger, see `CANVAS`.
        oversample: Share of patches centred near strokes.
        seed: Seed of all draws.
        presence: `slice`: a class that was looked for and not drawn in a slice counts as absent from it; `case`: only a
            class that is drawn nowhere in the case counts as absent; `never`: what is undrawn says nothing.
        reach: A class counts as absent farther from its own strokes than this multiple of their extent; 0: never.
        enclosed: A class counts as absent from what background strokes close off from its own strokes in the slice.
        dense: Where a case has both, learn from the dense label instead of the strokes. A case with only one of the two
            is learnt from that one.
        annotated: Cases whose strokes or labels are used; the others are images alone. None: all.
        walk: How strokes grow, for `Batch.grown`; None: not asked for. Takes some 20 ms a slice, once.

    Raises:
        RunError: No case has any annotation.
    """

    def __init__(
        self,
        store: Store,
        case_ids: list[str],
        plan: Plan,
        *,
        batch_size: int,
        patch: tuple[int, ...],
        oversample: float,
        seed: int,
        presence: str = "slice",
        reach: float = 0.0,
        enclosed: bool = False,
        dense: bool = False,
        annotated: Collection[str] | None = None,
        walk: Walk | None = None,
    ) -> None:
        self.plan, self.batch_size, self.patch = plan, batch_size, patch
        self.oversample, self.seed, self.presence = oversample, seed, presence
        self.reach, self.enclosed, self.walk = reach, enclosed, walk
        self.classes = len(plan.classes)
        self.canvas = tuple(max(p, round(p * CANVAS)) for p in patch)
        if plan.ndim == 3 and patch[0] < patch[-1] / 2:
            self.canvas = (patch[0], *self.canvas[1:])  # thick slices: no rotation out of the plane, no room needed
        # Slices that other axes cut hold parts of strokes of many slices: what is undrawn there says nothing.
        self._volume = plan.ndim == 3 or plan.views != ("z",)
        self.sources = [
            source.across("zyx".index(view))
            for source in (
                self._source(store[case_id], dense, used=annotated is None or case_id in annotated)
                for case_id in case_ids
            )
            for view in plan.views
        ]
        if not any(len(source.strokes) for source in self.sources):
            raise RunError(
                "training cases: expected strokes or labels in at least one case, got none; "
                "run 'medcl check' to see what each file holds."
            )
        places = [(i, z) for i, s in enumerate(self.sources) for z in range(s.image.shape[1] if plan.ndim == 2 else 1)]
        self._places = [place for place in places if self._annotated(*place)]
        self._bare = [place for place in places if not self._annotated(*place)]
        self._bare_share = min(MOST_BARE, len(self._bare) / len(places))

    def _annotated(self, source: int, z: int) -> bool:
        """Whether anything is annotated in the slice (2D) or case (3D)."""
        drawn = self.sources[source].drawn
        return bool(drawn[z].any() if self.plan.ndim == 2 else drawn.any())

    def _source(self, case: PreparedCase, dense: bool, *, used: bool) -> _Source:
        kinds = (case.label, case.scribble) if dense else (case.scribble, case.label)
        annotation = next((kind for kind in kinds if kind is not None and used), None)
        depth = case.image.shape[1]
        if annotation is None:
            return _Source(case, case.image, None, _drawn(None, depth, self.classes), np.zeros((0, 3), np.int64), None)
        drawn = _drawn(annotation, depth, self.classes)
        strokes = np.argwhere(annotation > 0)
        if not len(strokes):
            strokes = np.argwhere(annotation != UNLABELLED)
        far = None
        if annotation is case.scribble:
            far = impossible_places(
                annotation,
                case.spacing_mm,
                reach=self.reach,
                enclosed=self.enclosed,
                classes=self.classes,
                annotated=case.annotated,
                across_slices=self._volume,
            )
        source = _Source(case, case.image, annotation, drawn, strokes[:: 1 + len(strokes) // MOST_STROKES], far)
        return source if annotation is case.label else replace(source, grown=self._grown(source, annotation))

    def _grown(self, source: _Source, strokes: np.ndarray) -> np.ndarray | None:
        if self.walk is None:
            return None
        volume = self._volume
        rows = [slice(None) if volume else slice(z, z + 1) for z in range(len(source.drawn))]
        possible = np.stack([self._possible(source, slices) for slices in rows])
        grown = grow(source.image, strokes, possible, self.walk, across_slices=volume)
        if source.far is not None:  # a class is not put where it is known not to be
            y, x = (np.arange(n) // COARSE for n in grown.shape[1:])
            for c in range(1, self.classes):
                grown[(grown == c) & source.far[c][:, y[:, None], x[None, :]]] = UNLABELLED
        return grown

    @property
    def kinds(self) -> dict[str, int]:
        """How many cases are learnt from what: strokes, dense labels, nothing drawn."""
        counts = {"strokes": 0, "dense labels": 0, "images alone": 0}
        for source in self.sources[:: len(self.plan.views)]:
            kind = (
                "images alone"
                if source.annotation is None
                else "strokes"
                if source.annotation is source.case.scribble
                else "dense labels"
            )
            counts[kind] += 1
        return counts

    def batch(self, step: int, rank: int = 0) -> Batch:
        """Return the canvases of one step.

        Args:
            step: Number of the step.
            rank: Number of the device.

        Returns:
            `batch_size` canvases and what is annotated in them; pixels beyond the image are 0 and unlabelled.
        """
        rng = np.random.default_rng([self.seed, rank, step])
        image = np.zeros((self.batch_size, self.plan.input_channels, *self.canvas), np.float32)
        annotation = np.full((self.batch_size, *self.canvas), UNLABELLED, np.int64)
        known = np.zeros((self.batch_size, self.classes), bool)
        present = np.ones((self.batch_size, self.classes), bool)
        absent = np.zeros((self.batch_size, self.classes, *self.canvas), np.float32)
        grown = np.full((self.batch_size, *self.canvas), UNLABELLED, np.int64)
        for k in range(self.batch_size):
            places = self._bare if self._bare and rng.random() < self._bare_share else self._places
            place, z = places[rng.integers(len(places))]
            source = self.sources[place]
            near = len(source.strokes) > 0 and rng.random() < self.oversample
            corner = self._corner(source, z, near, rng)
            self._cut(source, z, corner, image[k], annotation[k], absent[k], grown[k])
            if source.annotation is not None:
                known[k, list(source.case.annotated)] = True
                present[k] = self._present(source, z, corner)
        return Batch(
            torch.from_numpy(image),
            self._one_hot(annotation),
            torch.from_numpy(known),
            torch.from_numpy(present),
            torch.from_numpy(absent),
            None if self.walk is None else self._one_hot(grown),
        )

    def _one_hot(self, annotation: np.ndarray) -> torch.Tensor:
        indices = torch.from_numpy(annotation)
        return torch.stack([indices == c for c in range(self.classes)], dim=1).float()

    def _corner(self, source: _Source, z: int, near: bool, rng: np.random.Generator) -> tuple[int, ...]:
        """First voxel of the canvas, which may lie outside the image; near strokes, or anywhere inside."""
        size = source.image.shape[1:]
        if self.plan.ndim == 2:
            size = size[1:]
            strokes = source.strokes[source.strokes[:, 0] == z][:, 1:] if near else source.strokes[:0, 1:]
        else:
            strokes = source.strokes if near else source.strokes[:0]
        inside = [(min(p // 2, s // 2), max(s - p // 2, s // 2)) for p, s in zip(self.patch, size, strict=True)]
        if len(strokes):
            jitter = [rng.integers(-(p // 5), p // 5 + 1) for p in self.patch]
            centre = strokes[rng.integers(len(strokes))] + jitter
            if self.plan.ndim == 3:  # half a patch of padding would be most of a step for nothing
                centre = np.clip(centre, *np.transpose(inside))
        else:
            centre = [rng.integers(low, high + 1) for low, high in inside]
        return tuple(int(c) - side // 2 for c, side in zip(centre, self.canvas, strict=True))

    def _cut(
        self,
        source: _Source,
        z: int,
        corner: tuple[int, ...],
        image: np.ndarray,
        annotation: np.ndarray,
        absent: np.ndarray,
        grown: np.ndarray,
    ) -> None:
        overlap = self._overlap(source, corner)
        if overlap is None:
            return
        inside, place = overlap
        begin, end = [part.start for part in inside], [part.stop for part in inside]
        where: Any = (z, *inside) if self.plan.ndim == 2 else inside
        everywhere: Any = (slice(None), *place)
        if self.plan.context:
            rows = neighbours(z, self.plan.context, source.image.shape[1])
            places: list[Any] = [(slice(None), row, *inside) for row in rows]
            image[everywhere] = np.concatenate([source.image[one] for one in places])
        else:
            image[everywhere] = source.image[(slice(None), *where)]
        if source.annotation is not None:
            annotation[place] = source.annotation[where]
        if source.grown is not None:
            grown[place] = source.grown[where]
        if source.far is not None:
            first, last = ([z], [z + 1]) if self.plan.ndim == 2 else ([], [])
            cells = [
                np.arange(b, e) // step
                for b, e, step in zip([*first, *begin], [*last, *end], source.coarse, strict=True)
            ]
            absent[everywhere] = source.far[np.ix_(np.arange(self.classes), *cells)].reshape(absent[everywhere].shape)

    def _overlap(self, source: _Source, corner: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
        """Return which part of the image the canvas shows, and where in the canvas; None where it shows nothing."""
        size = source.image.shape[1:][-len(corner) :]
        begin = [max(0, c) for c in corner]
        end = [min(s, c + side) for s, c, side in zip(size, corner, self.canvas, strict=True)]
        if any(e <= b for b, e in zip(begin, end, strict=True)):
            return None
        inside = tuple(slice(b, e) for b, e in zip(begin, end, strict=True))
        return inside, tuple(slice(b - c, e - c) for b, e, c in zip(begin, end, corner, strict=True))

    def _present(self, source: _Source, z: int, corner: tuple[int, ...]) -> np.ndarray:
        """Classes that may exist in the canvas."""
        if self.plan.ndim == 2:
            return self._possible(source, slice(z, z + 1))
        return self._possible(source, _between_strokes(source.drawn, corner[0], corner[0] + self.canvas[0]))

    def _possible(self, source: _Source, slices: slice) -> np.ndarray:
        """Return (C,) bool: classes drawn in these slices (or in the case), or not looked for in the case."""
        rows = slice(None) if self.presence == "case" or source.axis else slices
        if self.presence == "never" or not source.drawn[rows].any():
            return np.ones(self.classes, bool)  # nobody drew here: nothing is known to be absent
        present = np.array(source.drawn[rows].any(axis=0))
        present[[c for c in range(self.classes) if c not in source.case.annotated]] = True
        present[0] = True  # a slice without a stroke of background still has background
        return present


def _between_strokes(drawn: np.ndarray, begin: int, end: int) -> slice:
    """Return the slices of a 3D canvas, with the next drawn one on either side.

    A class may be in the undrawn slices at the canvas's end although only the next drawn slice beyond shows it.

    Args:
        drawn: (Z, C) bool.
        begin: First slice, may be below 0.
        end: Slice after the last, may be above Z.
    """
    rows = np.flatnonzero(drawn.any(axis=1))
    before, after = rows[rows < begin], rows[rows >= end]
    first = int(before[-1]) if len(before) else max(0, begin)
    last = int(after[0]) + 1 if len(after) else max(0, end)
    return slice(first, last)


def kinds_in_words(kinds: dict[str, int]) -> str:
    """Return what `Sampler.kinds` counted as '25 from strokes, 3 from images alone'."""
    return ", ".join(f"{count} from {kind}" for kind, count in kinds.items() if count)


class StepBatches(IterableDataset[Batch]):
    """Batches from a first step on, in order, with any number of loading processes.

    Args:
        sampler: Draws the batches.
        first: Number of the first step.
        rank: Number of the device.
        repeat: Begin again after this many batches; None: never.
    """

    def __init__(self, sampler: Sampler, first: int, rank: int = 0, repeat: int | None = None) -> None:
        self.sampler, self.first, self.rank, self.repeat = sampler, first, rank, repeat

    def __iter__(self) -> Iterator[tuple[int, Batch]]:  # type: ignore[override]
        info = torch.utils.data.get_worker_info()
        step, stride = (self.first, 1) if info is None else (self.first + info.id, info.num_workers)
        while True:
            drawn = step if self.repeat is None else step % self.repeat
            yield drawn, self.sampler.batch(drawn, self.rank)
            step += stride
