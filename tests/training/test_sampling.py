"""Batches are a pure function of data, seed and step; nothing unlabelled becomes a label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medcl.data.dataset import Dataset
from medcl.data.labels import UNLABELLED
from medcl.data.plan import Plan, make_plan
from medcl.data.store import Store
from medcl.errors import RunError
from medcl.training.sampling import Sampler


@pytest.fixture(scope="module")
def plan_and_store(hearts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    dataset = Dataset.open(hearts)
    plan = make_plan(dataset, patch=(32, 32))
    return plan, Store.prepare(dataset, plan, tmp_path_factory.mktemp("store"))


def sampler(plan_and_store: tuple[Plan, Store], **changes: object) -> Sampler:
    plan, store = plan_and_store
    options = {"batch_size": 6, "patch": plan.patch, "oversample": 0.5, "seed": 0, **changes}
    return Sampler(store, store.cases("Tr"), plan, **options)  # type: ignore[arg-type]


def test_a_step_can_be_drawn_again(plan_and_store: tuple[Plan, Store]) -> None:
    first, again, other = (sampler(plan_and_store).batch(step) for step in (3, 3, 4))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.target, again.target)
    assert not torch.equal(first.image, other.image)


def test_devices_draw_different_images(plan_and_store: tuple[Plan, Store]) -> None:
    draw = sampler(plan_and_store)
    assert not torch.equal(draw.batch(0, rank=0).image, draw.batch(0, rank=1).image)


def test_targets_are_the_strokes_and_nothing_else(plan_and_store: tuple[Plan, Store]) -> None:
    plan, store = plan_and_store
    drawn = dict.fromkeys(range(len(plan.classes)), 0)
    share = np.mean([np.mean(np.asarray(store[i].scribble) != UNLABELLED) for i in store.cases("Tr")])
    batch = sampler(plan_and_store, batch_size=64).batch(0)
    assert set(batch.target.unique().tolist()) == {0.0, 1.0}
    assert float(batch.target.sum(dim=1).max()) == 1.0
    for c in drawn:
        drawn[c] = int(batch.target[:, c].sum())
    assert all(drawn.values()), "every class is met"
    assert float(batch.target.sum(dim=1).mean()) < 4 * share, "most pixels stay unlabelled"


def test_canvas_beyond_the_image_is_blank_and_unlabelled(plan_and_store: tuple[Plan, Store]) -> None:
    _plan, store = plan_and_store
    side = max(store[i].image.shape[-1] for i in store.cases("Tr")) + 64
    batch = sampler(plan_and_store, patch=(side, side)).batch(0)
    corner = (slice(None), slice(None), slice(0, 8), slice(0, 8))
    assert not batch.image[corner].any()
    assert not batch.target[corner].any()
    assert not batch.absent[corner].any()


def test_presence_follows_the_strokes_of_the_slice_or_of_the_case(plan_and_store: tuple[Plan, Store]) -> None:
    _plan, store = plan_and_store
    by_slice = sampler(plan_and_store, batch_size=64, presence="slice").batch(0).present
    by_case = sampler(plan_and_store, batch_size=64, presence="case").batch(0).present
    assert bool(sampler(plan_and_store, batch_size=64, presence="never").batch(0).present.all())
    assert bool(by_case.all()), "every class is drawn somewhere in every case"
    drawn = np.concatenate([store[i].drawn for i in store.cases("Tr")])
    assert bool(by_slice.all()) == bool(drawn.all())


def test_oversampling_finds_more_structure(plan_and_store: tuple[Plan, Store]) -> None:
    near, anywhere = (
        float(sampler(plan_and_store, batch_size=96, patch=(16, 16), oversample=o).batch(0).target[:, 1:].sum())
        for o in (1.0, 0.0)
    )
    assert near > 1.3 * anywhere


def test_reach_marks_far_places_only(plan_and_store: tuple[Plan, Store]) -> None:
    near = sampler(plan_and_store, reach=0.05).batch(0)
    far = sampler(plan_and_store, reach=50.0).batch(0)
    assert float(near.absent.sum()) > 0
    assert float(far.absent.sum()) == 0
    assert float((near.absent * near.target).sum()) == 0, "a stroke is never out of its own reach"
    assert not near.absent[:, 0].any(), "background can be anywhere"


def test_changing_pixels_that_nobody_labelled_changes_no_batch(plan_and_store: tuple[Plan, Store]) -> None:
    """The reader maps every value of ignore to UNLABELLED; the sampler must not care which pixels that are."""
    plan, _store = plan_and_store
    source = sampler(plan_and_store).sources[0]
    assert source.annotation is not None
    unlabelled = source.annotation == UNLABELLED
    assert unlabelled.mean() > 0.5
    for c in range(len(plan.classes)):
        assert not ((source.annotation == c) & unlabelled).any()


def test_cases_without_annotation_know_nothing(plan_and_store: tuple[Plan, Store]) -> None:
    plan, store = plan_and_store
    with pytest.raises(RunError, match="expected strokes or labels"):
        Sampler(store, [], plan, batch_size=2, patch=plan.patch, oversample=0.5, seed=0)


def test_background_is_never_absent_where_only_structures_are_drawn(plan_and_store: tuple[Plan, Store]) -> None:
    draw = sampler(plan_and_store, batch_size=32)
    for source in draw.sources:
        source.drawn[:, 0] = False
    assert bool(draw.batch(0).present[:, 0].all())


def test_cases_without_annotation_are_a_quarter_of_the_draws_at_most(plan_and_store: tuple[Plan, Store]) -> None:
    _plan, store = plan_and_store
    first, *others = store.cases("Tr")
    assert len(others) == 2

    def share(annotated: list[str]) -> float:
        batch = sampler(plan_and_store, batch_size=400, annotated=annotated).batch(0)
        return float((~batch.known.any(dim=1)).float().mean())

    assert share([first]) == pytest.approx(0.25, abs=0.09)  # two thirds of the slices; four standard deviations
    assert share([first, *others]) == 0


def test_slices_without_strokes_are_a_quarter_of_the_draws_at_most(plan_and_store: tuple[Plan, Store]) -> None:
    plan, store = plan_and_store
    case = store[store.cases("Tr")[0]]
    strokes = np.array(case.scribble)
    strokes[1:] = UNLABELLED  # one slice of four is drawn on
    sparse = {"case": replace(case, scribble=strokes)}
    drawn = Sampler(sparse, ["case"], plan, batch_size=400, patch=(64, 64), oversample=0.5, seed=0).batch(0)  # type: ignore[arg-type]
    empty = (drawn.target.flatten(1).sum(dim=1) == 0).float().mean()
    assert float(empty) == pytest.approx(0.25, abs=0.09)  # four standard deviations
