"""The runner: what it starts, what it says, what it never does twice; with a pool that does nothing, and for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from medcl.benchmark import Recipe, plan_benchmark, run_benchmark
from medcl.benchmark import runner as runner_module
from medcl.benchmark import running as running_module
from medcl.benchmark.jobs import Job
from medcl.benchmark.pool import LocalPool
from medcl.benchmark.run import Status, other_defaults
from medcl.benchmark.work import BUSY, FAILED, FAILURE, STOPPED, do_job, finished
from medcl.benchmark.worker import work
from medcl.errors import SettingsError
from medcl.files import read_json, write_json


class FakePool:
    """Ends every job at once, as `codes` says; 0 leaves a finished job behind."""

    def __init__(self, out: Path, jobs: list[Job], finish: Callable[..., None]) -> None:
        self.slots, self.out, self.finish = 2, out, finish
        self.jobs = {job.folder(out): job for job in jobs}
        self.codes: dict[str, list[int]] = {}
        self.started: list[str] = []
        self.most = 0
        self._running: list[Path] = []

    def start(self, folder: Path) -> None:
        self._running.append(folder)
        self.started.append(self.jobs[folder].name)
        self.most = max(self.most, len(self._running))

    def ended(self, seconds: float) -> list[tuple[Path, int]]:
        if not self._running:
            return []
        folder = self._running.pop(0)
        job = self.jobs[folder]
        code = self.codes.get(job.name, [0]).pop(0) if self.codes.get(job.name) else 0
        if code == FAILED:
            write_json(folder / FAILURE, {"reason": "the dog ate it"})
        if code == 0:
            self.finish(job, self.out, {"a": 0.5, "b": 0.7})
        return [(folder, code)]

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def fake(tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finish: Callable[..., None]) -> FakePool:
    pool = FakePool(tmp_path, plan_benchmark(tiny_recipe), finish)
    monkeypatch.setattr(running_module, "choose_pool", lambda *arguments: pool)
    monkeypatch.setattr(runner_module, "OTHERS_SECONDS", 0.0)
    return pool


def test_finished_jobs_are_never_repeated(tiny_recipe: Recipe, tmp_path: Path, fake: FakePool) -> None:
    first = run_benchmark(tiny_recipe, tmp_path)
    assert first.complete
    assert len(fake.started) == 2
    assert fake.most == 2
    assert run_benchmark(tiny_recipe, tmp_path).complete
    assert len(fake.started) == 2
    assert (first.folder / "report.html").exists()
    assert len((first.folder / "results.csv").read_text(encoding="utf-8").splitlines()) == 1 + 2 * 2 * 2 * 5


def test_a_failure_is_told_and_the_others_go_on(tiny_recipe: Recipe, tmp_path: Path, fake: FakePool) -> None:
    name = "heart-partial-ce-quick-s0"
    fake.codes = {name: [FAILED]}
    said: list[str] = []
    result = run_benchmark(tiny_recipe, tmp_path, show=lambda status: said.append(status.message))
    assert result.failed == {name: "the dog ate it"}
    assert result.finished == ("heart-dense-quick-s0",)
    assert result.missing == (name,)
    assert not result.complete
    assert f"{name}: failed: the dog ate it" in said
    again = run_benchmark(tiny_recipe, tmp_path)
    assert again.complete
    assert fake.started.count(name) == 2


def test_a_signal_is_named(tiny_recipe: Recipe, tmp_path: Path, fake: FakePool) -> None:
    fake.codes = {"heart-partial-ce-quick-s0": [-9], "heart-dense-quick-s0": [3]}
    failed = run_benchmark(tiny_recipe, tmp_path).failed
    assert "SIGKILL (out of memory?)" in failed["heart-partial-ce-quick-s0"]
    assert "code 3" in failed["heart-dense-quick-s0"]


def test_a_job_of_another_process_is_waited_for(tiny_recipe: Recipe, tmp_path: Path, fake: FakePool) -> None:
    fake.codes = {"heart-partial-ce-quick-s0": [BUSY, BUSY, 0]}
    said: list[str] = []
    result = run_benchmark(tiny_recipe, tmp_path, show=lambda status: said.append(status.message))
    assert result.complete
    assert fake.started.count("heart-partial-ce-quick-s0") == 3
    assert said.count("heart-partial-ce-quick-s0: another process works on it") == 1


def test_ctrl_c_stops_cleanly_and_says_what_is_missing(tiny_recipe: Recipe, tmp_path: Path, fake: FakePool) -> None:
    fake.slots, fake.codes = 1, {"heart-dense-quick-s0": [STOPPED]}

    def show(status: Status) -> None:
        if "heart-dense-quick-s0" in status.running and not status.message:
            os.kill(os.getpid(), signal.SIGINT)

    result = run_benchmark(tiny_recipe, tmp_path, show=show)
    assert not result.complete
    assert not result.failed
    assert "heart-dense-quick-s0" in result.missing
    assert run_benchmark(tiny_recipe, tmp_path).complete


def test_other_defaults_of_today_are_told_and_redone_on_request(
    tiny_recipe: Recipe, tmp_path: Path, fake: FakePool
) -> None:
    run_benchmark(tiny_recipe, tmp_path)
    job = plan_benchmark(tiny_recipe)[0]
    before = {"optim": {"ema": 0.5}, "method": {"name": "partial-ce"}, "gone": 1}
    write_json(job.folder(tmp_path) / "run" / "run.json", {"settings": before})
    assert other_defaults(job, tmp_path) == ["optim.ema: was 0.5, is 0.9"]
    said: list[str] = []
    run_benchmark(tiny_recipe, tmp_path, show=lambda status: said.append(status.message))
    assert f"--redo {job.name} does it again" in said[0]
    assert len(fake.started) == 2
    run_benchmark(tiny_recipe, tmp_path, redo=[job.name])
    assert fake.started.count(job.name) == 2
    assert job.folder(tmp_path).with_name(job.folder(tmp_path).name + ".old1").is_dir()


def test_everything_wrong_is_said_before_any_job(tiny_recipe: Recipe, tmp_path: Path, fake: FakePool) -> None:
    entry = tiny_recipe.data["heart"]
    wrong = tiny_recipe.model_copy(
        update={
            "data": {
                "heart": entry,
                "nowhere": entry.model_copy(update={"folder": "nowhere"}),
                "unscored": entry.model_copy(
                    update={"part": "Tr", "folder": str(_without_labels(entry.folder, tmp_path))}
                ),
            },
            "settings": {"batch_sise": 4},
        }
    )
    with pytest.raises(SettingsError, match="unknown setting 'batch_sise'; did you mean 'batch_size'"):
        run_benchmark(wrong, tmp_path)
    wrong = wrong.model_copy(update={"settings": {}, "cases": (99,)})
    with pytest.raises(SettingsError) as caught:
        run_benchmark(wrong, tmp_path)
    assert "nowhere: expected a dataset folder" in str(caught.value)
    assert "part Tr has no dense labels" in str(caught.value)
    assert "expected at most 3" in str(caught.value)
    assert fake.started == []


def _without_labels(source: str, tmp_path: Path) -> Path:
    folder = tmp_path / "unlabelled"
    folder.mkdir()
    for name in ("dataset.json", "imagesTr", "scribblesTr"):
        (folder / name).symlink_to(Path(source) / name)
    return folder


# --- for real ---


@pytest.fixture(scope="module")
def real(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two jobs, in processes of their own."""
    out = tmp_path_factory.mktemp("real")
    result = run_benchmark(tiny_recipe, out, jobs=1)
    assert result.complete, result.failed
    return out


