"""Several processes stop at the same step, with its checkpoint, whoever of them saw the signal or the end first."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medcl.settings import BudgetSettings, TrainSettings
from medcl.training import supervisor as supervisor_module
from medcl.training.log import RunLog
from medcl.training.schedule import Clock
from medcl.training.supervisor import Supervisor


class Others:
    """What the other processes of a distributed training say."""

    def __init__(self, share: float | None, interrupted: bool) -> None:
        self.share, self.interrupted = share, interrupted

    def broadcast(self, share: float) -> float:
        return share if self.share is None else self.share

    def reduce_boolean_decision(self, decision: bool, **options: bool) -> bool:
        assert options == {"all": False}, "one process is enough"
        return decision or self.interrupted


@pytest.mark.parametrize(
    ("first", "share", "interrupted", "stops"),
    [
        (True, None, False, False),
        (True, None, True, True),  # only the other process got the signal: this one saves
        (False, None, True, True),
        (False, 1.0, False, True),  # the first process's clock is at the end, ours is not
        (False, 0.4, False, False),
    ],
)
def test_all_processes_stop_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool, share: float | None, interrupted: bool, stops: bool
) -> None:
    saved: list[int] = []
    monkeypatch.setattr(supervisor_module, "_own", lambda module: module)
    watch = Supervisor(
        tmp_path,
        RunLog(tmp_path / "log.csv"),
        score=None,
        draw=None,
        show=lambda moment: None,
        state={"next_validation": 0.9},
        keep_best=lambda network, scores, step: None,
    )
    monkeypatch.setattr(watch, "save", lambda module: saved.append(module.done_steps))
    trainer: Any = SimpleNamespace(
        world_size=2,
        is_global_zero=first,
        strategy=Others(share, interrupted),
        should_stop=False,
        loggers=[],
    )
    module: Any = SimpleNamespace(
        train_settings=TrainSettings(),
        clock=Clock(BudgetSettings(steps=10)),
        done_steps=5,
        last_losses={"loss": 1.0},
    )
    watch.on_train_batch_end(trainer, module, None, None, 0)
    assert trainer.should_stop == stops
    assert saved == ([5] if stops and first else [])
    assert watch.interrupted == interrupted, "every process knows why the training ended"
