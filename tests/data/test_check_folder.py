"""The whole check on small dataset folders with one thing broken at a time."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from medcl.errors import DataError
from medcl.scribbles.check import CheckReport, check

SHAPE = (3, 12, 16)
IGNORE = 3
LABELS = {"background": 0, "organ": 1, "vessel": 2, "ignore": IGNORE}


def save(path: Path, array: np.ndarray, spacing: tuple[float, float, float] = (0.8, 0.8, 4.0)) -> None:
    """Write an array (Z, Y, X) as NIfTI with an unrotated grid; spacing is (x, y, z)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    axes = tuple(reversed(range(array.ndim)))
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    nibabel.save(nibabel.Nifti1Image(array.transpose(axes), affine), path)


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 1000, SHAPE).astype(np.int16)


def scribble(offset: int = 0) -> np.ndarray:
    array = np.full(SHAPE, IGNORE, dtype=np.uint8)
    array[:, 1, 2:14] = 0
    array[:, 10, 2:14] = 0
    array[:, 5, 4 : 7 + offset] = 1
    array[:, 7, 9:12] = 2
    return array


def write_json(folder: Path, **changes: object) -> None:
    content = {"channel_names": {"0": "MR"}, "labels": LABELS, "file_ending": ".nii.gz", **changes}
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Four sound cases: a, b, c to train on with strokes, v to validate on with a dense label."""
    for number, case in enumerate("abc"):
        save(tmp_path / "imagesTr" / f"{case}_0000.nii.gz", image(number))
        save(tmp_path / "scribblesTr" / f"{case}.nii.gz", scribble(number))
    save(tmp_path / "imagesVal" / "v_0000.nii.gz", image(9))
    save(tmp_path / "labelsVal" / "v.nii.gz", (image(9) % 3).astype(np.uint8))
    write_json(tmp_path)
    return tmp_path


def kinds(report: CheckReport) -> list[tuple[str, str, str | None]]:
    return [(finding.severity, finding.code, finding.case) for finding in report.findings]


def test_a_sound_dataset_has_no_findings(dataset: Path) -> None:
    report = check(dataset)
    assert kinds(report) == []
    assert report.ok
    assert report.cases == 4
    assert [entry.case for entry in report.coverage] == ["a", "b", "c"]
    assert report.coverage[0].classes[1].pixels == 9
    assert report.coverage[0].classes[0].strokes == 6


def test_everything_broken_at_once_is_all_reported(dataset: Path) -> None:
    (dataset / "imagesTr" / "a_0000.nii.gz").write_bytes(b"not an image")
    save(dataset / "imagesTr" / "b_0000.nii.gz", np.full(SHAPE, 5, dtype=np.int16))
    save(dataset / "scribblesTr" / "c.nii.gz", scribble()[:2])
    save(dataset / "labelsVal" / "v.nii.gz", np.full(SHAPE, 9, dtype=np.uint8))
    report = check(dataset)
    assert not report.ok
    assert kinds(report) == [
        ("error", "unreadable-file", "a"),
        ("error", "image-constant", "b"),
        ("error", "size-mismatch", "c"),
        ("error", "label-unknown-value", "v"),
    ]
    assert report.find("label-unknown-value")[0].amounts["pixels"] == {"9": 3 * 12 * 16}


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-40],
        lambda data: b"",
        lambda data: gzip.compress(gzip.decompress(data)[:-100]),
    ],
    ids=["half", "end missing", "empty", "cut before compression"],
)
@pytest.mark.parametrize("file", ["imagesTr/b_0000.nii.gz", "scribblesTr/b.nii.gz"])
def test_cut_files(dataset: Path, file: str, change: Callable[[bytes], bytes]) -> None:
    path = dataset / file
    path.write_bytes(change(path.read_bytes()))
    report = check(dataset)
    assert ("error", "unreadable-file", "b") in kinds(report)
    assert report.find("unreadable-file")[0].file == file
    assert {case for _, _, case in kinds(report)} == {"b"}


def test_time_series(dataset: Path) -> None:
    save(dataset / "imagesTr" / "a_0000.nii.gz", np.stack([image(0), image(1)]))
    save(dataset / "scribblesTr" / "b.nii.gz", np.stack([scribble(), scribble()]))
    report = check(dataset)
    assert kinds(report) == [("error", "four-dimensional", "a"), ("error", "four-dimensional", "b")]
    assert report.findings[0].amounts["axes"] == 4


def test_grid_of_a_scribble_that_differs(dataset: Path) -> None:
    path = dataset / "scribblesTr" / "b.nii.gz"
    loaded = nibabel.load(path)
    affine = loaded.affine.copy()
    affine[0, 3] += 2.5
    affine[2, 2] = 4.1
    nibabel.save(nibabel.Nifti1Image(np.asarray(loaded.dataobj), affine), path)
    report = check(dataset)
    assert kinds(report) == [("error", "spacing-mismatch", "b"), ("error", "origin-mismatch", "b")]
    assert "2.5 mm apart" in report.findings[1].message
    assert kinds(check(dataset, tolerance_mm=3.0)) == []


def test_not_a_number_in_image_and_label(dataset: Path) -> None:
    broken = image(0).astype(np.float32)
    broken[0, 0, :3] = np.nan
    save(dataset / "imagesTr" / "a_0000.nii.gz", broken)
    dense = np.zeros(SHAPE, dtype=np.float32)
    dense[0, 0, 0] = 0.5
    dense[0, 0, 1] = np.inf
    save(dataset / "labelsVal" / "v.nii.gz", dense)
    report = check(dataset)
    assert kinds(report) == [
        ("error", "image-not-finite", "a"),
        ("error", "label-not-finite", "v"),
        ("error", "label-not-integer", "v"),
    ]
    assert [finding.amounts.get("voxels", finding.amounts.get("pixels")) for finding in report.findings] == [3, 1, 1]


def test_not_a_number_among_whole_numbers(dataset: Path) -> None:
    array = scribble().astype(np.float64)
    array[2, 11, 15] = np.nan  # the last voxel
    save(dataset / "scribblesTr" / "a.nii.gz", array)
    report = check(dataset)
    assert kinds(report) == [("error", "label-not-finite", "a")]
    assert report.findings[0].amounts["pixels"] == 1


def test_whole_numbers_stored_as_floating_point_are_fine(dataset: Path) -> None:
    save(dataset / "scribblesTr" / "a.nii.gz", scribble().astype(np.float64))
    assert kinds(check(dataset)) == []


def test_scribble_without_image_names_the_nearest_case(dataset: Path) -> None:
    for name in ("heart_12", "hearth_12"):
        save(dataset / "scribblesTr" / f"{name}.nii.gz", scribble(4))
    save(dataset / "imagesTr" / "heart_12_0000.nii.gz", image(12))
    report = check(dataset)
    assert kinds(report) == [("error", "map-without-image", "hearth_12")]
    assert "'heart_12'" in report.findings[0].todo


def test_missing_channel_and_too_many_channels(dataset: Path) -> None:
    write_json(dataset, channel_names={"0": "T1", "1": "T2"})
    for number, case in enumerate("abc"):
        save(dataset / "imagesTr" / f"{case}_0001.nii.gz", image(20 + number))
    (dataset / "imagesTr" / "b_0000.nii.gz").unlink()
    report = check(dataset)
    assert kinds(report) == [("error", "missing-channel", "b"), ("error", "channel-count", "v")]
    assert report.findings[1].amounts == {"expected": 2, "found": 1}


def test_channels_on_different_grids(dataset: Path) -> None:
    write_json(dataset, channel_names={"0": "T1", "1": "T2"})
    for case, part in (("a", "Tr"), ("b", "Tr"), ("c", "Tr"), ("v", "Val")):
        spacing = (0.8, 0.8, 5.0) if case == "b" else (0.8, 0.8, 4.0)
        save(dataset / f"images{part}" / f"{case}_0001.nii.gz", image(ord(case)), spacing)
    report = check(dataset)
    assert kinds(report) == [("error", "spacing-mismatch", "b")]
    assert report.findings[0].file == "imagesTr/b_0001.nii.gz"


def test_empty_scribble_and_case_without_any(dataset: Path) -> None:
    save(dataset / "scribblesTr" / "a.nii.gz", np.full(SHAPE, IGNORE, dtype=np.uint8))
    (dataset / "scribblesTr" / "b.nii.gz").unlink()
    (dataset / "labelsVal" / "v.nii.gz").unlink()
    assert kinds(check(dataset)) == [
        ("warning", "no-stroke", "a"),
        ("note", "case-not-annotated", "b"),
        ("warning", "validation-not-annotated", "v"),
    ]


def test_class_and_background_never_drawn(dataset: Path) -> None:
    for number, case in enumerate("abc"):
        array = scribble(number)
        array[(array == 0) | (array == 2)] = IGNORE
        save(dataset / "scribblesTr" / f"{case}.nii.gz", array)
    report = check(dataset, far_share=1.0)
    assert kinds(report) == [("error", "background-never-drawn", None), ("error", "class-never-drawn", None)]
    assert "'vessel'" in report.findings[1].message


def test_class_missing_in_one_case_is_a_note(dataset: Path) -> None:
    array = scribble()
    array[array == 2] = IGNORE
    save(dataset / "scribblesTr" / "b.nii.gz", array)
    assert kinds(check(dataset)) == [("note", "class-not-drawn", "b")]


def test_classes_that_nobody_looked_for_are_not_missed(dataset: Path) -> None:
    array = scribble()
    array[array == 2] = IGNORE
    save(dataset / "scribblesTr" / "b.nii.gz", array)
    write_json(dataset, annotated={"b": ["background", "organ"], "c": ["background", "organ"]})
    assert kinds(check(dataset)) == [("error", "class-not-annotated", "c")]


def test_nothing_annotated(dataset: Path) -> None:
    shutil.rmtree(dataset / "scribblesTr")
    report = check(dataset)
    assert ("error", "nothing-annotated", None) in kinds(report)


def test_unlabelled_written_as_background(dataset: Path) -> None:
    for number, case in enumerate("abc"):
        array = scribble(number)
        array[array == IGNORE] = 0
        save(dataset / "scribblesTr" / f"{case}.nii.gz", array)
    report = check(dataset)
    assert kinds(report) == [("error", "no-pixel-unlabelled", case) for case in "abc"]
    assert report.findings[0].amounts["largest_class"] == "background"


def test_background_and_ignore_swapped(dataset: Path) -> None:
    write_json(dataset, labels={"background": 3, "organ": 1, "vessel": 2, "ignore": 0})
    report = check(dataset)
    assert kinds(report) == [("warning", "ignore-not-dominant", case) for case in "abc"]
    assert report.findings[0].amounts["unlabelled_share"] == pytest.approx(24 / (12 * 16))


def test_ignore_that_nobody_named(dataset: Path) -> None:
    write_json(dataset, labels={"background": 0, "organ": 1, "vessel": 2})
    save(dataset / "imagesTr" / "c_0000.nii.gz", np.ones(SHAPE, dtype=np.int16))
    report = check(dataset)
    assert ("error", "ignore-missing", None) in kinds(report)
    assert ("error", "image-constant", "c") in kinds(report)  # the check goes on
    assert report.find("label-unknown-value")[0].amounts["pixels"] == {"3": 3 * (12 * 16 - 30)}


@pytest.mark.parametrize("text", ["{", "[]", '{"labels": {"organ": 1}}', None])
def test_files_are_checked_even_without_dataset_json(dataset: Path, text: str | None) -> None:
    (dataset / "dataset.json").unlink()
    if text is not None:
        (dataset / "dataset.json").write_text(text, encoding="utf-8")
    save(dataset / "scribblesTr" / "b.nii.gz", scribble()[:, :, :-1])
    (dataset / "imagesTr" / "c_0000.nii.gz").write_bytes(b"")
    report = check(dataset)
    assert kinds(report) == [
        ("error", "dataset-json", None),
        ("error", "size-mismatch", "b"),
        ("error", "unreadable-file", "c"),
    ]
    assert report.classes == ()


def test_strokes_that_contradict_the_label(dataset: Path) -> None:
    dense = np.zeros(SHAPE, dtype=np.uint8)
    dense[:, 4:7, 3:8] = 1
    dense[:, 6:9, 8:11] = 2  # the stroke reaches one pixel further
    save(dataset / "labelsTr" / "a.nii.gz", dense)
    report = check(dataset)
    assert kinds(report) == [("warning", "scribble-against-label", "a")]
    amounts = report.findings[0].amounts
    assert amounts["pairs"] == [["vessel", "background", 3]]
    assert (amounts["pixels"], amounts["compared"], amounts["first_at"]) == (3, 90, [0, 7, 11])


def test_annotators_are_all_checked_and_compared(dataset: Path) -> None:
    for case in "abc":
        path = dataset / "scribblesTr" / f"{case}.nii.gz"
        for person in ("ann", "bob"):
            (dataset / "scribblesTr" / person).mkdir(exist_ok=True)
            shutil.copy(path, dataset / "scribblesTr" / person / path.name)
        path.unlink()
    array = scribble(0)
    array[0, 5, 4:7] = 2
    save(dataset / "scribblesTr" / "bob" / "a.nii.gz", array)
    shutil.copy(dataset / "scribblesTr" / "bob" / "b.nii.gz", dataset / "scribblesTr" / "bob" / "lost.nii.gz")
    report = check(dataset)
    assert kinds(report) == [
        ("error", "map-without-image", "lost"),
        ("note", "several-annotators", None),
        ("warning", "annotators-disagree", "a"),
    ]
    assert report.findings[2].amounts["pixels"] == 3
    assert len(report.coverage) == 6
    assert kinds(check(dataset, scribbles="ann")) == []
    with pytest.raises(DataError, match="Known: ann, bob"):
        check(dataset, scribbles="carl")


def test_labels_of_people_alone_are_annotation(dataset: Path) -> None:
    shutil.rmtree(dataset / "scribblesTr")
    dense = np.zeros(image(0).shape, np.int16)
    dense[:, 3:6, 3:6], dense[:, 7:9, 7:9] = 1, 2
    for person in ("ann", "bob"):
        for case in "abc":
            save(dataset / "labelsTr" / person / f"{case}.nii.gz", np.roll(dense, ord(case), axis=2))
    report = check(dataset)
    assert report.ok, kinds(report)
    assert ("note", "case-not-annotated", "a") not in kinds(report)
    note = next(one for one in report.findings if one.code == "several-annotators")
    assert "ann, bob" in note.message
    assert all(word in note.todo for word in ("labels=NAME", "raters=sampled", "medcl fuse"))


def test_same_image_and_same_scribble_twice(dataset: Path) -> None:
    save(dataset / "imagesTr" / "b_0000.nii.gz", image(0).astype(np.float32))  # other bytes, same content
    save(dataset / "scribblesTr" / "c.nii.gz", scribble(0))
    save(dataset / "imagesVal" / "v_0000.nii.gz", image(2))
    report = check(dataset)
    assert kinds(report) == [
        ("warning", "duplicate-image", "a"),
        ("error", "duplicate-scribble", "a"),
        ("error", "duplicate-image", "c"),
    ]
    assert report.findings[1].amounts["cases"] == ["a", "c"]


def test_two_files_for_one_case(dataset: Path) -> None:
    save(dataset / "scribblesTr" / "a.nii", scribble())
    (dataset / "imagesTr" / "notes.txt").write_text("hello", encoding="utf-8")
    assert kinds(check(dataset)) == [("warning", "stray-file", None), ("error", "duplicate-file", "a")]


def test_case_in_two_parts(dataset: Path) -> None:
    save(dataset / "imagesVal" / "a_0000.nii.gz", image(30))
    save(dataset / "labelsVal" / "a.nii.gz", (image(30) % 3).astype(np.uint8))
    assert ("error", "duplicate-case", "a") in kinds(check(dataset))


def test_odd_scale_and_spacing(dataset: Path) -> None:
    save(dataset / "imagesTr" / "b_0000.nii.gz", image(1).astype(np.float32) * 500)
    save(dataset / "imagesTr" / "c_0000.nii.gz", image(2), (0.8, 0.8, 0.4))
    save(dataset / "scribblesTr" / "c.nii.gz", scribble(2), (0.8, 0.8, 0.4))
    report = check(dataset)
    assert kinds(report) == [("warning", "odd-spacing", "c"), ("warning", "odd-intensity-scale", "b")]
    assert report.findings[0].amounts["factor"] == pytest.approx(10)


def test_far_from_strokes_names_the_place(dataset: Path) -> None:
    array = np.full(SHAPE, IGNORE, dtype=np.uint8)
    array[:, 0, 0] = 0
    array[:, 1, 0] = 1
    array[:, 2, 0] = 2
    save(dataset / "scribblesTr" / "a.nii.gz", array)
    report = check(dataset)
    assert kinds(report) == [("warning", "far-from-strokes", "a")]
    amounts = report.findings[0].amounts
    assert (amounts["slice"], amounts["y"], amounts["x"]) == (0, 11, 15)
    assert amounts["distance_mm"] == pytest.approx(0.8 * np.hypot(9, 15), rel=1e-5)


def test_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for folder in ("imagesTr", "scribblesTr"):
        (tmp_path / folder).mkdir()
    for case in "ab":
        picture = SimpleITK.GetImageFromArray(rng.integers(0, 255, (12, 16, 3)).astype(np.uint8), isVector=True)
        SimpleITK.WriteImage(picture, tmp_path / "imagesTr" / f"{case}_0000.png")
        strokes = SimpleITK.GetImageFromArray(scribble(ord(case) % 2)[0])
        SimpleITK.WriteImage(strokes, tmp_path / "scribblesTr" / f"{case}.png")
    SimpleITK.WriteImage(picture, tmp_path / "scribblesTr" / "b.png")
    write_json(tmp_path, channel_names={"0": "R", "1": "G", "2": "B"}, file_ending=".png")
    report = check(tmp_path)
    assert kinds(report) == [("error", "map-has-channels", "b"), ("note", "no-spacing", None)]
    SimpleITK.WriteImage(strokes, tmp_path / "scribblesTr" / "b.jpg")
    (tmp_path / "scribblesTr" / "b.png").unlink()
    assert kinds(check(tmp_path))[0] == ("error", "lossy-map", "b")


def test_report_as_json(dataset: Path) -> None:
    (dataset / "imagesTr" / "a_0000.nii.gz").write_bytes(b"")
    report = check(dataset)
    content = json.loads(report.to_json())
    assert content["ok"] is False
    assert content["counts"] == {"error": 1, "warning": 0, "note": 0}
    assert content["findings"][0]["code"] == "unreadable-file"
    assert content["coverage"][0]["classes"][1]["name"] == "organ"


def test_progress_and_missing_folder(dataset: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    check(dataset, progress=lambda *step: seen.append(step))
    assert seen == [(0, 4, "a"), (1, 4, "b"), (2, 4, "c"), (3, 4, "v")]
    with pytest.raises(DataError, match="found nothing"):
        check(dataset / "nowhere")
    (dataset / "empty").mkdir()
    assert [code for _, code, _ in kinds(check(dataset / "empty"))] == ["dataset-json", "no-training-images"]


# ---- real data


def test_mscmr(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "mscmr"
    shutil.copy(source / "dataset.json", tmp_path)
    for case in ("subject27_DE", "subject7_DE"):
        for name in (f"imagesTr/{case}_0000.nii.gz", f"scribblesTr/{case}.nii.gz"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).symlink_to(source / name)
    report = check(tmp_path)
    assert report.ok
    assert {group.code for group in report.groups()} <= {"far-from-strokes"}
    assert all(not case.empty_slices for case in report.coverage)
    without_lv = [case.size[0] - case.classes[3].slices for case in report.coverage]
    assert without_lv == [3, 1]  # slices 17-19 of subject 27 and 14 of subject 7 hold background strokes only


def test_medscribble_names_the_exchanged_scribbles(shared_data: Path) -> None:
    found = check(shared_data / "medscribble", scribbles="annotator2").find("duplicate-scribble")
    assert [finding.amounts["cases"][0].split("_")[0] for finding in found] == ["BTCV", "CAMUS", "HipXRay", "PAXRay"]
    assert check(shared_data / "medscribble", scribbles="annotator0").ok


def test_hippocampus_scales(shared_data: Path) -> None:
    report = check(shared_data / "hippocampus")
    assert {group.code for group in report.groups()} == {"odd-intensity-scale"}
