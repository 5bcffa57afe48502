from __future__ import annotations

import threading
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from annotate_tiny import OBLIQUE, TOKEN, make_dataset, serving, until
from fastapi import FastAPI
from fastapi.testclient import TestClient

from medcl.annotate import stroke_files
from medcl.annotate.app import create_app
from medcl.annotate.keeper import Keeper
from medcl.data.dataset import Dataset
from medcl.data.io import read_map, write_map
from medcl.data.labels import UNLABELLED
from medcl.errors import DataError
from medcl.files import read_json, write_json


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
    history = client.get("/api/cases/oblique/strokes").json()
    assert [(s["tool"], s["version"]) for s in history["strokes"]] == [("pen", 1), ("import", 3), ("pen", 4)]
    app.state.context.flush()
    late = history["strokes"][2]["id"]  # what stayed on top is a stroke like any other
    client.post(f"/api/cases/oblique/strokes/{late}/undo", json={"base_version": 4})
    app.state.context.flush()
    assert view.to_view(in_file(folder)).ravel()[:10].tolist() == [-1, -1, -1, 0, 0, 0, 0, 0, 0, -1]


def on_disk(app: FastAPI, folder: Path, change: dict[int, int]) -> None:
    """Save the stroke file as another program would: with some voxels of the view grid changed."""
    view = app.state.context.view(app.state.context.case("oblique"))
    path = folder / "scribblesTr" / "oblique.nii.gz"
    flat = np.ascontiguousarray(view.to_view(read_map(path)[0])).ravel()
    flat[list(change)] = list(change.values())
    write_map(path, view.from_view(flat.reshape(view.shape)), OBLIQUE)


def voxels(app: FastAPI, count: int) -> list[int]:
    context = app.state.context
    return context.view(case := context.case("oblique")).to_view(context.strokes(case)).ravel()[:count].tolist()


def test_what_another_program_saves_while_the_file_is_written_is_kept(tmp_path: Path, monkeypatch) -> None:
    folder = make_dataset(tmp_path / "tiny")
    app = create_app(folder, token=TOKEN)
    client = plain(app)
    save(client, 0, [0, 2])
    app.state.context.flush()
    save(client, 1, [4, 2])
    write, saves = stroke_files.write_map, [{7: 1}]

    def and_then_another(path: Path, *given: object) -> None:
        write(path, *given)
        if saves:
            on_disk(app, folder, saves.pop())

    monkeypatch.setattr(stroke_files, "write_map", and_then_another)
    app.state.context.flush()
    assert voxels(app, 8) == [2, 2, -1, -1, 2, 2, -1, 1]
    tools = [s["tool"] for s in client.get("/api/cases/oblique/strokes").json()["strokes"]]
    assert tools == ["pen", "import", "pen"]
    assert np.count_nonzero(in_file(folder) != UNLABELLED) == 5
    save(client, 4, [0, 8], None)  # an eraser over all: the file is to go, and somebody saves just before
    take = stroke_files._check_unchanged
    saves.append({9: 1})

    def saved_before(path: Path, known: str) -> None:
        if saves:
            on_disk(app, folder, saves.pop())
        take(path, known)

    monkeypatch.setattr(stroke_files, "_check_unchanged", saved_before)
    app.state.context.flush()
    assert voxels(app, 10) == [-1] * 9 + [1]


def test_a_file_that_never_rests_is_left_alone_and_told(tmp_path: Path, monkeypatch) -> None:
    folder = make_dataset(tmp_path / "tiny")
    app = create_app(folder, token=TOKEN)
    client = plain(app)
    save(client, 0, [0, 2])
    app.state.context.flush()
    save(client, 1, [4, 2])
    write, at = stroke_files.write_map, iter(range(10, 100))

    def and_then_another(path: Path, *given: object) -> None:
        write(path, *given)
        on_disk(app, folder, {next(at): 1})

    monkeypatch.setattr(stroke_files, "write_map", and_then_another)
    app.state.context.waiting.clear()
    with pytest.raises(DataError, match="other programs keep changing this file while the strokes of case oblique"):
        app.state.context.flush()
    assert app.state.context.waiting.is_set()  # and it is tried again
    monkeypatch.undo()
    app.state.context.flush()
    assert voxels(app, 15) == [2, 2, -1, -1, 2, 2, -1, -1, -1, -1, 1, 1, 1, 1, 1]


