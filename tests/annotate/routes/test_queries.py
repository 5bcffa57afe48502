"""Lists of `medcl suggest` on the server: load, go through, forget; and strategies that need features or samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from annotate_tiny import Draw
from fastapi import FastAPI
from fastapi.testclient import TestClient

from medcl.annotate.app import create_app
from medcl.annotate.pool import make_pool
from medcl.cli.annotate import _load
from medcl.data.geometry import Geometry, Image
from medcl.data.io import write_image
from medcl.errors import DataError
from medcl.queries.listing import ListedPlace, PlaceList


def listed(*places: tuple[str, int, int], classes: tuple[str, ...] = ("background", "organ", "lump")) -> PlaceList:
    """Return a list of (case, slice, class), six seconds each."""
    return PlaceList(
        dataset="tiny",
        classes=classes,
        strategy="entropy",
        budget_s=60.0,
        places=tuple(
            ListedPlace(
                rank=rank, case=case, plane="axial", slice=index, file_axis="z", file_slice=index, class_index=c,
                class_name=classes[c], place=(5, 6, index), score=1.0 / rank, cost_s=6.0, total_s=6.0 * rank,
                reason=f"{classes[c]}, why",
            )
            for rank, (case, index, c) in enumerate(places, 1)
        ),
    )  # fmt: skip


def post(client: TestClient, content: PlaceList | None) -> dict:
    body = {} if content is None else content.model_dump(mode="json")
    answer = client.post("/api/suggestions", json=body)
    return {"status": answer.status_code, "said": answer.json()}


def test_a_list_is_gone_through_in_its_order(client: TestClient, draw: Draw) -> None:
    assert client.get("/api/suggestions").json() is None
    answer = client.get("/api/next?strategy=list")
    assert (answer.status_code, "none is loaded" in answer.json()["message"]) == (422, True)
    told = post(client, listed(("upright", 2, 1), ("upright", 0, 2), ("gone", 0, 1)))
    assert told["status"] == 200
    assert (told["said"]["left"], told["said"]["left_s"], told["said"]["unknown"]) == (2, 12.0, 1)
    assert client.get("/api/strategies").json()[0]["name"] == "list"
    first = client.get("/api/next?strategy=list").json()[0]
    assert (first["case"], first["slice"], first["class_index"], first["cost_s"]) == ("upright", 2, 1, 6.0)
    assert client.get("/api/next?strategy=list&skip=1").json()[0]["slice"] == 0
    draw("upright", [24 * 20 * 2 + 5, 3], 2, plane="axial", slice=2)
    assert client.get("/api/suggestions").json()["left"] == 2, "another class in the slice ticks nothing off"
    draw("upright", [24 * 20 * 2 + 50, 3], 1, plane="axial", slice=2)
    now = client.get("/api/suggestions").json()
    assert [place["drawn"] for place in now["places"]] == [True, False]
    assert client.get("/api/next?strategy=list").json()[0]["slice"] == 0
    assert post(client, None) == {"status": 200, "said": None}
    assert client.get("/api/suggestions").json() is None


def test_strategies_know_what_is_drawn_now_in_every_plane(app: FastAPI, draw: Draw) -> None:
    drawn = lambda: dict(make_pool(app.state.context).by_id["upright"].drawn)  # noqa: E731
    assert drawn() == {}
    draw("upright", [480 + 5, 3], 2, slice=1)
    draw("upright", [24 + 3, 1, 480 + 24 + 3, 1], 1, plane="coronal", slice=1)  # goes through the axial slices 0 and 1
    assert drawn() == {0: {1}, 1: {1, 2}}
    draw("upright", [480 + 5, 3], None, slice=1)
    draw("upright", [24 + 3, 1], 0)
    assert drawn() == {0: {0}, 1: {1}}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"places": []}, "expected a list of format 1"),
        ({"cases": 3}, "expected a list of places as medcl suggest writes it"),
        (listed(("upright", 2, 1), classes=("background", "liver")).model_dump(mode="json"), "got one for background"),
        (listed(("stranger", 2, 1)).model_dump(mode="json"), "got places in stranger"),
    ],
)
def test_other_lists_are_refused_and_the_old_one_stays(client: TestClient, body: dict, said: str) -> None:
    post(client, listed(("upright", 2, 1)))
    answer = client.post("/api/suggestions", json=body)
    assert answer.status_code == 422
    assert said in answer.json()["message"]
    assert client.get("/api/suggestions").json()["left"] == 1


def test_the_command_line_keeps_a_list_with_the_project(app: FastAPI, client: TestClient, tmp_path: Path) -> None:
    _load(app, listed(("upright", 1, 2)))
    assert client.get("/api/suggestions").json()["places"][0]["slice"] == 1
    with pytest.raises(DataError, match="got one for background, liver"):
        _load(app, listed(("upright", 2, 1), classes=("background", "liver")))
    write_image(tmp_path / "bare" / "scan.nii.gz", Image(np.zeros((1, 4, 9, 9), np.int16), Geometry((4, 9, 9))))
    with pytest.raises(DataError, match="medcl init first"):
        _load(create_app(tmp_path / "bare"), listed(("upright", 2, 1)))


def test_variety_is_looked_up_in_the_images_and_kept(client: TestClient, folder: Path) -> None:
    found = client.get("/api/next?strategy=core-set&count=5").json()
    assert len({(s["case"], s["slice"]) for s in found}) == 5
    assert all(s["cost_s"] > 4.4 for s in found)
    kept = sorted((folder / ".medcl" / "features").glob("*.json"))
    assert len(kept) == 2
    before = [path.stat().st_mtime_ns for path in kept]
    assert client.get("/api/next?strategy=core-set&count=5").json() == found
    assert [path.stat().st_mtime_ns for path in kept] == before


def test_disagreement_is_left_to_medcl_suggest(client: TestClient) -> None:
    answer = client.get("/api/next?strategy=bald")
    assert answer.status_code == 422
    assert "run medcl suggest" in answer.json()["message"]
