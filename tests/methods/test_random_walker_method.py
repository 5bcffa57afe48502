"""Pseudo labels of a batch: where they reach, and where they must not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from medcl.batch import Batch
from medcl.methods.random_walker import pseudo_labels


def two_halves(size: tuple[int, ...] = (8, 16), classes: int = 3) -> Batch:
    """Dark left, bright right, a stroke in the middle of each; class 2 was looked for and is not there."""
    image = torch.zeros(1, 1, *size)
    image[..., size[-1] // 2 :] = 4
    image += 0.01 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    target = torch.zeros(1, classes, *size)
    rows = size[-2] // 2
    target[:, 0, ..., rows, 2:4] = 1
    target[:, 1, ..., rows, -4:-2] = 1
    present = torch.tensor([[True, True] + [False] * (classes - 2)])
    return Batch(image, target, torch.ones_like(present), present, torch.zeros_like(target))


@pytest.mark.parametrize("size", [(8, 16), (3, 8, 16)], ids=["2d", "3d"])
def test_halves_are_filled_from_their_strokes(size: tuple[int, ...]) -> None:
    batch = two_halves(size)
    pseudo = pseudo_labels(batch)
    # Interpolated from the coarse grid, the pixels beside the edge are less than certain.
    assert (pseudo[:, 0, ..., :7] == 1).all()
    assert (pseudo[:, 1, ..., 9:] == 1).all()
    assert pseudo[..., 7:9].sum() == 0
    assert torch.equal(pseudo_labels(batch, shrink=1).argmax(dim=1) == 1, batch.image[:, 0] > 2)


def test_odd_sizes_and_full_resolution() -> None:
    for shrink in (1, 2, 3):
        pseudo = pseudo_labels(two_halves((7, 15)), shrink=shrink)
        assert pseudo.shape == (1, 3, 7, 15)
        assert pseudo.sum(dim=1).mean() >= 0.8


def test_unsure_pixels_stay_unlabelled() -> None:
    batch = two_halves()
    noise = torch.randn(batch.image.shape, generator=torch.Generator().manual_seed(1))
    pseudo = pseudo_labels(replace(batch, image=noise), certainty=0.95)
    assert 0 < (pseudo.sum(dim=1) == 0).float().mean() < 1
    assert set(pseudo.unique().tolist()) == {0.0, 1.0}


def test_strokes_keep_their_weights() -> None:
    batch = two_halves()
    target = 0.6 * batch.target
    target[:, 1, 0, 0] = 0.7  # on the dark side, against the image
    pseudo = pseudo_labels(replace(batch, target=target))
    drawn = target.sum(dim=1, keepdim=True).expand_as(target) > 0
    assert torch.equal(pseudo[drawn], target[drawn])


def test_a_class_that_may_be_there_without_a_stroke_stops_the_walk() -> None:
    batch = two_halves()
    maybe = replace(batch, present=torch.tensor([[True, True, True]]))
    assert torch.equal(pseudo_labels(maybe), batch.target)


def test_a_class_is_not_put_where_it_is_known_not_to_be() -> None:
    batch = two_halves()
    batch.absent[:, 1, :, 12:] = 1
    pseudo = pseudo_labels(batch)
    assert (pseudo[:, 1, :, 9:12] == 1).all()
    assert torch.equal(pseudo[..., 12:], batch.target[..., 12:])


def test_blocks_with_equal_strokes_of_two_classes_are_no_seed() -> None:
    batch = two_halves()
    batch.target[:, 0, 0, 0] = 1
    batch.target[:, 1, 1, 1] = 1  # in the same 2 x 2 block
    pseudo = pseudo_labels(batch)
    assert pseudo[0, 0, 0, 0] == 1
    assert pseudo[0, 1, 1, 1] == 1
    assert pseudo[0, 0, :, :7].sum() == 55  # all of the dark side but that pixel


def test_each_image_of_a_batch_walks_alone() -> None:
    first, second = two_halves(), replace(two_halves(), image=-two_halves().image)
    second.target[:] = 0
    both = Batch(*(torch.cat([getattr(b, f) for b in (first, second)]) for f in
                   ("image", "target", "known", "present", "absent")))  # fmt: skip
    pseudo = pseudo_labels(both)
    assert torch.equal(pseudo[:1], pseudo_labels(first))
    assert pseudo[1].sum() == 0
