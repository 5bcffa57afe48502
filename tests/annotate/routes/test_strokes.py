from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from annotate_tiny import OBLIQUE, TOKEN, Draw, make_dataset, serving, until
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from medcl.annotate.app import create_app
from medcl.data.dataset import Dataset
from medcl.data.io import read_map, write_map
from medcl.data.labels import UNLABELLED
from medcl.files import read_json, write_json


def drawn(app: FastAPI, case: str) -> np.ndarray:
    """What is drawn, voxel by number."""
    context = app.state.context
    with context.database.session(write=False) as session:
        return context.strokes_in_view(session, context.case(case))[0]


def test_a_stroke_lies_where_it_was_drawn_and_in_the_file(client: TestClient, app: FastAPI, draw: Draw) -> None:
    view = app.state.context.view(app.state.context.case("oblique"))
    ni, nj, _ = view.size
    start = 3 + ni * (4 + nj * 5)
    saved = draw("oblique", [start, 4], 2, plane="axial", slice=5, seconds=1.5)
    assert (saved["status"], saved["version"], saved["stroke"]["voxels"]) == (200, 1, 4)
    app.state.context.flush()
    values, geometry = read_map(app.state.context.folder / "scribblesTr" / "oblique.nii.gz")
    assert not geometry.differences(OBLIQUE)
    expected = np.full(view.shape, 3)
    expected[5, 4, 3:7] = 2
    np.testing.assert_array_equal(view.to_view(values), expected)
    row = client.get("/api/cases/oblique").json()
    assert (row["state"], row["strokes"], row["drawn"], row["seconds"]) == ("strokes", 1, {"2": 4}, 1.5)


def test_files_are_written_by_themselves_after_a_moment(client: TestClient, folder: Path, draw: Draw) -> None:
    draw("upright", [10, 3])
    until((folder / "scribblesTr" / "upright.nii.gz").is_file)
    assert Dataset.open(folder).cases("Tr")[1].scribble is not None


def test_undo_and_redo_without_limit(app: FastAPI, client: TestClient, draw: Draw) -> None:
    strokes = [draw("upright", [at, 2], value)["stroke"]["id"] for at, value in ((0, 1), (1, 2), (5, 0))]
    version = 3
    for number, stroke in enumerate(reversed(strokes)):
        answer = client.post(f"/api/cases/upright/strokes/{stroke}/undo", json={"base_version": version}).json()
        version = answer["version"]
        assert answer["stroke"]["undone"]
        assert version == 4 + number
    assert (drawn(app, "upright") == UNLABELLED).all()
    for stroke in strokes:
        version = client.post(f"/api/cases/upright/strokes/{stroke}/redo", json={"base_version": version}).json()[
            "version"
        ]
    assert drawn(app, "upright")[:8].tolist() == [1, 2, 2, -1, -1, 0, 0, -1]
    history = client.get("/api/cases/upright/strokes").json()
    assert [stroke["id"] for stroke in history["strokes"]] == strokes  # the order stays that of drawing
    assert history["version"] == 9


def test_nothing_drawn_means_no_file(app: FastAPI, client: TestClient, draw: Draw) -> None:
    stroke = draw("upright", [0, 2])["stroke"]["id"]
    app.state.context.flush()
    client.post(f"/api/cases/upright/strokes/{stroke}/undo", json={"base_version": 1})
    app.state.context.flush()
    assert not list((app.state.context.folder / "scribblesTr").glob("*.nii.gz"))


