"""A short version of `benchmarks/annotate_kill.py`: the server is killed while people draw, and nothing is lost."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def kill(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script as a module."""
    folder = project_root / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(project_root / "src"))
    spec = importlib.util.spec_from_file_location("annotate_kill", folder / "annotate_kill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_killed_server_loses_no_acknowledged_stroke(kill: ModuleType, tmp_path: Path) -> None:
    found = kill.run(tmp_path, 2, training=False, seed=1, longest=1.0)
    assert found["problems"] == []
    assert found["acknowledged_strokes"] >= 20
    assert found["lost"] == 0


@pytest.mark.slow
def test_killed_trainings_are_told_as_crashed(kill: ModuleType, tmp_path: Path) -> None:
    found = kill.run(tmp_path, 3, training=True, seed=2, longest=2.0)
    assert found["problems"] == []
    assert found["killed_workers"] > 0
    assert found["jobs_told_as_crashed"] > 0
