"""What every registered method must do; a method gets these tests by being registered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from medcl.batch import Batch
from medcl.data.labels import UNLABELLED
from medcl.data.plan import Plan
from medcl.errors import SettingsError
from medcl.methods import Method, methods, views_of, walk_of
from medcl.training.sampling import Sampler

NAMES = methods.names()  # when tests are collected: the pages' examples register more later
GROUPS = ((1, 2), (2,))
BACKGROUND_APART = {"cyclemix", "shapepu"}
"""Methods that treat class 0 as background on purpose: smaller pieces become it, and it is never ruled out."""
STROKES_FIRST = {"shapepu": 40}
"""Steps on strokes alone that a method needs first: class ratios cannot be estimated from random predictions."""
every_method = pytest.mark.parametrize("name", NAMES)


def total(losses: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack([loss.float() for loss in losses.values()]).sum()


@every_method
@pytest.mark.parametrize(
    ("images", "size", "classes", "channels"),
    [(2, (33, 47), 2, 1), (3, (8, 8), 7, 1), (1, (9, 6), 3, 1), (2, (3, 9, 11), 3, 1), (2, (9, 11), 3, 3)],
    ids=["odd-sizes", "seven-classes", "one-image", "3d", "2.5d"],
)
def test_losses_are_finite_scalars_and_reach_every_parameter(
    name: str,
    images: int,
    size: tuple[int, ...],
    classes: int,
    channels: int,
    make_trial: Callable,
    batch_for: Callable,
) -> None:
    groups = GROUPS if classes > 2 else ()
    trial = make_trial(name, classes=classes, groups=groups, ndim=len(size), channels=channels)
    losses = trial.step(batch_for(trial, images, size, channels=channels))
    assert losses
    for key, loss in losses.items():
        assert re.fullmatch(r"[a-z_0-9]+", key)
        assert loss.shape == ()
        assert loss.isfinite()
    total(losses).backward()
    for key, parameter in trial.parameters().items():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        if images > 1:  # a term that compares images has nothing to say about one
            assert parameter.grad.abs().sum() > 0, key


@every_method
@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_a_batch_without_any_stroke_is_harmless(
    name: str, progress: float, make_trial: Callable, batch_for: Callable
) -> None:
    trial = make_trial(name, groups=GROUPS)
    batch = batch_for(trial, 2, (8, 7))
    nothing = replace(
        batch,
        target=torch.zeros_like(batch.target),
        absent=torch.zeros_like(batch.absent),
        grown=torch.zeros_like(batch.grown),
        known=torch.zeros_like(batch.known),
        present=torch.ones_like(batch.present),
    )
    losses = trial.step(nothing, progress=progress)
    total(losses).backward()
    assert all(loss.isfinite() for loss in losses.values())
    for key, parameter in trial.parameters().items():
        assert parameter.grad is None or parameter.grad.isfinite().all(), key


@every_method
def test_a_step_repeats_and_leaves_its_batch_alone(name: str, make_trial: Callable, batch_for: Callable) -> None:
    trial, again = make_trial(name, groups=GROUPS), make_trial(name, groups=GROUPS)
    batch, copy = batch_for(trial, 2, (8, 7)), batch_for(trial, 2, (8, 7))
    first, second = trial.step(batch, seed=3), again.step(batch, seed=3)
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key])
    for field in ("image", "target", "known", "present", "absent", "grown"):
        assert torch.equal(getattr(batch, field), getattr(copy, field))


@every_method
@pytest.mark.parametrize("order", [(0, 3, 1, 2), (2, 0, 3, 1)], ids=["structures", "background-too"])
def test_permuting_the_classes_permutes_the_result(
    name: str, order: tuple[int, ...], make_trial: Callable, batch_for: Callable
) -> None:
    if order[0] and name in BACKGROUND_APART:
        order = (0, *(c for c in order if c))
    groups = ((1, 2, 3), (2, 3))
    place = {old: new for new, old in enumerate(order)}
    trial = make_trial(name, classes=4, groups=groups)
    permuted = make_trial(name, classes=4, groups=tuple(tuple(place[c] for c in group) for group in groups))
    permuted.permute(torch.tensor(order))
    batch = batch_for(trial, 3, (9, 8))
    fields = ("target", "known", "present", "absent", "grown")
    moved = replace(batch, **{f: getattr(batch, f)[:, list(order)] for f in fields})
    losses, others = trial.step(batch), permuted.step(moved)
    for key in losses:
        torch.testing.assert_close(losses[key], others[key], rtol=1e-4, atol=1e-5)


@every_method
def test_learns_one_tiny_batch_by_heart(name: str, make_trial: Callable, batch_for: Callable) -> None:
    trial = make_trial(name, groups=((1, 2),))
    batch = batch_for(trial, 2, (12, 12))
    optimiser = torch.optim.Adam(trial.parameters().values(), lr=0.03)
    course, alone = [], STROKES_FIRST.get(name, 0)
    for step in range(alone + 40):
        loss = total(trial.step(batch, progress=float(step >= alone)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        course.append(loss.item())
    assert course[-1] < 0.9 * course[0]
    with torch.no_grad():
        guess = trial.network(batch.image).argmax(dim=1)
    drawn = batch.target.sum(dim=1) > 0
    assert (guess == batch.target.argmax(dim=1))[drawn].float().mean() > 0.9


@every_method
def test_bf16_stays_close(name: str, make_trial: Callable, batch_for: Callable) -> None:
    trial, again = make_trial(name, groups=GROUPS), make_trial(name, groups=GROUPS)
    batch = batch_for(trial, 3, (9, 8))
    exact = trial.step(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = again.step(batch)
    for key in exact:
        assert rounded[key].item() == pytest.approx(exact[key].item(), rel=0.03, abs=0.02), key


@every_method
def test_settings_survive_json_and_refuse_unknown_keys(name: str) -> None:
    member: Any = methods.get(name)
    method = member.parse({})
    assert isinstance(method, Method)
    assert views_of(method) >= 1
    assert member.parse(json.loads(json.dumps(method.model_dump(mode="json")))) == method
    with pytest.raises(SettingsError, match=re.escape("unknown setting 'no_such_setting'")):
        member.parse({"no_such_setting": 1})
    assert all(field.description for field in member.model_fields.values())


def test_unknown_method_lists_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="did you mean 'medcl'") as caught:
        methods.get("medlc")
    assert all(name in str(caught.value) for name in NAMES)


@every_method
def test_every_method_has_its_row_in_the_docs(name: str) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    row = next((line for line in page.splitlines() if line.startswith(f"| `{name}` ")), None)
    assert row is not None, f"docs/methods.md: no row for {name}"
    for option in methods.get(name).model_fields:  # type: ignore[attr-defined]
        assert f"`{option}`" in page, option


# --- what is not annotated changes nothing: from the prepared case to the loss ---


def _sampled(annotated_map: np.ndarray, dense: np.ndarray, method: Method, *, learn_dense: bool) -> Batch:
    """One batch of the sampler for a case with strokes and a dense label."""
    depth, height, width = dense.shape
    rng = np.random.default_rng(0)
    case = SimpleNamespace(
        image=rng.normal(size=(1, depth, height, width)).astype(np.float32),
        scribble=annotated_map if not learn_dense else np.full_like(dense, UNLABELLED),
        label=dense if not learn_dense else annotated_map,
        annotated=(0, 1, 2),
        spacing_mm=(5.0, 1.0, 1.0),
    )
    plan = Plan.model_construct(
        classes=("background", "a", "b"), ndim=2, channels=(None,), patch=(24, 24), groups={}, spacing_mm=(None, 1, 1)
    )
    sampler = Sampler(
        {"case": case},
        ["case"],
        plan,
        batch_size=2,
        patch=(24, 24),
        oversample=0.5,
        seed=0,
        reach=0.2,
        dense=learn_dense,
        walk=walk_of(method),
    )
    return sampler.batch(0).repeat(views_of(method))


@every_method
@pytest.mark.parametrize("learn_dense", [False, True], ids=["strokes", "dense"])
def test_labels_where_nothing_is_annotated_change_no_loss(name: str, learn_dense: bool, make_trial: Callable) -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, (2, 40, 40)).astype(np.int16)
    annotated = np.where(rng.random(truth.shape) < 0.1, truth, UNLABELLED).astype(np.int16)
    other = np.where(annotated == UNLABELLED, (truth + 1) % 3, truth).astype(np.int16)
    trials = [make_trial(name, groups=GROUPS) for _ in range(2)]
    first, second = (_sampled(annotated, dense, trials[0].method, learn_dense=learn_dense) for dense in (truth, other))
    drawn = first.target.sum(dim=1)
    assert 0 < drawn.mean() < 0.2  # strokes only, nothing of the dense label
    losses, others = trials[0].step(first), trials[1].step(second)
    for key in losses:
        assert torch.equal(losses[key], others[key]), key
