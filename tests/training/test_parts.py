"""Log, schedule, clock, hardware, settings of a run, split: small parts with answers one can check by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medcl.errors import RunError, SettingsError
from medcl.inference.engines import device_has_bf16
from medcl.settings import BudgetSettings, OptimSettings, TrainSettings, set_by_path
from medcl.training.configure import configure
from medcl.training.hardware import choose_hardware, is_first_process, keep_buffers
from medcl.training.log import RunLog, curve, read_log
from medcl.training.schedule import Clock, averaging_decay, learning_rate


def test_learning_rate_climbs_then_falls_to_zero() -> None:
    settings = OptimSettings(learning_rate=1.0, warm_up=0.1, poly_power=1.0)
    assert learning_rate(0.0, settings) == pytest.approx(0.01)
    assert learning_rate(0.05, settings) == pytest.approx(0.5)
    assert learning_rate(0.1, settings) == pytest.approx(1.0)
    assert learning_rate(0.55, settings) == pytest.approx(0.5)
    assert learning_rate(1.0, settings) == pytest.approx(0.0)


@pytest.mark.parametrize(("decay", "middle"), [("cosine", 0.5), ("constant", 1.0)])
def test_other_decays(decay: str, middle: float) -> None:
    settings = OptimSettings(learning_rate=1.0, warm_up=0.0, decay=decay)  # type: ignore[arg-type]
    assert learning_rate(0.5, settings) == pytest.approx(middle)


def test_averaging_forgets_the_start() -> None:
    assert averaging_decay(0, 0.99) == pytest.approx(0.1)
    assert averaging_decay(8, 0.99) == pytest.approx(0.5)
    assert averaging_decay(10_000, 0.99) == 0.99


def test_clock_in_steps() -> None:
    clock = Clock(BudgetSettings(steps=10), seconds_before=5.0)
    clock.stop()
    assert clock.progress(0) == 0
    assert clock.progress(5) == 0.5
    assert clock.progress(20) == 1
    assert clock.seconds_left(0) is None
    assert clock.seconds_left(5) == pytest.approx(5.0, abs=0.5)


def test_clock_in_minutes_counts_what_was_before() -> None:
    clock = Clock(BudgetSettings(minutes=1), seconds_before=30.0)
    clock.stop()
    assert clock.progress(0) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("text", "minutes", "steps"),
    [("60m", 60, None), ("2h", 120, None), ("90s", 1.5, None), ("500steps", None, 500), (" 1.5h ", 90, None)],
)
def test_budget_from_text(text: str, minutes: float | None, steps: int | None) -> None:
    budget = BudgetSettings.from_text(text)
    assert budget.minutes == (None if minutes is None else pytest.approx(minutes))
    assert budget.steps == steps


@pytest.mark.parametrize("text", ["60", "m", "-5m", "0steps", "1.5steps", "ten minutes", ""])
def test_budget_that_is_none(text: str) -> None:
    with pytest.raises(SettingsError, match="budget"):
        BudgetSettings.from_text(text)


@pytest.mark.parametrize("values", [{}, {"minutes": 3, "steps": 10}])
def test_a_budget_is_minutes_or_steps(values: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match="budget: expected minutes or steps, one of the two"):
        configure({"budget": values})


def test_an_endless_number_is_refused() -> None:
    with pytest.raises(SettingsError, match="learning_rate: input should be a finite number"):
        configure({"optim": {"learning_rate": float("inf")}})
    with pytest.raises(SettingsError, match="budget"):
        BudgetSettings.from_text("infm")


def test_set_reads_yaml_values_and_nests() -> None:
    start = {"optim": {"ema": 0.9}}
    result = set_by_path(start, ["optim.learning_rate=1e-3", "seed=4", "method.box=[0.5, 0.9]", "augment.flip=false"])
    assert result == {
        "optim": {"ema": 0.9, "learning_rate": 1e-3},
        "seed": 4,
        "method": {"box": [0.5, 0.9]},
        "augment": {"flip": False},
    }
    assert start == {"optim": {"ema": 0.9}}


@pytest.mark.parametrize("text", ["seed", "=4", "seed.deep=4", "seed=[1", "seed='a"])
def test_set_that_cannot_be_read(text: str) -> None:
    with pytest.raises(SettingsError):
        set_by_path({"seed": 1}, [text])


def test_configuration_survives_a_round_trip() -> None:
    config = configure({"method": {"name": "medcl", "weights": {"global": 0.5}}, "seed": 3, "backbone": "unet"})
    assert configure(config.as_dict()).as_dict() == config.as_dict()
    assert config.as_dict()["method"]["weights"]["global"] == 0.5


def test_log_survives_a_torn_line_and_is_cut_back_on_resume(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    log = RunLog(path)
    for step in (1, 2, 3):
        log.add(step, step / 10, "loss", {"dice": step / 4, "with,comma": 1.0})
    with path.open("a") as file:
        file.write("4,0.4,loss,dice,0.")
    assert [r["step"] for r in read_log(path)] == [1, 1, 2, 2, 3, 3]
    RunLog(path, keep_until=2)
    assert curve(read_log(path), "loss", "dice") == ([0.1, 0.2], [0.25, 0.5])
    assert read_log(path)[1]["name"] == "with,comma"
    RunLog(path)
    assert read_log(path) == []


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(-1e6, 1e6)), max_size=8), st.integers(0, 50))
def test_log_keeps_exactly_the_steps_before(tmp_path_factory: pytest.TempPathFactory, rows: list, limit: int) -> None:
    path = tmp_path_factory.mktemp("log") / "log.csv"
    log = RunLog(path)
    for step, value in rows:
        log.add(step, 0.0, "loss", {"x": value})
    RunLog(path, keep_until=limit)
    kept = [(r["step"], r["value"]) for r in read_log(path)]
    assert kept == [(s, pytest.approx(v, rel=1e-6)) for s, v in rows if s <= limit]


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),  # torchrun on a second machine says no NODE_RANK
        ({"SLURM_PROCID": "3"}, False),
        ({"SLURM_PROCID": "0"}, True),
    ],
)
def test_the_first_process_is_told_by_any_launcher(
    environment: dict[str, str], first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() is first


def test_hardware_says_why() -> None:
    hardware = choose_hardware(TrainSettings(device="cpu", threads=1, precision="fp32", channels_last=False))
    assert hardware.precision == "32-true"
    assert hardware.threads == 1
    assert not hardware.channels_last
    assert all("asked for" in reason for reason in hardware.reasons)
    auto = choose_hardware(TrainSettings(device="cpu"))
    assert any("bf16" in reason for reason in auto.reasons)
    assert (auto.precision == "bf16-mixed") == device_has_bf16(torch.device("cpu")), "as prediction chooses"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device, so asking for one is no error")
def test_a_device_that_is_not_there_is_an_error() -> None:
    with pytest.raises(RunError, match="cuda was asked for"):
        choose_hardware(TrainSettings(device="cuda"))


def test_allocator_setting_does_not_crash() -> None:
    assert keep_buffers() in (True, False)


def test_a_stopped_clock_stands_still() -> None:
    clock = Clock(BudgetSettings(minutes=1), seconds_before=30.0)
    clock.stop()
    assert clock.seconds == clock.seconds
    assert clock.progress(0) == pytest.approx(0.5, abs=0.05)


def test_a_check_of_several_values_is_one_sentence() -> None:
    with pytest.raises(SettingsError, match=r"^method 'medcl': box: expected 0 < smallest <= largest <= 1\.$"):
        configure({"method": {"name": "medcl", "box": [0.9, 0.2]}})
