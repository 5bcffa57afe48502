from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from medcl.cli import app
from medcl.data.geometry import Geometry, Image
from medcl.errors import DataError, MissingExtraError, SettingsError
from medcl.evaluation.compare_sets import _scans, compare_sets
from medcl.evaluation.radiomics import choose_library, scan_features


def scans(folder: Path, count: int, *, noise: float, step: float, seed: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:20, :24]
    disc = 100.0 * (np.hypot(y - 10, x - 12) < 8)
    for n in range(count):
        volume = disc[:, :, None] * rng.uniform(0.8, 1.2) + rng.normal(0, noise, (20, 24, 3))
        affine = np.diag([step, step, 5, 1])
        nibabel.save(nibabel.Nifti1Image(volume.astype(np.float32), affine), folder / f"s{n}_0000.nii.gz")
    return folder


def test_the_same_scanner_is_like_and_another_is_not(tmp_path: Path) -> None:
    a = scans(tmp_path / "a", 8, noise=5, step=1.0, seed=0)
    same = scans(tmp_path / "same", 4, noise=5, step=1.0, seed=1)
    other = scans(tmp_path / "other", 4, noise=30, step=1.6, seed=2)
    like = compare_sets(a, same, features="simpleitk", draws=40)
    unlike = compare_sets(a, other, tmp_path / "out", features="simpleitk", draws=40)
    assert not like.unlike
    assert unlike.unlike
    assert unlike.distance.distance > like.distance.distance
    content = json.loads((tmp_path / "out" / "compare.json").read_text(encoding="utf-8"))
    assert content["unlike"] is True
    assert content["features_by"] == "simpleitk"
    assert str(tmp_path) not in json.dumps(content)
    named = {d["name"]: d for d in content["differences"]}
    assert named["voxel size y (mm)"]["mean_b"] == pytest.approx(1.6)
    page = (tmp_path / "out" / "compare.html").read_text(encoding="utf-8")
    assert "B looks unlike A" in page
    assert page.count("data:image/png") == 8


def test_a_damaged_scan_is_left_out_and_named(tmp_path: Path) -> None:
    a, b = (scans(tmp_path / name, 7, noise=5, step=1.0, seed=k) for k, name in enumerate("ab"))
    (b / "s3_0000.nii.gz").write_bytes(b"no image")
    result = compare_sets(a, b, features="simpleitk", draws=20)
    assert len(result.skipped) == 1
    assert result.skipped[0].startswith("s3: ")
    assert len(result.cases[1]) == 6


def test_the_command_says_it_in_one_sentence(tmp_path: Path) -> None:
    a, b = scans(tmp_path / "a", 7, noise=5, step=1.0, seed=0), scans(tmp_path / "b", 3, noise=40, step=1.0, seed=1)
    done = CliRunner().invoke(app, ["compare-sets", str(a), str(b), "--features", "simpleitk", "--draws", "20"])
    assert done.exit_code == 0, done.output
    text = " ".join(done.stdout.split())
    assert "usual within A" in text
    assert "B looks unlike A" in text
    assert "not the IBSI set" in text
    bad = CliRunner().invoke(app, ["compare-sets", str(tmp_path / "nothing"), str(b)])
    assert bad.exit_code == 1
    assert "expected a data set or a folder of images" in " ".join(bad.output.split())


def test_too_few_scans_are_told_before_any_work(tmp_path: Path) -> None:
    a, b = scans(tmp_path / "a", 3, noise=5, step=1.0, seed=0), scans(tmp_path / "b", 3, noise=5, step=1.0, seed=1)
    with pytest.raises(DataError, match="set A: expected at least 6 scans"):
        compare_sets(a, b)


def image(values: np.ndarray) -> Image:
    return Image(values[None].astype(np.float32), Geometry(size=values.shape, spacing_mm=(5.0, 1.0, 1.0), file_ndim=3))


def test_features_do_not_depend_on_the_unit_of_intensity_unless_asked() -> None:
    values = np.random.default_rng(0).gamma(2, 30, (3, 24, 24))
    one, other = (scan_features(image(values * unit)) for unit in (1.0, 7.0))
    for name, value in one.items():
        assert other[name] == pytest.approx(value, rel=1e-3, abs=1e-3), name
    raw = scan_features(image(values * 7), raw=True)
    assert raw["intensity mean"] > 3 * one["intensity mean"]


def test_first_order_features_by_hand() -> None:
    values = np.zeros((1, 16, 16))
    values[0, 4:12, 4:12] = np.arange(64).reshape(8, 8) + 100
    found = scan_features(image(values), raw=True)
    inside = np.arange(64) + 100.0
    assert found["intensity mean"] == pytest.approx(inside.mean())
    assert found["intensity median"] == pytest.approx(np.median(inside), abs=2)
    assert found["body volume (ml)"] == pytest.approx(64 * 5 / 1000)


def test_a_constant_image_has_features() -> None:
    assert scan_features(image(np.full((2, 9, 9), 5.0)))["field of view z (mm)"] == 10


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_numbers_are_refused(value: float) -> None:
    values = np.random.default_rng(0).normal(size=(2, 16, 16))
    values[1, 3, 4] = value
    with pytest.raises(DataError, match=r"expected finite intensities, got 1 voxel"):
        scan_features(image(values))


@pytest.mark.parametrize(
    ("names", "cases"),
    [
        (["img_0001", "img_0002", "img_0003"], ["img_0001", "img_0002", "img_0003"]),
        (["ct_2021", "ct_2022", "x"], ["ct_2021", "ct_2022", "x"]),
        (["a_0000", "a_0001", "b_0001", ".hidden"], ["a", "b_0001"]),
    ],
)
def test_a_number_is_a_channel_where_a_first_one_goes_with_it(
    tmp_path: Path, names: list[str], cases: list[str]
) -> None:
    for name in names:
        (tmp_path / f"{name}.nii.gz").touch()
    assert list(_scans(tmp_path, "Tr")) == cases


def test_two_scans_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a_0000.nii.gz"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"got a\.nii\.gz and a_0000\.nii\.gz for 'a'"):
        _scans(tmp_path, "Tr")


def test_which_library(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="expected auto, pyradiomics or simpleitk"):
        choose_library("mine")  # type: ignore[arg-type]
    monkeypatch.setattr("medcl.evaluation.radiomics.find_spec", lambda name: None)
    assert choose_library() == "simpleitk"
    with pytest.raises(MissingExtraError, match="pyradiomics"):
        choose_library("pyradiomics")


@pytest.mark.skipif(find_spec("radiomics") is None, reason="PyRadiomics is not installed")
def test_pyradiomics_agrees_with_simpleitk_on_first_order() -> None:
    values = np.random.default_rng(0).gamma(2, 30, (3, 24, 24))
    ours, theirs = scan_features(image(values)), scan_features(image(values), library="pyradiomics")
    assert theirs["firstorder Mean"] == pytest.approx(ours["intensity mean"], rel=1e-4)
    assert len(theirs) > 80
