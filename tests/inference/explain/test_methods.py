from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medcl.backbones import build_backbone
from medcl.errors import SettingsError
from medcl.inference.explain.grad_cam import coarsest_layer, grad_cam
from medcl.inference.explain.occlusion import occlusion
from medcl.inference.explain.rise import random_masks, rise
from medcl.inference.explain.scene import Scene, box_around
from medcl.inference.explain.scores import faithfulness
from medcl.inference.explain.settings import ExplainSettings

monai = pytest.importorskip("monai", reason="second implementation: pip install 'medcl[monai]'")
MakeScene = Callable[..., Scene]
CELLS = ExplainSettings(cell_mm=4, step=0.5, least_masks=200)


def test_score_is_the_share_that_is_left(scene: MakeScene) -> None:
    made = scene()
    half = made.image.clone()
    half[:, 4:6] = 0
    assert made.score(torch.stack((made.image, half, torch.zeros_like(half)))).tolist() == pytest.approx([1, 0.5, 0])
    assert made.passes == 3


def test_box_with_margin_stays_on_the_grid() -> None:
    mask = np.zeros((10, 10), bool)
    mask[1, 5:8] = True
    assert box_around(mask, (2, 2)) == ((0, 4), (3, 10))


def test_occlusion_against_monai(scene: MakeScene, wrapped: type[nn.Module]) -> None:
    made = scene()
    judge = monai.visualize.OcclusionSensitivity(
        wrapped(made), mask_size=4, n_batch=7, verbose=False, mode=0.0, overlap=0.5, activate=False
    )
    left, _ = judge(made.image[None])
    found = occlusion(made, CELLS)
    np.testing.assert_allclose(found.numpy(), 1 - left[0, 0].numpy(), atol=1e-5)
    assert float(found[5, 9]) == pytest.approx(float(found.max()))


def test_a_region_needs_fewer_passes_and_says_the_same_inside(scene: MakeScene) -> None:
    whole, near = scene(), scene(region=((2, 10), (6, 14)))
    far, close = occlusion(whole, CELLS), occlusion(near, CELLS)
    assert near.passes < 0.6 * whole.passes  # a region of a quarter of the image, and what its covers reach
    np.testing.assert_allclose(close[near.part].numpy(), far[near.part].numpy(), atol=1e-6)
    assert float(close[13:].abs().sum()) == 0


def test_occlusion_in_three_dimensions(scene: MakeScene) -> None:
    made = scene(size=(4, 16, 16))
    found = occlusion(made, CELLS)
    assert found.shape == (4, 16, 16)
    assert float(found[2, 5, 9]) > 0.2
    assert float(found[2, 12, 2]) == 0


def test_rise_is_the_weighted_mean_of_its_masks(scene: MakeScene) -> None:
    """Written out from eq. 4 of the paper: E[score | pixel visible], less the mean score."""
    made = scene(region=((2, 10), (6, 14)))
    settings = CELLS.model_copy(update={"least_masks": 12, "masks_per_cell": 0.1})
    found = rise(made, settings)
    generator = torch.Generator().manual_seed(settings.seed)
    sizes = [5, 5, 2]  # batches
    masks = torch.cat([random_masks(n, [2, 2], (4, 4), [8, 8], 0.5, generator) for n in sizes])
    total, visible, scores = np.zeros((8, 8)), np.zeros((8, 8)), []
    for mask in masks:
        covered = made.image.clone()
        covered[:, 2:10, 6:14] *= mask
        score = float(made.score(covered[None])[0])
        total, visible = total + score * mask.numpy(), visible + mask.numpy()
        scores.append(score)
    expected = total / visible - np.mean(scores)
    np.testing.assert_allclose(found[2:10, 6:14].numpy(), expected, atol=1e-5)
    assert float(found[:2].abs().sum()) == 0


def test_rise_finds_the_square(scene: MakeScene) -> None:
    found = rise(scene(), CELLS)
    assert float(found[4:8, 8:12].mean()) > 3 * float(found.abs().mean())


def test_masks_are_visible_as_often_as_asked() -> None:
    masks = random_masks(400, [4, 4], (3, 5), [12, 18], 0.3, torch.Generator().manual_seed(0))
    assert masks.shape == (400, 12, 18)
    assert float(masks.min()) >= 0
    assert float(masks.max()) <= 1
    assert float(masks.mean()) == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("ndim", [2, 3])
def test_grad_cam_against_monai(scene: MakeScene, ndim: int) -> None:
    torch.manual_seed(1)
    network = build_backbone("unet", in_channels=1, classes=3, ndim=ndim, base=4, levels=3).eval()
    size = (16, 16) if ndim == 2 else (8, 16, 16)
    made = scene(network, size=size)
    everywhere = scene(network, size=size, asked=torch.ones_like(made.asked))
    name = coarsest_layer(made)
    assert name == "encoder.2.5"  # the last activation of the bottleneck
    found = grad_cam(everywhere, ExplainSettings())
    judge = monai.visualize.GradCAM(nn_module=network, target_layers=name, postprocessing=lambda values: values)
    expected = judge(x=made.image[None].requires_grad_(True), class_idx=1)[0, 0].detach().numpy()
    assert expected.max() > 0
    np.testing.assert_allclose(found.numpy(), expected / expected.max(), atol=1e-4)


def test_grad_cam_says_what_it_cannot_do(scene: MakeScene) -> None:
    with pytest.raises(SettingsError, match="unknown layer 'nothing'"):
        grad_cam(scene(build_backbone("unet", in_channels=1, classes=3, ndim=2, base=4, levels=2)), named("nothing"))
    with pytest.raises(SettingsError, match="use occlusion or rise"):
        grad_cam(scene(Linear()), ExplainSettings())


def named(layer: str) -> ExplainSettings:
    return ExplainSettings(layer=layer)


class Linear(nn.Module):
    def forward(self, image: Any) -> Any:
        return image.repeat(1, 3, 1, 1)


def test_faithfulness_by_hand(scene: MakeScene) -> None:
    """16 of 4096 pixels count; with two steps the shares are 0, 1/4 and 1."""
    made = scene(size=(64, 64))
    right = faithfulness(made, made.image[0], steps=2)
    assert right.shares == (0.0, 0.25, 1.0)
    assert right.deletion_curve == pytest.approx((1.0, 0.0, 0.0))
    assert right.insertion_curve == pytest.approx((0.0, 1.0, 1.0))
    assert right.deletion == pytest.approx(0.25 / 2)
    assert right.insertion == pytest.approx(0.25 / 2 + 0.75)
    wrong = faithfulness(made, -made.image[0], steps=2)
    assert wrong.deletion == pytest.approx(0.25 + 0.75 / 2)
    assert wrong.insertion < right.insertion
    assert math.isclose(wrong.deletion_curve[1], 1.0)
