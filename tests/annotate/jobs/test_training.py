"""Trainings of a second or two on tiny made-up hearts, in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from medcl.annotate.context import Context
from medcl.annotate.jobs import predicting, queue, training, work
from medcl.annotate.jobs.material import gather
from medcl.annotate.jobs.processes import identity
from medcl.annotate.jobs.progress import Report
from medcl.annotate.pool import suggest
from medcl.annotate.schemas import Job, NewJob
from medcl.annotate.state.rows import locked_case
from medcl.annotate.state.tables import ModelRow, PredictionRow
from medcl.annotate.statistics import statistics
from medcl.data.dataset import Dataset
from medcl.data.io import read_geometry, read_map, write_map
from medcl.data.plan import Plan
from medcl.files import read_json, write_json
from medcl.phantom import make_phantom
from medcl.training.watching import Snapshot

QUICK: dict[str, Any] = {
    "budget": {"steps": 3},
    "backbone": {"base": 4, "levels": 3},
    "method": {"code_grid": 8, "code_width": 16, "code_dim": 8},
    "batch_size": 2,
    "precision": "fp32",
    "plan": {"patch": [32, 32]},
}


@pytest.fixture(scope="session")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three made-up hearts with strokes in all slices, and one to test on."""
    out = tmp_path_factory.mktemp("jobs") / "hearts"
    return make_phantom(out, "heart", cases=3, validation=0, test=1, size=(4, 48, 48), seed=1)


