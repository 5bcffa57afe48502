"""Agreement pixel by pixel, and what is one piece: drawn by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage import measure

from medcl.losses.consistency import largest_pieces, pixel_consistency


def test_cosine_over_classes_by_hand() -> None:
    first = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]])[None]
    second = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])[None]
    # equal, orthogonal, 45 degrees
    parts = [0.0, 1.0, 1 - 1 / math.sqrt(2)]
    assert pixel_consistency(first, second).item() == pytest.approx(sum(parts) / 3, abs=1e-6)
    weight = torch.tensor([[[1.0, 0.0, 1.0]]])
    assert pixel_consistency(first, second, weight).item() == pytest.approx((parts[0] + parts[2]) / 2, abs=1e-6)
    assert pixel_consistency(first, second, weight * 0).item() == 0


def test_pixels_out_of_sight_get_no_gradient() -> None:
    first = torch.rand(2, 3, 4, 5).requires_grad_()
    seen = torch.ones(2, 1, 4, 5)
    seen[..., 2:] = 0
    pixel_consistency(first, torch.rand(2, 3, 4, 5), seen).backward()
    assert first.grad[..., 2:].abs().sum() == 0
    assert first.grad[..., :2].abs().sum() > 0


def parse(rows: str) -> torch.Tensor:
    return torch.tensor([[int(c) for c in row] for row in rows.split()])


def test_small_pieces_become_background() -> None:
    drawn = parse("1100020 1100020 0000000 0010222 0001200")
    kept = parse("1100000 1100000 0000000 0000222 0000200")
    assert torch.equal(largest_pieces(drawn[None], 3)[0], kept)
    assert torch.equal(drawn, parse("1100020 1100020 0000000 0010222 0001200")), "the input is left alone"


@pytest.mark.parametrize("size", [(3, 12, 14), (2, 4, 9, 9)], ids=["2d", "3d"])
def test_pieces_agree_with_skimage(size: tuple[int, ...]) -> None:
    labels = torch.randint(0, 4, size, generator=torch.Generator().manual_seed(1))
    kept = largest_pieces(labels, 4).numpy()
    for sample, result in zip(labels.numpy(), kept, strict=True):
        for c in range(1, 4):
            pieces = measure.label(sample == c)
            sizes = np.bincount(pieces.ravel())[1:]
            assert (result == c).sum() == sizes.max()
            assert len(np.unique(pieces[result == c])) == 1