def test_jobs_leave_scores_masks_and_how_they_were_made(tiny_recipe: Recipe, real: Path) -> None:
    for job in plan_benchmark(tiny_recipe):
        folder = job.folder(real)
        facts = read_json(folder / "benchmark.json")
        assert (facts["steps"], facts["scored_cases"], facts["seed"]) == (2, 2, 0)
        assert facts["peak_mb"] > 50
        assert set(facts["code"]) == {"commit", "changed"}
        assert len(list((folder / "masks").glob("*.nii.gz"))) == 2
        assert len(list((folder / "example").glob("*.nii.gz"))) == 1
        assert (folder / "job.log").exists()
        assert not (folder / "progress.json").exists()


def test_the_report_shows_every_method(real: Path) -> None:
    html = (real / "quick" / "report.html").read_text(encoding="utf-8")
    for text in ("Training case with its strokes", "Scored case with the median Dice", "partial-ce", "dense"):
        assert text in html
    assert str(real) not in html
    assert html.count("data:image/png") == 2 * 4  # strokes, reference and two methods; image, reference, two methods


def test_another_scoring_scores_again_without_training(tiny_recipe: Recipe, real: Path) -> None:
    scoring = tiny_recipe.scoring.model_copy(update={"pieces": ("class",)})
    job = plan_benchmark(tiny_recipe.model_copy(update={"scoring": scoring}))[0]
    assert not finished(job, real)
    model = job.folder(real) / "run" / "model" / "weights.safetensors"
    before = model.stat().st_mtime_ns
    do_job(job, real, lambda *told: None)
    assert finished(job, real)
    assert model.stat().st_mtime_ns == before
    assert (job.folder(real) / "scores.csv").read_text(encoding="utf-8").splitlines()[1].startswith("class,labels,")


