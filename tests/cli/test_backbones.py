"""`medcl backbones` and `medcl pretrain` as users call them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from medcl.benchmark.cost import Cost, CostRequest
from medcl.cli import app
from medcl.phantom import make_phantom


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[CostRequest]:
    """Figures made up instead of measured; returns what was asked for."""
    asked: list[CostRequest] = []

    def measure(request: CostRequest) -> Cost:
        asked.append(request)
        if request.backbone == "smp":
            return Cost(backbone="smp", problem="needs a library")
        size = {"unet": 1, "swin": 5}.get(request.backbone, 20)
        return Cost(
            backbone=request.backbone,
            parameters=1_000_000 * size,
            gmacs=size,
            images_per_second=100 / size,
            predict_ms=10 * size,
            memory_mb=100,
            made_with="device cpu",
        )

    monkeypatch.setattr("medcl.benchmark.family.measure", measure)
    return asked


@pytest.fixture(scope="module")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_phantom(tmp_path_factory.mktemp("data") / "hearts", "heart", cases=2, size=(3, 64, 64), seed=1)


def test_the_family_is_listed(measured: list[CostRequest], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["backbones", "--quick", "--out", str(tmp_path / "costs.json")])
    assert done.exit_code == 0, done.output
    for text in ("unet", "res-unet", "unet++", "swin", "vision-lstm", "smp: needs a library"):
        assert text in done.output
    assert {request.size for request in measured} == {(64, 64)}
    again = CliRunner().invoke(app, ["backbones", "--costs", str(tmp_path / "costs.json")])
    assert again.exit_code == 0
    assert "unet" in again.output


def test_volumes_leave_out_what_cannot(measured: list[CostRequest]) -> None:
    assert CliRunner().invoke(app, ["backbones", "--size", "16,32,32"]).exit_code == 0
    assert "smp" not in {request.backbone for request in measured}


def test_advice_for_a_data_set(measured: list[CostRequest], hearts: Path) -> None:
    done = CliRunner().invoke(app, ["backbones", "unet", "swin", "--advise", str(hearts), "--budget", "5m"])
    assert done.exit_code == 0, done.output
    assert "swin is out: would see 2000 images in 5 minutes" in done.output
    assert "advice: --backbone unet" in done.output
    assert {request.classes for request in measured} == {4}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["unett"], "unknown backbone 'unett'; did you mean 'unet'?"),
        (["smp", "--ndim", "3"], "backbone 'smp': expected 2D images, got 3D"),
        (["--size", "64"], "--size: expected two or three lengths"),
        (["--size", "64,64", "--ndim", "3"], "--size: expected 3 numbers for 3D images, got 2"),
        (["--budget", "500steps"], "--budget: expected minutes"),
        (["--data", "acdc"], "--data: names a data set of a benchmark; say which with --bench"),
        (["--bench", "nowhere"], "expected a folder of medcl benchmark"),
    ],
)
def test_bad_input_is_one_line(measured: list[CostRequest], arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["backbones", *arguments])
    assert done.exit_code == 1
    assert message in done.output
    assert not measured


def test_pretraining_then_training_from_it(hearts: Path, tmp_path: Path) -> None:
    file = tmp_path / "start.safetensors"
    small = ["--set", "backbone.base=4", "--set", "backbone.levels=3", "--set", "plan.patch=[32,32]"]
    call = ["pretrain", str(hearts), "--out", str(file), "--backbone", "unet", "--budget", "3steps"]
    done = CliRunner().invoke(app, [*call, *small, "--set", "batch_size=4", "--set", "threads=1"])
    assert done.exit_code == 0, done.output
    assert f"weights: {file}" in "".join(done.output.split("\n"))
    call = ["train", str(hearts), "--out", str(tmp_path / "run"), "--weights", str(file), "--budget", "1steps"]
    done = CliRunner().invoke(app, [*call, *small, "--set", "sample_pictures=0", "--set", "threads=1"])
    assert done.exit_code == 0, done.output
    assert "weights: not in the file, start fresh: decoder, head, up" in (tmp_path / "run" / "train.log").read_text(
        encoding="utf-8"
    )
    done = CliRunner().invoke(app, [*call[:3], str(tmp_path / "wide"), *call[4:], "--set", "backbone.base=6"])
    assert done.exit_code == 1
    assert "expected the weights of this network, but they differ" in " ".join(done.output.split())
    assert not (tmp_path / "wide").exists()
