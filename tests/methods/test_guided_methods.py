"""Methods with a teacher, a second decoder or special mixes, on networks whose answers are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medcl.batch import Batch
from medcl.losses.partial import partial_cross_entropy
from medcl.methods import Network, Task, methods


def parse(name: str, **settings: Any) -> Any:
    return methods.get(name).parse(settings)  # type: ignore[attr-defined]


def handle(forward: Callable, *, teacher: Any = None, progress: float = 1.0, seed: int = 0, **parts: Any) -> Network:
    generator = torch.Generator().manual_seed(seed)
    return Network(forward, Task(2, (), 2), None, generator, progress, teacher, **parts)


def batch_of(image: Tensor, target: Tensor) -> Batch:
    known = torch.ones(target.shape[:2], dtype=torch.bool)
    return Batch(image, target, known, known, torch.zeros_like(target))


def logit(probability: list[float]) -> Tensor:
    """Logits (1, 2, 1, n) whose softmax gives these probabilities of class 1."""
    p = torch.tensor(probability)
    return torch.stack((torch.zeros_like(p), (p / (1 - p)).log()))[None, :, None]


def pixelwise(image: Tensor) -> Tensor:
    """A network without surroundings: class 1 where the image is bright, and the less sure the closer to 0."""
    return torch.cat((-3 * image, 3 * image), dim=1)


# --- DMPLS ---


def test_dmpls_agrees_with_numpy() -> None:
    first, second = logit([0.9, 0.8, 0.3, 0.4]), logit([0.7, 0.1, 0.2, 0.9])
    target = torch.zeros(1, 2, 1, 4)
    target[0, 1, 0, 0] = 1
    decoders = (lambda f, s: first, lambda f, s: second)
    network = handle(lambda image: first, encode=lambda image: [image], decoders=decoders, seed=5)
    losses = parse("dmpls", dropout=0.0).step(batch_of(torch.zeros(1, 1, 1, 4), target), network)

    share = float(torch.rand((), generator=torch.Generator().manual_seed(5)))
    p1, p2 = np.array([0.9, 0.8, 0.3, 0.4]), np.array([0.7, 0.1, 0.2, 0.9])
    pseudo = (share * p1 + (1 - share) * p2 > 0.5).astype(float)
    dice = []
    for p in (p1, p2):
        for maps, labels in ((p, pseudo), (1 - p, 1 - pseudo)):
            dice.append(1 - 2 * (maps * labels).sum() / (maps.sum() + labels.sum()))
    assert losses["partial_ce"].item() == pytest.approx(-(np.log(0.9) + np.log(0.7)) / 2)
    assert losses["pseudo_dice"].item() == pytest.approx(0.5 * np.mean(dice), abs=1e-4)


def test_dmpls_mixes_anew_each_step_and_teaches_both_without_strokes() -> None:
    first, second = logit([0.9, 0.45]).requires_grad_(), logit([0.1, 0.6]).requires_grad_()
    decoders = (lambda f, s: first, lambda f, s: second)
    batch = batch_of(torch.zeros(1, 1, 1, 2), torch.zeros(1, 2, 1, 2))
    seen = set()
    for seed in range(8):
        network = handle(lambda i: first, encode=lambda i: [i], decoders=decoders, seed=seed)
        losses = parse("dmpls", dropout=0.0).step(batch, network)
        seen.add(round(losses["pseudo_dice"].item(), 4))
    assert len(seen) > 1
    sum(losses.values()).backward()
    assert first.grad.abs().sum() > 0
    assert second.grad.abs().sum() > 0


# --- Scribble2Label ---


def test_scribble2label_learns_from_sure_pixels_nobody_drew() -> None:
    student, teacher = logit([0.9, 0.9, 0.1, 0.6, 0.9]), logit([0.9, 0.1, 0.1, 0.7, 0.9])
    target = torch.zeros(1, 2, 1, 5)
    target[0, 0, 0, 4] = 1  # drawn: no pseudo label of class 1 there
    method = parse("scribble2label", alpha=0.2, threshold=0.8)
    losses = method.step(
        batch_of(torch.zeros(1, 1, 1, 5), target), handle(lambda i: student, teacher=lambda i, **k: teacher)
    )
    # Averaged class 1: 0.9, 0.26, 0.1, 0.68; pixel 1 changed its mind and pixel 3 is not sure.
    assert losses["partial_ce"].item() == pytest.approx(-np.log(0.1), rel=1e-4)
    assert losses["pseudo_ce"].item() == pytest.approx(0.5 * -np.log(0.9), rel=1e-4)


def test_scribble2label_asks_nobody_before_its_start() -> None:
    method = parse("scribble2label")
    batch = batch_of(torch.zeros(1, 1, 1, 2), torch.zeros(1, 2, 1, 2))
    assert set(method.step(batch, handle(lambda i: logit([0.5, 0.5]), progress=0.05))) == {"partial_ce"}


# --- USTM ---


def test_ustm_follows_the_teacher_where_it_is_certain() -> None:
    student = logit([0.6, 0.4, 0.5])
    calls = []

    def teacher(image: Tensor, *, dropout: bool = False) -> Tensor:
        calls.append(dropout)
        return logit([0.95, 0.15, 0.9]) if len(calls) % 2 else logit([0.85, 0.05, 0.1])

    batch = batch_of(torch.zeros(1, 1, 1, 3), torch.zeros(1, 2, 1, 3))
    method = parse("ustm", passes=2, noise=0.0, rotation_degrees=0.0, weight=1.0, ramp=0.0)
    losses = method.step(batch, handle(lambda i: student, teacher=teacher, progress=0.5))
    # Means 0.9, 0.1 and 0.5; the last has entropy log 2 and does not count.
    assert losses["consistency"].item() == pytest.approx(2 * 0.3**2, rel=1e-4)
    assert calls == [True, True]


def test_ustm_asks_that_predictions_turn_with_the_image() -> None:
    image = torch.nn.functional.avg_pool2d(torch.randn(2, 1, 24, 24, generator=torch.Generator().manual_seed(0)), 5, 1)
    batch = batch_of(4 * image, torch.zeros(2, 2, 20, 20))
    method = parse("ustm", noise=0.0, rotation_degrees=90.0, passes=1, weight=1.0)
    same = method.step(batch, handle(pixelwise, teacher=lambda i, **k: pixelwise(i)))
    other = method.step(batch, handle(pixelwise, teacher=lambda i, **k: pixelwise(i.flip(3))))
    assert same["consistency"].item() < 0.03  # interpolation alone
    assert other["consistency"].item() > 10 * same["consistency"].item()


# --- ShapePU ---


def test_shapepu_rules_out_what_the_ratio_leaves_no_room_for() -> None:
    # Drawn: half background, half class 1. Unlabelled: the network calls one pixel in four class 1.
    maps = logit([0.0001, 0.9999, 0.9999, 0.0001, 0.0002, 0.0003])
    target = torch.zeros(1, 2, 1, 6)
    target[0, 0, 0, 0] = target[0, 1, 0, 1] = 1
    network = handle(lambda image: maps)
    losses = parse("shapepu", weight=1.0, shape_weight=0.0).step(batch_of(torch.zeros(1, 1, 1, 6), target), network)
    expected = -np.log([1 - 0.0001, 1 - 0.0002, 1 - 0.0003]).mean()
    assert losses["negative"].item() == pytest.approx(expected, rel=1e-2)
    early = parse("shapepu", shape_weight=0.0).step(
        batch_of(torch.zeros(1, 1, 1, 6), target), handle(lambda i: maps, progress=0.1)
    )
    assert set(early) == {"partial_ce"}


def test_shapepu_compares_outside_the_hole_alone() -> None:
    image = torch.randn(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    batch = batch_of(image, torch.zeros(2, 2, 12, 12))
    method = parse("shapepu", weight=0.0, hole=0.4, shape_weight=1.0)
    assert method.step(batch, handle(pixelwise))["shape"].item() == pytest.approx(0, abs=1e-6)

    def sees_all(image: Tensor) -> Tensor:
        return pixelwise(image.mean(dim=(2, 3), keepdim=True) * 20 + image)

    assert method.step(batch, handle(sees_all))["shape"].item() > 1e-3


# --- CycleMix ---


def test_cyclemix_is_content_with_a_network_that_sees_each_pixel_alone() -> None:
    image = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    target = torch.stack(((image[:, 0] < 0), (image[:, 0] > 0)), dim=1).float()
    target *= (torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(1)) < 0.2).float()
    batch = batch_of(image, target)
    method = parse("cyclemix", rotation_degrees=0.0)
    for seed in range(3):
        losses = method.step(batch, handle(pixelwise, seed=seed))
        assert losses["mix_consistency"].item() == pytest.approx(0, abs=1e-6)
        assert losses["one_piece"].item() > 0.005, "noise is no single piece"
        # Wherever a stroke goes with its pixel, the loss of the pixel goes with it.
        assert losses["mixed_partial_ce"].item() == pytest.approx(losses["partial_ce"].item(), rel=0.25)
    turned = parse("cyclemix", rotation_degrees=45.0).step(batch, handle(pixelwise))
    assert all(loss.isfinite() for loss in turned.values())


def test_cyclemix_one_piece_by_hand() -> None:
    rows = ["11000", "11000", "00001"]
    labels = torch.tensor([[int(c) for c in row] for row in rows])
    image = torch.where(labels == 1, 4.0, -4.0)[None, None]
    method = parse("cyclemix", mixed_weight=0.0, consistency_weight=0.0, piece_weight=1.0)
    batch = batch_of(image, torch.zeros(1, 2, 3, 5))
    losses = method.step(batch, handle(pixelwise))
    # Sure everywhere: 14 pixels agree; the lone pixel of class 1 should be background, where cos = 0.
    assert losses["one_piece"].item() == pytest.approx(1 / 15, abs=1e-4)
    assert set(losses) == {"partial_ce", "one_piece"}


def test_cyclemix_leaves_no_gradient_on_the_batch_and_mixes_without_strokes() -> None:
    image = torch.randn(2, 1, 8, 8)
    batch = batch_of(image, torch.zeros(2, 2, 8, 8))
    losses = parse("cyclemix").step(batch, handle(pixelwise))
    assert not image.requires_grad
    assert losses["mixed_partial_ce"].item() == losses["partial_ce"].item() == 0
    torch.testing.assert_close(partial_cross_entropy(pixelwise(image), batch.target).item(), 0.0)