@pytest.fixture(scope="session")
def trained(hearts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after one training job."""
    folder = tmp_path_factory.mktemp("trained") / "hearts"
    shutil.copytree(hearts, folder)
    context = Context(folder)
    job = do(context, first="heart_train001")
    assert job.state == "finished", job.message
    return folder


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[Path], Context]]:
    """Return a function that opens a copy of a folder."""
    contexts: list[Context] = []

    def opening(folder: Path) -> Context:
        shutil.copytree(folder, tmp_path / "copy")
        contexts.append(Context(tmp_path / "copy"))
        return contexts[-1]

    yield opening
    for context in contexts:
        context.close()


def do(context: Context, **asked: Any) -> Job:
    """Do a job here and now."""
    if asked.get("kind", "train") == "train":
        asked["settings"] = QUICK | asked.get("settings", {})
    number = queue.add(context, NewJob(**asked), "ada").id
    assert queue.claim(context, identity()) == number
    assert work.do(context, number) == 0
    found = queue.find(context, number)
    assert found is not None
    return found


def newest(context: Context) -> ModelRow:
    with context.database.session(write=False) as session:
        row = session.scalars(select(ModelRow).order_by(ModelRow.id.desc()).limit(1)).one()
    return row


def test_a_training_leaves_a_model_predictions_a_score_and_suggestions(
    trained: Path, opened: Callable[[Path], Context]
) -> None:
    context = opened(trained)
    job = queue.find(context, 1)
    assert job is not None
    assert job.message.startswith("trained 3 steps on 3 strokes; scored on the strokes of 1 slice held back")
    assert job.losses
    assert job.losses[-1].step == 3
    row = newest(context)
    assert (row.job, row.steps, row.strokes) == (1, 3, 3)
    assert set(row.scores) >= {"dice"}
    assert {name.partition("/")[0] for name in row.scores} == {"dice"}
    with context.database.session(write=False) as session:
        predicted = {p.case: p for p in session.scalars(select(PredictionRow))}
    assert set(predicted) == {"heart_train000", "heart_train001", "heart_train002"}, "test cases on ask only"
    for name, prediction in predicted.items():
        for what, most in (("mask", 3), ("uncertainty", 255)):
            array, geometry = read_map(context.state / prediction.folder / f"{what}.nii.gz")
            image = read_geometry(context.case(name).images[0])
            assert not geometry.differences(image, 1e-4)
            assert array.max() <= most
        assert 0 <= prediction.uncertainty <= 1
        assert set(prediction.volumes_ml) == {"RV", "Myo", "LV"}
    found = suggest(context, None, 5, 0)
    assert len({(s.case, s.slice) for s in found}) == 5
    axis = {"sagittal": 0, "coronal": 1, "axial": 2}
    assert all(s.place[axis[s.plane]] == s.slice and s.class_name in s.reason for s in found)
    assert suggest(context, None, 4, 1) == found[1:], "skip leaves out the best"
    numbers = statistics(context)
    assert [(m.strokes, m.model) for m in numbers.curve] == [(3, row.id)]
    assert numbers.by_author == {"file": 3}


def test_the_folder_stays_what_it_was(hearts: Path, trained: Path) -> None:
    for path in hearts.rglob("*"):
        if path.is_file():
            assert (trained / path.relative_to(hearts)).read_bytes() == path.read_bytes(), path
    assert [case.id for case in Dataset.open(trained).cases("Tr")] == [f"heart_train00{n}" for n in range(3)]


def test_held_back_slices_are_not_learned_from(trained: Path) -> None:
    missing = []
    for staged in (trained / ".medcl" / "staged" / "strokes").iterdir():
        learned, _ = read_map(staged)
        drawn, _ = read_map(trained / "scribblesTr" / staged.name)
        for z in np.flatnonzero((learned != drawn).any(axis=(1, 2))):
            missing.append((staged.name, z))
            assert (drawn[z] != 4).any()
            assert (learned[z] == 4).all(), "nothing of the slice is left"
    assert len(missing) == 1


def test_the_next_training_starts_from_the_model_and_prepares_nothing(
    trained: Path, opened: Callable[[Path], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = opened(trained)
    monkeypatch.setattr("medcl.data.store.prepare_image", lambda *_: pytest.fail("no image changed"))
    monkeypatch.setattr("medcl.annotate.jobs.plans.make_plan", lambda *_, **__: pytest.fail("the plan fits"))
    job = do(context)
    assert job.state == "finished", job.message
    settings = read_json(context.state / "runs" / "job-00002" / "run.json")["settings"]
    assert settings["backbone"]["weights"].endswith("job-00001/model")
    assert newest(context).id == 2
    again = do(context, fresh=True)
    assert again.state == "finished", again.message
    settings = read_json(context.state / "runs" / "job-00003" / "run.json")["settings"]
    assert settings["backbone"]["weights"] is None


def test_a_new_class_keeps_what_was_learned(trained: Path, opened: Callable[[Path], Context]) -> None:
    context = opened(trained)
    content = read_json(context.folder / "dataset.json")
    content["labels"] = {"background": 0, "RV": 1, "Myo": 2, "LV": 3, "scar": 5, "ignore": 4}
    write_json(context.folder / "dataset.json", content)
    job = do(context)
    assert job.state == "finished", job.message
    assert "started from nothing" not in job.message
    assert Plan.load(context.state / "plan.json").classes == ("background", "RV", "Myo", "LV", "scar")


def test_another_network_starts_from_nothing_and_says_so(trained: Path, opened: Callable[[Path], Context]) -> None:
    context = opened(trained)
    job = do(context, settings={"backbone": {"base": 4, "levels": 2}})
    assert job.state == "finished", job.message
    assert "it started from nothing, as the newest model does not fit" in job.message


def test_while_it_trains_predictions_come_and_a_cancelled_one_keeps_its_model(
    hearts: Path, opened: Callable[[Path], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = opened(hearts)
    monkeypatch.setattr(training, "FIRST_LOOK_SECONDS", 0.0)
    looked: list[int] = []
    look = training._Watcher._look

    def looking(self: training._Watcher, snapshot: Snapshot) -> None:
        look(self, snapshot)
        looked.append(snapshot.step)
        with context.database.session(write=False) as session:
            found = list(session.scalars(select(PredictionRow.case).order_by(PredictionRow.id)))
        assert found[0] == "heart_train002", "the open case comes first"
        assert newest(context).folder.endswith("so-far")
        self.report.stop.set()

    monkeypatch.setattr(training._Watcher, "_look", looking)
    job = do(context, first="heart_train002", settings={"budget": {"steps": 500}})
    assert (job.state, looked) == ("cancelled", [1])
    assert job.message == "cancelled; what was learned until then is kept"
    assert newest(context).steps == 1
    assert training.newest_model(context) == context.state / newest(context).folder
    assert do(context, kind="predict", cases=["heart_test000"]).state == "finished"


def test_few_strokes_are_all_learned_from_and_the_job_says_why_there_is_no_score(
    hearts: Path, opened: Callable[[Path], Context]
) -> None:
    context = opened(hearts)
    for name in ("heart_train001", "heart_train002"):
        (context.folder / "scribblesTr" / f"{name}.nii.gz").unlink()
    job = do(context)
    assert job.state == "finished", job.message
    assert "not scored: of the first 5 drawn slices nothing is held back" in job.message
    assert job.scores == []
    assert statistics(context).curve[0].scores == {}


def test_an_accepted_label_is_learned_in_place_of_strokes(hearts: Path, opened: Callable[[Path], Context]) -> None:
    context = opened(hearts)
    case = context.case("heart_train000")
    context.strokes(case)
    write_map(context.folder / "labelsTr" / f"{case.id}.nii.gz", np.ones((4, 48, 48), np.uint8),
              read_geometry(case.images[0]))  # fmt: skip
    with context.database.session() as session:
        row = locked_case(session, case.id)
        row.verdict, row.verdict_version = "accept", row.version
    job = do(context)
    assert job.state == "finished", job.message
    log = (context.state / "runs" / "job-00001" / "train.log").read_text(encoding="utf-8")
    assert "cases learnt: 2 from strokes, 1 from dense labels" in log
    assert all(s.case != case.id for s in suggest(context, None, 50, 0)), "nobody needs to draw there"


def test_nothing_drawn_is_one_sentence(hearts: Path, opened: Callable[[Path], Context]) -> None:
    context = opened(hearts)
    shutil.rmtree(context.folder / "scribblesTr")
    job = do(context)
    assert (job.state, job.message) == (
        "crashed",
        "expected strokes on at least one training case, found none; draw some, then train.",
    )
    job = do(context, kind="predict")
    assert (job.state, job.message) == ("crashed", "expected a model to predict with, found none; train first.")


def test_an_open_case_that_cannot_be_read_does_not_cost_the_training(
    trained: Path, opened: Callable[[Path], Context]
) -> None:
    context = opened(trained)
    (context.folder / "imagesTs" / "heart_test000_0000.nii.gz").write_bytes(b"nothing")
    job = do(context, first="heart_test000")
    assert job.state == "finished"
    assert "heart_test000" in job.message


def test_cases_that_disappear_do_not_cost_the_training(
    trained: Path, opened: Callable[[Path], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = opened(trained)
    held = gather(context).held
    assert len(held) == 1
    monkeypatch.setattr(training, "FIRST_LOOK_SECONDS", 0.0)
    scored: list[set[str]] = []
    look, score = training._Watcher._look, training._Watcher._score

    def remove(name: str) -> None:
        (context.folder / "imagesTr" / f"{name}_0000.nii.gz").unlink(missing_ok=True)

    def looking(self: training._Watcher, snapshot: Snapshot) -> None:
        remove("heart_train002")
        look(self, snapshot)

    def scoring(self: training._Watcher, step: int, masks: dict[str, np.ndarray]) -> None:
        scored.append(set(masks))
        remove(*held)
        score(self, step, masks)

    monkeypatch.setattr(training._Watcher, "_look", looking)
    monkeypatch.setattr(training._Watcher, "_score", scoring)
    assert "heart_train002" not in held
    job = do(context, first="heart_train002")
    assert job.state == "finished", job.message
    for name in ("heart_train002", *held):
        assert f"case {name}: is no longer part of the data set" in job.message
    assert set(held) in scored, "it was predicted before it went"
    assert not newest(context).scores


def test_a_case_that_is_gone_does_not_hold_up_the_others(trained: Path, opened: Callable[[Path], Context]) -> None:
    context = opened(trained)
    (context.folder / "imagesTr" / "heart_train001_0000.nii.gz").unlink()
    before = newest_prediction_of(context, "heart_train002")
    job = do(context, kind="predict", cases=["heart_train001", "heart_train002"])
    assert job.state == "crashed"
    assert job.message.startswith("1 of 2 cases could not be predicted: unknown case 'heart_train001'")
    assert newest_prediction_of(context, "heart_train002") > before


def newest_prediction_of(context: Context, name: str) -> int:
    with context.database.session(write=False) as session:
        query = select(PredictionRow.id).where(PredictionRow.case == name).order_by(PredictionRow.id.desc()).limit(1)
        return session.scalars(query).one()


def test_an_image_that_cannot_be_read_is_named(trained: Path, opened: Callable[[Path], Context]) -> None:
    context = opened(trained)
    (context.folder / "imagesTs" / "heart_test000_0000.nii.gz").write_bytes(b"nothing")
    job = do(context, kind="predict", cases=["heart_test000", "heart_train000"])
    assert job.state == "crashed"
    assert job.message.startswith("1 of 2 cases could not be predicted: ")
    assert "heart_test000" in job.message


def test_old_predictions_go(trained: Path, opened: Callable[[Path], Context]) -> None:
    context = opened(trained)
    for _ in range(3):
        assert do(context, kind="predict", cases=["heart_train000"]).state == "finished"
    with context.database.session(write=False) as session:
        rows = list(session.scalars(select(PredictionRow).where(PredictionRow.case == "heart_train000")))
    assert len(rows) == predicting.KEPT
    folders = {path.name for path in (context.state / "predictions").iterdir()}
    assert {row.folder.rpartition("/")[2] for row in rows} <= folders
    assert len(folders) == predicting.KEPT + 2


def test_progress_is_written_now_and_then_and_at_the_end(hearts: Path, opened: Callable[[Path], Context]) -> None:
    context = opened(hearts)
    number = queue.add(context, NewJob(), "ada").id
    report = Report(context, number)
    report.say("at it")
    for step in range(100):
        report.add("losses", step, {"loss": 1.0, "odd": float("nan")})
        report.at(step / 100, 5.0)
    report.close()
    job = queue.find(context, number)
    assert job is not None
    assert (job.share, job.seconds_left, job.message, len(job.losses)) == (0.99, 5.0, "at it", 100)
    assert job.losses[0].values == {"loss": 1.0}
