"""`medcl init` as a user types it: options without a terminal, questions with one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from typer.testing import CliRunner, Result

from medcl.cli import app

OPTIONS = ["--ignore", "4", "--background", "0", "--class", "1=RV", "--class", "2=LV", "--channels", "LGE"]


def save(path: Path, array: np.ndarray) -> None:
    """Write (Z, Y, X) without medcl."""
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array.astype(np.int16)), str(path))


def medcl(*arguments: object, typed: str = "") -> Result:
    """Run the command line."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=typed)


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Return a folder with an image and a scribble side by side."""
    folder = tmp_path / "heart scans"
    save(folder / "p1.nii.gz", np.arange(20).reshape(1, 4, 5))
    strokes = np.full((1, 4, 5), 4)
    strokes[0, 0] = [0, 0, 1, 1, 2]
    save(folder / "p1_scribble.nii.gz", strokes)
    return folder


@pytest.fixture
def layout(tmp_path: Path, flat: Path) -> Path:
    """Return the same in the dataset layout."""
    for name, place in (("p1.nii.gz", "imagesTr/p1_0000.nii.gz"), ("p1_scribble.nii.gz", "scribblesTr/p1.nii.gz")):
        (tmp_path / "set" / place).parent.mkdir(parents=True)
        (tmp_path / "set" / place).write_bytes((flat / name).read_bytes())
    return tmp_path / "set"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the command believe that somebody types."""
    monkeypatch.setattr("medcl.cli.init._somebody_there", lambda: True)


def test_options_answer_everything(layout: Path) -> None:
    result = medcl("init", layout, *OPTIONS, "--group", "heart=RV,LV")
    assert result.exit_code == 0, result.output
    content = json.loads((layout / "dataset.json").read_text(encoding="utf-8"))
    assert content["labels"] == {"background": 0, "RV": 1, "LV": 2, "ignore": 4}
    assert content["groups"] == {"heart": ["RV", "LV"]}
    assert "75.0 %" in result.output, "the table of values with their shares"
    assert "groups: heart = RV + LV" in result.output
    assert "medcl check" in result.output


def test_without_a_terminal_open_questions_are_one_error(layout: Path) -> None:
    result = medcl("init", layout)
    assert result.exit_code == 1
    assert "--ignore VALUE (proposal 4: value 4 covers 75.0 % of the pixels)" in result.output
    assert not (layout / "dataset.json").exists()


def test_an_existing_description_needs_force(layout: Path) -> None:
    assert medcl("init", layout, *OPTIONS).exit_code == 0
    result = medcl("init", layout, *OPTIONS)
    assert result.exit_code == 1
    assert "--force" in result.output
    assert "pixels" not in result.output, "said before counting"
    assert medcl("init", layout, *OPTIONS, "--force").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ignore", "four"], "--ignore: expected an integer or 'none', got 'four'"),
        (["--class", "1"], "--class: expected two parts joined by '=', got '1'"),
        (["--class", "RV=1"], "--class: expected VALUE=NAME such as 1=liver, got 'RV=1'"),
        (["--class", "1=a", "--class", "1=b"], "given twice"),
    ],
)
def test_unusable_options_are_explained(layout: Path, arguments: list[str], words: str) -> None:
    result = medcl("init", layout, *arguments)
    assert result.exit_code == 1
    assert words in result.output


def test_another_layout_is_proposed_and_then_linked(flat: Path, tmp_path: Path) -> None:
    result = medcl("init", flat)
    assert result.exit_code == 1
    assert "Proposal: --images '{case}' --scribbles '{case}_scribble'" in result.output
    result = medcl(
        "init", flat, "--images", "{case}", "--scribbles", "{case}_scribble", "--out", tmp_path / "out", *OPTIONS
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out/imagesTr/p1_0000.nii.gz").is_symlink()


@pytest.mark.usefixtures("terminal")
def test_questions_take_proposals_by_enter_and_ask_again_after_nonsense(layout: Path) -> None:
    result = medcl("init", layout, typed="\nzero\n0\nRV\nRV\nLV\nLGE\n")
    assert result.exit_code == 0, result.output
    assert "[proposal 4: value 4 covers 75.0 % of the pixels]" in result.output
    assert "expected an integer or 'none', got 'zero'" in result.output
    assert "expected a new name of a structure (or 'ignore'), got 'RV'" in result.output
    content = json.loads((layout / "dataset.json").read_text(encoding="utf-8"))
    assert content["labels"] == {"background": 0, "RV": 1, "LV": 2, "ignore": 4}


@pytest.mark.usefixtures("terminal")
def test_questions_about_files_come_before_those_about_values(flat: Path, tmp_path: Path) -> None:
    result = medcl("init", flat, *OPTIONS, typed=f"\n\n\n{tmp_path / 'out'}\n")
    assert result.exit_code == 0, result.output
    assert "perhaps" in result.output
    assert json.loads((tmp_path / "out/dataset.json").read_text(encoding="utf-8"))["numTraining"] == 1
    assert sorted(path.name for path in flat.iterdir()) == ["p1.nii.gz", "p1_scribble.nii.gz"]
