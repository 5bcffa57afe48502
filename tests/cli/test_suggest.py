"""`medcl suggest` as people call it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medcl.cli import app
from medcl.data.geometry import Geometry, Image
from medcl.data.io import write_image
from medcl.files import write_json
from medcl.queries.listing import read_list


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    grid = Geometry((3, 12, 12), (8.0, 1.0, 1.0))
    for number in range(3):
        array = np.random.default_rng(number).integers(0, 99, (1, *grid.size)).astype(np.int16)
        write_image(tmp_path / "d" / "imagesTr" / f"case{number}_0000.nii.gz", Image(array, grid))
    content = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "RV": 1, "ignore": 2}}
    write_json(tmp_path / "d" / "dataset.json", content)
    return tmp_path / "d"


def run(*arguments: object):
    return CliRunner().invoke(app, ["suggest", *map(str, arguments)])


def test_a_cold_start_for_a_minute(dataset: Path, tmp_path: Path) -> None:
    result = run("none", dataset, "--budget", "20s", "--out", tmp_path / "out", "--pictures", 1)
    assert result.exit_code == 0, result.output
    assert "1 place," in run("none", dataset, "--budget", "1slice", "-o", tmp_path / "one", "--pictures", 0).stdout
    assert "cold-start" in result.stdout
    assert "axial 2" in result.stdout, "pages and tables count slices from 1"
    content = read_list(tmp_path / "out")
    assert content.budget_s == 20
    assert 0 < content.places[-1].total_s <= 20
    assert len(list((tmp_path / "out" / "pictures").glob("*.png"))) == 1


def test_a_number_of_slices_and_settings(dataset: Path, tmp_path: Path) -> None:
    more = ("--set", "per_case=1", "--set", "cost.per_slice_s=100", "--pictures", 0)
    result = run("none", dataset, "--strategy", "core-set", "--budget", "20slices", "-o", tmp_path / "out", *more)
    assert result.exit_code == 0, result.output
    places = read_list(tmp_path / "out").places
    assert sorted(p.case for p in places) == ["case0", "case1", "case2"]
    assert all(p.cost_s > 100 for p in places)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--budget", "5"), "expected a time above 0 (90s, 5m, 1h) or a number of slices (20slices), got '5'"),
        (("--budget", "2h30m"), "expected a time above 0 (90s, 5m, 1h)"),
        (("--budget", "0s"), "expected a time above 0 (90s, 5m, 1h)"),
        (("--budget", "0"), "expected a time above 0 (90s, 5m, 1h)"),
        (("--budget", "2strokes"), "expected a time above 0 (90s, 5m, 1h) or a number of slices (20slices)"),
        (("--strategy", "clasp"), "did you mean 'clasp-pe'?"),
        (("--strategy", "clasp-pe"), "expected a model that has looked at the cases, got none"),
        (("--set", "cost.per_slide_s=2"), "did you mean 'per_slice_s'?"),
        (("--with", "nowhere"), "expected a model beside further ones (--with)"),
        (("--uncertainty-from", "tta"), "expected a model beside further ones (--with)"),
    ],
)
def test_wrong_use_is_one_red_line(dataset: Path, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    result = run("none", dataset, "-o", tmp_path / "out", *arguments)
    assert result.exit_code == 1
    assert said in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


def test_no_such_run(dataset: Path, tmp_path: Path) -> None:
    result = run(tmp_path / "runs", dataset, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "no such folder; give a model folder" in " ".join(result.stderr.split())


def test_ctrl_c_says_how_to_go_on(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medcl.suggest import make

    def stop(*a: object, **k: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(make, "measure", stop)
    result = run("none", dataset, "-o", tmp_path / "out")
    assert result.exit_code == 130
    assert "the same command goes on" in result.stderr