def test_a_backup_that_is_put_back_counts_as_a_change(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny")
    app = create_app(folder, token=TOKEN)
    save(plain(app), 0, [0, 2])
    app.state.context.flush()
    path = folder / "scribblesTr" / "oblique.nii.gz"
    ours = path.read_bytes()
    on_disk(app, folder, {5: 1})
    assert voxels(app, 6) == [2, 2, -1, -1, -1, 1]
    path.write_bytes(ours)
    assert voxels(app, 6) == [2, 2, -1, -1, -1, -1]


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
    app.state.context.waiting.clear()
    assert len(client.get("/api/cases/oblique/strokes").json()["strokes"]) == 1
    assert app.state.context.waiting.is_set()  # without waiting for the next stroke
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


def test_a_file_written_between_two_looks_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A caller looked the case up and asked the database before the keeper wrote its first file, and looks at the file
    # after the keeper took its note away.
    app = create_app(make_dataset(tmp_path / "tiny"), token=TOKEN)
    client, context = plain(app), app.state.context
    early = context.case("oblique")
    save(client, 0, [0, 4], 1)
    context.flush()
    assert early.scribble is None
    with monkeypatch.context() as patched:
        patched.setattr(stroke_files, "_known_digest", lambda *_: "")
        stroke_files.import_changed(context, early)
    history = client.get("/api/cases/oblique/strokes").json()["strokes"]
    assert [stroke["tool"] for stroke in history] == ["pen"]


def test_a_file_that_somebody_adds_after_the_case_was_looked_up(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny")
    app = create_app(folder, token=TOKEN)
    early = app.state.context.case("oblique")
    drawn = np.full(OBLIQUE.size, 3, np.uint8)
    drawn[3, 4, 5:9] = 1
    write_map(folder / "scribblesTr" / "oblique.nii.gz", drawn, OBLIQUE)
    stroke_files.import_changed(app.state.context, early)
    history = plain(app).get("/api/cases/oblique/strokes").json()["strokes"]
    assert [(stroke["tool"], stroke["voxels"]) for stroke in history] == [("import", 4)]


def test_a_file_removed_while_it_is_read_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_dataset(tmp_path / "tiny", scribble=True)
    app = create_app(folder, token=TOKEN)
    case, path = app.state.context.case("oblique"), folder / "scribblesTr" / "oblique.nii.gz"
    look = stroke_files._promised

    def remove(*args: object) -> str | None:
        path.unlink(missing_ok=True)
        return look(*args)

    monkeypatch.setattr(stroke_files, "_promised", remove)
    stroke_files.import_changed(app.state.context, case)
    assert plain(app).get("/api/cases/oblique/strokes").json()["strokes"] == []


@pytest.mark.parametrize("there", [True, False])
def test_an_end_between_the_file_and_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(make_dataset(tmp_path / "tiny"), token=TOKEN)
    client, context = plain(app), app.state.context
    save(client, 0, [0, 4], 1)
    if not there:  # everything is undone: the file is removed
        context.flush()
        stroke = client.get("/api/cases/oblique/strokes").json()["strokes"][0]["id"]
        client.post(f"/api/cases/oblique/strokes/{stroke}/undo", json={"base_version": 1})
    with monkeypatch.context() as patched:

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(stroke_files, "locked_case", killed)
        with pytest.raises(KeyboardInterrupt):
            stroke_files._written(context, context.case("oblique"))
    assert (context.folder / "scribblesTr" / "oblique.nii.gz").is_file() == there
    history = client.get("/api/cases/oblique/strokes").json()["strokes"]
    assert [(stroke["tool"], stroke["undone"]) for stroke in history] == [("pen", not there)]
    assert "was removed" not in caplog.text


def test_many_draw_and_undo_while_files_are_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(make_dataset(tmp_path / "tiny"), token=TOKEN)
    client, context = plain(app), app.state.context
    answers: list[str] = []
    done = threading.Event()

    def asked(path: str, body: dict) -> int:
        while (answer := client.post(path, json=body)).status_code == 409:
            body["base_version"] = answer.json()["version"]
        answers.append("" if answer.status_code == 200 else answer.text)
        return answer.json().get("version", 0)

    def annotator(number: int) -> None:
        for at in range(4):
            body = {"id": str(uuid4()), "base_version": 0, "value": 1, "runs": [100 * number + 10 * at, 5]}
            version = asked("/api/cases/oblique/strokes", body)
            asked(f"/api/cases/oblique/strokes/{body['id']}/undo", {"base_version": version})

    def writer() -> None:
        while not done.is_set():
            context.flush()

    people = [threading.Thread(target=annotator, args=(number,)) for number in range(3)]
    threads = [*people, threading.Thread(target=writer)]
    for thread in threads:
        thread.start()
    for thread in people:
        thread.join()
    done.set()
    threads[-1].join()
    assert answers == [""] * 24
    history = client.get("/api/cases/oblique/strokes").json()["strokes"]
    assert {stroke["tool"] for stroke in history} == {"pen"}
    assert "was removed" not in caplog.text


def test_other_classes_than_strokes_were_drawn_with_are_refused(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny")
    client = plain(create_app(folder, token=TOKEN))
    save(client, 0, [0, 4], 1)
    content = read_json(folder / "dataset.json")
    labels = content["labels"]

    def named(**values: int) -> None:
        write_json(folder / "dataset.json", content | {"labels": values})

    named(background=0, organ=1, ignore=3)  # the last one taken away: what was drawn as it would be another's
    assert "are not those that strokes were drawn with" in client.get("/api/project").json()["notices"][0]
    named(background=0, lump=1, organ=2, ignore=3)
    body = {"id": str(uuid4()), "base_version": 1, "value": 1, "runs": [9, 4]}
    answer = client.post("/api/cases/oblique/strokes", json=body)
    assert answer.status_code == 422
    assert (
        "(background, lump, organ) are not those that strokes were drawn with here (background, organ, lump)"
        in (answer.json()["message"])
    )
    named(**{**labels, "vessel": 4})  # one more at the end changes no other
    assert client.post("/api/cases/oblique/strokes", json=body).status_code == 200
    named(**labels)
    assert client.get("/api/project").json()["notices"] != []
    (folder / ".medcl" / "classes.json").unlink()
    assert client.get("/api/project").json()["notices"] == []


def test_a_warning_goes_when_its_cause_has_gone(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny", scribble=True)
    app = create_app(folder, token=TOKEN)
    keeper = Keeper(app.state.context)
    content = (folder / "dataset.json").read_bytes()
    (folder / "dataset.json").write_text("{", encoding="utf-8")
    for _ in range(2):
        keeper._guarded(app.state.context.cases)
        assert len(app.state.context.notices) == 1
    (folder / "dataset.json").write_bytes(content)
    keeper._guarded(app.state.context.flush)  # something else that works says nothing of it
    assert len(app.state.context.notices) == 1
    keeper._guarded(app.state.context.cases)
    assert app.state.context.notices == []
