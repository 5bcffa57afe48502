"""A run that is killed and resumed ends where an uninterrupted one ends, to the last bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from medcl.errors import RunError
from medcl.training import train
from medcl.training.log import read_log

KILLS = 20


def weights(run: Path) -> dict[str, Any]:
    return load_file(run / "model" / "weights.safetensors")


def test_twenty_kills_change_no_bit(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    settings = {**tiny, "checkpoint_minutes": 0.004}
    steps = 400
    whole = tmp_path / "whole"
    train(hearts, whole, budget=f"{steps}steps", settings=settings, store=tmp_path / "store")

    killed = tmp_path / "killed"
    environment = {**os.environ, "MEDCL_TEST_SETTINGS": json.dumps(settings), "OMP_NUM_THREADS": "1"}
    driver = Path(__file__).with_name("kill_driver.py")
    output = subprocess.run(
        [sys.executable, str(driver), str(hearts), str(killed), str(steps), str(KILLS), "7"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=800,
        check=True,
        encoding="utf-8",
    ).stdout
    report = json.loads(output.strip().splitlines()[-1])

    assert report["status"] == 0
    assert report["kills"] >= KILLS // 2  # a fast machine is done before the last ones
    expected, got = weights(whole), weights(killed)
    assert expected.keys() == got.keys()
    assert all(bool((expected[name] == got[name]).all()) for name in expected)
    losses = [r for r in read_log(killed / "log.csv") if r["kind"] == "validation" and r["name"] == "dice"]
    assert [r["step"] for r in losses] == sorted({r["step"] for r in losses}), "no step is logged twice"
    assert not [p for p in killed.rglob("*") if p.name.startswith(".tmp-") and p.is_file() and p.parent.name == "model"]


def test_interrupt_saves_and_resume_finishes(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    import signal

    messages = []

    def show(moment: Any) -> None:
        if moment.message:
            messages.append(moment.message)
        if moment.message.startswith("step 15"):
            signal.raise_signal(signal.SIGINT)

    run = tmp_path / "run"
    first = train(hearts, run, budget="30steps", settings=tiny, show=show)
    assert not first.finished
    assert 15 <= first.steps < 30
    assert "--resume" in messages[-1]
    assert not first.model.exists()

    second = train(hearts, run, resume=True)
    assert second.finished
    assert second.steps == 30
    assert second.model.is_dir()

    whole = train(hearts, tmp_path / "whole", budget="30steps", settings=tiny)
    assert all(bool((a == weights(second.folder)[name]).all()) for name, a in weights(whole.folder).items())


def test_resume_without_a_run_says_so(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"found no run\.json; start it without resume"):
        train(hearts, tmp_path / "run", resume=True)


def test_a_run_is_never_overwritten(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    train(hearts, tmp_path / "run", budget="2steps", settings=tiny)
    with pytest.raises(RunError, match="holds a run already"):
        train(hearts, tmp_path / "run", budget="2steps", settings=tiny)


def test_resume_refuses_other_settings(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    train(hearts, tmp_path / "run", budget="2steps", settings=tiny)
    with pytest.raises(RunError, match="keeps its settings"):
        train(hearts, tmp_path / "run", budget="4steps", settings={"seed": 3}, resume=True)


def test_resume_takes_the_settings_that_the_run_was_started_with(
    hearts: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    # a group that is given in part: the plan chose the strides, and says nothing else on a second call
    settings = {**tiny, "backbone": {"name": "unet", "base": 4}, "optim": {"ema": 0.9}, "reach": None}
    train(hearts, tmp_path / "run", budget="2steps", settings=settings)
    assert (
        json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["settings"]["backbone"]["strides"]
        is not None
    )
    assert train(hearts, tmp_path / "run", budget="2steps", settings=settings, resume=True).finished
    for key, other in (("backbone", {"base": 6}), ("optim", {"ema": 0.8}), ("method", "partial-ce"), ("reach", 3.0)):
        with pytest.raises(RunError, match=rf"keeps its settings; leave out the other options \({key}\)"):
            train(hearts, tmp_path / "run", budget="2steps", settings={**settings, key: other}, resume=True)
    with pytest.raises(RunError, match=r"\(budget\)"):
        train(hearts, tmp_path / "run", budget="5m", settings=settings, resume=True)


def test_a_broken_checkpoint_is_one_clear_sentence(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    train(hearts, tmp_path / "run", budget="2steps", settings=tiny)
    (tmp_path / "run" / "checkpoints" / "last.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(RunError, match=r"last\.ckpt: cannot be read"):
        train(hearts, tmp_path / "run", resume=True)


def test_resume_refuses_changed_strokes(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    import shutil

    from medcl.data.io import read_map, write_map

    data = tmp_path / "data"
    shutil.copytree(hearts, data)
    train(data, tmp_path / "run", budget="2steps", settings=tiny)
    strokes = sorted((data / "scribblesTr").iterdir())[0]
    array, geometry = read_map(strokes)
    array[0, 0, 0] = 1
    write_map(strokes, array, geometry)
    with pytest.raises(RunError, match=r"strokes, labels or dataset\.json of its training or validation cases changed"):
        train(data, tmp_path / "run", resume=True)


def test_resume_on_other_hardware_says_so(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(hearts, run, budget="2steps", settings=tiny)
    content = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert content["hardware"][1] == "precision 32-true: asked for"
    content["hardware"][1] = "precision bf16-mixed: the GPU has bf16"
    (run / "run.json").write_text(json.dumps(content), encoding="utf-8")
    messages: list[str] = []
    train(hearts, run, resume=True, show=lambda moment: messages.append(moment.message))
    assert [m for m in messages if m.startswith("goes on with precision 32-true (before: precision bf16-mixed):")]
