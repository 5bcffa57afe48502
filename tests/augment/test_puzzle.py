"""Puzzle mix: which image each block shows, worked by hand and against all possible masks."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from medcl.augment.puzzle import puzzle_mask, puzzle_mix

SWAP = torch.tensor([1, 0])
EVEN = torch.tensor([0.5, 0.5])


def saliency(*rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows)[:, None]


def test_blocks_show_the_image_that_matters_there() -> None:
    # The first image matters on the left, the second on the right; each is compared as a share of its own sum.
    maps = saliency([[8.0, 1.0], [8.0, 1.0]], [[0.1, 0.4], [0.1, 0.4]])
    mask = puzzle_mask(maps, SWAP, EVEN, blocks=2)
    assert mask[0, 0].tolist() == [[1, 0], [1, 0]]
    assert mask[1, 0].tolist() == [[0, 1], [0, 1]]


def test_a_large_share_wins_where_little_speaks_against_it() -> None:
    flat = torch.ones(2, 1, 4, 4)
    assert puzzle_mask(flat, SWAP, torch.tensor([0.9, 0.9]), blocks=4).all()
    assert not puzzle_mask(flat, SWAP, torch.tensor([0.1, 0.1]), blocks=4).any()


def test_the_mask_is_the_best_of_all_masks() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(2, 1, 2, 3, generator=generator) ** 3
    b, prior = torch.tensor([0.3, 0.6]), 0.2
    share = (maps / maps.sum((1, 2, 3), keepdim=True)).flatten(1)
    for n in range(2):

        def cost(z: tuple[int, ...], n: int = n) -> float:
            lost = sum(float(share[1 - n, i] if z[i] else share[n, i]) for i in range(6))
            wanted = sum(math.log(b[n] if v else 1 - b[n]) for v in z)
            return lost - prior / 6 * wanted

        best = min(itertools.product((0, 1), repeat=6), key=cost)
        mask = puzzle_mask(maps, SWAP, b, blocks=3, prior=prior)[n].flatten().int().tolist()
        assert mask == list(best)


@pytest.mark.parametrize("size", [(33, 47), (3, 17, 9), (1, 5)])
def test_any_size_and_flat_saliency(size: tuple[int, ...]) -> None:
    for maps in (torch.rand(3, 1, *size), torch.zeros(3, 1, *size)):
        mask = puzzle_mask(maps, torch.tensor([2, 0, 1]), torch.full((3,), 0.5), blocks=8)
        assert mask.shape == (3, 1, *size)
        assert set(mask.unique().tolist()) <= {0.0, 1.0}


def test_mixing_takes_strokes_along_and_invents_none() -> None:
    image, target = torch.randn(2, 1, 4, 4), torch.zeros(2, 3, 4, 4)
    target[0, 2, 0, 0] = target[1, 1, 3, 3] = 1
    mask = torch.zeros(2, 1, 4, 4)
    mask[:, :, :2] = 1
    mixed = puzzle_mix(target, SWAP, mask)
    assert mixed[0].nonzero().tolist() == [[1, 3, 3], [2, 0, 0]]
    assert mixed[1].sum() == 0
    assert torch.equal(puzzle_mix(image, SWAP, mask)[0, 0, :2], image[0, 0, :2])
    assert torch.equal(puzzle_mix(image, SWAP, mask)[0, 0, 2:], image[1, 0, 2:])
