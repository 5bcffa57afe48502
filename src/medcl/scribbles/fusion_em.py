"""How reliable each rater is, and what is true, from their votes alone: expectation maximisation over vote patterns.

Which voxel lies where plays no part, so equal columns of votes are counted once: a whole data set of five raters is a
few hundred patterns, and a fit takes less than a second whatever the images' size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medcl.data.labels import UNLABELLED


@dataclass(frozen=True)
class Patterns:
    """Distinct columns of votes with how often each occurs.

    Attributes:
        votes: (P, R) class indices, `UNLABELLED` where a rater said nothing.
        counts: (P,) voxels.
        case: (P,) number of the case that the pattern was counted in.
    """

    votes: np.ndarray
    counts: np.ndarray
    case: np.ndarray

    @staticmethod
    def of(maps: np.ndarray, case: int = 0) -> tuple[Patterns, np.ndarray]:
        """Count the patterns of one case.

        Args:
            maps: (R, *S) class indices and `UNLABELLED`.
            case: Its number.

        Returns:
            The patterns, and the pattern's number at each voxel (*S).
        """
        raters = maps.shape[0]
        base = int(maps.max(initial=0)) + 2
        code = np.zeros(maps.shape[1:], np.int64)
        for one in maps:
            code = code * base + (one.astype(np.int64) + 1)
        keys, inverse, counts = np.unique(code, return_inverse=True, return_counts=True)
        votes = np.empty((len(keys), raters), np.int16)
        for r in reversed(range(raters)):
            votes[:, r] = keys % base - 1
            keys = keys // base
        return Patterns(votes, counts, np.full(len(counts), case)), inverse.reshape(maps.shape[1:])

    @staticmethod
    def together(parts: list[Patterns]) -> Patterns:
        """Return the patterns of several cases as one."""
        return Patterns(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("votes", "counts", "case")))


@dataclass(frozen=True)
class Reliability:
    """What expectation maximisation found.

    Attributes:
        confusion: (R, C, C): chance that a rater says the last index where the truth is the middle one.
        prior: (cases, C): share of each class in a case.
        steps: Rounds until nothing changed.
    """

    confusion: np.ndarray
    prior: np.ndarray
    steps: int


def vote_shares(votes: np.ndarray, classes: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the share of each class among the votes.

    Args:
        votes: (P, R) class indices and `UNLABELLED`, which is no vote.
        classes: Number of classes C.
        weights: (R,) weight of each rater; default: all alike.

    Returns:
        (P, C), rows sum to 1, or are 0 where nobody voted.
    """
    weights = np.ones(votes.shape[1]) if weights is None else weights
    shares = np.stack([((votes == c) * weights).sum(axis=1) for c in range(classes)], axis=1)
    total = shares.sum(axis=1, keepdims=True)
    return np.divide(shares, total, out=np.zeros_like(shares), where=total > 0)


