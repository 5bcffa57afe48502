"""The results page shows what the calibration script wrote."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

PATH = Path(__file__).resolve().parents[1] / "benchmarks" / "section_calibration.py"


def test_ways_and_quality_become_tables() -> None:
    spec = importlib.util.spec_from_file_location("section_calibration", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    scores = dict.fromkeys(("ece", "ece_foreground", "ece_band", "ece_classwise", "brier", "nll"), 0.05)
    quality = {"r_cases": 0.8, "r_structures": 0.7, "mean_expected": 0.9, "mean_true": 0.88}
    quality |= {"dice_of_surest_half": 0.93, "volume_in_interval": 0.6, "interval_width_share": 0.2}
    one: dict[str, Any] = {"model": "m", "others": ["n"], "test_cases": 20}
    one["ways"] = {"agreement": {**scores, "temperature": 1.4, "far": 0.9, "kind": "temperature"}}
    one["quality"] = {"as it is": quality}
    page = "\n".join(module.lines({"sets": {"acdc": one}, "recommended": "agreement"}))
    assert "### acdc: `m`, 20 labelled cases that no way saw (other run: n)" in page
    assert "| **agreement** | 1.40 | 0.90 | 0.0500 |" in page
    assert "| as it is | 0.80 | 0.70 | 0.900 | 0.880 | 0.930 | 60% | 0.20 |" in page
