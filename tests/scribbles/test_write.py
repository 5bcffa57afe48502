"""Strokes for whole dataset folders: what is written can be trained on, and nothing of anybody is overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import medcl
from medcl.data.dataset import Dataset
from medcl.data.io import read_map, write_map
from medcl.data.labels import UNLABELLED
from medcl.errors import DataError
from medcl.scribbles.settings import ScribbleSettings
from medcl.scribbles.write import case_seed, scribble, scribble_file


@pytest.fixture
def hearts(tmp_path: Path) -> Path:
    return medcl.make_phantom(tmp_path / "hearts", "heart", cases=2, validation=1, size=(3, 64, 64), dense=True)


def without_strokes(folder: Path, ignore: bool = False) -> Path:
    for file in (folder / "scribblesTr").iterdir():
        file.unlink()
    content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    if not ignore:
        del content["labels"]["ignore"]
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_a_new_dataset_can_be_opened_and_names_ignore(hearts: Path, tmp_path: Path) -> None:
    result = medcl.scribble(without_strokes(hearts), tmp_path / "new", seed=3)
    dataset = Dataset.open(tmp_path / "new")
    assert dataset.labels.strokes.ignore == 4
    assert len(dataset.cases("Val")) == 1
    for case in dataset.cases("Tr"):
        strokes, label = dataset.read_scribble(case), dataset.read_label(case)
        drawn = strokes != UNLABELLED
        np.testing.assert_array_equal(strokes[drawn], label[drawn])
        assert drawn.any()
    assert [entry.case for entry in result.cases] == [case.id for case in dataset.cases("Tr")]
    assert result.against == ()
    record = json.loads((tmp_path / "new" / "strokes.json").read_text(encoding="utf-8"))
    assert record["seed"] == 3
    assert ScribbleSettings.parse(record["settings"]) == ScribbleSettings()


def test_strokes_of_the_new_dataset_are_compared_with_those_there_were(hearts: Path, tmp_path: Path) -> None:
    result = scribble(hearts, tmp_path / "new", copy=True)
    assert not (tmp_path / "new" / "imagesTr").is_symlink()
    assert {entry.quantity for entry in result.against} >= {"length_mm", "coverage"}


def test_real_strokes_are_not_overwritten_unless_told(hearts: Path) -> None:
    file = hearts / "scribblesTr" / "heart_train000.nii.gz"
    before = file.read_bytes()
    with pytest.raises(DataError, match="strokes are there already"):
        scribble(hearts)
    assert file.read_bytes() == before
    result = scribble(hearts, name="robot")
    assert file.read_bytes() == before
    assert len(list((hearts / "scribblesTr" / "robot").iterdir())) == 2
    assert Dataset.open(hearts, scribbles="robot").cases("Tr")[0].scribble is not None
    assert result.against != ()
    scribble(hearts, overwrite=True)
    assert file.read_bytes() != before


def test_strokes_go_into_a_dataset_that_has_none(hearts: Path) -> None:
    without_strokes(hearts, ignore=True)
    scribble(hearts)
    assert all(case.scribble for case in Dataset.open(hearts).cases("Tr"))


def test_a_dataset_without_ignore_is_not_changed_behind_ones_back(hearts: Path) -> None:
    with pytest.raises(DataError, match='add "ignore": 4'):
        scribble(without_strokes(hearts))


def test_a_folder_that_medcl_did_not_draw_is_not_replaced(hearts: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(DataError, match="expected no folder or an empty one"):
        scribble(hearts, tmp_path / "mine")
    with pytest.raises(DataError, match="holds no strokes that medcl drew"):
        scribble(hearts, tmp_path / "mine", overwrite=True)
    scribble(hearts, tmp_path / "new")
    scribble(hearts, tmp_path / "new", overwrite=True)
    assert (hearts / "imagesTr").is_dir()  # links were replaced, not followed


def test_cases_do_not_depend_on_each_other(hearts: Path, tmp_path: Path) -> None:
    assert case_seed(0, "a") != case_seed(0, "b") != case_seed(1, "b")
    scribble(hearts, tmp_path / "both")
    (hearts / "imagesTr" / "heart_train000_0000.nii.gz").unlink()
    (hearts / "labelsTr" / "heart_train000.nii.gz").unlink()
    (hearts / "scribblesTr" / "heart_train000.nii.gz").unlink()
    scribble(hearts, tmp_path / "one", copy=True)
    both, one = (read_map(tmp_path / name / "scribblesTr" / "heart_train001.nii.gz")[0] for name in ("both", "one"))
    np.testing.assert_array_equal(both, one)


def test_no_labels_is_one_sentence(hearts: Path) -> None:
    with pytest.raises(DataError, match="expected dense labels in labelsTs"):
        scribble(hearts, split="Ts")


def test_one_label_file(hearts: Path, tmp_path: Path) -> None:
    label = hearts / "labelsTr" / "heart_train000.nii.gz"
    out = tmp_path / "strokes.nii.gz"
    result = scribble_file(label, out)
    dense, geometry = read_map(label)
    strokes, written = read_map(out)
    assert geometry.differences(written) == []
    assert set(np.unique(strokes)) == {0, 1, 2, 3, 4}
    np.testing.assert_array_equal(strokes[strokes != 4], dense[strokes != 4])
    assert result.cases[0].share == (strokes != 4).mean()
    with pytest.raises(DataError, match="exists"):
        scribble_file(label, out)
    dense[:, :, :32] = 9
    write_map(tmp_path / "part.nii.gz", dense, geometry)
    scribble_file(tmp_path / "part.nii.gz", tmp_path / "half.nii.gz", ignore=9)
    strokes, _ = read_map(tmp_path / "half.nii.gz")
    assert (strokes[:, :, :32] == 9).all()


def test_strokes_of_real_labels_stay_in_them(shared_data: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(shared_data / "acdc")
    case = dataset.cases("Tr")[0]
    strokes = medcl.scribbles.simulate(dataset.read_label(case), (10.0, 1.56, 1.56), seed=1)
    drawn = strokes != UNLABELLED
    np.testing.assert_array_equal(strokes[drawn], dataset.read_label(case)[drawn])
