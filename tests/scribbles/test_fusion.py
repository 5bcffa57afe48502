"""Fusion of several people's maps, against counts by hand, a slow second implementation and SimpleITK."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from medcl.data.labels import UNLABELLED
from medcl.errors import DataError, SettingsError
from medcl.phantom.raters import RATERS, rate
from medcl.scribbles.fusion import Fusion, FusionSettings, staple
from medcl.scribbles.fusion_em import Patterns, agreement, dawid_skene, posterior, vote_shares

TEAM = ("careful", "large", "small", "misses", "noisy")


def row(*maps: list[int]) -> np.ndarray:
    """Maps of one line each: (R, 1, 1, X)."""
    return np.array(maps, np.int16)[:, None, None]


def fused(maps: np.ndarray, classes: int, **options: object) -> tuple[list[int], np.ndarray]:
    fusion = Fusion.fit([maps], classes, FusionSettings.parse(options))
    result = fusion.fuse(maps, 0)
    return result.label[0, 0].tolist(), result.soft[:, 0, 0]


def test_majority_by_hand() -> None:
    u = UNLABELLED
    maps = row([0, 1, 1, u, u, 1], [0, 1, 2, u, 2, 2], [0, 0, 2, u, u, 0])
    label, soft = fused(maps, 3, how="majority", certain=0.0)
    assert label == [0, 1, 2, u, 2, u]  # nobody voted on the fourth; three classes are level on the last
    assert soft[:, 1] == pytest.approx([1 / 3, 2 / 3, 0])
    assert soft[:, 3].tolist() == [0, 0, 0]
    assert soft[:, 4].tolist() == [0, 0, 1]
    assert fused(maps, 3, how="majority", certain=0.7)[0] == [0, u, u, u, 2, u]


def test_weights_of_votes() -> None:
    votes = np.array([[1, 0, UNLABELLED]])
    assert vote_shares(votes, 2, np.array([3.0, 1.0, 9.0]))[0].tolist() == [0.25, 0.75]


def slow_dawid_skene(votes: np.ndarray, classes: int, rounds: int, strength: float) -> tuple[list, list]:
    """The paper's two steps, voxel by voxel, for one case."""
    count, raters = votes.shape
    truth = []
    for n in range(count):
        said = [v for v in votes[n] if v >= 0]
        truth.append([said.count(c) / len(said) for c in range(classes)])
    for _ in range(rounds):
        average = [[1 / classes for _ in range(classes)] for _ in range(classes)]
        sums = [[[0.0] * classes for _ in range(classes)] for _ in range(raters)]
        for n, r in itertools.product(range(count), range(raters)):
            if votes[n][r] >= 0:
                for k in range(classes):
                    sums[r][k][votes[n][r]] += truth[n][k]
                    average[k][votes[n][r]] += truth[n][k]
        average = [[v / sum(line) for v in line] for line in average]
        confusion = [
            [
                [(sums[r][k][v] + strength * average[k][v]) / (sum(sums[r][k]) + strength) for v in range(classes)]
                for k in range(classes)
            ]
            for r in range(raters)
        ]
        prior = [sum(t[k] for t in truth) / count for k in range(classes)]
        for n in range(count):
            chance = [
                prior[k] * math.prod(confusion[r][k][votes[n][r]] for r in range(raters) if votes[n][r] >= 0)
                for k in range(classes)
            ]
            truth[n] = [c / sum(chance) for c in chance]
    return truth, confusion


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 4), raters=st.integers(2, 4))
def test_expectation_maximisation_is_the_papers(seed: int, classes: int, raters: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, 30)
    votes = np.where(rng.random((raters, 30)) < 0.7, truth, rng.integers(0, classes, (raters, 30)))
    votes[rng.random(votes.shape) < 0.2] = UNLABELLED
    votes[0, (votes == UNLABELLED).all(axis=0)] = 0
    patterns, where = Patterns.of(votes)
    found = dawid_skene(patterns, classes, most=7, tolerance=0.0)
    chances = posterior(patterns.votes, found.prior[patterns.case], found.confusion)[where]
    expected, confusion = slow_dawid_skene(votes.T, classes, 7, 1.0)
    np.testing.assert_allclose(chances, expected, atol=1e-5)
    np.testing.assert_allclose(found.confusion, confusion, atol=1e-5)


