"""Data sets of several people: who there is, whose map is read, what nobody said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medcl import Dataset, RaterSet
from medcl.data.geometry import Geometry, Image
from medcl.data.io import write_image, write_map
from medcl.data.labels import UNLABELLED
from medcl.data.raters import fused_names, people_of
from medcl.errors import DataError
from medcl.files import write_json

GRID = Geometry((1, 4, 5))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cases; anna labelled both, ben the first one, in part; both drew strokes on the first."""
    write_json(tmp_path / "dataset.json", {"labels": {"background": 0, "organ": 1, "ignore": 9}})
    for name in ("a", "b"):
        write_image(tmp_path / "imagesTr" / f"{name}_0000.nii.gz", Image(np.ones((1, 1, 4, 5), np.int16), GRID))
    mine = np.zeros((1, 4, 5), np.uint8)
    mine[0, 1:3, 1:3] = 1
    theirs = np.full((1, 4, 5), 9, np.uint8)
    theirs[0, :2] = 0
    theirs[0, 1, 1:4] = 1
    write_map(tmp_path / "labelsTr" / "anna" / "a.nii.gz", mine, GRID)
    write_map(tmp_path / "labelsTr" / "anna" / "b.nii.gz", mine, GRID)
    write_map(tmp_path / "labelsTr" / "ben" / "a.nii.gz", theirs, GRID)
    for person in ("anna", "ben"):
        write_map(tmp_path / "scribblesTr" / person / "a.nii.gz", theirs, GRID)
    return tmp_path


def test_all_maps_of_a_case_come_together_and_silence_is_unlabelled(folder: Path) -> None:
    rated = RaterSet.open(folder)
    assert (rated.kind, rated.raters, rated.classes) == ("labels", ("anna", "ben"), ("background", "organ"))
    first, second = rated.cases("Tr")
    maps = rated.read(first)
    assert maps.shape == (2, 1, 4, 5)
    assert (maps[0] == 1).sum() == 4
    assert (maps[1] == 1).sum() == 3
    assert (maps[1, 0, 2:] == UNLABELLED).all()
    assert tuple(second.by) == ("anna",)
    assert (rated.read(second)[1] == UNLABELLED).all()


def test_strokes_open_the_same_way(folder: Path) -> None:
    assert RaterSet.open(folder, kind="scribbles").raters == ("anna", "ben")
    assert [case.id for case in RaterSet.open(folder, kind="scribbles").cases("Tr")] == ["a"]


def test_one_rater_opens_as_a_data_set(folder: Path) -> None:
    opened = Dataset.open(folder, labels="labelsTr/ben", scribbles="anna")
    assert [case.id for case in opened.cases("Tr") if case.label] == ["a"]
    assert Dataset.open(folder, scribbles="anna").cases("Tr")[0].label is None  # nobody named: nobody's
    with pytest.raises(DataError, match=r"unknown rater 'bert'.*anna, ben"):
        Dataset.open(folder, labels="bert", scribbles="anna")


def test_a_case_can_be_left_out_and_must_be_known(folder: Path) -> None:
    rated = RaterSet.open(folder, leave_out={"anna": ["a"]})
    assert {case.id: tuple(case.by) for case in rated.cases("Tr")} == {"a": ("ben",), "b": ("anna",)}
    with pytest.raises(DataError, match=r"leave out of anna: unknown case 'x'"):
        RaterSet.open(folder, leave_out={"anna": ["x"]})
    with pytest.raises(DataError, match=r"leave out: unknown rater 'x'"):
        RaterSet.open(folder, leave_out={"x": ["a"]})


def test_the_same_file_for_two_cases_is_found(folder: Path) -> None:
    assert RaterSet.open(folder).copies() == {"anna": [("a", "b")]}


def test_fused_maps_are_no_raters(folder: Path) -> None:
    write_map(folder / "labelsTr" / "both" / "a.nii.gz", np.zeros((1, 4, 5), np.uint8), GRID)
    assert people_of(folder, "labels") == ("anna", "ben", "both")
    write_json(folder / "raters" / "both.json", {"kind": "labels"})
    assert people_of(folder, "labels") == ("anna", "ben")
    assert fused_names(folder, "labels") == RaterSet.open(folder).fused == ("both",)


def test_one_person_is_not_several(folder: Path) -> None:
    with pytest.raises(DataError, match=r"expected labels of two or more raters.*got anna"):
        RaterSet.open(folder, raters=["anna"])
    with pytest.raises(DataError, match="unknown rater 'carl'"):
        RaterSet.open(folder, raters=["anna", "carl"])
