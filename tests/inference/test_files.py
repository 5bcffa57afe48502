from __future__ import annotations

from pathlib import Path

import pytest

from medcl.errors import DataError
from medcl.inference.files import check_output, collect_cases


def touch(folder: Path, *names: str, content: bytes = b"") -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def names(cases) -> dict[str, list[str]]:
    return {case.id: [source.name for source in case.sources] for case in cases}


DICOM = bytes(128) + b"DICM"


def test_channels_of_a_case_belong_together(tmp_path):
    touch(tmp_path, "b_0001.nii.gz", "b_0000.nii.gz", "a_0000.nii.gz", "a_0001.nii.gz", "notes.txt", ".tmp-x.nii.gz")
    expected = {"a": ["a_0000.nii.gz", "a_0001.nii.gz"], "b": ["b_0000.nii.gz", "b_0001.nii.gz"]}
    assert names(collect_cases([tmp_path])) == expected
    assert names(collect_cases([tmp_path / "b_0001.nii.gz", tmp_path / "b_0000.nii.gz"])) == {"b": expected["b"]}


def test_a_number_without_a_first_channel_is_part_of_the_name(tmp_path):
    touch(tmp_path, "scan_2019.nii.gz", "scan_2020.mha", "x_0000.png")
    assert names(collect_cases([tmp_path])) == {
        "scan_2019": ["scan_2019.nii.gz"],
        "scan_2020": ["scan_2020.mha"],
        "x": ["x_0000.png"],
    }


def test_a_gap_in_the_channels_is_a_problem_of_that_case_only(tmp_path):
    touch(tmp_path, "a_0000.nii.gz", "a_0002.nii.gz", "b_0000.nii.gz", "b_0001.nii.gz")
    a, b = collect_cases([tmp_path])
    assert "a_0002.nii.gz" in a.problem
    assert b.problem is None


def test_dicom_folders_and_zips(tmp_path):
    touch(tmp_path / "one", "IM0001", "IM0002", content=DICOM)
    assert names(collect_cases([tmp_path / "one"])) == {"one": ["one"]}
    touch(tmp_path / "two", "series/a.dcm")
    touch(tmp_path, "three.zip", "readme.txt")
    touch(tmp_path / "other", "readme.txt")
    expected = {"one": ["one"], "three": ["three.zip"], "two": ["two"]}
    assert names(collect_cases([tmp_path])) == expected


def test_the_same_file_twice_is_one_case(tmp_path):
    touch(tmp_path, "a.nii.gz")
    assert len(collect_cases([tmp_path, tmp_path / "a.nii.gz", str(tmp_path / "." / "a.nii.gz")])) == 1


def test_two_cases_of_one_name_are_refused(tmp_path):
    touch(tmp_path, "x/a.nii.gz", "y/a.nii.gz")
    with pytest.raises(DataError, match="case 'a' comes twice"):
        collect_cases([tmp_path / "x", tmp_path / "y"])


def test_nothing_to_predict_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        collect_cases([tmp_path / "nowhere"])
    with pytest.raises(DataError, match="found none in 0 entries"):
        collect_cases([tmp_path])
    with pytest.raises(DataError, match="at least one image"):
        collect_cases([])


def test_results_never_go_where_inputs_are(tmp_path):
    touch(tmp_path, "in/a_0000.nii.gz", "file.txt")
    touch(tmp_path / "study", "IM1", content=DICOM)
    cases = collect_cases([tmp_path / "in", tmp_path / "study"])
    check_output(cases, tmp_path / "out", ".nii.gz")
    for out in (tmp_path / "in", tmp_path / "study"):
        with pytest.raises(DataError, match="holds the input"):
            check_output(cases, out, ".nii.gz")
    with pytest.raises(DataError, match="got a file"):
        check_output(cases, tmp_path / "file.txt", ".nii.gz")
    with pytest.raises(DataError, match=r"file\.txt is a file"):
        check_output(cases, tmp_path / "file.txt" / "out", ".nii.gz")
    for ending in (".jpg", "nii.gz", ".dcm"):
        with pytest.raises(DataError, match="ending: expected one of"):
            check_output(cases, tmp_path / "out", ending)
