"""Made-up raters depart from the truth in the way that their settings say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medcl import RaterSet, make_phantom
from medcl.errors import SettingsError
from medcl.phantom.raters import RATERS, RaterSettings, rate

Y, X = np.mgrid[:48, :48]
RADIUS = np.hypot(Y - 23.5, X - 23.5)
TRUTH = ((RADIUS < 16).astype(np.int16) + (RADIUS < 8))[None]


def drawn(**settings: float) -> np.ndarray:
    return rate(TRUTH, RaterSettings.parse({"wobble": 0, **settings}), np.random.default_rng(0))


def test_without_a_fault_the_truth_is_drawn() -> None:
    assert (drawn() == TRUTH).all()


def test_offset_moves_the_outer_border_by_as_many_pixels() -> None:
    assert (drawn(offset=2.0) > 0).sum() == pytest.approx(np.pi * 18**2, rel=0.06)
    assert (drawn(offset=-3.0) == 2).sum() == pytest.approx(np.pi * 5**2, rel=0.1)


def test_the_smallest_structure_is_missed() -> None:
    assert set(np.unique(drawn(misses=1.0))) == {0, 1}


def test_noise_stays_near_structures() -> None:
    noisy = rate(TRUTH, RATERS["noisy"], np.random.default_rng(0))
    assert 0.02 < (noisy != TRUTH).mean() < 0.3
    assert (noisy[0, 0] == 0).all()


def test_an_empty_case_stays_empty() -> None:
    for settings in RATERS.values():
        assert not rate(np.zeros((2, 9, 9), np.int16), settings, np.random.default_rng(0)).any()


def test_phantom_folder_with_raters(tmp_path: Path) -> None:
    options = {"cases": 2, "validation": 0, "test": 1, "ndim": 2, "size": (40,)}
    folder = make_phantom(tmp_path / "many", "heart", raters=("large", "small"), **options)
    rated = RaterSet.open(folder)
    assert rated.raters == ("large", "small")
    assert [len(rated.cases(split)) for split in ("Tr", "Val", "Ts")] == [2, 0, 1]
    large, small = rated.read(rated.cases("Ts")[0])
    assert (large > 0).sum() > (small > 0).sum()
    assert RaterSet.open(folder, kind="scribbles").raters == ("large", "small")
    plain = make_phantom(tmp_path / "one", "heart", **options)
    for name in ("imagesTr", "scribblesTr"):  # raters change nothing else
        for path in sorted((plain / name).glob("*.nii.gz")):
            assert path.read_bytes() == (folder / name / path.name).read_bytes()


def test_unknown_rater(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unknown phantom rater 'larg'"):
        make_phantom(tmp_path / "x", "heart", raters=("larg",))
