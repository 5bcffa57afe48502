"""The results page reads what the speed scripts write."""

from __future__ import annotations

import importlib.util
import json
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_runs_of_an_earlier_version_get_a_part_of_their_own(tmp_path: Path) -> None:
    results = script("results")
    results.recipes_in = lambda runs: [runs.name]
    results._lines = lambda runs, name: [f"# Title of {name}", "text", ""]
    results.glance = lambda runs, names: []
    page = results.page(tmp_path / "now", earlier=tmp_path / "before", earlier_was="Two views.")
    assert (
        page.index("## Title of now")
        < page.index("## Earlier version\n\nTwo views.")
        < page.index("### Title of before")
    )
    assert "Earlier" not in results.page(tmp_path / "now")


def test_speed_and_memory_reach_the_page(tmp_path: Path) -> None:
    memory = [
        {"size": [600, 512, 512], "ndim": 2, "peak_gb": 3.21, "seconds": 41.04, "cpu_seconds_per_megavoxel": 0.31}
    ]
    speed = {
        "image": "a.nii.gz",
        "network": "unet",
        "threads": 2,
        "rounds": 5,
        "seconds_median": {"OpenVINO bf16, flips": 0.5},
        "times_torch_fp32": {"flips": 12.34},
        "same_class_as_torch_fp32": {"OpenVINO bf16": 0.99995},
    }
    (tmp_path / "predict_memory.json").write_text(json.dumps(memory), encoding="utf-8")
    (tmp_path / "predict_speed.json").write_text(json.dumps(speed), encoding="utf-8")
    rate = {"slices_per_cpu_second": 141.6, "slices_per_second": 99.9}
    strokes = {"slices": 200, "size": [256, 256], "load": 1.0, "presets": {"quick": rate}}
    (tmp_path / "stroke_speed.json").write_text(json.dumps(strokes), encoding="utf-8")
    lines = script("results").speed_lines(tmp_path)
    assert "| 600 x 512 x 512 | 2D | 3.21 | 41.0 | 0.26 | 0.31 |" in lines
    assert "| OpenVINO bf16, flips | 0.500 |" in lines
    assert "| flips | 12.3 |" in lines
    assert "| quick | 142 | 100 |" in lines
    assert "| OpenVINO bf16 | 0.99995 |" in lines


def test_every_backbone_whose_library_is_there_has_a_job_on_made_up_hearts(tmp_path: Path) -> None:
    from medcl.backbones import backbones
    from medcl.benchmark import plan_benchmark

    own = {name for name in backbones if backbones.get(name).__module__.startswith("medcl.")}  # other tests add some
    backbones_script = script("backbones")
    jobs = plan_benchmark(backbones_script.recipe(tmp_path, budget="1m"), tmp_path)
    missing = {name for name, package in backbones_script.EXTRAS.items() if find_spec(package) is None}
    assert {job.settings["backbone"]["name"] for job in jobs} == own - missing


def test_the_annotation_page_reaches_the_page(tmp_path: Path) -> None:
    run = {"seed": 0, "strokes": 10, "seconds_to_useful": None, "dice_all_cases": {"a": 0.5, "b": 0.7}}
    first = {"useful": 0.75, "minutes": 2.0, "runs": [run, {**run, "seconds_to_useful": 51.2}]}
    kill = {"rounds": 20, "acknowledged_strokes": 900, "lost": 1, "problems": ["lost: one", "job 3 is still told"]}
    point = {"mean_over_rounds": 0.01, "last_round": -0.02, "standard_deviation_over_seeds": None}
    difference = {"entropy-rarity - random": {**point, "seeds_in_favour": 1, "seeds": 1}}
    summary = {"mean": {"entropy-rarity": [0.5, 0.62], "random": [0.5, 0.6]}, "difference": difference}
    for name, content in {"first": first, "kill": kill, "loop": {"summary": summary, "runs": [{}]}}.items():
        (tmp_path / f"annotate_{name}.json").write_text(json.dumps(content), encoding="utf-8")
    page = script("results").page(tmp_path)
    assert "| 120 s | never, 51 s |" in page
    assert "mean Dice of all cases after 2 minutes, 10 strokes |  | 0.600 |" in page
    assert "20 rounds, 900 strokes: lost | 0 | 1 |" in page
    assert "anything else wrong after them | 0 | 1 |" in page
    assert "| strategy | start | round 1 |" in page
    assert "| random | 0.500 | 0.600 |" in page
    assert "entropy-rarity - random: +0.010 over the rounds, -0.020 at the end, in favour in 1 of 1 seeds." in page
