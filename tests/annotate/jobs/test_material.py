"""What a training learns from stays as it was gathered, whatever people do meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotate_tiny import UPRIGHT, Draw
from fastapi import FastAPI
from fastapi.testclient import TestClient

from medcl.annotate.context import Context
from medcl.annotate.jobs import material, staging
from medcl.annotate.jobs.holdback import FIRST
from medcl.annotate.jobs.material import Material, gather
from medcl.annotate.jobs.plans import plan_for
from medcl.annotate.state.rows import locked_case
from medcl.data.io import write_map
from medcl.data.labels import UNLABELLED
from medcl.data.layout import Case
from medcl.data.store import Store


@pytest.fixture
def context(app: FastAPI, client: TestClient) -> Context:
    """Return the data set of the application, which runs."""
    found: Context = app.state.context
    return found


def learned(found: Material, name: str) -> Case:
    return next(case for case in found.dataset.cases("Tr") if case.id == name)


def draw_slice(draw: Draw, context: Context, index: int) -> None:
    """Draw three voxels of a slice of the case 'oblique'."""
    i, j, _ = context.view(context.case("oblique")).size
    answer = draw("oblique", [index * i * j + 5, 3], 1, plane="axial", slice=index)
    assert answer["status"] == 200, answer


def drawn_slices(context: Context, found: Material) -> list[int]:
    """Return the slices of 'oblique' that the training reads strokes in."""
    case = learned(found, "oblique")
    strokes = context.view(case).to_view(found.dataset.read_scribble(case))
    return np.flatnonzero((strokes != UNLABELLED).any(axis=(1, 2))).tolist()


def test_strokes_that_are_taken_back_do_not_cost_the_training(client: TestClient, context: Context, draw: Draw) -> None:
    only = draw("oblique", [0, 3], 1)["stroke"]["id"]
    draw("upright", [0, 3], 2)
    found = gather(context)
    plan = plan_for(context, found.dataset, {})
    assert client.post(f"/api/cases/oblique/strokes/{only}/undo", json={"base_version": 1}).status_code == 200
    context.flush()
    assert not (context.folder / "scribblesTr" / "oblique.nii.gz").exists()
    store = Store.prepare(found.dataset, plan, context.state / "store", splits=("Tr", "Val"))
    assert store["oblique"].scribble is not None
    again = gather(context)
    assert learned(again, "oblique").scribble is None
    assert [path.name for path in (context.state / "staged" / "strokes").iterdir()] == ["upright.nii.gz"]


def test_a_slice_that_is_held_back_later_is_not_learned_from(context: Context, draw: Draw) -> None:
    for index in range(FIRST):
        draw_slice(draw, context, index)
    found = gather(context)
    assert not found.held
    draw_slice(draw, context, 8)
    context.flush()
    assert drawn_slices(context, found) == [0, 1, 2, 3, 4]
    again = gather(context)
    assert np.flatnonzero((again.held["oblique"] != UNLABELLED).any(axis=(1, 2))).tolist() == [8]
    assert drawn_slices(context, again) == [0, 1, 2, 3, 4]


def test_what_is_drawn_while_it_is_gathered_comes_next_time(
    context: Context, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(FIRST):
        draw_slice(draw, context, index)
    choose = material.held_back

    def choosing(*args: Any, **more: Any) -> Any:
        slices = choose(*args, **more)
        draw_slice(draw, context, 8)  # by the rule it is held back, from now on
        context.flush()
        return slices

    monkeypatch.setattr(material, "held_back", choosing)
    found = gather(context)
    assert (found.strokes, drawn_slices(context, found)) == (FIRST, [0, 1, 2, 3, 4])


def accept(context: Context, value: int) -> Path:
    """Put a label of one value there for 'upright', accepted."""
    path = context.folder / "labelsTr" / "upright.nii.gz"
    write_map(path.with_name("new.nii.gz"), np.full(UPRIGHT.size, value, np.uint8), UPRIGHT)
    path.with_name("new.nii.gz").replace(path)
    with context.database.session() as session:
        row = locked_case(session, "upright")
        row.verdict, row.verdict_version = "accept", row.version
    return path


@pytest.mark.parametrize("links", [True, False])
def test_a_label_that_is_taken_back_or_replaced_does_not_cost_the_training(
    context: Context, draw: Draw, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:

        def refuse(*_: Any) -> None:
            raise OSError(18, "another disk")

        monkeypatch.setattr(staging.os, "link", refuse)
    draw("upright", [0, 3], 2)
    label = accept(context, 1)
    found = gather(context)
    case = learned(found, "upright")
    label.unlink()
    assert case.scribble is None
    assert (found.dataset.read_label(case) == 1).all()
    assert learned(gather(context), "upright").scribble is not None, "now its strokes are learned from"
    accept(context, 2)
    again = gather(context)
    assert (again.dataset.read_label(learned(again, "upright")) == 2).all()


def test_what_did_not_change_is_not_staged_again(context: Context, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    draw("oblique", [0, 3], 1)
    accept(context, 1)
    first = gather(context)
    monkeypatch.setattr(staging, "_new", lambda path: pytest.fail(f"{path} is there"))
    second = gather(context)
    assert first.dataset.digest == second.dataset.digest
