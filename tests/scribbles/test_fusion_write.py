"""Fusing a dataset folder: what is written, what opens again, what is refused; contradictions in `medcl check`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medcl import Dataset, RaterSet, check, fuse, make_phantom
from medcl.cli import app
from medcl.data.geometry import Geometry, Image
from medcl.data.io import read_image, write_image, write_map
from medcl.data.labels import UNLABELLED
from medcl.errors import DataError
from medcl.files import read_json, write_json
from medcl.scribbles.contradictions import compare_raters

GRID = Geometry((1, 2, 6))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pixels, and a row on which nobody says anything: labels with one dispute, strokes with one contradiction."""
    write_json(tmp_path / "dataset.json", {"labels": {"background": 0, "organ": 7, "ignore": 9}})
    write_image(tmp_path / "imagesTr" / "a_0000.nii.gz", Image(np.arange(12, dtype=np.int16).reshape(1, 1, 2, 6), GRID))
    labels = {"anna": [0, 0, 7, 7, 0, 0], "ben": [0, 0, 7, 7, 7, 0], "carl": [0, 0, 7, 7, 9, 0]}
    strokes = {"anna": [0, 9, 7, 9, 9, 9], "ben": [9, 9, 7, 9, 9, 0], "carl": [9, 9, 0, 9, 9, 9]}
    for kind, people in (("labels", labels), ("scribbles", strokes)):
        for name, values in people.items():
            array = np.array([values, [9] * 6], np.uint8)[None]
            write_map(tmp_path / f"{kind}Tr" / name / "a.nii.gz", array, GRID)
    return tmp_path


def test_maps_shares_and_scores_are_written(folder: Path) -> None:
    result = fuse(folder, settings={"how": "majority"}, out="most")
    assert (result.kind, result.name, result.cases) == ("labels", "most", 1)
    assert result.disputed == pytest.approx(1 / 6)
    opened = Dataset.open(folder, labels="most", scribbles="anna")
    label = opened.read_label(opened.cases("Tr")[0])
    assert label.ravel()[:6].tolist() == [0, 0, 1, 1, UNLABELLED, 0]  # one against one
    soft = read_image(folder / "softTr" / "most" / "a.nii.gz").array
    assert soft.shape == (2, 1, 2, 6)
    assert not soft[:, 0, 1].any()
    assert soft[:, 0, 0, 4].tolist() == [0.5, 0.5]
    note = read_json(folder / "raters" / "most.json")
    assert set(note["raters"]) == {"anna", "ben", "carl"}
    assert note["raters"]["carl"]["score"] == pytest.approx(1.0, abs=0.01)
    assert RaterSet.open(folder).raters == ("anna", "ben", "carl")  # what was fused is nobody


def test_strokes_keep_what_one_person_drew(folder: Path) -> None:
    fuse(folder, settings={"how": "majority"}, kind="scribbles")
    opened = Dataset.open(folder, scribbles="majority")
    strokes = opened.read_scribble(opened.cases("Tr")[0]).ravel()[:6].tolist()
    assert strokes == [0, UNLABELLED, 1, UNLABELLED, UNLABELLED, 0]


def test_names_that_are_taken(folder: Path) -> None:
    fuse(folder)
    with pytest.raises(DataError, match=r"is there already; say overwrite"):
        fuse(folder)
    fuse(folder, overwrite=True, soft=False)
    assert not (folder / "softTr" / "quality").exists()
    for name, message in (("ben", "is a rater"), ("a/b", "expected a name of letters")):
        with pytest.raises(DataError, match=message):
            fuse(folder, out=name)


def below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_fusion_that_fails_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fuse(folder)
    before = below(folder)
    monkeypatch.setattr("medcl.scribbles.fusion_write.write_image", lambda *_: 1 / 0)  # after the first label
    for name in ("quality", "new"):
        with pytest.raises(ZeroDivisionError):
            fuse(folder, out=name, overwrite=True)
        assert below(folder) == before
    assert not (folder / "labelsTr" / "new").exists()


def test_staple_names_the_case_without_common_voxels(folder: Path) -> None:
    write_map(folder / "labelsTr" / "anna" / "a.nii.gz", np.array([[[7, 7, 7, 9, 9, 9], [9] * 6]], np.uint8), GRID)
    write_map(folder / "labelsTr" / "ben" / "a.nii.gz", np.array([[[9, 9, 9, 7, 7, 7], [9] * 6]], np.uint8), GRID)
    with pytest.raises(DataError, match=r"case a: staple: expected voxels that every rater"):
        fuse(folder, settings={"how": "staple"})
    assert not (folder / "raters" / "staple.json").exists()


def test_staple_of_strokes_is_refused_whether_they_meet_or_not(folder: Path) -> None:
    before = below(folder)
    with pytest.raises(DataError, match="staple: expected labels, got strokes"):
        fuse(folder, settings={"how": "staple"}, kind="scribbles")
    assert below(folder) == before


def test_a_name_is_of_one_kind(folder: Path) -> None:
    fuse(folder)
    before = below(folder)
    for overwrite in (False, True):
        with pytest.raises(DataError, match=r"'quality' is the name of fused labels.*--out"):
            fuse(folder, kind="scribbles", overwrite=overwrite)
    assert below(folder) == before
    fuse(folder, kind="scribbles", out="strokes")
    write_map(folder / "scribblesTr" / "dora" / "a.nii.gz", np.full((1, 2, 6), 9, np.uint8), GRID)
    with pytest.raises(DataError, match="'dora' is a rater"):
        fuse(folder, out="dora")  # who drew strokes alone would pass for a fused map


