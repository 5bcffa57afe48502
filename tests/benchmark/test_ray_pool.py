"""Jobs on a cluster, with a stand-in for Ray: what is asked of it and what becomes of its answers."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medcl.benchmark.ray_pool import RayPool, do_job_there
from medcl.benchmark.work import FAILED, STOPPED
from medcl.errors import MissingExtraError, RunError


class FakeRay(SimpleNamespace):
    """Runs nothing: tasks are numbered, the first one waited for is ready."""

    def __init__(self, resources: dict[str, float], answers: dict[int, Any]) -> None:
        super().__init__(asked=[], cancelled=[], resources=resources, answers=answers, options_given=None, open=False)

    def init(self, **options: Any) -> None:
        if options["address"] == "nowhere":
            raise ConnectionError("nobody there")
        self.open = True

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def remote(self, function: Any) -> Any:
        def ask(*arguments: Any) -> int:
            self.asked.append(arguments)
            return len(self.asked)

        def options(**given: Any) -> Any:
            self.options_given = given
            return SimpleNamespace(remote=ask)

        return SimpleNamespace(options=options)

    def wait(self, tasks: list[int], num_returns: int, timeout: float) -> tuple[list[int], list[int]]:
        return tasks[:1], tasks[1:]

    def get(self, task: int) -> Any:
        answer = self.answers[task]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def cancel(self, task: int, force: bool) -> None:
        self.cancelled.append(task)

    def shutdown(self) -> None:
        self.open = False


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'medcl\[ray\]'"):
        RayPool(tmp_path, "auto")


def test_jobs_take_a_gpu_where_there_are_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay({"CPU": 8.0, "GPU": 2.0}, {1: 0, 2: RuntimeError("the machine is gone")})
    monkeypatch.setitem(sys.modules, "ray", fake)
    pool = RayPool(tmp_path, "auto")
    assert pool.slots == 2
    assert fake.options_given == {"num_cpus": 1, "num_gpus": 1, "max_retries": 0}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        pool.start(tmp_path / name)
    assert fake.asked[0] == (str(tmp_path), str(tmp_path / "a"), 2)
    assert pool.ended(0.1) == [(tmp_path / "a", 0)]
    assert pool.ended(0.1) == [(tmp_path / "b", FAILED)]
    assert "the machine is gone" in (tmp_path / "b" / "job.log").read_text(encoding="utf-8")
    assert pool.ended(0.1) == []
    fake.answers[3] = RuntimeError("cancelled")
    pool.start(tmp_path / "a")
    pool.stop()
    assert fake.cancelled == [3]
    assert pool.ended(0.1) == [(tmp_path / "a", STOPPED)]
    pool.close()
    assert not fake.open


def test_without_gpus_each_job_takes_a_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay({"CPU": 5.0}, {})
    monkeypatch.setitem(sys.modules, "ray", fake)
    assert RayPool(tmp_path, "auto").slots == 5
    assert RayPool(tmp_path, "auto", slots=3).slots == 3
    assert fake.options_given["num_gpus"] == 0


def test_no_cluster_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", FakeRay({}, {}))
    with pytest.raises(RunError, match="--ray nowhere: no cluster could be reached"):
        RayPool(tmp_path, "nowhere")


def test_a_disk_that_is_not_shared_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not there on this machine"):
        do_job_there(str(tmp_path), str(tmp_path / "job"), 1)
