"""Doubt per slice and class, on volumes that a human can check."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcl.queries.places import drawing_axis, entropy, from_rows, mutual_information, places_of, to_rows


def test_doubt_is_the_undecided_area_of_the_class() -> None:
    shares = np.zeros((2, 3, 2, 2), np.float32)  # two classes, three axial slices
    shares[0] = 1
    shares[:, 1, 0, 1] = 0.5  # one voxel is a toss-up: u = 1, half of it each class
    found = places_of("a", shares, (8.0, 2.0, 3.0))
    assert [(p.slice, p.class_index, p.peak) for p in found] == [(1, 0, (1, 0, 1)), (1, 1, (1, 0, 1))]
    assert [p.doubt_mm2 for p in found] == pytest.approx([3.0, 3.0], rel=1e-4)  # 0.5 of a pixel of 6 mm2
    assert [p.share for p in found] == pytest.approx([0.875, 0.125])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_peaks_lie_where_the_doubt_is_across_every_axis(axis: int) -> None:
    shares = np.zeros((2, 4, 5, 6), np.float32)
    shares[0] = 1
    shares[:, 1, 2, 3] = 0.5
    found = places_of("a", shares, (1.0, 1.0, 1.0), axis)
    assert {p.peak for p in found} == {(3, 2, 1)}
    assert {p.slice for p in found} == {(1, 2, 3)[axis]}


def test_people_draw_across_the_thick_slices() -> None:
    assert drawing_axis((8, 160, 160), (10.0, 1.5, 1.5)) == 0
    assert drawing_axis((160, 20, 160), (1.0, 5.0, 1.0)) == 1
    assert drawing_axis((160, 160, 20), (1.0, 1.0, 5.0)) == 2
    assert drawing_axis((90, 90, 90), (1.0, 1.0, 1.05)) == 0, "near-cubic voxels: axial"
    assert drawing_axis((64, 1, 64), (1.0, 1.0, 1.0)) == 1, "a picture"


@given(st.integers(0, 10**6), st.integers(2, 5))
def test_entropy_is_between_certain_and_ignorant(seed: int, classes: int) -> None:
    shares = np.random.default_rng(seed).dirichlet(np.ones(classes), 7).T
    unsure = entropy(shares)
    assert ((unsure >= 0) & (unsure <= 1)).all()
    assert entropy(np.full((classes, 1), 1 / classes)) == pytest.approx(1.0)
    assert entropy(np.eye(classes)) == pytest.approx(0.0, abs=1e-6)
    found = places_of("a", shares.reshape(classes, 1, 1, 7), (1.0, 1.0, 1.0), 0)
    assert sum(p.doubt_mm2 for p in found) == pytest.approx(float(unsure.sum()), rel=0.03)


def test_rows_are_plain_numbers_and_come_back() -> None:
    shares = np.full((2, 2, 2, 2), 0.5, np.float32)
    found = places_of("a", shares, (2.0, 1.0, 1.0))
    assert from_rows("a", to_rows(found)) == found


def test_samples_that_disagree_have_information_and_those_that_share_a_doubt_have_none() -> None:
    sure = np.zeros((2, 1, 1, 2), np.float32)
    sure[0] = 1
    other = sure.copy()
    other[:, 0, 0, 0] = (0, 1)  # the opposite, just as sure
    half = np.full((2, 1, 1, 2), 0.5, np.float32)
    assert mutual_information(np.stack([sure, other]))[0, 0] == pytest.approx([1.0, 0.0])
    assert mutual_information(np.stack([half, half])) == pytest.approx(0.0, abs=1e-6)
    found = places_of("a", None, (1.0, 2.0, 3.0), 0, samples=[sure, other])
    assert [p.class_index for p in found] == [0, 1]
    assert [p.information for p in found] == pytest.approx([0.5, 0.5])
    assert [p.information_mm2 for p in found] == pytest.approx([3.0, 3.0])  # half of a pixel of 6 mm2 each
    assert [p.doubt_mm2 for p in found] == pytest.approx([3.0, 3.0])
    assert [p.area_mm2 for p in found] == [12.0, 12.0]
    with pytest.raises(ValueError, match="neither"):
        places_of("a", None, (1.0, 1.0, 1.0))


def test_mutual_information_is_the_entropy_that_the_samples_do_not_share() -> None:
    from scipy.stats import entropy as judge

    samples = np.random.default_rng(2).dirichlet(np.ones(3), (5, 7)).transpose(0, 2, 1)  # (S, C, pixels)
    by_hand = judge(samples.mean(axis=0), axis=0) - judge(samples, axis=1).mean(axis=0)
    assert mutual_information(samples) == pytest.approx(by_hand / np.log(3))


def test_boxes_tile_the_slice_and_their_doubts_sum_up_to_it() -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(3), (2, 7, 10)).transpose(3, 0, 1, 2).astype(np.float32)
    whole = places_of("a", shares, (5.0, 1.0, 1.0), 0)
    boxed = places_of("a", shares, (5.0, 1.0, 1.0), 0, box_mm=3.5)
    assert len({p.box for p in boxed}) == 2 * 2 * 3
    for c in range(3):
        assert sum(p.doubt_mm2 for p in boxed if p.class_index == c) == pytest.approx(
            sum(p.doubt_mm2 for p in whole if p.class_index == c)
        )
    covered = np.zeros((10, 7, 2), int)
    for box in {p.box for p in boxed}:
        assert box is not None
        (i0, i1), (j0, j1), (k0, k1) = box
        covered[i0:i1, j0:j1, k0:k1] += 1
    assert (covered == 1).all()
    for p in boxed:
        assert p.box is not None
        assert all(low <= at < high for at, (low, high) in zip(p.peak, p.box, strict=True))


def test_structures_in_the_mask_stay_even_where_the_network_is_sure() -> None:
    shares = np.zeros((2, 3, 2, 2), np.float32)
    shares[1, 0] = shares[0, 1:] = 1  # a slice full of the structure, without doubt
    shares[:, 2, 0, 0] = 0.5
    found = places_of("a", shares, (1.0, 1.0, 1.0), 0)
    assert (0, 1) in {(p.slice, p.class_index) for p in found}
    assert next(p for p in found if (p.slice, p.class_index) == (0, 1)).mask_mm2 == 4.0


def test_rows_of_earlier_versions_are_still_read() -> None:
    (old,) = from_rows("a", [[3, 1, 2.5, 0.1, 4, 5, 3]])
    assert (old.slice, old.class_index, old.doubt_mm2, old.peak, old.entropy, old.area_mm2) == (
        3,
        1,
        2.5,
        (4, 5, 3),
        0,
        0,
    )