def test_sending_a_stroke_again_changes_nothing(client: TestClient, draw: Draw) -> None:
    name = uuid4()
    first = draw("upright", [0, 5], id_=name, base=0)
    draw("upright", [9, 5], base=1)
    assert draw("upright", [0, 5], id_=name, base=0) == first
    assert draw("upright", [0, 6], id_=name, base=2)["status"] == 422  # the same id for something else
    assert draw("oblique", [0, 5], id_=name, base=0)["status"] == 422
    undo = {"base_version": 2}
    answers = [client.post(f"/api/cases/upright/strokes/{name}/undo", json=undo) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert answers[0].status_code == 200


def test_a_stroke_that_was_drawn_unaware_is_refused_with_what_came(draw: Draw) -> None:
    first = draw("upright", [0, 5], base=0)
    refused = draw("upright", [4, 2], base=0)
    assert (refused["status"], refused["version"], refused["overlaps"]) == (409, 1, True)
    assert [stroke["id"] for stroke in refused["strokes"]] == [first["stroke"]["id"]]
    assert draw("upright", [5, 2], base=0)["overlaps"] is False
    assert draw("upright", [5, 2], base=1)["status"] == 200
    assert draw("upright", [5, 2], base=99)["status"] == 409


def test_an_undo_counts_as_a_change(client: TestClient, draw: Draw) -> None:
    stroke = draw("upright", [0, 5], base=0)["stroke"]["id"]
    client.post(f"/api/cases/upright/strokes/{stroke}/undo", json={"base_version": 1})
    refused = draw("upright", [2, 9], base=1)
    assert (refused["status"], refused["strokes"][0]["undone"], refused["overlaps"]) == (409, True, True)


@pytest.mark.parametrize(
    ("case", "change", "word"),
    [
        ("held", {}, "training cases"),
        ("upright", {"value": 3}, "known: 0 background, 1 organ, 2 lump"),
        ("upright", {"tool": "import"}, "imports come from files"),
        ("upright", {"tool": "eraser"}, "eraser"),
        ("upright", {"slice": 4}, "has 4 axial slices"),
        ("upright", {"plane": "sagittal", "slice": 24}, "has 24 sagittal slices"),
        ("upright", {"runs": [1900, 100]}, "below 1920"),
        ("upright", {"runs": [1]}, "runs"),
        (
            "upright",
            {"runs": [470, 20]},
            "expected voxels of the axial slice 0 of case upright, got 10 of 20 elsewhere",
        ),
        ("upright", {"runs": [480, 5], "slice": 2}, "axial slice 2 of case upright, got 5 of 5 elsewhere"),
        ("upright", {"runs": [24, 24, 72, 5], "plane": "coronal", "slice": 1}, "got 5 of 29 elsewhere"),
        ("upright", {"runs": [5, 1, 29, 2], "plane": "sagittal", "slice": 5}, "got 1 of 3 elsewhere"),
        ("upright", {"on_prediction": 10**30}, "on_prediction"),
        ("upright", {"surprise": 1}, "surprise"),
    ],
)
def test_strokes_that_a_case_cannot_take(draw: Draw, case: str, change: dict, word: str) -> None:
    answer = draw(case, change.pop("runs", [0, 5]), 1 if "value" not in change else change.pop("value"), **change)
    assert answer["status"] == 422
    assert word in answer["message"]


@pytest.mark.parametrize(
    ("plane", "index", "runs"),
    [("axial", 1, [480, 480]), ("coronal", 19, [456, 24, 936, 3]), ("sagittal", 5, [5, 1, 29, 1, 485, 1])],
)
def test_strokes_of_every_plane(draw: Draw, plane: str, index: int, runs: list[int]) -> None:
    assert draw("upright", runs, plane=plane, slice=index)["status"] == 200


def test_an_unknown_case_or_stroke(client: TestClient) -> None:
    answer = client.get("/api/cases/..%2F..%2Fetc/strokes")
    assert answer.status_code == 404
    answer = client.get("/api/cases/nobody/strokes")
    assert (answer.status_code, "known: oblique, upright, held" in answer.json()["message"]) == (404, True)
    answer = client.post(f"/api/cases/upright/strokes/{uuid4()}/undo", json={"base_version": 0})
    assert answer.status_code == 404


def test_classes_that_stroke_files_cannot_hold(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny")
    content = read_json(folder / "dataset.json")
    content["scribble_labels"] = {"background": 0, "organ": 1, "ignore": 3}
    content["annotated"] = {"upright": ["background", "organ"]}
    write_json(folder / "dataset.json", content)
    with serving(create_app(folder, token=TOKEN)) as client:
        body = {"id": str(uuid4()), "base_version": 0, "value": 2, "runs": [0, 5]}
        answer = client.post("/api/cases/oblique/strokes", json=body)
        assert "scribble_labels" in answer.json()["message"]
        answer = client.post("/api/cases/upright/strokes", json=body)
        assert "annotated" in answer.json()["message"]


def test_a_data_set_without_ignore_gets_one(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny", ignore=False)
    with serving(create_app(folder, token=TOKEN)) as client:
        assert client.get("/api/project").json()["notices"] == []
        body = {"id": str(uuid4()), "base_version": 0, "value": 2, "runs": [0, 5]}
        assert client.post("/api/cases/upright/strokes", json=body).status_code == 200
        assert "'ignore' with the value 3" in client.get("/api/project").json()["notices"][0]
    content = read_json(folder / "dataset.json")
    assert content["labels"] == {"background": 0, "organ": 1, "lump": 2, "ignore": 3}
    assert content["name"] == "tiny"
    dataset = Dataset.open(folder)
    assert np.count_nonzero(dataset.read_scribble(dataset.cases("Tr")[1]) == 2) == 5


def test_who_drew_it(app: FastAPI) -> None:
    with serving(app, author="J%C3%BCrgen") as client:
        body = {"id": str(uuid4()), "base_version": 0, "value": 2, "runs": [0, 5]}
        assert client.post("/api/cases/upright/strokes", json=body).json()["stroke"]["author"] == "Jürgen"
        for name in ("x" * 81, "%ff", "a%00b"):
            assert client.get("/api/project", headers={"X-Medcl-Author": name}).status_code == 422


class Drawing(RuleBasedStateMachine):
    """The server against a list and a loop: strokes, erasers, undo, redo, a file that somebody changes."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.place = tempfile.TemporaryDirectory()
        self.folder = make_dataset(Path(self.place.name) / "tiny")
        app = create_app(self.folder, token=TOKEN)
        self.context = app.state.context
        self.client = TestClient(app, base_url="http://127.0.0.1", headers={"Authorization": f"Bearer {TOKEN}"})
        self.strokes: list[dict] = []
        self.version = 0

    @initialize()
    def start(self) -> None:
        self.voxels = self.context.view(self.context.case("upright")).voxels

    @rule(start=st.integers(0, 40), length=st.integers(1, 9), value=st.none() | st.integers(0, 2))
    def draw(self, start: int, length: int, value: int | None) -> None:
        body = {"id": str(uuid4()), "base_version": self.version, "value": value, "runs": [start, length]}
        answer = self.client.post("/api/cases/upright/strokes", json=body)
        assert answer.status_code == 200
        self.version += 1
        self.strokes.append(
            {"id": body["id"], "voxels": dict.fromkeys(range(start, start + length), value), "undone": False}
        )

    @precondition(lambda self: self.strokes)
    @rule(which=st.integers(0, 99))
    def turn(self, which: int) -> None:
        stroke = self.strokes[which % len(self.strokes)]
        action = "redo" if stroke["undone"] else "undo"
        path = f"/api/cases/upright/strokes/{stroke['id']}/{action}"
        assert self.client.post(path, json={"base_version": self.version}).status_code == 200
        self.version += 1
        stroke["undone"] = not stroke["undone"]

    @rule()
    def flush(self) -> None:
        self.context.flush()

    @rule(value=st.integers(0, 2), at=st.integers(0, 40))
    def somebody_changes_the_file(self, value: int, at: int) -> None:
        self.context.flush()
        view = self.context.view(self.context.case("upright"))
        flat = self.now()
        if flat[at] == value:
            return
        flat[at] = value
        values = np.where(flat == UNLABELLED, 3, flat).astype(np.uint8).reshape(view.shape)
        write_map(self.folder / "scribblesTr" / "upright.nii.gz", view.from_view(values), view.grid.geometry)
        history = self.client.get("/api/cases/upright/strokes").json()
        imported = history["strokes"][-1]
        assert (imported["tool"], imported["author"]) == ("import", "file")
        self.version += 1
        self.strokes.append({"id": imported["id"], "voxels": dict(enumerate(flat.tolist())), "undone": False})

    def now(self) -> np.ndarray:
        flat = np.full(self.voxels, UNLABELLED, np.int16)
        for stroke in self.strokes:
            if not stroke["undone"]:
                for voxel, value in stroke["voxels"].items():
                    flat[voxel] = UNLABELLED if value is None else value
        return flat

    @invariant()
    def agrees(self) -> None:
        if self.version:
            with self.context.database.session(write=False) as session:
                found, version = self.context.strokes_in_view(session, self.context.case("upright"))
            np.testing.assert_array_equal(found, self.now())
            assert version == self.version

    def teardown(self) -> None:
        self.context.close()
        self.place.cleanup()


Drawing.TestCase.settings = settings(max_examples=10, stateful_step_count=12, deadline=None)
TestDrawing = Drawing.TestCase
