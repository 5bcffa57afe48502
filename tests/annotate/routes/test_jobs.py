"""Jobs, suggestions, statistics and predictions as callers see them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from annotate_tiny import Draw, until
from fastapi import FastAPI
from fastapi.testclient import TestClient

from medcl.annotate.context import Context
from medcl.annotate.jobs import queue
from medcl.annotate.jobs.processes import identity, worker_runs
from medcl.annotate.problems import Refused
from medcl.annotate.routes import jobs, monai
from medcl.annotate.schemas import NewJob
from medcl.annotate.state.tables import JobRow, ModelRow, PredictionRow, now
from medcl.data.io import write_map
from medcl.queries.places import places_of, to_rows


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> list[Context]:
    """No worker is started; return who would have been one's data set."""
    started: list[Context] = []
    monkeypatch.setattr("medcl.annotate.routes.jobs.start_worker", started.append)
    return started


def predicted(app: FastAPI, name: str = "upright") -> int:
    """Put a prediction there as a job leaves it; return its number."""
    context: Context = app.state.context
    view = context.view(context.case(name))
    shares = np.zeros((3, *view.shape), np.float32)
    shares[0] = 1
    shares[:2, 2, 5:9, 6:10] = 0.5
    mask = (shares[1] > 0).astype(np.uint8)
    folder = context.state / "predictions" / "one"
    for what, array in (("mask", mask), ("uncertainty", mask * 161)):
        write_map(folder / f"{what}.nii.gz", view.from_view(array), view.grid.geometry)
    x, y, z = view.spacing_mm
    with context.database.session() as session:
        job = JobRow(kind="train", state="finished", at=now(), asked={}, progress={})
        session.add(job)
        session.flush()
        model = ModelRow(job=job.id, at=now(), folder="", steps=5, strokes=1, seconds=2.0, voxels=3,
                         scores={"dice": 0.5})  # fmt: skip
        session.add(model)
        session.flush()
        row = PredictionRow(case=name, model=model.id, at=now(), folder="predictions/one", uncertainty=0.63,
                            volumes_ml={}, places=to_rows(places_of(name, shares, (z, y, x))))  # fmt: skip
        session.add(row)
        session.flush()
        return row.id


def test_a_job_is_queued_seen_and_cancelled(client: TestClient, idle: list[Context]) -> None:
    job = client.post("/api/jobs", json={"kind": "train", "minutes": 1, "first": "upright"}).json()
    assert (job["state"], job["kind"], job["losses"]) == ("queued", "train", [])
    assert len(idle) == 1
    assert [j["id"] for j in client.get("/api/jobs").json()] == [job["id"]]
    assert client.post(f"/api/jobs/{job['id']}/cancel").json()["state"] == "cancelled"
    assert client.get(f"/api/jobs/{job['id']}").json()["message"] == "cancelled before it began"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"first": "nobody"}, 404, "unknown case 'nobody'; known: oblique, upright, held"),
        ({"kind": "predict", "cases": ["../etc"]}, 404, "unknown case"),
        ({"minutes": 0}, 422, "minutes"),
        ({"minutes": 1e9}, 422, "minutes"),
        ({"settings": {"optim.emma": 1}}, 422, "emma"),
        ({"settings": {"optim": 1, "optim.ema": 1}}, 422, "single value"),
        ({"kind": "teach"}, 422, "kind"),
    ],
)
def test_what_cannot_be_done_is_refused_before_it_is_queued(
    client: TestClient, idle: list[Context], body: dict[str, object], status: int, words: str
) -> None:
    answer = client.post("/api/jobs", json=body)
    assert answer.status_code == status
    assert words in answer.json()["message"]
    assert client.get("/api/jobs").json() == []
    assert not idle


def test_unknown_jobs_and_strategies(client: TestClient) -> None:
    assert client.get("/api/jobs/7").json()["message"].startswith("unknown job 7")
    assert client.post("/api/jobs/7/cancel").status_code == 404
    assert client.get("/api/jobs/99999999999999").status_code == 422
    answer = client.get("/api/next?strategy=best")
    assert answer.status_code == 422
    assert "core-set, coverage, doubt-per-second, entropy, entropy-rarity" in answer.json()["message"]


def test_a_queue_has_an_end(client: TestClient, idle: list[Context]) -> None:
    codes = [client.post("/api/jobs", json={"kind": "predict"}).status_code for _ in range(51)]
    assert codes == [200] * 50 + [409]


def test_of_many_at_once_only_as_many_as_may_wait_are_queued(
    client: TestClient, app: FastAPI, idle: list[Context]
) -> None:
    context: Context = app.state.context
    new = NewJob(kind="predict")
    for _ in range(jobs.MOST_WAITING - 1):
        queue.add(context, new, "ada")
    codes = at_once(context, [lambda: jobs.start_job(context, "ada", new).id] * 3)
    assert sorted(codes) == [jobs.MOST_WAITING, 409, 409]
    assert len(queue.jobs(context)) == jobs.MOST_WAITING


def test_of_trainings_asked_for_at_once_by_monai_one_is_queued(
    client: TestClient, app: FastAPI, idle: list[Context]
) -> None:
    context: Context = app.state.context
    codes = at_once(context, [lambda: int(monai._train(context, "ada", {"minutes": 1})["id"])] * 3)
    (job,) = queue.jobs(context)
    assert sorted(codes) == [job.id, 429, 429]
    refused = client.post("/monai/train/medcl", json={"minutes": 1})
    assert (refused.status_code, "(job 1)" in refused.json()["message"]) == (429, True)


