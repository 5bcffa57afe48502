from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from annotate_tiny import OBLIQUE, TOKEN, make_dataset, serving, until
from fastapi.testclient import TestClient

from medcl.annotate import stroke_files
from medcl.annotate.app import create_app
from medcl.data.dataset import Dataset
from medcl.data.io import read_map, write_map
from medcl.data.labels import UNLABELLED


def save(client: TestClient, base: int, runs: list[int], value: int | None = 2) -> None:
    body = {"id": str(uuid4()), "base_version": base, "value": value, "runs": runs}
    answer = client.post("/api/cases/oblique/strokes", json=body)
    assert answer.status_code == 200, answer.text


def plain(app: object) -> TestClient:
    """A caller of an application whose background work does not run."""
    return TestClient(app, base_url="http://127.0.0.1", headers={"Authorization": f"Bearer {TOKEN}"})


def in_file(folder: Path) -> np.ndarray:
    dataset = Dataset.open(folder)
    return dataset.read_scribble(next(case for case in dataset.cases("Tr") if case.id == "oblique"))


def test_strokes_that_are_there_become_one_stroke(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny", scribble=True)
    expected = in_file(folder)
    app = create_app(folder, token=TOKEN)
    client = plain(app)
    assert client.get("/api/cases/oblique").json()["state"] == "strokes"  # before it is read, too
    history = client.get("/api/cases/oblique/strokes").json()
    assert [(s["tool"], s["author"], s["voxels"]) for s in history["strokes"]] == [("import", "file", 8)]
    np.testing.assert_array_equal(app.state.context.strokes(app.state.context.case("oblique")), expected)
    assert client.get("/api/cases/oblique").json()["drawn"] == {"0": 4, "1": 4}
    before = (folder / "scribblesTr" / "oblique.nii.gz").read_bytes()
    app.state.context.flush()
    assert (folder / "scribblesTr" / "oblique.nii.gz").read_bytes() == before  # nothing drawn, nothing written
    save(client, 1, [0, 3])
    app.state.context.flush()
    assert np.count_nonzero(in_file(folder) != expected) == 3
    stroke = history["strokes"][0]["id"]
    assert client.post(f"/api/cases/oblique/strokes/{stroke}/undo", json={"base_version": 2}).status_code == 200
    app.state.context.flush()
    assert np.count_nonzero(in_file(folder) != UNLABELLED) == 3


def test_the_server_takes_files_over_when_it_starts(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny", scribble=True)
    with serving(create_app(folder, token=TOKEN)) as client:
        until(lambda: client.get("/api/cases/oblique").json()["strokes"] == 1)
        assert client.get("/api/project").json()["event"] == 1


def test_what_was_drawn_meanwhile_stays_on_top_of_a_changed_file(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny")
    app = create_app(folder, token=TOKEN)
    client = plain(app)
    save(client, 0, [0, 4], 1)
    app.state.context.flush()
    save(client, 1, [2, 4], 2)  # not written yet when somebody else writes
    view = app.state.context.view(app.state.context.case("oblique"))
    theirs = np.full(view.voxels, 3, np.uint8)
    theirs[3:9] = 0
    write_map(folder / "scribblesTr" / "oblique.nii.gz", view.from_view(theirs.reshape(view.shape)), OBLIQUE)
    app.state.context.flush()
    found = view.to_view(in_file(folder)).ravel()[:10]
    assert found.tolist() == [-1, -1, 2, 2, 2, 2, 0, 0, 0, -1]
    assert [s["tool"] for s in client.get("/api/cases/oblique/strokes").json()["strokes"]] == ["pen", "pen", "import"]


def test_a_process_killed_between_file_and_note_knows_its_file(tmp_path: Path, monkeypatch) -> None:
    folder = make_dataset(tmp_path / "tiny")
    app = create_app(folder, token=TOKEN)
    client = plain(app)
    save(client, 0, [0, 4])
    write = stroke_files.atomic_write

    class Killed(BaseException):
        pass

    class ThenKilled:
        def __init__(self, path: Path) -> None:
            self.inner, self.ends = write(path), path.name.endswith(".nii.gz")

        def __enter__(self) -> Path:
            return self.inner.__enter__()

        def __exit__(self, *error: object) -> None:
            self.inner.__exit__(*error)
            if self.ends:
                raise Killed

    monkeypatch.setattr(stroke_files, "atomic_write", ThenKilled)
    with pytest.raises(Killed):
        app.state.context.flush()
    monkeypatch.undo()
    app.state.context.close()
    assert (folder / "scribblesTr" / "oblique.nii.gz").is_file()
    app = create_app(folder, token=TOKEN)
    client = plain(app)
    save(client, 1, [2, 1], None)
    assert [s["tool"] for s in client.get("/api/cases/oblique/strokes").json()["strokes"]] == ["pen", "pen"]
    app.state.context.flush()
    assert np.count_nonzero(in_file(folder) == 2) == 3


def test_files_that_are_behind_are_written_at_the_start_and_at_the_end(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny")
    app = create_app(folder, token=TOKEN)
    save(plain(app), 0, [0, 4])
    app.state.context.close()  # killed: nothing was written
    assert not (folder / "scribblesTr").exists()
    with serving(create_app(folder, token=TOKEN)) as client:
        until((folder / "scribblesTr" / "oblique.nii.gz").is_file)
        save(client, 1, [100, 4])
    assert np.count_nonzero(in_file(folder) == 2) == 8


def test_a_removed_file_is_written_again(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny")
    app = create_app(folder, token=TOKEN)
    client = plain(app)
    save(client, 0, [0, 4])
    app.state.context.flush()
    (folder / "scribblesTr" / "oblique.nii.gz").unlink()
    assert len(client.get("/api/cases/oblique/strokes").json()["strokes"]) == 1
    app.state.context.flush()
    assert np.count_nonzero(in_file(folder) == 2) == 4


def test_a_file_that_cannot_be_read_is_not_written_over(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny", scribble=True)
    path = folder / "scribblesTr" / "oblique.nii.gz"
    write_map(path, np.full(OBLIQUE.size, 9, np.uint8), OBLIQUE)  # a value that nobody named
    before = path.read_bytes()
    with serving(create_app(folder, token=TOKEN)) as client:
        answer = client.get("/api/cases/oblique/strokes")
        assert (answer.status_code, "unknown label value 9" in answer.json()["message"]) == (422, True)
        until(lambda: any("value 9" in one for one in client.get("/api/project").json()["notices"]))
    assert path.read_bytes() == before


def test_an_annotators_own_folder(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny", scribble=True)
    own = folder / "scribblesTr" / "anna"
    own.mkdir()
    (folder / "scribblesTr" / "oblique.nii.gz").rename(own / "oblique.nii.gz")
    app = create_app(folder, token=TOKEN, scribbles="scribblesTr/anna")
    client = plain(app)
    save(client, client.get("/api/cases/oblique/strokes").json()["version"], [0, 3])
    body = {"id": str(uuid4()), "base_version": 0, "value": 1, "runs": [0, 5]}
    client.post("/api/cases/upright/strokes", json=body)
    app.state.context.flush()
    assert sorted(path.name for path in own.iterdir()) == ["oblique.nii.gz", "upright.nii.gz"]
    assert read_map(own / "upright.nii.gz")[0].ravel().tolist().count(1) == 5
