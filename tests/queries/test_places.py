"""Doubt per slice and class, on volumes that a human can check."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcl.queries.places import drawing_axis, entropy, from_rows, places_of, to_rows


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