def test_a_locked_job_is_left_alone_and_a_broken_one_says_why(tiny_recipe: Recipe, tmp_path: Path) -> None:
    from dataclasses import replace

    job = plan_benchmark(tiny_recipe)[0]
    broken = replace(job, entry=job.entry.model_copy(update={"folder": str(tmp_path / "gone")}))
    folder = broken.folder(tmp_path)
    folder.mkdir(parents=True)
    broken.save(folder)
    with FileLock(folder / ".lock"):
        assert work(tmp_path, folder, 1) == BUSY
    assert work(tmp_path, folder, 1) == FAILED
    failure = read_json(folder / FAILURE)
    assert "expected a dataset folder, found nothing" in failure["reason"]
    assert failure["trace"] == ""


def test_a_killed_job_goes_on_where_it_was(tiny_recipe: Recipe, tmp_path: Path) -> None:
    """A process of its own is killed in the middle of training; the next one resumes and ends at the last step."""
    long = {"quick": tiny_recipe.protocols["quick"].model_copy(update={"budget": "60steps"})}
    recipe = tiny_recipe.model_copy(
        update={"protocols": long, "settings": {**tiny_recipe.settings, "checkpoint_minutes": 1e-6}}
    )
    job = plan_benchmark(recipe)[0]
    folder = job.folder(tmp_path)
    folder.mkdir(parents=True)
    job.save(folder)
    child = subprocess.Popen([sys.executable, "-m", "medcl.benchmark.worker", str(tmp_path), str(folder), "1"])
    deadline = time.monotonic() + 600
    while not (folder / "run" / "log.csv").exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    child.kill()
    child.wait()
    assert not finished(job, tmp_path)
    told: list[str] = []
    do_job(job, tmp_path, lambda doing, share, left: told.append(doing))
    assert read_json(folder / "benchmark.json")["steps"] == 60


def test_gpus_are_shared_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[dict[str, dict[str, str]]] = []
    monkeypatch.setattr(LocalPool, "_serve", lambda self: None)
    pool = LocalPool(tmp_path, 3, gpus=2)
    monkeypatch.setattr(pool, "_server", object())
    monkeypatch.setattr(pool, "_order", orders.append)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    for name in "abc":
        pool.start(tmp_path / name)
    assert [order["env"]["CUDA_VISIBLE_DEVICES"] for order in orders] == ["4", "6", "4"]
    pool._events.put({"folder": str(tmp_path / "b"), "code": 0})
    assert pool.ended(0.1) == [(tmp_path / "b", 0)]
    pool.start(tmp_path / "d")
    assert orders[-1]["env"]["CUDA_VISIBLE_DEVICES"] == "6"
    json.dumps(orders)