def test_staple_is_simpleitks() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (4, 10, 12))
    maps = np.stack(
        [np.where(rng.random(truth.shape) < q, truth, rng.integers(0, 3, truth.shape)) for q in (0.8, 0.75, 0.5)]
    )
    images = [SimpleITK.GetImageFromArray(one.astype(np.uint8)) for one in maps]
    expected = SimpleITK.GetArrayFromImage(SimpleITK.MultiLabelSTAPLE(images, 99))
    fusion = Fusion.fit([maps], 3, FusionSettings(how="staple", margin=None, certain=0.0))
    label = fusion.fuse(maps, 0).label
    assert (label == expected)[expected != 99].mean() > 0.999
    assert (label == truth).mean() > max((one == truth).mean() for one in maps)


def test_staple_leaves_out_who_is_absent_and_needs_common_voxels() -> None:
    u = UNLABELLED
    confusion, prior = staple(np.array([[0, 1, 1, 0], [0, 1, 1, 0], [u, u, u, u]]), 2)
    assert confusion[0, 1, 1] > 0.99
    assert confusion[2].tolist() == [[0.5, 0.5], [0.5, 0.5]]  # nothing is known of the third
    assert prior.tolist() == [0.5, 0.5]
    with pytest.raises(DataError, match=r"every rater.*quality"):
        staple(np.array([[0, u], [u, 1]]), 2)


def test_unlabelled_voxels_change_nothing() -> None:
    rng = np.random.default_rng(3)
    maps = rng.integers(0, 2, (3, 1, 6, 6)).astype(np.int16)
    wider = np.full((3, 1, 6, 12), UNLABELLED, np.int16)
    wider[..., :6] = maps
    for how in ("majority", "quality", "staple"):
        one, other = (Fusion.fit([m], 2, FusionSettings(how=how, margin=None)) for m in (maps, wider))
        small, large = one.fuse(maps, 0), other.fuse(wider, 0)
        assert (large.label[..., :6] == small.label).all()
        assert (large.label[..., 6:] == UNLABELLED).all()
        assert (large.soft[..., 6:] == 0).all()
        assert one.scores == other.scores


def test_a_class_nobody_chose_never_wins() -> None:
    maps = row([0, 0, 1, 1, 2, 2], [0, 1, 1, 2, 2, 0])
    label, _ = fused(maps, 3, how="quality", margin=None, certain=0.0)
    for place, value in enumerate(label):
        assert value in (*maps[:, 0, 0, place], UNLABELLED)


