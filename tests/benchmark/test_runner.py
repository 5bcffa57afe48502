"""Who keeps slots busy: jobs that wait for others, jobs after failed ones, and how long it will take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medcl.benchmark.runner import Runner, Status
from medcl.benchmark.work import DONE, FAILED, FAILURE, PROGRESS, RESULT
from medcl.files import write_json


@dataclass
class Step:
    """A job that waits for another one."""

    name: str
    after: str | None = None
    minutes: float | None = None
    like: str = "step"

    def folder(self, out: Path) -> Path:
        return out / self.name

    def save(self, folder: Path) -> None:
        write_json(folder / "job.json", {})

    def summary(self, result: Mapping[str, Any]) -> str:
        return "well done"


class Shelf:
    """A pool whose jobs end when it is asked, in the order that they began."""

    def __init__(self, codes: Mapping[str, int], slots: int = 2) -> None:
        self.slots, self.codes = slots, codes
        self.log: list[str] = []
        self._running: list[Path] = []

    def start(self, folder: Path) -> None:
        self.log.append(f"+{folder.name}")
        self._running.append(folder)

    def ended(self, seconds: float) -> list[tuple[Path, int]]:
        folder = self._running.pop(0)
        code = self.codes.get(folder.name, DONE)
        write_json(folder / (RESULT if code == DONE else FAILURE), {"reason": "no luck"})
        self.log.append(f"-{folder.name}")
        return [(folder, code)]

    def stop(self) -> None: ...

    def close(self) -> None: ...


def never(job: Step, out: Path) -> bool:
    return False


def test_a_job_begins_when_the_one_before_it_is_finished(tmp_path: Path) -> None:
    pool = Shelf({})
    jobs = [Step("start"), Step("curve", after="start"), Step("other")]
    runner = Runner(tmp_path, jobs, pool, lambda status: None, never)
    assert not runner.go()
    assert pool.log == ["+start", "+other", "-start", "+curve", "-other", "-curve"]
    assert sorted(runner.done) == ["curve", "other", "start"]


def test_a_job_that_is_not_asked_for_is_not_waited_for(tmp_path: Path) -> None:
    runner = Runner(tmp_path, [Step("curve", after="start")], Shelf({}), lambda status: None, never)
    runner.go()
    assert runner.done == ["curve"]


def test_what_goes_on_from_a_failed_job_is_not_started(tmp_path: Path) -> None:
    said: list[str] = []
    pool = Shelf({"start": FAILED})
    jobs = [Step("start"), Step("curve", after="start"), Step("later", after="curve")]
    runner = Runner(tmp_path, jobs, pool, lambda status: said.append(status.message), never)
    runner.go()
    assert pool.log == ["+start", "-start"]
    assert runner.failed["curve"] == "not started, as start failed"
    assert runner.failed["later"] == "not started, as curve failed"
    assert "start: failed: no luck" in said


def test_jobs_without_minutes_are_expected_to_take_as_long_as_others_like_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("medcl.benchmark.runner.time.monotonic", lambda: now[0])

    class Slow(Shelf):
        def ended(self, seconds: float) -> list[tuple[Path, int]]:
            now[0] += 60.0
            return super().ended(seconds)

    told: list[Status] = []
    runner = Runner(tmp_path, [Step("a"), Step("b"), Step("c")], Slow({}, slots=1), told.append, never)
    runner.go()
    assert told[0].seconds_left is None  # nothing is known yet
    assert [status.seconds_left for status in told if status.finished == ("a",)][-1] == pytest.approx(120)


def test_a_running_job_tells_by_its_share_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("medcl.benchmark.runner.time.monotonic", lambda: now[0])
    runner = Runner(tmp_path, [Step("a")], Shelf({}, slots=1), lambda status: None, never)
    runner._start(runner._next())  # type: ignore[arg-type]
    write_json(tmp_path / "a" / PROGRESS, {"doing": "round 1: training", "share": 0.25, "seconds_left": None})
    now[0] = 10.0
    assert runner._status().seconds_left == pytest.approx(30.0)
