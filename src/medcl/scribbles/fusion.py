"""From the maps of several people to one: majority, STAPLE, or merging weighted by how reliable each person is.

What nobody said stays unlabelled, and who said nothing at a voxel has no vote there. A class that nobody chose at a
voxel never wins it. `medcl.scribbles.fusion_write` applies this to a dataset folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from medcl.data.labels import UNLABELLED
from medcl.errors import DataError
from medcl.scribbles.fusion_em import Patterns, agreement, confusion_with, dawid_skene, posterior, vote_shares
from medcl.settings import Settings

How = Literal["majority", "staple", "quality"]
_UNDECIDED = 255


class FusionSettings(Settings):
    """How the maps of several people become one."""

    how: How = Field(
        "quality",
        description="majority: most votes; staple: reliabilities estimated anew in each case (SimpleITK); quality: "
        "reliabilities of each person over all cases, for strokes in each case (Dawid and Skene).",
    )
    margin: int | None = Field(
        1,
        ge=0,
        le=1000,
        description="Reliabilities are estimated on voxels within so many of a structure that somebody marked; null: "
        "on all. The wide background, on which all agree, would make anyone look reliable.",
    )
    certain: float = Field(
        0.5, ge=0, le=1, description="Voxels whose best class has a smaller chance (majority: share) stay unlabelled."
    )
    strength: float | None = Field(
        None,
        gt=0,
        description="quality: weight, in voxels, of 'as reliable as the average rater'. Default: 1; for strokes, which "
        "meet on few voxels, 20.",
    )


@dataclass(frozen=True)
class Fused:
    """One case, fused.

    Attributes:
        label: int16 (Z, Y, X) class indices, `UNLABELLED` where nobody voted or nothing is certain enough.
        soft: float32 (C, Z, Y, X) chances of the classes; all zero where nobody voted.
    """

    label: np.ndarray
    soft: np.ndarray


@dataclass(frozen=True)
class RaterScore:
    """How well a rater agrees with what the fusion takes for true, where others voted too.

    Attributes:
        score: Mean over structures (strokes: all classes) and cases of the Dice coefficient with the estimated truth,
            0..1; None where the rater never voted where another one did.
        by_class: The same per class, background too; None for a class that neither shows.
        voxels: Voxels that the rater voted on.
    """

    score: float | None
    by_class: tuple[float | None, ...]
    voxels: int


class Fusion:
    """Reliabilities of raters, and how to fuse a case with them. Make one with `Fusion.fit`.

    Attributes:
        settings: As given.
        classes: Number of classes C.
        confusion: (R, C, C): share of the last index in what a rater says where the truth, as the chosen way estimates
            it, is the middle one.
        scores: One per rater, against the same truth.
        case_scores: One tuple per case.
    """

    def __init__(
        self, settings: FusionSettings, classes: int, parts: Sequence[Patterns], *, strokes: bool = False
    ) -> None:
        self.settings, self.classes, self.strokes = settings, classes, strokes
        patterns = Patterns.together(list(parts))
        shared = (patterns.votes != UNLABELLED).sum(axis=1) > 1
        if settings.how == "quality":
            self._fitted = dawid_skene(patterns, classes, cases=len(parts), strength=settings.strength or 1.0)
            truth = posterior(patterns.votes, self._fitted.prior[patterns.case], self._fitted.confusion)
            self.confusion = self._fitted.confusion
        else:
            self._staple = [_staple_of(part, classes) for part in parts] if settings.how == "staple" else []
            truth = np.concatenate([self._truth(part, n) for n, part in enumerate(parts)])
            # a voxel that only one person labelled is true by definition, and says nothing of this person
            self.confusion = confusion_with(truth * shared[:, None], patterns)
        self.case_scores = _scores(patterns, len(parts), truth, shared, strokes=strokes)
        # A person's strokes are right in most cases and lie beside the structure in a few: one reliability for all
        # lets them win where they are wrong. And how much of a class is drawn says nothing about how much there is.
        self._case_reliability = [
            dawid_skene(Patterns(p.votes, p.counts, p.case * 0), classes, strength=settings.strength or 20.0).confusion
            for p in (parts if strokes else ())
        ]
        self.scores = tuple(_mean_score(of_rater) for of_rater in zip(*self.case_scores, strict=True))

    def _truth(self, part: Patterns, case: int) -> np.ndarray:
        """Return (P, C) what majority or STAPLE take for true at the patterns of a case."""
        if self.settings.how == "majority":
            label = _decide(part.votes, vote_shares(part.votes, self.classes), self.settings.certain)
            return (label[:, None] == np.arange(self.classes)).astype(float)
        found = self._staple[case]
        if found is None:  # `fuse` says so
            return np.zeros((len(part.votes), self.classes))
        confusion, prior = found
        return posterior(part.votes, prior, confusion)

    @classmethod
    def fit(
        cls, maps: Iterable[np.ndarray], classes: int, settings: FusionSettings | None = None, *, strokes: bool = False
    ) -> Fusion:
        """Estimate how reliable each rater is.

        Args:
            maps: One array (R, Z, Y, X) per case, the raters in the same order; class indices and `UNLABELLED`. They
                are read one at a time and not kept.
            classes: Number of classes C.
            settings: Default: quality-weighted merging.
            strokes: Whether these are strokes: then all that was drawn counts, whatever `margin` says.
        """
        settings = settings or FusionSettings()
        parts = []
        for number, one in enumerate(maps):
            parts.append(Patterns.of(one[:, _near(one, None if strokes else settings.margin)], number)[0])
        if not parts:
            raise DataError("fusion: expected at least one case, got none.")
        return cls(settings, classes, parts, strokes=strokes)

    def fuse(self, maps: np.ndarray, case: int) -> Fused:
        """Fuse one of the cases that were fitted.

        Args:
            maps: (R, Z, Y, X), as given to `fit`.
            case: Its number there.

        Raises:
            DataError: STAPLE, and no voxel that every rater of the case labelled.
        """
        settings = self.settings
        near = _near(maps, None if self.strokes else settings.margin)
        patterns, where = Patterns.of(maps)
        if settings.how == "majority":
            chances = vote_shares(patterns.votes, self.classes)
        elif settings.how == "quality" and self.strokes:
            level = np.full(self.classes, 1.0 / self.classes)
            chances = posterior(patterns.votes, level, self._case_reliability[case])
        elif settings.how == "quality":
            chances = posterior(patterns.votes, self._fitted.prior[case], self._fitted.confusion)
        else:
            confusion, prior = self._staple[case] or staple(maps[:, near], self.classes)
            chances = posterior(patterns.votes, prior, confusion)
        label = _decide(patterns.votes, chances, settings.certain)
        soft = chances.astype(np.float32)
        # Far from every structure all votes are background, and what was estimated near them does not hold.
        voted = (patterns.votes != UNLABELLED).any(axis=1)
        plain = (patterns.votes <= 0).all(axis=1) & voted
        label, soft = label[where], np.moveaxis(soft[where], -1, 0)
        far = plain[where] & ~near
        label[far] = 0
        soft[:, far] = 0.0
        soft[0, far] = 1.0
        return Fused(label, np.ascontiguousarray(soft))


def staple(votes: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the raters' confusion matrices in one case by STAPLE.

    Source: Warfield, Zou and Wells, IEEE TMI 23(7), 2004, in the form for several labels of Rohlfing et al., IPMI 2003,
    as ITK has it. ITK knows no missing votes, so the estimate is made on voxels that all raters of the case labelled.

    Args:
        votes: (R, N) class indices and `UNLABELLED`; a rater without any vote is no rater of this case.
        classes: Number of classes C.

    Returns:
        Confusion matrices (R, C, C) as in `Reliability`, and shares of the classes (C,).

    Raises:
        DataError: Fewer than two raters, or no voxel that all of them labelled.
    """
    import SimpleITK

    there = (votes != UNLABELLED).any(axis=1)
    confusion = np.full((len(votes), classes, classes), 1.0 / classes)
    if there.sum() < 2:  # nobody to compare with: the only rater is believed
        confusion[there] = np.eye(classes)
        return confusion, np.full(classes, 1.0 / classes)
    complete = votes[there][:, (votes[there] != UNLABELLED).all(axis=0)]
    if not complete.size:
        raise DataError(
            "staple: expected voxels that every rater of the case labelled, got none, as with strokes; "
            "use how=quality, which needs none."
        )
    staple_filter = SimpleITK.MultiLabelSTAPLEImageFilter()
    staple_filter.SetLabelForUndecidedPixels(_UNDECIDED)
    staple_filter.Execute([SimpleITK.GetImageFromArray(one[None].astype(np.uint8)) for one in complete])
    held = int(complete.max()) + 1
    for k, rater in enumerate(np.flatnonzero(there)):
        matrix = np.reshape(staple_filter.GetConfusionMatrix(k), (held + 1, held))[:held]  # [said, truth]
        confusion[rater, :held, :held] = matrix.T
        confusion[rater, :held, held:] = 0.0
    return confusion, np.bincount(complete.ravel(), minlength=classes) / complete.size  # as ITK's own prior


