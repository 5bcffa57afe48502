from __future__ import annotations

from collections import deque
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medcl.errors import SettingsError
from medcl.inference.postprocess import find_one_piece, unions_of
from medcl.inference.postprocess import keep_largest as keep_largest_of

_masks = arrays(
    np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 3)
)


def keep_largest(mask: np.ndarray, mode: str, *, classes: int, groups: dict[str, tuple[int, ...]]) -> np.ndarray:
    return keep_largest_of(mask, unions_of(mode, classes=classes, groups=groups))


def row(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8).reshape(1, 1, -1)


def test_the_larger_piece_of_each_class_stays():
    mask = row(1, 0, 1, 1, 0, 2, 2, 2, 0, 2)
    found = keep_largest(mask, "class", classes=3, groups={})
    assert found.ravel().tolist() == [0, 0, 1, 1, 0, 2, 2, 2, 0, 0]
    assert mask[0, 0, 0] == 1  # the input is not changed


def test_among_equals_the_first_stays():
    found = keep_largest(row(1, 1, 0, 1, 1), "class", classes=2, groups={})
    assert found.ravel().tolist() == [1, 1, 0, 0, 0]


def test_corners_connect():
    mask = np.zeros((2, 2, 2), np.uint8)
    mask[0, 0, 0] = mask[1, 1, 1] = 1
    assert np.array_equal(keep_largest(mask, "class", classes=2, groups={}), mask)


def test_a_group_is_one_structure():
    mask = row(1, 2, 0, 2, 2, 2, 0, 3)
    # by group: "1 2" (2 voxels) loses against "2 2 2"; class 3 is in no group and stays
    found = keep_largest(mask, "group", classes=4, groups={"heart": (1, 2)})
    assert found.ravel().tolist() == [0, 0, 0, 2, 2, 2, 0, 3]
    # together they are one piece, apart they would be two
    joined = row(2, 1, 2, 0, 2)
    assert keep_largest(joined, "group", classes=3, groups={"heart": (1, 2)}).ravel().tolist() == [2, 1, 2, 0, 0]


def test_larger_groups_go_first():
    # inside the whole, the part "1" keeps its larger piece; the far one is gone with the rest of its heart
    mask = row(1, 2, 1, 1, 0, 1, 1, 1)
    found = keep_largest(mask, "group", classes=3, groups={"part": (1,), "whole": (1, 2)})
    assert found.ravel().tolist() == [0, 2, 1, 1, 0, 0, 0, 0]


def test_nothing_there_stays_nothing():
    mask = np.zeros((2, 3, 4), np.uint8)
    assert not keep_largest(mask, "class", classes=3, groups={}).any()


def test_unknown_mode_and_missing_groups_are_errors():
    with pytest.raises(SettingsError, match="'class', 'group', got 'all'"):
        keep_largest(row(1), "all", classes=2, groups={})
    with pytest.raises(SettingsError, match="found none"):
        keep_largest(row(1), "group", classes=2, groups={})


def _flood(inside: np.ndarray) -> np.ndarray:
    """Second implementation: breadth-first search over 26 neighbours."""
    seen, best = np.zeros_like(inside), []
    for start in map(tuple, np.argwhere(inside)):
        if seen[start]:
            continue
        seen[start], piece, queue = True, [start], deque([start])
        while queue:
            here = queue.popleft()
            for step in product((-1, 0, 1), repeat=3):
                there = tuple(np.add(here, step))
                if (
                    all(0 <= t < s for t, s in zip(there, inside.shape, strict=True))
                    and inside[there]
                    and not seen[there]
                ):
                    seen[there] = True
                    piece.append(there)
                    queue.append(there)
        best = piece if len(piece) > len(best) else best
    kept = np.zeros_like(inside)
    kept[tuple(np.array(best, dtype=int).reshape(-1, 3).T)] = True
    return kept


@given(_masks)
def test_agrees_with_a_flood_fill(mask):
    expected = sum(np.uint8(c) * _flood(mask == c) for c in (1, 2, 3))
    assert np.array_equal(keep_largest(mask, "class", classes=4, groups={}), expected)


@given(_masks, st.permutations([1, 2, 3]))
def test_permuting_classes_permutes_the_result(mask, order):
    table = np.array([0, *order], dtype=np.uint8)
    direct = keep_largest(table[mask], "class", classes=4, groups={})
    assert np.array_equal(direct, table[keep_largest(mask, "class", classes=4, groups={})])


HEART = {"heart": (1, 2)}


def test_strokes_tell_what_is_one_piece():
    #                 the organ, and a far mistake without a stroke
    mask = row(0, 1, 1, 2, 2, 0, 0, 1, 0, 2)
    drawn = np.full(mask.shape, -1)
    drawn[..., 1], drawn[..., 3] = 1, 2
    assert find_one_piece([(mask, drawn)], classes=3, groups=HEART) == [(1, 2), (1,), (2,)]
    kept = keep_largest_of(mask, unions_of("auto", classes=3, groups=HEART, one_piece=[(1, 2), (1,), (2,)]))
    assert kept.ravel().tolist() == [0, 1, 1, 2, 2, 0, 0, 0, 0, 0]


def test_strokes_in_two_pieces_keep_both():
    mask = row(1, 1, 0, 1, 1, 1, 0, 2, 2)
    drawn = np.full(mask.shape, -1)
    drawn[..., 0], drawn[..., 4], drawn[..., 7] = 1, 1, 2
    # class 1 lies in two pieces, so the group does too; class 2 does not
    assert find_one_piece([(mask, drawn)], classes=3, groups=HEART) == [(2,)]


def test_one_case_of_many_with_two_pieces_is_enough():
    whole, broken = row(1, 1, 1, 0, 0, 0), row(1, 1, 0, 0, 1, 0)
    drawn = np.where(whole == 1, 1, -1)
    many = [(whole, drawn)] * 400
    assert find_one_piece(many, classes=2, groups={}) == [(1,)]
    assert find_one_piece([*many, (broken, np.where(broken == 1, 1, -1))], classes=2, groups={}) == []


def test_strokes_that_were_missed_say_nothing():
    mask = row(1, 1, 0, 0, 0)
    missed = np.full(mask.shape, -1)
    missed[..., 4] = 1
    assert find_one_piece([(mask, missed)], classes=2, groups={}) == []
    assert find_one_piece([], classes=2, groups={}) == []


@given(_masks, st.data())
def test_what_is_one_piece_loses_next_to_no_strokes(mask, data):
    drawn = data.draw(arrays(np.int16, st.just(mask.shape), elements=st.integers(-1, 3)))
    unions = find_one_piece([(mask, drawn)], classes=4, groups={})
    kept = keep_largest_of(mask, unions)
    for (index,) in unions:
        strokes = drawn == index
        assert (kept[strokes] == index).sum() >= 0.99 * (mask[strokes] == index).sum() > 0
