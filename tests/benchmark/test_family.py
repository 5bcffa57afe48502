"""Measuring a backbone, and what a benchmark's folder says of backbones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medcl.benchmark.cost import Cost, CostRequest, measure, measure_here
from medcl.benchmark.family import bench_scores, load_costs, measure_family, members, save_costs
from medcl.errors import DataError
from medcl.files import write_json

SMALL: dict[str, Any] = {"base": 2, "levels": 2}


def test_members_by_dimensions() -> None:
    assert "smp" in members(2)
    assert "smp" not in members(3)
    assert {"unet", "swin"} <= set(members(3))


def test_a_measurement_by_hand() -> None:
    request = CostRequest(
        backbone="unet", settings=SMALL, size=(16, 16), classes=3, batch=2, device="cpu", seconds=0.01
    )
    found = measure_here(request)
    # per pixel: 9 weights a channel pair on the fine level (1-2, 2-2, 4-2, 2-2), its head 2-3; a quarter of the coarse
    # level's (2-4, 4-4) and of the 1 x 1 convolution 4-2 before upsampling
    per_pixel = 9 * (2 + 4 + 8 + 4) + 6 + (9 * (8 + 16) + 8) / 4
    assert found.gmacs == pytest.approx(256 * per_pixel / 1e9)
    assert found.parameters == 9 * (1 * 2 + 4 + 8 + 16 + 8 + 4) + 8 + 9 + 2 * (2 + 2 + 4 + 4 + 2 + 2)
    assert found.images_per_second
    assert found.predict_ms
    assert found.memory_mb
    assert found.problem == ""


def test_each_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = CostRequest(backbone="unet", settings=SMALL, size=(16, 16), seconds=0.01, device="cpu")
    alone = measure(request)
    assert alone.problem == ""
    assert alone.parameters == measure_here(request).parameters
    seen: list[tuple[str, int, int]] = []
    monkeypatch.setattr("medcl.benchmark.family.measure", lambda request: Cost(backbone=request.backbone, problem="x"))
    costs = [alone, *measure_family([request, request], show=lambda *where: seen.append(where))]
    assert seen == [("unet", 0, 2), ("unet", 1, 2)]
    save_costs(tmp_path / "costs.json", costs)
    assert load_costs(tmp_path / "costs.json") == costs


def test_a_crash_is_a_problem_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "false")
    assert measure(CostRequest(backbone="unet", size=(8, 8))).problem == "ended with code 1"


def test_costs_of_another_file(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(DataError, match="expected measurements written by medcl backbones"):
        load_costs(tmp_path / "x.json")


def job(
    out: Path, number: int, *, backbone: dict[str, Any], dice: list[float], data: str = "acdc", seed: int = 0
) -> None:
    folder = out / "jobs" / f"job{number}"
    facts = {
        "name": f"job{number}",
        "data": data,
        "method": "medcl",
        "cases": None,
        "protocol": "20m",
        "seed": seed,
        "pieces": ["auto", "none"],
        "settings": {"method": {"name": "medcl"}, "backbone": backbone},
    }
    write_json(folder / "benchmark.json", facts)
    lines = ["view,truth,case,structure,metric,value", "auto,labels,p1,LV,hd95_mm,200", "none,labels,p1,LV,dice,0"]
    lines += [f"auto,labels,p{i},LV,dice,{value}" for i, value in enumerate(dice)]
    (folder / "scores.csv").write_text("\n".join([*lines, "auto,labels,p9,LV,dice,nan"]) + "\n", encoding="utf-8")


def test_dice_of_a_benchmark_on_equal_data_only(tmp_path: Path) -> None:
    job(tmp_path, 0, backbone={"name": "unet", "base": 8}, dice=[0.6, 0.8])
    job(tmp_path, 1, backbone={"name": "unet", "base": 8}, dice=[0.9], seed=1)
    job(tmp_path, 2, backbone={"name": "swin"}, dice=[0.5])
    job(tmp_path, 3, backbone={"name": "unet", "base": 8}, dice=[1.0], data="easy")  # nobody to compare with
    scores = bench_scores(tmp_path)
    assert {name: score.dice for name, score in scores.items()} == pytest.approx({"unet": 0.8, "swin": 0.5})
    assert scores["unet"].settings == {"base": 8}
    assert bench_scores(tmp_path, "easy")["unet"].dice == 1
    with pytest.raises(DataError, match=r"unknown data set 'hard'.*acdc, easy"):
        bench_scores(tmp_path, "hard")


def test_one_family_with_several_settings_is_told_apart(tmp_path: Path) -> None:
    job(tmp_path, 0, backbone={"name": "res-unet", "attention": "dual"}, dice=[0.6])
    job(tmp_path, 1, backbone={"name": "res-unet"}, dice=[0.5])
    job(tmp_path, 2, backbone={"name": "unet", "base": 8}, dice=[0.4])
    scores = bench_scores(tmp_path)
    assert list(scores) == ["res-unet", "res-unet attention=dual", "unet"]
    assert scores["res-unet attention=dual"].backbone == "res-unet"


def test_no_benchmark_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder of medcl benchmark with finished jobs"):
        bench_scores(tmp_path)


def test_a_cost_refuses_unknown_keys() -> None:
    with pytest.raises(Exception, match="unknown setting 'colour'"):
        Cost.parse({"backbone": "unet", "colour": 1}, where="cost")
