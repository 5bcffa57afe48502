"""The results page reads what the benchmark scripts write."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_speed_and_memory_reach_the_page(tmp_path: Path) -> None:
    memory = [{"size": [600, 512, 512], "ndim": 2, "options": {}, "peak_gb": 3.21, "seconds": 41.04, "engine": "x"}]
    speed = {
        "image": "a.nii.gz",
        "network": "unet",
        "threads": 2,
        "rounds": 5,
        "seconds_median": {"OpenVINO bf16, flips": 0.5},
        "times_torch_fp32": {"flips": 12.34},
        "same_class_as_torch_fp32": {"OpenVINO bf16": 0.99995},
    }
    (tmp_path / "predict_memory.json").write_text(json.dumps(memory))
    (tmp_path / "predict_speed.json").write_text(json.dumps(speed))
    lines = script("results").speed_lines(tmp_path)
    assert "| 600 x 512 x 512 | 2D | 3.21 | 41.0 |" in lines
    assert "| OpenVINO bf16, flips | 0.500 |" in lines
    assert "| flips | 12.3 |" in lines
    assert "| OpenVINO bf16 | 0.99995 |" in lines


def test_recipes_give_every_job_a_known_method_and_a_budget() -> None:
    from medcl.settings import BudgetSettings, set_by_path
    from medcl.training.configure import configure

    for recipe in sorted((FOLDER / "recipes").glob("*.yaml")):
        jobs = script("run").jobs_of(recipe)
        assert len({job["name"] for job in jobs}) == len(jobs)
        for job in jobs:
            BudgetSettings.from_text(job["budget"])
            settings = (f"{key}={value}" for key, value in job["settings"].items())
            configure(set_by_path({}, [f"method.name={job['method']}", *settings]))


def test_a_job_that_is_not_in_the_recipe_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = next(iter((FOLDER / "recipes").glob("*.yaml")))
    arguments = ["run.py", str(recipe), "--data", str(tmp_path), "--out", str(tmp_path), "--only", "nothing-s0"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit, match="no such job: nothing-s0"):
        script("run").main()
