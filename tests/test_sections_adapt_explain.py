"""The parts of the results page about adapting, explaining and sources of uncertainty read what their scripts write."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def section(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"section_{name}", FOLDER / f"section_{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_adapting() -> None:
    rows: list[dict[str, Any]] = [
        {"experiment": "a -> b", "variant": "before", "dice": {"LV": 0.5}, "mean": 0.5},
        {
            "experiment": "a -> b",
            "variant": "default",
            "dice": {"LV": 0.75},
            "mean": 0.75,
            "refused": [],
            "guard_before": {"score": 0.4},
            "guard_after": {"score": 0.6},
        },
    ]
    lines = section("adapt").lines({"images": 4, "steps": 9, "tests": 2, "seed": 0, "rows": rows})
    assert "| a -> b | default | 0.500 | 0.750 | LV 0.750 | 0.400 | 0.600 | accepted |" in lines


def test_explaining() -> None:
    def row(variant: str, seconds: float, insertion: float) -> dict[str, Any]:
        same = {"set": "acdc", "case": "c", "structure": "LV", "slice": 3, "deletion": 0.1, "passes": 40}
        return {**same, "variant": variant, "cpu_seconds": seconds, "insertion": insertion}

    rows = [row("RISE, region", 2.0, 0.95), row("RISE, whole image", 10.0, 0.94)]
    lines = section("explain").lines({"rows": rows})
    assert "| acdc | RISE, region | 1 | 0.950 | 0.100 | 40 | 2.0 |" in lines
    assert any("5.0 times faster" in line and "+0.010" in line for line in lines)


def test_sources_of_uncertainty() -> None:
    row = {
        "maps": 2,
        "dice": 0.81,
        "ece_foreground": 0.05,
        "ece_band": 0.04,
        "brier": 0.02,
        "nll": 0.03,
        "auroc_entropy": 0.75,
        "auroc_mutual_information": None,
        "r_expected": 0.7,
    }
    content = {
        "sets": {"mscmr": {"test_cases": 5, "sources": {"tta": row}}},
        "samples": 6,
        "seed": 0,
        "code": {"commit": "abc", "changed": True},
        "versions": {"torch": "2"},
        "machine": {"processor": "x"},
    }
    lines = section("sources").lines(content)
    assert "| tta | 2 | 0.810 | 0.0500 | 0.0400 | 0.0200 | 0.0300 | 0.750 | - | 0.700 |" in lines
    assert lines[-2] == "Seed 0; commit abc (changed); torch 2; x."
