from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from annotate_tiny import TOKEN, make_dataset
from fastapi import FastAPI

from medcl.annotate import Client, create_app, serve
from medcl.annotate.client import CallError, StrokeConflictError
from medcl.annotate.server import _server, listen
from medcl.data.dataset import Dataset
from medcl.data.labels import UNLABELLED
from medcl.errors import MedclError


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, FastAPI]]:
    """Run a true server on a free port; give its address and application."""
    app = create_app(make_dataset(tmp_path_factory.mktemp("served") / "tiny"), token=TOKEN)
    listening = listen("127.0.0.1", 0)
    server = _server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/?token={TOKEN}", app
    server.end()
    thread.join(timeout=30)
    assert not thread.is_alive()


@pytest.fixture
def client(running: tuple[str, FastAPI]) -> Iterator[Client]:
    with Client(running[0], author="Zoë") as caller:
        yield caller


def test_a_server_for_the_length_of_a_block(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny")
    with serve(folder, author="Zoë") as caller:
        saved = caller.draw("upright", np.ones((4, 20, 24), bool), 1)[0]
        events = caller.events(after=0)
        assert next(events).case == "upright"  # an open stream does not keep it from ending
        assert saved.stroke.author == "Zoë"
    events.close()
    assert (folder / "scribblesTr" / "upright.nii.gz").is_file()


def test_a_whole_session(client: Client, running: tuple[str, FastAPI], tmp_path: Path) -> None:
    project = client.project()
    assert [one.name for one in project.classes] == ["background", "organ", "lump"]
    assert [case.id for case in client.cases(search="obl")] == ["oblique"]
    where = np.zeros(client.image("oblique").shape, bool)
    assert where.shape == client.case("oblique").size[::-1]
    where[4:6, 3, 2:5] = True
    (saved,) = client.draw("oblique", where, 2, plane="coronal", seconds=2.0)
    assert (saved.stroke.author, saved.stroke.voxels, saved.stroke.slice) == ("Zoë", 6, 3)
    expected = np.where(where, 2, UNLABELLED)
    np.testing.assert_array_equal(client.scribble("oblique"), expected)
    erased = np.zeros_like(where)
    erased[4, 3, 2] = True
    (second,) = client.draw("oblique", erased, None)
    assert second.stroke.tool == "eraser"
    undone = client.undo("oblique", second.stroke.id, second.version)
    redone = client.redo("oblique", second.stroke.id, undone.version)
    assert [stroke.undone for stroke in client.strokes("oblique").strokes] == [False, False]
    expected[4, 3, 2] = UNLABELLED
    np.testing.assert_array_equal(client.scribble("oblique"), expected)
    with pytest.raises(StrokeConflictError) as conflict:
        client.draw("oblique", where, 1, base_version=redone.version - 1)
    assert conflict.value.conflict.overlaps
    assert client.label("held").max() == 1
    assert client.thumbnail("held").startswith(b"\x89PNG")
    running[1].state.context.flush()
    dataset = Dataset.open(running[1].state.context.folder)
    case = next(case for case in dataset.cases("Tr") if case.id == "oblique")
    view = running[1].state.context.view(case)
    np.testing.assert_array_equal(view.to_view(dataset.read_scribble(case)), expected)


def test_a_mask_of_several_slices_is_a_stroke_in_each(client: Client) -> None:
    where = np.zeros(client.image("upright").shape, bool)
    where[1, 2, 3:5] = where[3, 2, 3:9] = True
    name, start = uuid4(), client.case("upright").version
    saved = client.draw("upright", where, 2, seconds=4.0, stroke=name, base_version=start)
    assert [(one.stroke.slice, one.stroke.voxels, one.stroke.seconds) for one in saved] == [(1, 2, 2.0), (3, 6, 2.0)]
    assert [one.version for one in saved] == [start + 1, start + 2]
    assert saved[0].stroke.id == name
    assert (client.scribble("upright")[where] == 2).all()
    assert client.draw("upright", where, 2, seconds=4.0, stroke=name, base_version=start) == saved  # nothing is new


def test_events_come_as_they_happen(client: Client) -> None:
    start = client.project().event
    events = client.events(after=start)
    where = np.zeros(client.image("upright").shape, bool)
    where[1, 2:4] = True
    (saved,) = client.draw("upright", where, 0)
    first = next(events)
    assert (first.id, first.kind, first.case) == (start + 1, "case", "upright")
    client.undo("upright", saved.stroke.id, saved.version)
    assert next(events).id == start + 2
    events.close()
    again = client.events(after=start)
    assert next(again).id == start + 1  # whoever was away hears all of it
    again.close()


def test_last_event_id_goes_first(running: tuple[str, FastAPI]) -> None:
    import httpx

    address = running[0].partition("/?")[0]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with Client(running[0]) as client:
        client.draw("upright", np.ones(client.image("upright").shape, bool), 0)
        newest = client.project().event
    for extra, query in (({"Last-Event-ID": str(newest - 1)}, "?after=0"), ({}, f"?after={newest - 1}")):
        with httpx.stream("GET", f"{address}/api/events{query}", headers={**headers, **extra}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            line = next(line for line in answer.iter_lines() if line.startswith("id:"))
            assert line == f"id: {newest}"


def test_what_goes_wrong_is_a_sentence(client: Client, running: tuple[str, FastAPI], tmp_path: Path) -> None:
    with pytest.raises(CallError, match="unknown case 'nobody'; known: oblique") as refused:
        client.case("nobody")
    assert refused.value.status == 404
    with pytest.raises(CallError, match="nothing at this address"):
        client.case("../../x y%")
    with pytest.raises(CallError) as refused:
        client.set_up(["organ"])
    assert refused.value.status == 422
    with pytest.raises(MedclError, match="at least one voxel"):
        client.draw("upright", np.zeros((4, 20, 24), bool), 1)
    with pytest.raises(CallError, match="token"), Client(running[0].partition("?")[0], token="x") as stranger:
        stranger.project()
    with pytest.raises(MedclError, match="is medcl annotate running"), Client("http://127.0.0.1:9", token="x") as alone:
        alone.project()
    with pytest.raises(MedclError, match="expected the address"):
        Client("127.0.0.1:8765")
    with pytest.raises(CallError):
        client.undo("upright", uuid4(), 0)


def test_every_endpoint_has_a_method(running: tuple[str, FastAPI]) -> None:
    """Paths of the OpenAPI document against the addresses that the client's source names."""
    import inspect
    import re

    import medcl.annotate.client as module

    source = inspect.getsource(module)
    for path in running[1].openapi()["paths"]:
        if path.startswith("/api/"):
            last = [part for part in path.split("/") if part and "{" not in part][-1]
            assert re.search(rf"[/\"]{re.escape(last)}[/\"]", source), path