def test_a_last_case_without_structures(folder: Path) -> None:
    write_image(folder / "imagesTr" / "b_0000.nii.gz", Image(np.ones((1, 1, 2, 6), np.int16), GRID))
    for name in ("anna", "ben"):
        write_map(folder / "labelsTr" / name / "b.nii.gz", np.zeros((1, 2, 6), np.uint8), GRID)
    for how in ("majority", "staple", "quality"):
        assert fuse(folder, settings={"how": how}).cases == 2
        opened = Dataset.open(folder, labels=how, scribbles="anna")
        assert not opened.read_label(opened.cases("Tr")[1]).any()
    assert read_json(folder / "raters" / "quality.json")["raters"]["anna"]["cases"]["b"] is None


def test_no_value_for_undecided_voxels(folder: Path) -> None:
    write_json(folder / "dataset.json", {"labels": {"background": 0, "organ": 7}})
    for name in ("scribblesTr", "labelsTr/carl"):
        for path in (folder / name).rglob("*.nii.gz"):
            path.unlink()
    with pytest.raises(DataError, match='"ignore": 8'):
        fuse(folder)


def test_copies_are_left_out(folder: Path) -> None:
    write_image(folder / "imagesTr" / "b_0000.nii.gz", Image(np.ones((1, 1, 2, 6), np.int16), GRID))
    for name in ("anna", "ben"):
        (folder / "labelsTr" / name / "b.nii.gz").write_bytes((folder / "labelsTr" / "anna" / "a.nii.gz").read_bytes())
    assert fuse(folder, leave_out_copies=True).left_out == {"anna": ("a", "b")}


def test_command_line(folder: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["fuse", str(folder), "--how", "staple", "--out", "agreed", "--raters", "anna,ben"])
    assert done.exit_code == 0, done.output
    assert "anna" in done.output
    assert "labelsTr/agreed" in done.output
    for options, message in (
        (["--how", "vote"], "'majority', 'staple' or 'quality'"),
        (["--kind", "masks"], "unknown kind 'masks'"),
        (["--leave-out", "anna"], "expected RATER:CASE"),
        (["--leave-out", "anna:x"], "unknown case 'x'"),
    ):
        wrong = runner.invoke(app, ["fuse", str(folder), *options])
        assert wrong.exit_code == 1
        assert message in wrong.output


def test_contradictions_by_hand() -> None:
    u = UNLABELLED
    maps = np.array([[0, 0, 1, 2, u], [0, 1, 1, 1, 1], [u, u, u, u, 2]], np.int16)[:, None, None]
    first, second = compare_raters("a", "labels", ("x", "y", "z"), maps, ("background", "one", "two"))
    assert (first.first, first.second, first.voxels, first.compared) == ("x", "y", 2, 4)
    assert first.classes == (("background", "one", 1), ("two", "one", 1))
    assert first.at == (0, 0, 1)
    assert first.dice == {"one": 0.5, "two": 0.0}
    assert (second.first, second.second, second.voxels) == ("y", "z", 1)  # x and z never speak of the same voxel


def test_check_shows_who_contradicts_whom(tmp_path: Path) -> None:
    many = make_phantom(
        tmp_path / "many", "heart", cases=2, validation=0, ndim=2, size=(40,), raters=("large", "small", "misses")
    )
    fuse(many, out="all")
    report = check(many)
    pairs = {(one.first, one.second) for one in report.contradictions if one.kind == "labels"}
    assert pairs == {("large", "misses"), ("large", "small"), ("misses", "small")}
    (missed,) = [finding for finding in report.findings if finding.code == "rater-misses-class"][:1]
    assert missed.amounts["rater"] in ("misses", "small")
    assert report.find("raters-disagree")
    json.loads(report.to_json())
    picture = tmp_path / "picture.png"
    done = CliRunner().invoke(app, ["check", str(many), "--picture", str(picture)])
    assert "Contradictions between people" in done.output
    assert "large, small" in done.output
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_broken_map_of_a_rater_is_a_finding(folder: Path) -> None:
    write_map(folder / "labelsTr" / "ben" / "a.nii.gz", np.full((1, 2, 6), 5, np.uint8), GRID)
    (finding,) = [one for one in check(folder).findings if one.severity == "error"]
    assert (finding.code, finding.file) == ("label-unknown-value", "labelsTr/ben/a.nii.gz")
    # where the case has a label that is nobody's in particular, only the comparison of people reads theirs
    write_map(folder / "labelsTr" / "a.nii.gz", np.zeros((1, 2, 6), np.uint8), GRID)
    (finding,) = check(folder).find("rater-map")
    assert "ben" in finding.message
    assert "unknown label value 5" in finding.message


def test_a_broken_map_is_told_once_where_only_people_labelled(tmp_path: Path) -> None:
    people = make_phantom(
        tmp_path / "people", "heart", cases=2, validation=0, ndim=2, size=(40,), raters=("careful", "large")
    )
    broken = sorted((people / "labelsTr" / "large").iterdir())[0]
    broken.write_bytes(b"no map")
    errors = [finding for finding in check(people).findings if finding.severity == "error"]
    assert [(one.code, one.case) for one in errors] == [("unreadable-file", broken.name.partition(".")[0])]


def test_picture_without_contradictions_is_refused(tmp_path: Path) -> None:
    alone = make_phantom(tmp_path / "alone", "heart", cases=1, validation=0, ndim=2, size=(40,))
    done = CliRunner().invoke(app, ["check", str(alone), "--picture", str(tmp_path / "x.png")])
    assert done.exit_code == 1
    assert "found none to draw" in done.output
