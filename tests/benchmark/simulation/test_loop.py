"""The whole loop on tiny made-up hearts: what rounds leave, that they resume, and what the report says."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medcl.benchmark import running as running_module
from medcl.benchmark.simulation import AnnotationRecipe, plan_simulation, simulate_annotation
from medcl.benchmark.simulation.jobs import AnnotationJob
from medcl.benchmark.simulation.results import load_simulation, simulations_in, write_simulation
from medcl.benchmark.simulation.rounds import read_places
from medcl.benchmark.simulation.stage import set_the_stage
from medcl.benchmark.simulation.state import State, round_folder
from medcl.benchmark.simulation.work import do_job, finished
from medcl.benchmark.work import BUSY, DONE, RESULT
from medcl.benchmark.worker import load, work
from medcl.cli import app
from medcl.data.dataset import Dataset
from medcl.data.io import read_map
from medcl.data.prepare import prepare_image
from medcl.errors import DataError, SettingsError
from medcl.files import read_json
from medcl.phantom import make_phantom

STRATEGIES = ["foreground-random", "doubt-per-second"]


@pytest.fixture(scope="session")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulation") / "hearts"
    return make_phantom(folder, "heart", cases=3, validation=0, test=2, seed=0, dense=True, size=(5, 32, 32))


def recipe_on(folder: Path, **changes: object) -> AnnotationRecipe:
    return AnnotationRecipe.parse(
        {
            "name": "tiny",
            "data": {"hearts": {"folder": str(folder), "settings": {"plan.patch": [32, 32]}}},
            "strategies": STRATEGIES,
            "spending": {"start": 60, "round": 50, "rounds": 2},
            "training": {
                "first": "2steps",
                "then": "2steps",
                "settings": {"method": "partial-ce", "backbone.base": 4, "batch_size": 2},
            },
            "full": {"budget": "2steps"},
            "seeds": [0, 1],
            **changes,
        }
    )


def do(job: AnnotationJob, out: Path, said: list[str] | None = None) -> None:
    folder = job.folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    job.save(folder)
    do_job(job, out, lambda doing, share, left: said.append(doing) if said is not None else None)


class InProcess:
    """A pool that does each job here, at once."""

    slots = 1

    def __init__(self, out: Path) -> None:
        self.out, self.started, self._ended = out, [], []

    def start(self, folder: Path) -> None:
        self.started.append(folder.name)
        self._ended.append((folder, work(self.out, folder, 1)))

    def ended(self, seconds: float) -> list[tuple[Path, int]]:
        found, self._ended = self._ended, []
        return found

    def stop(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture(scope="session")
def done(hearts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished simulation."""
    out = tmp_path_factory.mktemp("simulated")
    with pytest.MonkeyPatch.context() as patch:
        pool = InProcess(out)
        patch.setattr(running_module, "choose_pool", lambda *arguments: pool)
        result = simulate_annotation(recipe_on(hearts), out)
        assert result.complete, result.failed
        assert len(pool.started) == 7  # two starts, four curves, one reference
        assert simulate_annotation(recipe_on(hearts), out).complete
        assert len(pool.started) == 7
    return out


def test_a_curve_has_a_point_per_round_and_spends_its_seconds(done: Path) -> None:
    data = load_simulation(done, "tiny").data[0]
    assert data.seeds == [0, 1]
    for label in STRATEGIES:
        for curve in data.curves[label].values():
            assert len(curve.points) == 3
            assert curve.seconds == sorted(curve.seconds)
            for number, seconds in enumerate(curve.seconds):
                assert seconds >= 60 + 50 * number  # the last visit is finished
            assert all(0 <= value <= 1 for value in curve.mean)
    first = {label: data.curves[label][0].points[0] for label in STRATEGIES}
    assert first[STRATEGIES[0]] == first[STRATEGIES[1]]


def test_strokes_are_right_and_what_is_not_drawn_is_unlabelled(done: Path, hearts: Path) -> None:
    dataset = Dataset.open(hearts)
    cases = {case.id: case for case in dataset.cases("Tr")}
    curve = load_simulation(done, "tiny").data[0].curves["foreground-random"][0]
    state = State.load(round_folder(curve.folder, 2))
    files = list((round_folder(curve.folder, 2) / "strokes").iterdir())
    assert len(files) == len(state.drawn)
    voxels = 0
    for path in files:
        name = path.name.split(".")[0]
        strokes = dataset.labels.strokes.decode(read_map(path)[0], str(path))
        label = dataset.read_label(cases[name])
        drawn = strokes >= 0
        assert (strokes[drawn] == label[drawn]).all()
        assert set(np.flatnonzero(drawn.any(axis=(1, 2))).tolist()) == set(state.drawn[name])
        voxels += int((strokes > 0).sum())
    assert voxels == state.voxels


def test_rounds_are_not_repeated_and_come_out_the_same(done: Path, hearts: Path, tmp_path: Path) -> None:
    jobs = plan_simulation(recipe_on(hearts))
    job = next(job for job in jobs if job.name == "hearts-doubt-per-second-s1")
    out = tmp_path / "copy"
    shutil.copytree(done, out)
    folder = job.folder(out)
    before = State.load(round_folder(folder, 2))
    first = (round_folder(folder, 1) / "round.json").stat().st_mtime_ns
    (folder / RESULT).unlink()
    shutil.rmtree(round_folder(folder, 2))
    assert not finished(job, out)
    said: list[str] = []
    do(job, out, said)
    after = State.load(round_folder(folder, 2))
    assert (round_folder(folder, 1) / "round.json").stat().st_mtime_ns == first
    assert not any(words.startswith("round 1") for words in said)
    assert (after.asked, after.dice, after.seconds) == (before.asked, before.dice, before.seconds)