def posterior(votes: np.ndarray, prior: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """Return what the truth is, given votes and how reliable the raters are.

    Source: Dawid and Skene, J. R. Stat. Soc. C 28(1), 1979, eq. 2.5; the E-step of Warfield et al., IEEE TMI 23(7),
    2004 (STAPLE), eq. 14, for any number of classes. A rater without a vote contributes no factor.

    Args:
        votes: (P, R) class indices and `UNLABELLED`.
        prior: (P, C) or (C,) shares of the classes.
        confusion: (R, C, C), see `Reliability`.

    Returns:
        (P, C), rows sum to 1, or are 0 where nobody voted.
    """
    log = np.log(np.broadcast_to(prior, (len(votes), confusion.shape[1])) + 1e-12)
    for r, matrix in enumerate(np.log(confusion + 1e-12)):
        voted = votes[:, r] != UNLABELLED
        log[voted] += matrix[:, votes[voted, r]].T
    chance = np.exp(log - log.max(axis=1, keepdims=True))
    chance /= chance.sum(axis=1, keepdims=True)
    chance[(votes == UNLABELLED).all(axis=1)] = 0.0
    return chance


def dawid_skene(
    patterns: Patterns,
    classes: int,
    *,
    cases: int | None = None,
    strength: float = 1.0,
    most: int = 200,
    tolerance: float = 1e-5,
) -> Reliability:
    """Estimate a confusion matrix per rater and the share of each class per case, by expectation maximisation.

    Source: Dawid and Skene, J. R. Stat. Soc. C 28(1), 1979, eqs. 2.3-2.5, started from the shares of votes. Each row
    of a matrix has a Dirichlet prior (derived) that is worth `strength` voxels and says what raters say on average, so
    that a rater who never met a class is taken for an average one. Unlabelled is no vote: it enters no sum.

    Args:
        patterns: Votes of all cases.
        classes: Number of classes C.
        cases: Number of cases; default: as many as the patterns tell of. The last ones may have no pattern, and every
            class is then as likely there as any other.
        strength: Weight of the prior in voxels, above 0.
        most: Largest number of rounds.
        tolerance: Stop when no entry changes by more.
    """
    votes, counts, case = patterns.votes, patterns.counts.astype(float), patterns.case
    raters = votes.shape[1]
    cases = int(case.max(initial=0)) + 1 if cases is None else cases
    said = np.stack([votes == c for c in range(classes)], axis=2)  # (P, R, C)
    anyone = (votes != UNLABELLED).any(axis=1)
    truth = vote_shares(votes, classes)
    confusion = np.full((raters, classes, classes), 1.0 / classes)
    prior = np.full((cases, classes), 1.0 / classes)
    steps = 0
    while steps < most:
        steps += 1
        weighed = truth * counts[:, None]
        updated = _confusion(weighed, said, strength)
        for n in range(cases):
            seen = weighed[(case == n) & anyone].sum(axis=0) + 1e-9
            prior[n] = seen / seen.sum()
        truth = posterior(votes, prior[case], updated)
        change = float(np.abs(updated - confusion).max())
        confusion = updated
        if change < tolerance:
            break
    return Reliability(confusion, prior, steps)


def confusion_with(truth: np.ndarray, patterns: Patterns, *, strength: float = 1.0) -> np.ndarray:
    """Return how raters confuse classes, as `Reliability.confusion` has it, for a truth that was estimated elsewhere.

    Args:
        truth: (P, C), rows all zero where nothing is known.
        patterns: Votes.
        strength: Weight of the prior in voxels, see `dawid_skene`.
    """
    said = np.stack([patterns.votes == c for c in range(truth.shape[1])], axis=2)
    return _confusion(truth * patterns.counts[:, None], said, strength)


def _confusion(weighed: np.ndarray, said: np.ndarray, strength: float) -> np.ndarray:
    """The M-step: (P, C) voxels of each true class and (P, R, C) who said what -> (R, C, C)."""
    together = np.einsum("pk,prl->rkl", weighed, said.astype(float))
    average = together.sum(axis=0) + 1.0 / weighed.shape[1]
    average /= average.sum(axis=1, keepdims=True)
    updated: np.ndarray = together + strength * average
    updated /= updated.sum(axis=2, keepdims=True)
    return updated


def agreement(votes: np.ndarray, counts: np.ndarray, rater: int, truth: np.ndarray) -> np.ndarray:
    """Return how well one rater agrees with an estimate of the truth, structure by structure.

    Source: derived; the Dice coefficient with the estimate's chances in place of a mask, over voxels on which the
    rater voted and the estimate says anything.

    Args:
        votes: (P, R).
        counts: (P,) voxels of each pattern.
        rater: Column of the rater.
        truth: (P, C), rows all zero where nothing is known.

    Returns:
        (C,) in 0..1; NaN for a class that neither the rater nor the estimate holds.
    """
    use = (votes[:, rater] != UNLABELLED) & (truth.sum(axis=1) > 0)
    weight, mine, others = counts[use].astype(float), votes[use, rater], truth[use]
    scores = np.full(truth.shape[1], np.nan)
    for c in range(truth.shape[1]):
        said = mine == c
        size = (weight * said).sum() + (weight * others[:, c]).sum()
        if size > 0.5:  # half a voxel: rests of chance are no structure
            scores[c] = 2 * (weight * said * others[:, c]).sum() / size
    return scores
