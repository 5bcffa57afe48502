"""Every term of MedCL has its own line in the log of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medcl.training import train
from medcl.training.log import read_log

TERMS = {"partial_ce", "dice", "mixed_partial_ce", "mix_consistency", "existence", "local", "global"}


def test_log_names_every_term_and_their_sum(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(hearts, run, budget="4steps", settings={**tiny, "validate_every": 1.0}, store=tmp_path / "store")
    rows = [row for row in read_log(run / "log.csv") if row["kind"] == "loss"]
    at_end = {row["name"]: row["value"] for row in rows if row["step"] == max(r["step"] for r in rows)}
    assert set(at_end) >= TERMS | {"loss"}
    assert abs(sum(at_end[term] for term in TERMS) - at_end["loss"]) < 1e-3