def test_a_process_finds_its_kind_of_job(done: Path, hearts: Path) -> None:
    job = plan_simulation(recipe_on(hearts))[0]
    found, is_finished, _ = load(job.folder(done))
    assert found == job
    assert is_finished(found, done)
    assert work(done, job.folder(done), 1) == DONE != BUSY


def test_what_predictions_say_is_kept_for_the_next_round(done: Path) -> None:
    curve = load_simulation(done, "tiny").data[0].curves["foreground-random"][0]
    places = read_places(round_folder(curve.folder, 1))
    assert {place.case for place in places} == set(curve.facts["pool"])
    assert not (round_folder(curve.folder, 2) / "places.json").exists()  # nobody asks after the last round


def test_results_are_written_from_the_folders_alone(done: Path) -> None:
    folder = write_simulation(done, "tiny")
    rows = list(csv.DictReader((folder / "curves.csv").open()))
    assert len(rows) == 2 * 2 * 3 * 2 * 3  # strategies, seeds, points, cases, structures
    content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    (entry,) = content["data"].values()
    assert [row["strategy"] for row in entry["strategies"]] == STRATEGIES
    assert entry["strategies"][1]["test"]["p_seeds"] is not None
    page = (folder / "results.md").read_text(encoding="utf-8")
    assert "doubt-per-second" in page
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "data:image/png" in report
    assert "asked for first" in report
    assert str(done) not in report
    assert simulations_in(done) == ["tiny"]


def test_drawing_one_class_leaves_the_others_of_the_slice_unlabelled(hearts: Path, tmp_path: Path) -> None:
    recipe = recipe_on(hearts, draw={"preset": "acdc-like", "what": "class", "start": "class"}, seeds=[0])
    job = plan_simulation(recipe)[0]
    do(job, tmp_path)
    state = State.load(round_folder(job.folder(tmp_path), 0))
    assert all(len(classes) == 1 for slices in state.drawn.values() for classes in slices.values())
    settings = read_json(round_folder(job.folder(tmp_path), 0) / "run" / "run.json")["settings"]
    assert settings["presence"] == "never"


def test_data_without_labels_is_refused_before_the_work(tmp_path: Path) -> None:
    folder = make_phantom(tmp_path / "strokes", "heart", cases=2, validation=0, test=1, seed=0, size=(4, 32, 32))
    with pytest.raises(SettingsError, match="dense labels in labelsTr"):
        plan_simulation(recipe_on(folder))


def test_too_many_cases_are_refused(hearts: Path) -> None:
    entry = {"hearts": {"folder": str(hearts), "cases": 9}}
    with pytest.raises(SettingsError, match="found 3; ask for fewer"):
        plan_simulation(recipe_on(hearts, data=entry))
    with pytest.raises(SettingsError, match="the scored part is the one that is drawn on"):
        plan_simulation(recipe_on(hearts, data={"hearts": {"folder": str(hearts), "part": "Tr"}}))


def test_settings_of_later_rounds_are_checked_before_the_work(hearts: Path) -> None:
    with pytest.raises(SettingsError, match="nope"):
        plan_simulation(recipe_on(hearts, training={"later": {"optim.nope": 1}}))
    with pytest.raises(SettingsError, match="expected a method that learns from strokes"):
        plan_simulation(recipe_on(hearts, training={"later": {"method": "dense"}}))


def test_scored_cases_may_have_the_names_of_training_cases(hearts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "same"
    shutil.copytree(hearts, folder)
    names = [case.id for case in Dataset.open(hearts).cases("Tr")]
    for number, case in enumerate(Dataset.open(hearts).cases("Ts")):
        for part in ("imagesTs", "labelsTs"):
            for path in (folder / part).glob(f"{case.id}*"):
                path.rename(path.with_name(path.name.replace(case.id, names[number])))
    job = plan_simulation(recipe_on(folder))[0]
    stage = set_the_stage(job.data, job.entry, job.draw, 0, tmp_path, job.plan_wishes, job.plan_key)
    assert {case.id for case in stage.test} <= {case.id for case in stage.pool}
    for store, cases in ((stage.images, stage.pool), (stage.scored, stage.test)):
        for case in cases:
            own = prepare_image(stage.dataset.read_image(case), stage.plan).array
            assert np.allclose(store[case.id].image, own, atol=0.05), "its own image, not the one of the same name"


def test_nothing_finished_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no simulated annotation 'x'"):
        load_simulation(tmp_path, "x")


def test_the_command_lists_jobs_and_writes_the_report_again(done: Path, hearts: Path, tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(json.dumps(recipe_on(hearts).model_dump(mode="json")), encoding="utf-8")
    runner = CliRunner()
    listed = runner.invoke(app, ["simulate-annotation", str(file), "--out", str(done), "--dry-run"])
    assert listed.exit_code == 0, listed.output
    assert listed.output.count("finished") == 7
    again = runner.invoke(app, ["simulate-annotation", "--report", str(done)])
    assert again.exit_code == 0, again.output
    assert "report.html" in again.output
    for arguments, words in (([], "expected a recipe"), (["--report", str(tmp_path)], "no annotation was simulated")):
        wrong = runner.invoke(app, ["simulate-annotation", *arguments])
        assert wrong.exit_code == 1
        assert words in wrong.output
