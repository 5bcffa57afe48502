"""Scores during training, against masks that one can count, and batch normalisation measured anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medcl.data.dataset import Dataset
from medcl.data.labels import UNLABELLED
from medcl.data.plan import Plan, make_plan
from medcl.data.store import Store
from medcl.training.validation import ValidationCase, refresh_statistics, score


@pytest.fixture(scope="module")
def plan_and_case(hearts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, ValidationCase]:
    dataset = Dataset.open(hearts)
    plan = make_plan(dataset)
    case = Store.prepare(dataset, plan, tmp_path_factory.mktemp("store"))[dataset.cases("Val")[0].id]
    truth = dataset.read_label(dataset.cases("Val")[0])
    return plan, ValidationCase(case, truth, dense=True)


def always(index: int, classes: int = 4) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a network that predicts one class everywhere."""

    def forward(image: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(image.shape[0], classes, *image.shape[2:])
        logits[:, index] = 5
        return logits

    return forward


def test_dice_of_one_class_everywhere(plan_and_case: tuple[Plan, ValidationCase]) -> None:
    plan, case = plan_and_case
    scores = score(always(3), [case], plan)
    inside = int((case.truth == 3).sum())
    assert scores["dice/LV"] == pytest.approx(2 * inside / (case.truth.size + inside))
    assert scores["dice/RV"] == 0
    assert scores["dice"] == pytest.approx(scores["dice/LV"] / 3)


def test_unlabelled_voxels_count_for_nothing(plan_and_case: tuple[Plan, ValidationCase]) -> None:
    plan, case = plan_and_case
    truth = np.where(case.truth == 3, 3, UNLABELLED)
    scores = score(always(3), [replace(case, truth=truth)], plan)
    assert scores["dice/LV"] == 1


def test_a_structure_that_nobody_looked_for_is_left_out_of_the_case(plan_and_case: tuple[Plan, ValidationCase]) -> None:
    plan, case = plan_and_case
    truth = np.where(case.truth == 3, UNLABELLED, case.truth)
    partly = replace(case, case=replace(case.case, annotated=(0, 1, 2)), truth=truth)
    scores = score(always(3), [partly], plan)
    assert np.isnan(scores["dice/LV"])
    assert score(always(3), [partly, case], plan)["dice/LV"] == score(always(3), [case], plan)["dice/LV"]


def test_strokes_give_recall_per_class(plan_and_case: tuple[Plan, ValidationCase]) -> None:
    plan, case = plan_and_case
    strokes = np.full(case.case.image.shape[1:], UNLABELLED, np.int16)
    strokes[0, 10, 10:20] = 2
    strokes[0, 12, 10:20] = 0
    scores = score(always(2), [ValidationCase(case.case, strokes, dense=False)], plan)
    assert scores["stroke_recall/Myo"] == 1
    assert scores["stroke_recall/background"] == 0
    assert np.isnan(scores["stroke_recall/LV"])
    assert scores["stroke_recall"] == 0.5


def test_statistics_become_those_of_the_images() -> None:
    network = nn.Sequential(nn.BatchNorm2d(1))
    images = [torch.full((2, 1, 4, 4), 3.0), torch.full((2, 1, 4, 4), 5.0)]
    refresh_statistics(network, network, iter(images))
    layer = network[0]
    assert isinstance(layer, nn.BatchNorm2d)
    assert layer.running_mean is not None
    assert float(layer.running_mean) == pytest.approx(4.0)
    assert layer.momentum == 0.1
    assert not network.training


def test_statistics_are_measured_without_dropout() -> None:
    network = nn.Sequential(nn.Dropout2d(0.9), nn.BatchNorm2d(1))
    refresh_statistics(network, network, iter([torch.full((64, 1, 2, 2), 3.0)]))
    layer = network[1]
    assert isinstance(layer, nn.BatchNorm2d)
    assert layer.running_var is not None
    assert float(layer.running_var) == pytest.approx(0.0, abs=1e-6)
