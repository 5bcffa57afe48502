"""`medcl scribble` on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import medcl
from medcl.cli import app
from medcl.data.dataset import Dataset


@pytest.fixture
def hearts(tmp_path: Path) -> Path:
    return medcl.make_phantom(tmp_path / "hearts", "heart", cases=2, validation=0, size=(3, 64, 64), dense=True)


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["scribble", *(str(argument) for argument in arguments)])
    return result.exit_code, " ".join(result.output.split())


def test_writes_a_dataset_a_table_and_a_picture(hearts: Path, tmp_path: Path) -> None:
    out = tmp_path / "new"
    options = ("--preset", "acdc-like", "--budget", "2slices", "--seed", 4, "--set", "background.far=1")
    code, output = run(hearts, "--out", out, *options)
    assert code == 0, output
    assert "2 cases, in the median" in output
    assert "real structures" in output
    assert (out / "strokes.png").stat().st_size > 1000
    dataset = Dataset.open(out)
    strokes = dataset.read_scribble(dataset.cases("Tr")[0])
    assert sum((plane >= 0).any() for plane in strokes) == 2


def test_into_the_dataset_under_a_name(hearts: Path) -> None:
    assert run(hearts)[0] == 1
    code, output = run(hearts, "--name", "robot", "--style", "zigzag")
    assert code == 0, output
    assert (hearts / "scribblesTr" / "robot" / "heart_train000.nii.gz").exists()
    assert (hearts / "strokes-robot.png").exists()


def test_one_label(hearts: Path, tmp_path: Path) -> None:
    label = hearts / "labelsTr" / "heart_train000.nii.gz"
    code, output = run(label, "--out", tmp_path / "one.nii.gz", "--style", "clicks")
    assert code == 0, output
    assert "1 case, in the median" in output
    assert run(label)[0] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--style", "dots"), "unknown stroke style 'dots'. Known: boxes"),
        (("--preset", "acdc"), "did you mean 'acdc-like'?"),
        (("--budget", "much"), "expected limits such as 1%"),
        (("--set", "thicknes=3"), "did you mean 'thickness'?"),
        (("--split", "Train"), "unknown split 'Train'"),
        (("--name", "robot", "--split", "Ts"), "expected dense labels in labelsTs"),
    ],
)
def test_wrong_options_are_one_red_line(hearts: Path, options: tuple[str, ...], said: str) -> None:
    code, output = run(hearts, *options)
    assert code == 1
    assert said in output
