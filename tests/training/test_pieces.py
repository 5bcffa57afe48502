"""One piece or several: what a training finds out from strokes alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medcl.data.labels import UNLABELLED
from medcl.data.plan import Plan
from medcl.training.pieces import MOST_CASES, one_piece


def plan() -> Plan:
    return Plan.parse(
        {
            "dataset": "made up",
            "classes": ("background", "organ"),
            "groups": {},
            "channels": [{"name": "MR", "normalisation": "zscore"}],
            "ndim": 2,
            "spacing_mm": (None, 1.0, 1.0),
            "size": (1, 16, 32),
            "patch": (16, 32),
            "orientation": "as-stored",
            "fingerprint": "",
        }
    )


def bright(image: Tensor) -> Tensor:
    """Take what is brighter than a half for the organ."""
    return torch.cat((0.5 - image, image - 0.5), dim=1) * 20


def case(*columns: int, drawn: tuple[int, ...]) -> Any:
    """Bright blocks of 4 x 4 at columns, one stroke pixel in those that are drawn."""
    image = np.zeros((1, 1, 16, 32), np.float32)
    annotation = np.full((1, 16, 32), UNLABELLED, np.int16)
    for column in columns:
        image[0, 0, 4:8, column : column + 4] = 1
    for column in drawn:
        annotation[0, 5, column + 1] = 1
    return SimpleNamespace(case=SimpleNamespace(image=image), annotation=annotation, axis=0)


def found(*sources: Any) -> list[tuple[int, ...]]:
    return one_piece(bright, SimpleNamespace(sources=list(sources)), plan())  # type: ignore[arg-type]


def test_far_pieces_that_nobody_drew_in_are_mistakes() -> None:
    assert found(case(4, 20, drawn=(4,)), case(4, drawn=(4,))) == [(1,)]


def test_strokes_in_several_pieces_say_that_there_are_several() -> None:
    assert found(case(4, 20, drawn=(4, 20)), case(4, drawn=(4,))) == []


def test_cases_without_annotation_are_left_out_and_many_are_thinned() -> None:
    looked_at = []

    def counted(image: Tensor) -> Tensor:
        looked_at.append(image.shape[0])
        return bright(image)

    blank = case(4, drawn=())
    blank.annotation = None
    sources = [blank] + [case(4, drawn=(4,)) for _ in range(3 * MOST_CASES + 1)]
    assert one_piece(counted, SimpleNamespace(sources=sources), plan()) == [(1,)]  # type: ignore[arg-type]
    assert 0 < sum(looked_at) <= MOST_CASES
