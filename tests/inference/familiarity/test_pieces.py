"""Pieces that training spans leave nothing over; a spot that is in no training scan does, where it begins and ends."""

from __future__ import annotations

import numpy as np
import pytest

from medcl.inference.familiarity.pieces import KEPT, Pieces, PieceSums, Shown, pieces_of

SIDE = 24.0


def scan(seed: int, spot: bool = False, slices: int = 4, channels: int = 1) -> Shown:
    """A bright disc on a slope, a little different in each scan; with a dark spot in one slice."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :60]
    radius = rng.uniform(10, 13)
    disc = np.hypot(y - 32, x - 30) < radius
    array = np.stack([disc + 0.01 * x + 0.02 * rng.normal(size=y.shape) for _ in range(slices)]).astype(np.float32)
    if spot:
        array[1][np.hypot(y - 30, x - 28) < 3] = -0.5
    found = Shown.of(np.stack([array] * channels), np.broadcast_to(disc, array.shape))
    assert found is not None
    return found


def fitted(channels: int = 1) -> Pieces:
    return Pieces.fit([PieceSums.of(scan(seed, channels=channels), SIDE) for seed in range(12)], SIDE)


def test_the_middle_and_the_side_are_those_of_the_prediction() -> None:
    mask = np.zeros((2, 40, 50), bool)
    mask[:, 10:20, 20:40] = True
    shown = Shown.of(np.zeros((1, 2, 40, 50)), mask)
    assert shown is not None
    assert shown.middle == pytest.approx((14.5, 29.5))
    assert shown.side == pytest.approx(np.sqrt(10 * 20), rel=0.02)
    assert Shown.of(np.zeros((1, 2, 40, 50)), np.zeros((2, 40, 50), bool)) is None


def test_what_is_left_is_what_the_singular_vectors_of_the_pieces_leave() -> None:
    pieces = fitted()
    everything = np.concatenate([p[0] for seed in range(12) for p in pieces_of(scan(seed), SIDE)]).astype(np.float64)
    _, _, vectors = np.linalg.svd(everything - everything.mean(0), full_matrices=False)
    basis = vectors[: round(KEPT * everything.shape[1])]
    new = scan(99, spot=True)
    expected = []
    for (one,) in pieces_of(new, SIDE):
        centred = one - everything.mean(0)
        expected.append(np.sqrt(np.square(centred - centred @ basis.T @ basis).mean(1)))
    np.testing.assert_allclose(pieces.left_over(new), expected, atol=2e-3)


def test_a_spot_is_seen_where_it_begins_and_ends() -> None:
    pieces = fitted()
    usual = [pieces.parts(scan(seed)) for seed in range(50, 60)]
    strange = pieces.parts(scan(70, spot=True))
    assert strange["pieces change"] > 2 * max(one["pieces change"] for one in usual)
    assert strange["pieces slice"] > max(one["pieces slice"] for one in usual)
    left = pieces.left_over(scan(70, spot=True))
    assert left.max(axis=1).argmax() == 1


def test_a_change_wants_two_slices_and_channels_count_alike() -> None:
    assert set(fitted().parts(scan(0, slices=1))) == {"pieces slice"}
    np.testing.assert_allclose(fitted(2).left_over(scan(5, channels=2)), fitted().left_over(scan(5)), atol=1e-4)


@pytest.mark.parametrize("size", [(5, 7), (64, 9), (300, 290)])
def test_every_size_has_the_same_pieces_in_all_slices(size: tuple[int, int]) -> None:
    array = np.random.default_rng(0).normal(size=(1, 3, *size)).astype(np.float32)
    shown = Shown(array, (size[0] / 2, size[1] / 2), 200.0 if size[0] > 64 else 4.0)
    found = list(pieces_of(shown, shown.side))
    assert len(found) == 3
    assert len({one.shape for one in found}) == 1
    assert all(np.isfinite(one).all() for one in found)
    assert PieceSums.of(shown, shown.side).count > 0
