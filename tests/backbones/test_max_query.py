from __future__ import annotations

import torch

from medcl.backbones import build_backbone
from medcl.losses.partial import partial_cross_entropy

SMALL = {"base": 4, "levels": 3, "width": 8}


def test_strangeness_is_minus_the_largest_answer() -> None:
    torch.manual_seed(0)
    network = build_backbone("max-query", in_channels=1, classes=3, ndim=2, **SMALL).eval()
    image = torch.randn(1, 1, 12, 10)
    answers = network.answers(image)
    assert answers.shape == (1, 12 + 4 + 4, 12, 10)
    assert torch.equal(network.strangeness(image), -answers.max(dim=1).values)


def test_background_queries_do_not_drown_the_classes_at_the_start() -> None:
    torch.manual_seed(0)
    network = build_backbone("max-query", in_channels=1, classes=3, ndim=2, background_queries=40, **SMALL).eval()
    shares = network(torch.randn(1, 1, 16, 16)).softmax(1).mean((0, 2, 3))
    assert (shares - 1 / 3).abs().max() < 0.1


def test_it_learns_discs_from_labels() -> None:
    torch.manual_seed(0)
    network = build_backbone("max-query", in_channels=1, classes=2, ndim=2, norm="group", **SMALL)
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    disc = (torch.hypot(y - 8, x - 8) < 4).float()
    image, target = (4 * disc - 1)[None, None], torch.stack([1 - disc, disc])[None]
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(60):
        loss = partial_cross_entropy(network(image), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1
    assert (network(image).argmax(1)[0] == disc).float().mean() > 0.97
