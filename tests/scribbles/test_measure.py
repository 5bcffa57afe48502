"""Strokes of known length, width and place are measured as what they are; sets are compared as SciPy does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from medcl.data.labels import UNLABELLED
from medcl.scribbles import simulate
from medcl.scribbles.compare import QUANTILES, compare_strokes, summarise, values_of
from medcl.scribbles.known import find_unusual
from medcl.scribbles.measure import QUANTITIES, StrokeRow, measure_strokes
from medcl.scribbles.presets import known_sets
from medcl.scribbles.skeleton import branches, skeleton_length


def empty() -> np.ndarray:
    return np.full((1, 60, 60), UNLABELLED, np.int16)


def test_a_bar_has_its_length_and_width() -> None:
    scribble = empty()
    scribble[0, 20:24, 10:50] = 1
    (row,) = measure_strokes(scribble, (5.0, 0.5, 0.5), case="a")
    assert row.length_mm == pytest.approx(20, rel=0.05)
    assert row.thickness_mm == pytest.approx(2, rel=0.06)
    assert row.thickness_px == pytest.approx(4, rel=0.06)
    assert row.pieces == 1
    assert math.isnan(row.coverage)


def test_a_dot_is_as_long_as_wide_and_pieces_are_counted() -> None:
    scribble = empty()
    scribble[0, 5, 5] = scribble[0, 30, 30] = 2
    (row,) = measure_strokes(scribble)
    assert (row.length_mm, row.thickness_mm, row.pieces) == (2.0, 1.0, 2.0)


def test_coverage_depth_and_mistakes_against_the_label() -> None:
    scribble, label = empty(), np.zeros((1, 60, 60), np.int16)
    label[0, 10:31, 10:31] = 1  # 21 x 21, deepest pixel 11 from outside
    label[0, 10:31, 40:50] = UNLABELLED
    scribble[0, 20, 15:45] = 1  # 16 pixels inside, 9 on background, 5 where nobody knows
    (row,) = measure_strokes(scribble, label=label)
    assert row.coverage == pytest.approx(16 / 441)
    assert row.mistakes == pytest.approx(9 / 25)
    depth = [min(x - 9, 31 - x, 11) for x in range(15, 31)]
    assert row.border_mm == np.median(depth)
    assert row.relative_depth == np.median(depth) / 11


def test_background_is_measured_from_the_structures() -> None:
    scribble, label = empty(), np.zeros((1, 60, 60), np.int16)
    label[0, :, 30:] = 1
    scribble[0, 10:50, 25] = 0
    (row,) = measure_strokes(scribble, (1.0, 2.0, 2.0), label=label)
    assert (row.index, row.border_mm, row.mistakes) == (0, 10.0, 0.0)
    assert math.isnan(row.relative_depth)


def test_skeletons_as_lines() -> None:
    mask = np.zeros((40, 40), bool)
    mask[20, 5:35] = mask[8:20, 20] = True
    lines = branches(mask, (1.0, 1.0), shortest=3, most=5)
    assert [round(float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())) for line in lines] == [29, 12]
    assert branches(np.zeros((4, 4), bool), (1.0, 1.0), 1, 5) == []
    assert skeleton_length(np.eye(5, dtype=bool), (1.0, 1.0)) == pytest.approx(4 * math.sqrt(2))
    assert skeleton_length(np.ones((1, 5), bool), (1.0, 0.5)) == 2.0


def rows(lengths: list[float], index: int = 1) -> list[StrokeRow]:
    return [StrokeRow("a", z, index, length, 2.0, 2.0, 1.0) for z, length in enumerate(lengths)]


def test_distance_is_scipys() -> None:
    real, simulated = [1.0, 2.0, 3.0], [2.0, 4.0]
    found = {(e.kind, e.quantity): e for e in compare_strokes(rows(real), rows(simulated))}
    entry = found["structures", "length_mm"]
    assert entry.wasserstein == pytest.approx(wasserstein_distance(real, simulated))
    assert entry.relative == pytest.approx(entry.wasserstein / 2)
    assert (entry.real[1], entry.simulated[1], entry.count) == (2.0, 3.0, (3, 2))
    assert found["structures", "thickness_mm"].wasserstein == 0
    assert ("background", "length_mm") not in found
    assert ("structures", "coverage") not in found


def test_summary_holds_quantiles() -> None:
    values = list(np.arange(101.0))
    assert summarise(rows(values))["structures"]["length_mm"] == [100 * q for q in QUANTILES]


def test_known_sets_hold_quantiles_of_known_quantities() -> None:
    assert {"acdc", "mscmr"} <= set(known_sets())
    for kinds in known_sets().values():
        for quantities in kinds.values():
            assert set(quantities) <= set(QUANTITIES)
            for quantiles in quantities.values():
                assert len(quantiles) == len(QUANTILES)
                assert quantiles == sorted(quantiles)


def test_usual_strokes_are_passed_over_in_silence() -> None:
    label = np.zeros((40, 96, 96), np.int16)
    y, x = np.mgrid[:96, :96] - 48
    label[:, np.hypot(y, x) < 24] = 1
    measured = measure_strokes(simulate(label, (8.0, 1.4, 1.4)), (8.0, 1.4, 1.4), label)
    assert find_unusual(measured) == []


def test_unusual_strokes_are_named_with_what_to_expect() -> None:
    known = {"one": {"structures": {"thickness_mm": [1.0, 2.0, 2.0, 3.0, 4.0]}}}

    def found(width: float, count: int = 40) -> list[str]:
        measured = [StrokeRow("a", z, 1, 50.0, 2.0, width, 1.0) for z in range(count)]
        return [finding.message for finding in find_unusual(measured, known)]

    assert found(2.5) == []
    assert found(0.3, count=39) == []
    assert "thinner than any we know: thickness_mm is 0.3 mm" in found(0.3)[0]
    assert "thicker than any we know" in found(9.0)[0]
    assert len(values_of(rows([1.0, float("nan")]), "structures", "length_mm")) == 1
