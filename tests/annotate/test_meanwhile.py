"""What another thread or program does between two steps of ours: nothing is lost, and nobody is told off for it."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from annotate_tiny import OBLIQUE, TOKEN, UPRIGHT, make_dataset
from fastapi.testclient import TestClient

from medcl.annotate import labels, stroke_files, uploads, volumes
from medcl.annotate.app import create_app
from medcl.annotate.context import Context
from medcl.annotate.problems import Refused
from medcl.annotate.reviewing import accept_label
from medcl.annotate.state import migrate
from medcl.data.dataset import Dataset
from medcl.data.geometry import Image
from medcl.data.io import read_map, write_image, write_map
from medcl.data.layout import Case


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    """A caller of an application whose background work does not run."""
    app = create_app(make_dataset(tmp_path / "tiny"), token=TOKEN)
    return TestClient(app, base_url="http://127.0.0.1", headers={"Authorization": f"Bearer {TOKEN}"})


@pytest.fixture
def context(client: TestClient) -> Context:
    found: Context = client.app.state.context  # type: ignore[attr-defined]
    return found


def accept(context: Context, value: int) -> None:
    """Make four voxels of a class the dense label of 'oblique'."""
    array = np.zeros(OBLIQUE.size, np.int16)
    array[2, 3, 4:8] = value
    accept_label(context, labels.PreparedLabel(context, context.case("oblique"), array), "me", base_version=None)


def reopen(client: TestClient) -> None:
    body = {"verdict": "reopen", "base_version": client.get("/api/cases/oblique").json()["version"]}
    assert client.post("/api/cases/oblique/review", json=body).status_code == 200


def shown(client: TestClient) -> int:
    """Return the one class that the label of 'oblique' shows beside background."""
    answer = client.get("/api/cases/oblique/label.nii")
    assert answer.status_code == 200, answer.text
    (value,) = set(np.frombuffer(answer.content, np.uint8, offset=352).tolist()) - {1}
    return value - 1


def test_two_uploads_of_one_name_with_two_endings(context: Context, tmp_path: Path) -> None:
    content = {}
    for ending in (".nii.gz", ".nrrd"):
        write_image(tmp_path / f"image{ending}", Image(np.zeros((1, *UPRIGHT.size), np.int16), UPRIGHT))
        content[ending] = (tmp_path / f"image{ending}").read_bytes()
    read = uploads.read_image

    def while_it_is_read(path: Path) -> Image:
        uploads.read_image = read
        uploads.receive_image(context, "new", "b.nrrd", io.BytesIO(content[".nrrd"]), "ann")
        return read(path)

    uploads.read_image = while_it_is_read
    try:
        with pytest.raises(Refused, match="there is a case 'new' already"):
            uploads.receive_image(context, "new", "a.nii.gz", io.BytesIO(content[".nii.gz"]), "ben")
    finally:
        uploads.read_image = read
    assert context.case("new").images[0].name == "new_0000.nrrd"


@pytest.mark.parametrize("name", ["oblique.nii.gz", "oblique.nrrd"])
def test_a_save_by_another_program_just_before_ours(
    client: TestClient, context: Context, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    drawn = np.full(OBLIQUE.size, 3, np.uint8)
    drawn[5, 6, 7:9] = 2
    file, once = context.folder / "scribblesTr" / name, iter((True,))
    sync = stroke_files.sync

    def slow(path: Path) -> None:
        sync(path)
        if next(once, False):
            write_map(file, drawn, OBLIQUE)

    monkeypatch.setattr(stroke_files, "sync", slow)
    client.post("/api/cases/oblique/strokes", json=stroke(0, [0, 5]))
    context.flush()
    assert [path.name for path in (context.folder / "scribblesTr").iterdir()] == [name]
    strokes = client.get("/api/cases/oblique/strokes").json()["strokes"]
    assert sorted(one["tool"] for one in strokes) == ["import", "pen"]
    values = read_map(file)[0]
    assert (values[5, 6, 7:9] == 2).all()
    assert np.count_nonzero(values == 1) == 5


def stroke(version: int, runs: list[int]) -> dict[str, object]:
    identity = f"11111111-1111-4111-8111-{version:012d}"
    return {"id": identity, "base_version": version, "value": 1, "runs": runs}


def test_there_is_a_label_at_every_moment_of_its_replacement(
    context: Context, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(context, 1)
    there: list[bool] = []
    file, replace = context.folder / "labelsTr" / "oblique.nii.gz", os.replace

    def looked_at(source: Path, target: Path) -> None:
        there.append(file.is_file())
        replace(source, target)
        there.append(file.is_file())

    with monkeypatch.context() as patched:
        patched.setattr(labels.os, "replace", looked_at)
        accept(context, 2)
    assert len(there) >= 2
    assert all(there)
    assert shown(client) == 2
    kept = [set(np.unique(read_map(path)[0])) for path in (context.state / "replaced").iterdir()]
    assert kept == [{0, 1}]
    reopen(client)
    assert not file.exists()


@pytest.mark.parametrize("copies", [False, True])
def test_a_label_from_before_comes_back_without_hard_links_too(
    context: Context, client: TestClient, monkeypatch: pytest.MonkeyPatch, copies: bool
) -> None:
    if copies:

        def refused(*_: object) -> None:
            raise OSError("no hard links here")

        monkeypatch.setattr(labels.os, "link", refused)
    array = np.zeros(OBLIQUE.size, np.uint8)
    array[0, 0, :3] = 2
    file = context.folder / "labelsTr" / "oblique.nii.gz"
    write_map(file, array, OBLIQUE)
    accept(context, 1)
    assert shown(client) == 1
    reopen(client)
    np.testing.assert_array_equal(read_map(file)[0], array)


def test_a_label_that_is_replaced_while_it_is_read(
    context: Context, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(context, 1)
    read, once = Dataset.read_label, iter((True,))

    def meanwhile(self: Dataset, case: Case) -> np.ndarray:
        found = read(self, case)
        if next(once, False):
            accept(context, 2)
        return found

    monkeypatch.setattr(Dataset, "read_label", meanwhile)
    assert shown(client) == 2
    assert shown(client) == 2  # from the cache


def test_a_label_that_goes_while_it_is_asked_for(
    context: Context, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(context, 1)
    early = context.case("oblique")
    reopen(client)
    assert early.label is not None
    assert labels.newest_label(context, early) is None
    cases = context.cases

    def before_it_went() -> list[Case]:
        monkeypatch.setattr(context, "cases", cases)
        return [early]

    for path, status in (("/api/export.zip?what=label", 404), ("/monai/datastore/?output=all", 200)):
        monkeypatch.setattr(context, "cases", before_it_went)
        answer = client.get(path)
        assert answer.status_code == status, answer.text
    monkeypatch.setattr(context, "cases", before_it_went)
    answer = client.get("/api/cases/oblique/label.nii")
    assert (answer.status_code, answer.json()["message"]) == (404, "case oblique: has no dense label.")


def test_a_damaged_label_is_still_told(context: Context, client: TestClient) -> None:
    accept(context, 1)
    (context.folder / "labelsTr" / "oblique.nii.gz").write_bytes(b"no map")
    answer = client.get("/api/cases/oblique/label.nii")
    assert answer.status_code == 422
    assert answer.json()["message"].startswith("labelsTr/oblique.nii.gz: expected a gzip file")


def test_files_that_go_while_the_cache_is_cut_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        (tmp_path / f"{number}.nii").write_bytes(bytes(100))
    (tmp_path / "upload-1.nii").write_bytes(bytes(100))
    listed, glob = sorted(tmp_path.iterdir()), sorted(tmp_path.glob("0*"))
    (tmp_path / "0.nii").unlink()
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(listed))
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(glob))
    volumes.trim(tmp_path, keep=tmp_path / "3.nii", limit=100)
    volumes.drop_older(tmp_path, "0")
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3.nii", "upload-1.nii"]


def test_messages_name_no_folder_of_this_machine(client: TestClient, context: Context) -> None:
    for ending in (".nii.gz", ".nrrd"):
        write_map(context.folder / "scribblesTr" / f"oblique{ending}", np.full(OBLIQUE.size, 3, np.uint8), OBLIQUE)
    answer = client.get("/api/cases")
    assert answer.status_code == 422
    assert "keep one" in answer.json()["message"]
    assert str(context.folder) not in answer.text


def test_two_that_first_open_a_database_agree(context: Context, tmp_path: Path) -> None:
    database, barrier = context.database, threading.Barrier(2)
    with database.session() as session:
        session.execute(migrate.ProjectRow.__table__.delete())
    files = [tmp_path / "id-of-one", tmp_path / "id-of-one"]
    problems: list[str] = []

    def claim(file: Path) -> None:
        barrier.wait()
        try:
            migrate.claim(database, file)
        except Exception as error:
            problems.append(str(error))

    threads = [threading.Thread(target=claim, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    with database.session(write=False) as session:
        (key,) = session.scalars(migrate.select(migrate.ProjectRow.key)).all()
    assert files[0].read_text(encoding="ascii") == key
