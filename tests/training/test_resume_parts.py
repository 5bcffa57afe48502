"""A second decoder and a teacher of its own decay are part of the run: resumed to the last bit, not handed on."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from medcl.training import train
from medcl.training.checkpoint import load_checkpoint

CASES = [
    ("dmpls", {}, "branch"),
    ("ustm", {"teacher_decay": 0.5, "passes": 1}, "own_teacher"),
]


@pytest.mark.parametrize(("name", "options", "part"), CASES, ids=[case[0] for case in CASES])
def test_a_run_with_parts_resumes_exactly(
    name: str, options: dict[str, Any], part: str, hearts: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    settings = {**tiny, "method": {"name": name, **options}}

    def stop(moment: Any) -> None:
        if moment.message.startswith("step 6"):
            signal.raise_signal(signal.SIGINT)

    whole = train(hearts, tmp_path / "whole", budget="12steps", settings=settings)
    first = train(hearts, tmp_path / "run", budget="12steps", settings=settings, show=stop)
    assert not first.finished
    second = train(hearts, tmp_path / "run", resume=True)
    assert (second.finished, second.steps) == (True, 12)
    expected, got = (load_file(r.model / "weights.safetensors") for r in (whole, second))
    assert expected.keys() == got.keys()
    assert not [key for key in got if "branch" in key or "teacher" in key], "the main branch alone is handed on"
    assert all(bool((expected[key] == got[key]).all()) for key in expected)
    states = [load_checkpoint(r.folder / "checkpoints" / "last.ckpt")[part] for r in (whole, second)]
    assert states[0].keys() == states[1].keys()
    assert all(bool((states[0][key] == states[1][key]).all()) for key in states[0])
