from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from medcl.data.plan import Plan
from medcl.inference.files import collect_cases
from medcl.training.adaptation.guard import Vitals, changed_copy, harm, vitals
from medcl.training.adaptation.images import Draws, Target, prepare_targets, split
from medcl.training.adaptation.settings import GuardSettings
from medcl.training.adaptation.sizes import ClassSizes

WELL = Vitals(0.9, 0.05, 0.2, 0.1, {"LV": 100.0}, {"LV": 1.0})


@pytest.mark.parametrize(
    ("after", "word"),
    [
        (replace(WELL, found={"LV": 0.5}), "LV was found in 100%"),
        (replace(WELL, consistency=0.8), "contrast"),
        (replace(WELL, stray=0.5), "fall apart"),
        (replace(WELL, misfit=0.6), "volumes move away"),
    ],
)
def test_each_sign_of_harm_has_its_sentence(after: Vitals, word: str) -> None:
    (reason,) = harm(WELL, after, GuardSettings())
    assert word in reason


def test_better_or_equal_is_no_harm() -> None:
    better = replace(WELL, consistency=0.95, stray=0.0, misfit=0.0)
    assert harm(WELL, WELL, GuardSettings()) == []
    assert harm(WELL, better, GuardSettings()) == []
    assert better.score > WELL.score
    assert harm(replace(WELL, misfit=None), replace(WELL, misfit=None), GuardSettings()) == []


def test_images_that_are_too_far_away_are_refused() -> None:
    blind = replace(WELL, consistency=0.1, found={"LV": 0.0}, misfit=2.0)
    (reason,) = harm(blind, replace(blind, consistency=0.55, found={"LV": 1.0}), GuardSettings())
    assert "draw a few strokes" in reason


def test_a_consistently_wrong_start_is_no_argument() -> None:
    """Found everywhere: the same answer whatever the contrast, and four times too large."""
    everywhere = replace(WELL, consistency=1.0, misfit=math.log(4))
    repaired = replace(WELL, consistency=0.85, misfit=0.1)
    assert harm(everywhere, repaired, GuardSettings()) == []
    assert harm(everywhere, replace(repaired, misfit=math.log(4)), GuardSettings())


def test_vitals_by_hand(plan: Callable[..., Plan], images: Callable[..., Path], tmp_path: Path) -> None:
    targets = prepare_targets(collect_cases([images(count=2)]), plan(), tmp_path)

    def forward(batch: Tensor) -> Tensor:  # certain: class 1 above the mean of the two grey values
        return torch.cat((-batch * 1000, batch * 1000), dim=1)

    sizes = ClassSizes(mean_ml={"square": 16 * 16 * 4 * 2 / 1000 / 2}, sd_ml={"square": 0.0}, cases=1, source="")
    seen = vitals(forward, targets, plan(), sizes=sizes, one_piece=((1,),))
    assert seen.volumes_ml == {"square": pytest.approx(2.048)}
    assert seen.misfit == pytest.approx(math.log(2), rel=1e-5)  # twice as large as in training
    assert seen.found == {"square": 1.0}
    assert seen.stray == 0.0
    assert seen.entropy == pytest.approx(0.0, abs=1e-5)
    assert 0.5 < seen.consistency <= 1.0

    nothing = vitals(lambda batch: -forward(batch.abs() + 1), targets, plan(), sizes=sizes, one_piece=((1,),))
    assert nothing.found == {"square": 0.0}
    assert nothing.consistency == 0.0
    assert nothing.misfit == pytest.approx(math.log(10))
    assert harm(seen, nothing, GuardSettings())


def test_copies_differ_in_grey_values_and_are_repeatable() -> None:
    array = np.random.default_rng(0).normal(size=(1, 2, 16, 16)).astype(np.float32)
    one, again, other = changed_copy(array, 1), changed_copy(array, 1), changed_copy(array, 2)
    assert one.shape == array.shape
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - array).max() > 0.05
    assert np.abs(one - other).max() > 0.05


def test_held_out_images_are_never_drawn(
    plan: Callable[..., Plan], images: Callable[..., Path], tmp_path: Path
) -> None:
    targets = prepare_targets(collect_cases([images(count=6)]), plan(), tmp_path)
    learn, held = split(targets, 0.2, seed=0)
    assert len(held) == 2
    assert {t.id for t in learn} | {t.id for t in held} == {t.id for t in targets}
    draws = Draws(learn, plan(), batch_size=3, seed=0)
    seen: set[str] = set()
    for step in range(8):
        image, places, target = draws(step)
        assert image.shape == (3, 1, 32, 32)
        assert places.shape == (3, 32, 32)
        seen.add(target.id)
    assert seen == {t.id for t in learn}
    few: list[Target] = targets[:3]
    assert split(few, 0.2, seed=0) == (few, few)
    assert [len(part) for part in split(targets, 0.95, seed=0)] == [1, 5]  # something is always learned from