def _staple_of(part: Patterns, classes: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return what `staple` finds in a case; None where it can find nothing."""
    try:
        return staple(np.repeat(part.votes.T, part.counts, axis=1), classes)
    except DataError:
        return None


def _near(maps: np.ndarray, margin: int | None) -> np.ndarray:
    """Return boolean (Z, Y, X): voxels that count for reliabilities."""
    from scipy.ndimage import binary_dilation

    voted = (maps != UNLABELLED).any(axis=0)
    if margin is None:
        return voted
    near = (maps > 0).any(axis=0)
    if margin:
        plane = np.ones((1, 3, 3), bool) if near.ndim == 3 else np.ones((3,) * near.ndim, bool)
        near = binary_dilation(near, structure=plane, iterations=margin)
    return near & voted


def _decide(votes: np.ndarray, chances: np.ndarray, certain: float) -> np.ndarray:
    """Return (P,) class indices; `UNLABELLED` where nobody voted, two classes are level or the best is uncertain."""
    chosen = np.stack([(votes == c).any(axis=1) for c in range(chances.shape[1])], axis=1)
    allowed = np.where(chosen, chances, 0.0)
    best = allowed.argmax(axis=1)
    top = allowed.max(axis=1)
    level = (allowed >= top[:, None] - 1e-9).sum(axis=1) > 1
    undecided = level | (top < certain - 1e-9) | ~chosen.any(axis=1)
    result: np.ndarray = np.where(undecided, UNLABELLED, best).astype(np.int16)
    return result


def _scores(
    patterns: Patterns, cases: int, truth: np.ndarray, shared: np.ndarray, *, strokes: bool
) -> list[tuple[RaterScore, ...]]:
    """Score each rater in each case against the estimate of the truth, where somebody else voted too.

    The rater's own vote is part of the estimate: leaving it out makes the rest too weak to judge by where good raters
    are few (measured on made-up raters without a careful one: rank correlation with the truth 0.4 against 1.0).
    """
    result = []
    for n in range(cases):  # a case in which nobody marked a structure has no pattern, and no score
        here, together = patterns.case == n, (patterns.case == n) & shared
        votes, counts = patterns.votes[together], patterns.counts[together]
        spoken = (patterns.counts[here, None] * (patterns.votes[here] != UNLABELLED)).sum(axis=0)
        scores = [_score(votes, counts, r, truth[together], int(spoken[r]), strokes) for r in range(votes.shape[1])]
        result.append(tuple(scores))
    return result


def _score(
    votes: np.ndarray, counts: np.ndarray, rater: int, truth: np.ndarray, voxels: int, strokes: bool
) -> RaterScore:
    """Strokes of background are drawn as those of structures are, and count as they do."""
    if not (votes[:, rater] != UNLABELLED).any():
        return RaterScore(None, (None,) * truth.shape[1], voxels)
    values = agreement(votes, counts, rater, truth)
    listed = tuple(None if np.isnan(v) else round(float(v), 4) for v in values)
    return RaterScore(_mean(listed if strokes else listed[1:]), listed, voxels)


def _mean_score(cases: Sequence[RaterScore]) -> RaterScore:
    """Return the mean over cases, as Dice coefficients are reported."""
    by_class = tuple(_mean(values) for values in zip(*(case.by_class for case in cases), strict=True))
    return RaterScore(_mean([case.score for case in cases]), by_class, sum(case.voxels for case in cases))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 4) if known else None
