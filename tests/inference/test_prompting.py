"""What a person points at reaches the network where it was pointed at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medcl.backbones.prompts import Box, ClassPrompts, Point, Prompts
from medcl.data.geometry import Geometry
from medcl.data.prepare import plan_grid
from medcl.errors import DataError, SettingsError
from medcl.inference.model import Model
from medcl.inference.prompting import place_prompts, read_prompts

SAM: dict[str, Any] = {"size": "tiny", "input_size": 64}


def geometry(
    size: tuple[int, int, int] = (4, 20, 24), spacing: tuple[float, float, float] = (5.0, 1.0, 1.0)
) -> Geometry:
    return Geometry(size=size, spacing_mm=spacing)


def place(prompts: Prompts, plan: Any, where: Geometry | None = None) -> dict[int, list[ClassPrompts]]:
    return place_prompts(prompts, plan_grid(where or geometry(), plan), plan)


def test_points_of_other_classes_say_where_a_class_is_not(plan: Callable[..., Any]) -> None:
    points = (Point("a", (1, 3, 4)), Point("b", (1, 8, 9)), Point(0, (1, 0, 0)), Point("a", (2, 5, 5)))
    found = place(Prompts(points=points), plan())
    assert set(found) == {1, 2}
    a, b = found[1]
    assert (a.index, b.index) == (1, 2)
    assert a.points == [(3, 4, True), (8, 9, False), (0, 0, False)]
    assert b.points == [(3, 4, False), (8, 9, True), (0, 0, False)]
    assert found[2] == [ClassPrompts(1, [(5, 5, True)])]


def test_places_follow_the_image_to_the_plans_grid(plan: Callable[..., Any]) -> None:
    # Half the spacing: twice the pixels, and the centre of pixel v lies between pixels 2 v and 2 v + 1.
    fine = plan(spacing_mm=(None, 0.5, 0.5))
    found = place(Prompts(points=[Point("a", (1, 3, 4))], boxes=[Box("b", (1, 10, 6), (1, 4, 2))]), fine)
    assert found[1][0].points == [(6.5, 8.5, True)]
    assert found[1][1].box == (8.5, 4.5, 20.5, 12.5)
    # Slices along x: the axes change places.
    turned = place(Prompts(points=[Point("a", (3, 4, 1))]), plan(), geometry((20, 24, 4), (1.0, 1.0, 5.0)))
    assert turned == {1: [ClassPrompts(1, [(3.0, 4.0, True)])]}


def test_strokes_become_few_points_and_masks_stay_maps(plan: Callable[..., Any]) -> None:
    strokes = np.full((4, 20, 24), -1)
    strokes[2, 10, 2:22] = 1
    strokes[2, 1:4, 3] = 0
    mask = np.full((4, 20, 24), -1)
    mask[2] = 0
    mask[2, 5:9, 5:9] = 2
    a, b = place(Prompts(strokes=strokes, mask=mask), plan())[2]
    inside = [p for p in a.points if p[2]]
    assert len(inside) == 8
    assert {p[0] for p in inside} == {10}
    assert {2.0, 21.0} <= {p[1] for p in inside}, "both ends"
    assert sum(1 for p in a.points if not p[2]) == 3
    assert a.mask is None
    assert b.mask is not None
    assert b.mask.sum() == 16
    assert not any(p[2] for p in b.points)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (Prompts(points=[Point("c", (0, 1, 1))]), "unknown class 'c'"),
        (Prompts(points=[Point(7, (0, 1, 1))]), "class from 0 to 2, got 7"),
        (Prompts(points=[Point(1, (0, 99, 1))]), "within"),
        (Prompts(points=[Point(1, (1, 1))]), r"expected voxels \(z, y, x\)"),
        (Prompts(boxes=[Box(1, (0, 1, 1), (1, 5, 5))]), "within one slice"),
        (Prompts(boxes=[Box(0, (0, 1, 1), (0, 5, 5))]), "none for the background"),
        (Prompts(boxes=[Box(1, (0, 1, 1), (0, 5, 5))] * 2), "at most one box"),
        (Prompts(strokes=np.zeros((3, 20, 24))), "of shape"),
        (Prompts(mask=np.full((4, 20, 24), 9)), "expected classes 0 to 2"),
    ],
)
def test_prompts_that_make_no_sense(prompts: Prompts, message: str, plan: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=message):
        place(prompts, plan())


def test_prompts_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(
        '{"points": [{"of": "a", "at": [0, 1, 2]}], "boxes": [{"of": 1, "low": [0, 1, 1], "high": [0, 2, 2]}]}',
        encoding="utf-8",
    )
    found = read_prompts(str(path))
    assert found.points == (Point("a", [0, 1, 2]),)
    assert found.boxes == (Box(1, [0, 1, 1], [0, 2, 2]),)
    path.write_text('{"points": [{"of": "a", "where": 3}]}', encoding="utf-8")
    with pytest.raises(DataError, match="expected"):
        read_prompts(str(path))


# --- the whole way through a model ---


@pytest.fixture
def model(saved: Callable[..., Path]) -> Model:
    pytest.importorskip("transformers", reason="the extra sam is not installed")
    found = Model.load(saved("sam", SAM), engine="torch", precision="fp32", device="cpu")
    with torch.no_grad():
        for p in found.network.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    return found


def test_prompts_change_their_slice_and_class_alone(model: Model) -> None:
    image = np.random.default_rng(0).normal(size=(4, 20, 24)).astype(np.float32)
    options: dict[str, Any] = {"spacing_mm": (5, 1, 1), "probabilities": True, "largest_component": "none"}
    plain = model.predict(image, **options).probabilities
    assert plain is not None
    for prompts in (
        Prompts(points=[Point("a", (2, 5, 5))]),
        Prompts(boxes=[Box("a", (2, 5, 5), (2, 9, 15))]),
        Prompts(mask=np.where(np.indices((4, 20, 24))[0] == 2, 1, -1)),
        Prompts(points=[Point("a", (2, 5, 5))], boxes=[Box("a", (2, 5, 5), (2, 9, 15))]),
    ):
        asked = model.predict(image, prompts=prompts, **options).probabilities
        assert asked is not None
        np.testing.assert_allclose(asked[:, [0, 1, 3]], plain[:, [0, 1, 3]], atol=1e-5)
        assert np.abs(asked[:, 2] - plain[:, 2]).max() > 1e-4
        # The other classes keep their logits: their shares of what "a" leaves stay as they were.
        np.testing.assert_allclose(
            asked[2, 2] / (asked[0, 2] + asked[2, 2]), plain[2, 2] / (plain[0, 2] + plain[2, 2]), rtol=1e-3, atol=1e-4
        )


def test_the_prompted_answer_is_that_of_transformers(model: Model) -> None:
    from transformers import SamConfig, SamModel

    network: Any = model.network
    config = SamConfig(
        vision_config=network.vision_encoder.config.to_dict(),
        prompt_encoder_config={"hidden_size": 64, "image_size": 64, "patch_size": 8},
        mask_decoder_config=network.mask_decoder.config.to_dict(),
    )
    other = SamModel(config).eval()
    state = {n: v for n, v in network.state_dict().items() if not n.startswith("stem.")}
    state["shared_image_embedding.positional_embedding"] = state["prompt_encoder.shared_embedding.positional_embedding"]
    other.load_state_dict(state, strict=False)
    image = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(3))
    points = [(10.0, 20.0, True), (40.0, 5.0, False)]
    with torch.no_grad():
        network.stem.weight.fill_(1.0)
        found = network.prompted(image, [ClassPrompts(1, points)])
        theirs = other(
            pixel_values=image.expand(-1, 3, -1, -1),
            input_points=torch.tensor([[[[20.0, 10.0], [5.0, 40.0]]]]),
            input_labels=torch.tensor([[[1, 0]]]),
            multimask_output=True,
        ).pred_masks[:, 0, :1]
    expected = torch.nn.functional.interpolate(theirs, size=(64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found[:, 1:2], expected, rtol=1e-3, atol=1e-3)


def test_what_prompts_do_not_go_with(model: Model, saved: Callable[..., Path], box: np.ndarray) -> None:
    prompts = Prompts(points=[Point("a", (1, 1, 1))])
    with pytest.raises(SettingsError, match="flips off"):
        model.predict(box, spacing_mm=(5, 1, 1), prompts=prompts, flips=True)
    with pytest.raises(SettingsError, match="slices of at most"):
        model.predict(np.zeros((1, 700, 700), np.int16), spacing_mm=(5, 1, 1), prompts=Prompts())
    bright = Model.load(saved(), engine="torch", precision="fp32", device="cpu")
    with pytest.raises(SettingsError, match=r"expected a model that reads them, got one with the backbone 'bright'"):
        bright.predict(box, spacing_mm=(5, 1, 1), prompts=prompts)