def test_monai_answers_with_the_job_that_the_caller_asked_for(
    client: TestClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    context: Context = app.state.context
    # Somebody else is quicker between adding the job and the answer.
    monkeypatch.setattr(jobs, "start_worker", lambda context: queue.add(context, NewJob(), "eve"))
    assert client.post("/monai/train/medcl", json={"minutes": 1}).json()["id"] == "1"
    assert [job.author for job in queue.jobs(context)] == ["eve", ""]


def test_infer_starts_a_worker_where_the_one_that_was_there_has_left(
    client: TestClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def start(context: Context) -> None:
        asked.append(queue.waiting(context))
        if len(asked) > 1:  # the first time there was one, on its way out
            number = queue.claim(context, identity())
            assert number is not None
            queue.end(context, number, "crashed", "a worker was there")

    monkeypatch.setattr(jobs, "start_worker", start)
    monkeypatch.setattr(monai, "PREDICT_SECONDS", 2.0)
    predicted(app, "oblique")
    answer = client.post("/monai/infer/medcl?image=upright")
    assert (answer.status_code, asked) == (422, [True, True])
    assert "a worker was there" in answer.json()["message"]


def at_once(context: Context, calls: list[Callable[[], int]]) -> list[int]:
    """Call while somebody else writes, so that all look before the first of them can write; return status or result."""
    found: list[int] = []

    def go(call: Callable[[], int]) -> None:
        try:
            found.append(call())
        except Refused as refused:
            found.append(refused.status)

    threads = [threading.Thread(target=go, args=(call,)) for call in calls]
    with context.database.session():
        for thread in threads:
            thread.start()
        time.sleep(0.5)
    for thread in threads:
        thread.join()
    return found


def test_where_to_draw_next_without_and_with_predictions(client: TestClient, app: FastAPI, draw: Draw) -> None:
    found = client.get("/api/next?count=2").json()
    assert [(s["case"], s["slice"]) for s in found] == [("oblique", found[0]["slice"]), ("upright", 2)]
    assert found[0]["reason"].startswith("no prediction yet: organ, fewest strokes so far")
    assert client.get("/api/next?strategy=coverage&skip=1").json()[0]["case"] == "upright"
    predicted(app)
    place = client.get("/api/next").json()[0]
    assert (place["case"], place["plane"], place["slice"]) == ("upright", "axial", 2)
    assert place["reason"].endswith("most uncertain, nothing drawn in this case yet")
    names = {s["name"] for s in client.get("/api/strategies").json()}
    assert names >= {"coverage", "entropy-rarity", "random", "clasp-pe", "foreground-random"}
    assert not names & {"bald", "power-bald", "list"}, "what the page cannot answer with is not offered"
    i, j, k = place["place"]
    assert (k, 5 <= j < 9, 6 <= i < 10) == (2, True, True)


def test_a_stroke_changes_what_comes_next(client: TestClient, app: FastAPI, draw: Draw) -> None:
    predicted(app)
    draw("upright", [24 * 20 * 2 + 5, 3], 1, plane="axial", slice=2)
    assert "drawn" in client.get("/api/next").json()[0]["reason"]
    numbers = client.get("/api/statistics").json()
    assert (numbers["strokes"], numbers["by_class"]) == (1, {"background": 0, "organ": 1, "lump": 0})
    assert [m["scores"] for m in numbers["curve"]] == [{"dice": 0.5}]


def test_predictions_come_in_the_view_grid_once(client: TestClient, app: FastAPI) -> None:
    assert client.get("/api/cases/oblique/prediction.nii").status_code == 404
    predicted(app, "oblique")
    answer = client.get("/api/cases/oblique/prediction.nii")
    view = app.state.context.view(app.state.context.case("oblique"))
    mask = np.frombuffer(answer.content, "<u1", offset=352).reshape(view.shape)
    assert mask[2, 5:9, 6:10].all()
    assert mask.sum() == 16
    unsure = np.frombuffer(client.get("/api/cases/oblique/uncertainty.nii").content, "<u1", offset=352)
    assert set(unsure.tolist()) == {0, 161}
    again = client.get("/api/cases/oblique/prediction.nii", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_true_worker_that_is_killed_leaves_a_reason_and_the_next_job_runs(client: TestClient, app: FastAPI) -> None:
    context: Context = app.state.context
    number = client.post("/api/jobs", json={"kind": "predict"}).json()["id"]
    # The worker works: without a model the job ends with its sentence.
    until(lambda: client.get(f"/api/jobs/{number}").json()["state"] == "crashed", 250)
    assert "expected a model" in client.get(f"/api/jobs/{number}").json()["message"]
    assert worker_runs(context)
    number = client.post("/api/jobs", json={"kind": "train"}).json()["id"]
    until(lambda: client.get(f"/api/jobs/{number}").json()["state"] in ("running", "crashed"), 250)
    with context.database.session(write=False) as session:
        pid = int(queue.row_of(session, number).worker.partition(":")[0])
    os.kill(pid, signal.SIGKILL)
    until(lambda: client.get(f"/api/jobs/{number}").json()["state"] == "crashed", 250)
    assert client.get(f"/api/jobs/{number}").json()["message"]


def _end_worker(folder: Path) -> None:
    """Nobody leaves a worker behind."""
    import psutil

    for process in psutil.process_iter(["cmdline", "cwd"]):
        here = process.info["cwd"] and Path(process.info["cwd"]) == folder / ".medcl"
        if here and "medcl.annotate.jobs" in " ".join(process.info["cmdline"] or []):
            process.kill()


@pytest.fixture(autouse=True)
def _buried(folder: Path) -> object:
    yield
    _end_worker(folder)