def hearts() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Rings of two classes in three cases, as five made-up people label them."""
    y, x = np.mgrid[:40, :40]
    truth, maps = [], []
    for n in range(3):
        radius = np.hypot(y - 19 - n, x - 20 + n)
        truth.append(((radius < 14).astype(int) + (radius < 8))[None])
        people = [rate(truth[-1], RATERS[name], np.random.default_rng([n, k])) for k, name in enumerate(TEAM)]
        maps.append(np.stack(people))
    return truth, maps


def mean_dice(mask: np.ndarray, truth: np.ndarray) -> float:
    return float(
        np.mean([2 * ((mask == c) & (truth == c)).sum() / ((mask == c).sum() + (truth == c).sum()) for c in (1, 2)])
    )


@pytest.mark.parametrize("how", ["majority", "staple", "quality"])
def test_fusion_is_nearer_to_the_truth_than_the_mean_rater(how: str) -> None:
    truth, maps = hearts()
    fusion = Fusion.fit(maps, 3, FusionSettings(how=how))
    reached = np.mean([mean_dice(fusion.fuse(m, n).label, t) for n, (m, t) in enumerate(zip(maps, truth, strict=True))])
    people = [np.mean([mean_dice(m[r], t) for m, t in zip(maps, truth, strict=True)]) for r in range(len(TEAM))]
    assert reached > np.mean(people) + 0.1


def test_scores_rank_people_as_the_truth_does() -> None:
    truth, maps = hearts()
    people = [np.mean([mean_dice(m[r], t) for m, t in zip(maps, truth, strict=True)]) for r in range(len(TEAM))]
    scores = [one.score for one in Fusion.fit(maps, 3).scores]
    assert np.argsort(scores).tolist() == np.argsort(people).tolist()


def test_agreement_by_hand_and_silence_has_no_score() -> None:
    votes, counts = np.array([[1], [0], [1], [UNLABELLED]]), np.array([3, 5, 1, 7])
    truth = np.array([[0.0, 1.0], [0.5, 0.5], [0.0, 0.0], [0.0, 1.0]])
    assert agreement(votes, counts, 0, truth)[1] == pytest.approx(2 * 3 / (3 + 3 + 2.5))
    lonely = row([1, 1, UNLABELLED], [UNLABELLED, UNLABELLED, 0])
    assert [one.score for one in Fusion.fit([lonely], 2).scores] == [None, None]
    assert [one.voxels for one in Fusion.fit([lonely], 2).scores] == [2, 1]


def test_scores_and_confusion_belong_to_the_way() -> None:
    _, maps = hearts()
    fits = {how: Fusion.fit(maps, 3, FusionSettings(how=how)) for how in ("majority", "staple", "quality")}  # type: ignore[arg-type]
    assert len({tuple(one.score for one in fit.scores) for fit in fits.values()}) == 3
    assert not np.allclose(fits["majority"].confusion, fits["quality"].confusion, atol=1e-3)
    for fit in fits.values():
        assert fit.confusion.sum(axis=2) == pytest.approx(1)
    # by hand: the second person is wrong at one of four voxels, and nobody judges who speaks alone
    u = UNLABELLED
    three = row([0, 1, 1, 0, u, 1], [0, 1, 0, 0, u, u], [0, 1, 1, 0, u, u])
    most = Fusion.fit([three], 2, FusionSettings(how="majority", margin=None))
    assert [one.score for one in most.scores] == [1.0, pytest.approx(2 / 3, abs=1e-4), 1.0]
    assert most.confusion[1, 1, 1] < 0.7 < most.confusion[0, 1, 1]


def test_settings_and_input_are_checked() -> None:
    with pytest.raises(SettingsError, match="'majority', 'staple' or 'quality'"):
        FusionSettings.parse({"how": "vote"})
    with pytest.raises(DataError, match="at least one case"):
        Fusion.fit([], 2)


def test_cases_in_which_nobody_marked_anything() -> None:
    marked, empty = row([0, 1, 1, 0], [0, 1, 1, 1]), row([0, 0, 0, 0], [0, 0, 0, UNLABELLED])
    for maps in ([marked, empty], [empty, marked], [empty, empty]):
        fusion = Fusion.fit(maps, 2)
        assert len(fusion.case_scores) == 2
        for number, one in enumerate(maps):
            if one is empty:
                assert fusion.fuse(one, number).label.ravel().tolist() == [0, 0, 0, 0]
                assert [score.score for score in fusion.case_scores[number]] == [None, None]
            else:
                assert fusion.fuse(one, number).label.ravel()[:3].tolist() == [0, 1, 1]


def test_strokes_that_lie_wrong_in_one_case_lose_there_alone() -> None:
    good = np.zeros(60, np.int16)
    good[30:] = 1
    wrong = 1 - good  # the third person's strokes of the last case belong to another image
    agreeing, last = np.stack([good] * 3), np.stack([good, good, wrong])
    last[1, ::2] = UNLABELLED  # where two contradict, the votes are level
    maps = [one[:, None, None] for one in (agreeing, agreeing, last)]
    fusion = Fusion.fit(maps, 2, strokes=True)
    assert (fusion.fuse(maps[2], 2).label.ravel() == good).all()
    assert (fusion.fuse(maps[0], 0).label.ravel() == good).all()
    assert fusion.case_scores[2][2].score is not None
    assert fusion.case_scores[2][2].score < 0.5 < (fusion.case_scores[0][2].score or 0)
