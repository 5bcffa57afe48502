"""Core-set, k-means and the cold start, on features that a human can check."""

from __future__ import annotations

import numpy as np
import pytest

from medcl.errors import SettingsError
from medcl.queries import CaseFacts, Pool, build_strategy
from medcl.queries.features import BLOCKS, image_features, matrix_of
from medcl.queries.k_means import grouped

CLASSES = ("background", "RV")


def line_pool(positions: list[float], drawn: set[int] = frozenset()) -> Pool:  # type: ignore[assignment]
    """Return one case whose slices lie at positions on a line."""
    facts = CaseFacts("a", "axial", len(positions), 1.0, (1, 1, 1), {z: frozenset({1}) for z in drawn})
    features = {("a", z): (x, 0.0) for z, x in enumerate(positions)}
    return Pool(CLASSES, (facts,), (), (0, 0), features)


def test_core_set_is_farthest_first() -> None:
    found = build_strategy("core-set").rank(line_pool([0, 1, 2, 9, 10], {0}), 4)
    # from 0: 10 is farthest, then 2 (2 from 0; 9 is 1 from 10), then 1 and 9 by number; the drawn one comes last
    assert [q.slice for q in found] == [4, 2, 1, 3]
    assert found[0].reason.startswith("RV, unlike all drawn (")
    assert [q.slice for q in build_strategy("core-set").rank(line_pool([0, 4, 5, 6, 10]), 2)] == [2, 0]


def test_core_set_covers_as_well_as_a_brute_force_greedy() -> None:
    points = np.random.default_rng(0).normal(size=(25, 2))
    facts = CaseFacts("a", "axial", 25, 1.0, (1, 1, 1), {3: frozenset({1})})
    pool = Pool(CLASSES, (facts,), (), (), {("a", z): tuple(p) for z, p in enumerate(points.tolist())})
    chosen = [3]
    for _ in range(8):
        far = [min(np.hypot(*(points[n] - points[c])) for c in chosen) for n in range(25)]
        chosen.append(int(np.argmax(far)))
    assert [q.slice for q in build_strategy("core-set").rank(pool, 8)] == chosen[1:]


def test_k_means_takes_one_of_each_kind_before_a_second() -> None:
    groups = [0.0, 0.1, 0.2, 5.0, 5.1, 5.2, 9.9, 10.0, 10.1]
    for seed in range(5):
        found = build_strategy("k-means", {"clusters": 3}).rank(line_pool(groups), 3, seed)
        assert {q.slice for q in found} == {1, 4, 7}, "the middle one of each three"
    covered = build_strategy("k-means", {"clusters": 3}).rank(line_pool(groups, {4}), 2)
    assert {q.slice for q in covered} == {1, 7}, "the kind that has strokes waits"


def test_distances_are_from_the_mean_of_the_cluster() -> None:
    matrix = np.array([[0.0], [1.0], [10.0], [12.0]])
    groups, distance = grouped(matrix, 2, 0)
    assert groups[0] == groups[1] != groups[2] == groups[3]
    assert distance == pytest.approx([0.5, 0.5, 1, 1])


@pytest.mark.parametrize("name", ["core-set", "k-means", "cold-start"])
def test_without_features_they_say_so(name: str) -> None:
    with pytest.raises(SettingsError, match="expected features of the slices"):
        build_strategy(name).rank(Pool(CLASSES, (CaseFacts("a", "axial", 3, 1.0, (1, 1, 1)),)), 2)


def test_the_cold_start_spreads_over_cases_and_begins_in_the_middle() -> None:
    cases = tuple(CaseFacts(name, "axial", 10, 8.0, (4, 4, 5)) for name in "abcd")
    features = {(c.id, z): (abs(z - 4.5), float(n)) for n, c in enumerate(cases) for z in range(10)}
    found = build_strategy("cold-start").rank(Pool(CLASSES, cases, (), (0, 0), features), 40)
    assert len({q.case for q in found[:4]}) >= 3
    assert all(1 <= q.slice <= 8 for q in found[:20])
    assert {q.slice for q in found[-4:]} <= {0, 9}
    assert [q.class_index for q in found[:3]] == [1, 0, 1], "classes in turn"


def test_features_tell_bright_from_dark_corners_and_do_not_depend_on_the_scale() -> None:
    image = np.zeros((1, 4, 16, 16), np.float32)
    image[0, 1, :8, :8] = 1
    image[0, 2, 8:, 8:] = 1
    rows = image_features(image, 0)
    assert rows.shape == (4, 2 * BLOCKS**2 + 1)
    assert rows[1][: BLOCKS**2].reshape(BLOCKS, BLOCKS)[0, 0] == pytest.approx(1)
    assert rows[2][: BLOCKS**2].reshape(BLOCKS, BLOCKS)[-1, -1] == pytest.approx(1)
    assert image_features(100 * image + 7, 0) == pytest.approx(rows, abs=1e-5)
    assert image_features(image.transpose(0, 2, 1, 3), 1)[:, :-1] == pytest.approx(rows[:, :-1], abs=1e-5), (
        "the same slices across another axis"
    )
    assert np.isfinite(image_features(np.ones((2, 1, 3, 5)), 0)).all(), "smaller than the blocks, and flat"


def test_columns_have_mean_0_and_together_variance_1() -> None:
    features = {("a", z): (float(z), 5.0, -2.0 * z) for z in range(5)}
    matrix = matrix_of(features, list(features))
    assert matrix.mean(axis=0) == pytest.approx([0, 0, 0])
    assert (matrix**2).sum(axis=1).mean() == pytest.approx(1)
    assert matrix_of({("a", 0): (3.0,)}, [("a", 0)]) == pytest.approx(np.zeros((1, 1)))


def test_voxels_that_are_no_number_count_as_the_darkest() -> None:
    image = np.random.default_rng(0).random((1, 3, 16, 16)).astype(np.float32)
    dark = image.copy()
    dark[0, :, :4] = dark[0, :, 4:].min()
    for value in (np.nan, np.inf, -np.inf):
        image[0, :, :4] = value
        assert image_features(image, 0) == pytest.approx(image_features(dark, 0))
    nothing = image_features(np.full((1, 2, 4, 4), np.nan), 0)
    assert nothing[:, :-1].tolist() == np.zeros((2, 2 * BLOCKS**2)).tolist()


def test_slices_of_cases_that_are_done_are_what_others_are_compared_with() -> None:
    facts = CaseFacts("a", "axial", 3, 1.0, (1, 1, 1))
    done = CaseFacts("z", "axial", 3, 1.0, (1, 1, 1), {1: frozenset({1})})
    features = {("a", 0): (0.0,), ("a", 1): (1.0,), ("a", 2): (9.0,), ("z", 1): (9.1,), ("z", 2): (0.0,)}
    first = build_strategy("core-set").rank(Pool(CLASSES, (facts,), (), (), features, done=(done,)), 1)
    assert [q.slice for q in first] == [0], "slice 2 is next to a drawn one; slice 2 of the other is not drawn"
    features |= {("a", 1): (8.9,)}
    turns = build_strategy("k-means", {"clusters": 2}).rank(
        Pool(CLASSES, (facts,), (), (), features, done=(done,)), 3, 1
    )
    assert turns[0].slice == 0, "the kind of the other two is larger, and drawn"
