"""Batches of volumes, of slices with neighbours and of other views, from small volumes a human can follow."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from medcl.augment.spatial import random_grid, spatial
from medcl.data.labels import UNLABELLED
from medcl.data.plan import Plan, neighbours
from medcl.errors import RunError
from medcl.settings import AugmentSettings
from medcl.training.sampling import Sampler, _between_strokes


def plan(ndim: int, patch: tuple[int, ...], **changes: Any) -> Plan:
    cubes = ndim == 3 or changes.get("views", ("z",)) != ("z",)
    values = {
        "dataset": "made up",
        "classes": ("background", "a", "b"),
        "groups": {},
        "channels": [{"name": "MR", "normalisation": "zscore"}],
        "ndim": ndim,
        "spacing_mm": (1.0 if cubes else None, 1.0, 1.0),
        "size": (8, 16, 16),
        "patch": patch,
        "orientation": "as-stored",
        "fingerprint": "none",
    }
    return Plan.parse({**values, **changes})


def case(size: tuple[int, int, int], strokes: dict[tuple[int, int, int], int], spacing: Any = (1.0, 1.0, 1.0)) -> Any:
    """An image whose values tell the voxel (from 1 on), with single pixels drawn."""
    image = np.arange(1, np.prod(size) + 1, dtype=np.float32).reshape(1, *size)
    scribble = np.full(size, UNLABELLED, np.int16)
    for place, value in strokes.items():
        scribble[place] = value
    return SimpleNamespace(image=image, scribble=scribble, label=None, annotated=(0, 1, 2), spacing_mm=spacing)


def sampler(cases: list[Any], chosen: Plan, **options: Any) -> Sampler:
    store: Any = {str(k): one for k, one in enumerate(cases)}
    known = {"batch_size": 8, "patch": chosen.patch, "oversample": 1.0, "seed": 0, **options}
    return Sampler(store, list(store), chosen, **known)


def cut(draw: Sampler, values: torch.Tensor) -> torch.Tensor:
    """Return the patch in the middle of each canvas."""
    middle = [slice((c - p) // 2, (c - p) // 2 + p) for c, p in zip(draw.canvas, draw.patch, strict=True)]
    return values[(slice(None), slice(None), *middle)]


# --- volumes ---


@pytest.mark.parametrize(
    ("size", "patch", "spacing"),
    [
        ((2, 40, 40), (8, 16, 16), (1, 1, 1)),  # thinner than the patch
        ((3, 5, 6), (8, 16, 16), (1, 1, 1)),  # smaller than the patch along every axis
        ((30, 40, 40), (4, 16, 16), (10, 1, 1)),  # thick slices: a flat patch
        ((40, 40, 40), (16, 16, 16), (1, 1, 1)),
        ((1, 20, 20), (4, 16, 16), (10, 1, 1)),  # one slice
    ],
)
@pytest.mark.parametrize("corner", [(0, 0, 0), (-1, -1, -1)], ids=["first", "last"])
def test_a_stroke_at_the_border_is_met_and_padding_is_no_more_than_needed(
    size: Any, patch: Any, spacing: Any, corner: Any
) -> None:
    draw = sampler([case(size, {corner: 1}, spacing)], plan(3, patch))
    for step in range(3):
        batch = draw.batch(step)
        assert batch.target.sum() == 8  # the one stroke, once in each canvas
        assert (batch.target[:, 1].sum(dim=(1, 2, 3)) == 1).all()
        inside = cut(draw, batch.image) > 0
        assert (inside.sum(dim=(1, 2, 3, 4)) == np.prod(np.minimum(size, patch))).all()
        assert not batch.target.sum(dim=1)[batch.image[:, 0] == 0].any(), "nothing is annotated beyond the image"


def test_a_case_without_any_stroke_is_drawn_now_and_then_and_teaches_nothing_wrong() -> None:
    size = (6, 20, 20)
    draw = sampler(
        [case(size, {(3, 9, 9): 1}), case(size, {})], plan(3, (4, 8, 8)), batch_size=200, oversample=0.5, reach=1.0
    )
    batch = draw.batch(0)
    assert draw._bare == [(1, 0)]
    empty = batch.target.flatten(1).sum(dim=1) == 0
    assert 0.15 <= float(empty.float().mean()) < 0.8  # its quarter, give or take, and patches that meet no stroke
    assert draw._possible(draw.sources[1], slice(None)).all(), "nobody drew there: nothing is known to be absent"
    assert batch.image.isfinite().all()


def test_no_stroke_in_any_case_is_refused() -> None:
    with pytest.raises(RunError, match="expected strokes or labels"):
        sampler([case((4, 8, 8), {})], plan(3, (4, 8, 8)))


def test_a_class_is_absent_from_a_volume_patch_only_between_drawn_slices_without_it() -> None:
    drawn = np.zeros((10, 3), bool)
    drawn[2, 1] = drawn[5, 1] = drawn[8, 2] = True
    assert _between_strokes(drawn, 3, 5) == slice(2, 6)  # class 1 on both sides: class 2 is not between them
    assert _between_strokes(drawn, 5, 7) == slice(2, 9)  # class 2 may begin right behind the patch
    assert _between_strokes(drawn, -4, 1) == slice(0, 3)
    assert _between_strokes(drawn, 9, 14) == slice(8, 14)


def test_thick_slices_do_not_move_along_z() -> None:
    settings = AugmentSettings().resolved(colour=False)
    generator = torch.Generator().manual_seed(0)
    flat = random_grid(4, (4, 22, 22), (4, 16, 16), settings, generator)
    planes = (torch.arange(4) + 0.5) * 2 / 4 - 1
    torch.testing.assert_close(flat[..., 2], planes[None, :, None, None].expand(4, 4, 16, 16))
    deep = random_grid(4, (22, 22, 22), (16, 16, 16), settings, generator)
    assert deep[..., 2].std(dim=(2, 3)).max() > 0


# --- slices with neighbours ---


@pytest.mark.parametrize("context", [1, 2])
def test_neighbours_are_the_slices_around_and_the_target_is_that_of_the_middle(context: int) -> None:
    size = (5, 8, 8)
    strokes = {(z, 4, z): 1 + z % 2 for z in range(5)}
    draw = sampler([case(size, strokes)], plan(2, (8, 8), context=context), batch_size=40)
    batch = draw.batch(0)
    assert batch.image.shape[1] == 2 * context + 1
    assert batch.target.shape[1] == 3
    met = set()
    for image, target in zip(batch.image, batch.target, strict=True):
        shown = [int((plane[plane > 0][0] - 1) // 64) for plane in image]
        z = shown[context]
        met.add(z)
        assert shown == neighbours(z, context, 5)
        for k in range(1, 2 * context + 1):  # the same places of each slice
            inside = image[k] > 0
            difference = image[k][inside] - image[0][inside]
            assert (difference == 64 * (shown[k] - shown[0])).all()
        _classes, rows, columns = torch.nonzero(target, as_tuple=True)
        for row, column in zip(rows, columns, strict=True):
            assert int(image[context, row, column]) - 1 == 64 * z + 8 * 4 + z
    assert met == set(range(5))


def test_neighbours_turn_together() -> None:
    """Three equal slices stay equal under augmentation, and the strokes stay on their pixels."""
    one = case((3, 24, 24), {(z, 12, x): 1 for z in range(3) for x in range(8, 16)})
    one.image = np.broadcast_to(np.where(one.scribble[:1] == 1, 5.0, 0.0), (1, 3, 24, 24)).astype(np.float32)
    draw = sampler([one], plan(2, (16, 16), context=1))
    settings = AugmentSettings(elastic=0.1).resolved(colour=False)
    batch = spatial(draw.batch(0), (16, 16), settings, torch.Generator().manual_seed(1))
    torch.testing.assert_close(batch.image[:, 0], batch.image[:, 1])
    torch.testing.assert_close(batch.image[:, 2], batch.image[:, 1])
    assert batch.image[:, 1][batch.target[:, 1] > 0].mean() > 2.5


# --- other views ---


def test_each_view_shows_slices_across_its_axis_with_the_strokes_on_their_voxels() -> None:
    size = (4, 6, 10)
    places = {(1, 2, 3): 1, (2, 5, 7): 2, (0, 0, 9): 0}
    draw = sampler([case(size, places)], plan(2, (16, 16), views=("z", "y", "x")), batch_size=60, reach=0.01)
    assert draw.kinds["strokes"] == 1
    steps, seen = (60, 10, 1), set()
    batch = draw.batch(0)
    for image, target, absent in zip(batch.image[:, 0], batch.target, batch.absent, strict=True):
        rows, columns = torch.nonzero(image, as_tuple=True)
        row, column = int(rows[0]), int(columns[0])
        down, right = (
            int(image[row + 1, column] - image[row, column]),
            int(image[row, column + 1] - image[row, column]),
        )
        seen.add((down, right))
        for c, y, x in torch.nonzero(target):
            voxel = int(image[y, x]) - 1
            place = tuple(int(voxel // step % n) for step, n in zip(steps, size, strict=True))
            assert places[place] == int(c)
        assert not (absent * target).any()
    assert seen == {(10, 1), (60, 1), (60, 10)}


def test_undrawn_slices_of_other_views_rule_nothing_out() -> None:
    one = case((6, 6, 6), {(2, 2, 2): 1, (2, 4, 4): 2})
    assert sampler([one], plan(2, (8, 8), views=("y",)), batch_size=20).batch(0).present.all()
    assert not sampler([case((6, 6, 6), {(2, 2, 2): 1})], plan(2, (8, 8), views=("y",))).batch(0).present[:, 2].any()
