"""Describing a folder: what its files hold, what the user must say, and what is written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

import medcl
from medcl.data.dataset import Dataset
from medcl.data.init import Answers, answer, init_dataset, list_groups, open_questions, propose_sources, survey
from medcl.data.init.groups import find_groups
from medcl.data.init.patterns import Pattern, assign
from medcl.data.labels import UNLABELLED
from medcl.errors import DataError

HEART = {1: "RV", 2: "Myo", 3: "LV"}


def save(path: Path, array: Any, dtype: Any = np.int16) -> None:
    """Write (Z, Y, X) without medcl."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(array, dtype)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array[0] if path.suffix == ".png" else array), str(path))


def strokes(ignore: int = 4, background: int = 0) -> np.ndarray:
    """Return a (1, 4, 5) map: 4 background strokes, one voxel of each of 1, 2, 3, the other 13 not drawn."""
    array = np.full((1, 4, 5), ignore, np.int16)
    array[0, 0, :4] = background
    array[0, 1, :3] = [1, 2, 3]
    return array


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """Return a folder in the dataset layout with two training cases, without dataset.json."""
    for case in ("a", "b"):
        save(tmp_path / f"set/imagesTr/{case}_0000.nii.gz", np.arange(20).reshape(1, 4, 5))
        save(tmp_path / f"set/scribblesTr/{case}.nii.gz", strokes())
    return tmp_path / "set"


def dense(folder: Path, background: int = 0) -> None:
    """Add a dense validation label with all three structures."""
    array = np.full((1, 4, 5), background)
    array[0, 1, :3] = [1, 2, 3]
    save(folder / "imagesVal/v_0000.nii.gz", np.zeros((1, 4, 5)))
    save(folder / "labelsVal/v.nii.gz", array)


def test_survey_counts_every_value(layout: Path) -> None:
    dense(layout)
    found = survey(layout)
    counted = {count.value: (count.voxels, count.share, count.files) for count in found.values["scribbles"]}
    assert counted == {0: (8, 0.2, 2), 1: (2, 0.05, 2), 2: (2, 0.05, 2), 3: (2, 0.05, 2), 4: (26, 0.65, 2)}
    assert [count.value for count in found.values["labels"]] == [0, 1, 2, 3]
    assert (found.layout, found.channels, found.colour) == (True, 1, False)


def test_nothing_is_assumed_and_everything_missing_is_listed_with_its_share(layout: Path) -> None:
    with pytest.raises(DataError) as error:
        init_dataset(layout)
    for words in (
        "0 (20.0 %, 2 files), 1 (5.0 %, 2 files)",
        "--ignore VALUE (proposal 4: value 4 covers 65.0 % of the pixels)",
        "--background VALUE (proposal 0: 0 is the usual value)",
        "--class VALUE=NAME for every other value",
        "--channels NAME",
    ):
        assert words in str(error.value)
    assert not (layout / "dataset.json").exists()
    with pytest.raises(DataError, match=r"say what they mean with --class 2=NAME, --class 3=NAME\."):
        init_dataset(layout, ignore=4, background=0, classes={1: "RV"}, channels=["LGE"])


def test_answers_become_a_dataset_that_opens(layout: Path) -> None:
    report = medcl.init_dataset(
        layout, ignore=4, background=0, classes=HEART, channels=["LGE"], groups={"heart": ["RV", "Myo", "LV"]}, name="x"
    )
    assert json.loads(report.path.read_text(encoding="utf-8")) == {
        "name": "x",
        "channel_names": {"0": "LGE"},
        "labels": {"background": 0, "RV": 1, "Myo": 2, "LV": 3, "ignore": 4},
        "groups": {"heart": ["RV", "Myo", "LV"]},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    assert report.cases == {"Tr": 2, "Val": 0, "Ts": 0}
    assert report.notes == ()
    dataset = Dataset.open(layout)
    assert dataset.groups == {"heart": (1, 2, 3)}
    assert (dataset.read_scribble(dataset.cases("Tr")[0]) == np.where(strokes() == 4, UNLABELLED, strokes())).all()


def test_an_existing_description_is_kept_unless_forced(layout: Path) -> None:
    (layout / "dataset.json").write_text("precious", encoding="utf-8")
    given_answers: dict[str, Any] = {"ignore": 4, "background": 0, "classes": HEART, "channels": ["LGE"]}
    with pytest.raises(DataError, match="is there already; replace it with --force"):
        init_dataset(layout, **given_answers)
    assert (layout / "dataset.json").read_text(encoding="utf-8") == "precious"
    init_dataset(layout, **given_answers, force=True)
    assert Dataset.open(layout).classes[1:] == ("RV", "Myo", "LV")


def test_dense_labels_share_the_encoding_only_where_it_cannot_be_misread(layout: Path) -> None:
    dense(layout)
    report = init_dataset(layout, ignore=4, background=0, classes=HEART, channels=["LGE"])
    assert "scribble_labels" not in report.content
    assert report.notes == ("Dense labels are read with the same values as the scribbles.",)
    for case in ("a", "b"):
        save(layout / f"scribblesTr/{case}.nii.gz", strokes(ignore=0, background=4))
    answers: dict[str, Any] = {"ignore": 0, "background": 4, "classes": HEART, "channels": ["LGE"], "force": True}
    with pytest.raises(DataError, match=r"--label-background VALUE \(proposal 0: value 0 covers 85.0 % of the dense"):
        init_dataset(layout, **answers)
    report = init_dataset(layout, **answers, label_background=0)
    assert report.content["labels"] == {"background": 0, "RV": 1, "Myo": 2, "LV": 3}
    assert report.content["scribble_labels"] == {"background": 4, "RV": 1, "Myo": 2, "LV": 3, "ignore": 0}
    dataset = Dataset.open(layout)
    assert (dataset.read_label(dataset.cases("Val")[0]) >= 0).all()
    assert (dataset.read_scribble(dataset.cases("Tr")[0]) == UNLABELLED).sum() == 13


def test_255_may_be_ignore_in_scribbles_and_a_structure_in_masks(layout: Path) -> None:
    for case in ("a", "b"):
        save(layout / f"scribblesTr/{case}.nii.gz", np.where(strokes() > 1, 255, strokes()))
        save(layout / f"labelsTr/{case}.nii.gz", np.where(strokes() == 4, 0, 255))
    answers: dict[str, Any] = {"ignore": 255, "background": 0, "classes": {1: "cell"}, "channels": ["x"]}
    with pytest.raises(DataError, match="--label-background"):
        init_dataset(layout, **answers)
    with pytest.raises(DataError, match="--label-class 255=NAME"):
        init_dataset(layout, **answers, label_background=0)
    init_dataset(layout, **answers, label_background=0, label_classes={255: "cell"})
    dataset = Dataset.open(layout)
    label = dataset.read_label(dataset.cases("Tr")[0])
    assert (int((label == 0).sum()), int((label == 1).sum())) == (13, 7)


def test_nobody_drew_background(layout: Path) -> None:
    for case in ("a", "b"):
        save(layout / f"scribblesTr/{case}.nii.gz", strokes(ignore=0))
    report = init_dataset(layout, ignore=0, background="none", classes=HEART, channels=["x"])
    assert report.content["labels"] == {"background": 0, "RV": 1, "Myo": 2, "LV": 3}
    assert report.content["scribble_labels"] == {"RV": 1, "Myo": 2, "LV": 3, "ignore": 0}
    assert "Nobody drew background" in report.notes[0]
    scribble = Dataset.open(layout).read_scribble(Dataset.open(layout).cases("Tr")[0])
    assert sorted(set(scribble.ravel().tolist())) == [UNLABELLED, 1, 2, 3]


def test_answers_that_contradict_each_other_or_the_files(layout: Path) -> None:
    base: dict[str, Any] = {"ignore": 4, "background": 0, "classes": HEART, "channels": ["x"]}
    for change, words in (
        ({"background": 1}, "--class 0=NAME"),
        ({"classes": HEART | {4: "vein"}}, "value 4 is 'vein' and 'ignore'"),
        ({"classes": {1: "RV", 2: "RV", 3: "LV"}}, "two values are called 'RV'"),
        ({"ignore": "none", "classes": HEART | {4: "x"}}, "scribbles need a value where nothing is drawn"),
        ({"channels": ["T1", "T2"]}, "expected 1 channel names, as many as the images have, got 2"),
        ({"groups": {"heart": ["RW"]}}, "unknown class 'RW'"),
    ):
        with pytest.raises(DataError) as error:
            init_dataset(layout, **base | change)
        assert words in str(error.value)
        assert not (layout / "dataset.json").exists()
    report = init_dataset(layout, **base | {"classes": HEART | {7: "vein"}})
    assert report.notes == ("Class 'vein' (value 7) occurs in no file.",)


def test_unreadable_maps_are_named(layout: Path) -> None:
    (layout / "scribblesTr/a.nii.gz").write_bytes(b"no image")
    found = survey(layout)
    assert list(found.unreadable) == ["scribblesTr/a.nii.gz"]
    with pytest.raises(DataError, match=r"a\.nii\.gz"):
        init_dataset(layout, ignore=4, background=0, classes=HEART, channels=["x"])


def test_a_flat_folder_is_laid_out_as_links_and_nothing_of_the_user_changes(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    for case in ("p 1", "p2"):
        save(folder / f"{case}.nii.gz", np.arange(20).reshape(1, 4, 5))
        save(folder / f"{case}_scribble.nii.gz", strokes())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(DataError, match=r"Proposal: --images '\{case\}' --scribbles '\{case\}_scribble'"):
        survey(folder)
    answers: dict[str, Any] = {
        "sources": {"imagesTr": ["{case}"], "scribblesTr": ["{case}_scribble"]},
        "ignore": 4,
        "background": 0,
        "classes": HEART,
        "channels": ["x"],
    }
    with pytest.raises(DataError, match="--out DIR"):
        init_dataset(folder, **answers)
    init_dataset(folder, **answers, out=tmp_path / "links")
    init_dataset(folder, **answers, out=tmp_path / "copies", copy=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    for out, linked in (("links", True), ("copies", False)):
        dataset = Dataset.open(tmp_path / out)
        assert [case.id for case in dataset.cases("Tr")] == ["p 1", "p2"]
        assert all(path.is_symlink() is linked for case in dataset.cases("Tr") for path in case.images)
        assert (dataset.read_scribble(dataset.cases("Tr")[0]) == 1).sum() == 1
    with pytest.raises(DataError, match="expected a new or empty folder"):
        init_dataset(folder, **answers, out=tmp_path / "links")
    os.rename(tmp_path / "mine", tmp_path / "moved")
    dataset = Dataset.open(tmp_path / "links")
    with pytest.raises(DataError, match=r"p 1_0000\.nii\.gz"):
        dataset.read_image(dataset.cases("Tr")[0])


def test_one_folder_per_case_channels_splits_and_mixed_endings(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    for split, cases in (("train", ("p1", "p2")), ("test", ("p3",))):
        for case in cases:
            save(folder / f"{split}/{case}/{case}_t1.nii.gz", np.full((1, 4, 5), 1))
            save(folder / f"{split}/{case}/{case}_t2.nrrd", np.full((1, 4, 5), 2))
            save(folder / f"{split}/{case}/{case}_seg.mha", np.where(strokes() == 4, 0, strokes()))
    proposal = propose_sources(list_groups(folder))
    assert proposal["labelsTr"] == ("train/{case}/{case}_seg",)
    assert proposal["labelsTs"] == ("test/{case}/{case}_seg",)
    sources = {
        "imagesTr": ("train/{case}/{case}_t1", "train/{case}/{case}_t2"),
        "labelsTr": ("train/{case}/{case}_seg",),
        "imagesTs": ("test/{case}/{case}_t1", "test/{case}/{case}_t2"),
    }
    report = init_dataset(
        folder, sources=sources, background=0, classes=HEART, channels=["T1", "T2"], out=tmp_path / "out"
    )
    assert "file_ending" not in report.content
    dataset = Dataset.open(tmp_path / "out")
    assert [case.id for case in dataset.cases("Ts")] == ["p3"]
    assert dataset.read_image(dataset.cases("Ts")[0]).array[:, 0, 0, 0].tolist() == [1, 2]


def test_patterns() -> None:
    here = Path("nowhere")
    for text, path, case in (
        ("images/{case}.png", "images/a.b.png", "a.b"),
        ("images/{case}.png", "images/a.tif", None),
        ("images/{case}", "images/a.NII.GZ", "a"),
        ("images/{case}", "images/x/a.png", None),
        ("**/{case}_img.*", "x/y/a_img.png", "a"),
        ("{case}/{case}_t1", "p1/p1_t1.nii", "p1"),
        ("{case}/{case}_t1", "p1/p2_t1.nii", None),
        ("{patient}/{study}/ct", "p1/s2/ct", "p1_s2"),
        ("(a+{case})", "(a+b).png", "b"),
    ):
        assert Pattern(text, here).case(path) == case, text
    with pytest.raises(DataError, match="a place for the case"):
        Pattern("images/*.png", here)


def test_pairing_problems_are_named() -> None:
    here = Path("nowhere")
    for files, wanted, words in (
        (["a.png"], {"imagesTr": ["{case}_x"]}, "no image file fits the pattern '{case}_x' for imagesTr"),
        (["a.png", "a.tif"], {"imagesTr": ["{case}"]}, "a.png and a.tif are both case 'a'"),
        (["a.png", "b_s.png"], {"imagesTr": ["{case}"], "labelsTr": ["{case}_s"]}, "labelsTr: no image for case b"),
        (
            ["a_1.png", "a_2.png", "b_1.png"],
            {"imagesTr": ["{case}_1", "{case}_2"]},
            "case 'b' has no file for {case}_2",
        ),
        (["a.png"], {"imagesTr": ["{case}"], "labelsTr": ["{id}"]}, "equally well"),
    ):
        with pytest.raises(DataError) as error:
            assign(files, wanted, here)
        assert words in str(error.value)


def test_proposals_come_from_names() -> None:
    flat = find_groups(["images/c1_0000.png", "images/c2_0000.png", "masks/c1.png", "masks/c2.png"])
    assert propose_sources(flat) == {"imagesTr": ("images/{case}_0000",), "labelsTr": ("masks/{case}",)}
    folders = find_groups(["p1/image.nii", "p1/seg.nii", "p2/image.nii", "p2/seg.nii"])
    assert propose_sources(folders) == {"imagesTr": ("{case}/image",), "labelsTr": ("{case}/seg",)}
    unclear = find_groups(["x/a.png", "y/a.png"])
    assert propose_sources(unclear) == {}
    two = find_groups(["a_mask.png", "a_seg.png", "a.png"])
    assert propose_sources(two) == {"imagesTr": ("{case}",)}, "two kinds of mask leave the choice to the user"


def test_digits_of_a_slice_are_not_taken_for_a_channel(tmp_path: Path) -> None:
    save(tmp_path / "imagesTr/p1_0394.png", np.zeros((1, 4, 5)), np.uint8)
    with pytest.raises(DataError, match=r"has the channels _0394, but they count from _0000"):
        survey(tmp_path)
    sources = {"imagesTr": ["imagesTr/{case}"]}
    init_dataset(tmp_path, sources=sources, classes={1: "x"}, background=0, channels=["CT"], out=tmp_path / "out")
    assert [case.id for case in Dataset.open(tmp_path / "out").cases("Tr")] == ["p1_0394"]


def test_dicom_folders_become_cases(tmp_path: Path) -> None:
    for case in ("p1", "p2"):
        (tmp_path / f"scans/{case}").mkdir(parents=True)
        for number in range(2):
            (tmp_path / f"scans/{case}/IM{number}").write_bytes(bytes(128) + b"DICM")
    assert [group.pattern for group in list_groups(tmp_path)] == ["scans/{case}"]
    found = assign(["scans/p1", "scans/p2"], {"imagesTr": ["scans"]}, tmp_path)
    assert found == {"imagesTr": {"p1": ("scans/p1",), "p2": ("scans/p2",)}}


def test_typed_answers_are_checked(layout: Path) -> None:
    found = survey(layout)
    answers = Answers()
    for text in ("4", "0", "RV", "Myo", "LV", "LGE"):
        answers = answer(answers, open_questions(found, answers)[0], text)
    assert open_questions(found, answers) == []
    assert answers == Answers(background=0, ignore=4, classes=HEART, channels=("LGE",))
    question = open_questions(found, Answers(ignore=4))[0]
    with pytest.raises(DataError, match="expected an integer or 'none', got 'zero'"):
        answer(Answers(), question, "zero")
    naming = open_questions(found, Answers(ignore=4, background=0))[0]
    for wrong in ("", "Background"):
        with pytest.raises(DataError, match="expected a new name"):
            answer(Answers(), naming, wrong)
    assert answer(Answers(), naming, "ignore").ignore == 1


@settings(max_examples=15)
@given(ignore=st.sampled_from([-1, 0, 4, 255, "highest"]), count=st.integers(2, 20), seed=st.integers(0, 2**32 - 1))
def test_any_encoding_is_read_back_to_the_same_indices(
    tmp_path_factory: pytest.TempPathFactory, ignore: int | str, count: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = [value for value in range(count + 2) if value != ignore][:count]
    held = count + 5 if ignore == "highest" else int(ignore)
    names = ["background", *(f"organ {index}" for index in range(1, count))]
    indices = rng.permutation(np.resize(np.arange(UNLABELLED, count), 60)).reshape(3, 4, 5)
    folder = tmp_path_factory.mktemp("set")
    save(folder / "imagesTr/a_0000.nii.gz", np.zeros((3, 4, 5)))
    table = np.array([*values, held])  # index -1 is the last entry
    save(folder / "scribblesTr/a.nii.gz", table[indices])
    init_dataset(
        folder,
        background=values[0],
        ignore=held,
        classes=dict(zip(values[1:], names[1:], strict=True)),
        channels=["x"],
    )
    dataset = Dataset.open(folder)
    assert dataset.classes == tuple(names)
    assert np.array_equal(dataset.read_scribble(dataset.cases("Tr")[0]), indices)


@pytest.mark.parametrize("name", ["mscmr", "acdc", "hippocampus", "curvas", "nuclei", "medscribble"])
def test_real_sets_get_the_description_they_came_with(shared_data: Path, tmp_path: Path, name: str) -> None:
    known = json.loads((shared_data / name / "dataset.json").read_text(encoding="utf-8"))
    for source in (shared_data / name).iterdir():
        if source.is_dir() and source.name != "softTr":
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / source.name).symlink_to(source)
    labels = dict(known["labels"])
    report = init_dataset(
        tmp_path / name,
        background=labels.pop("background"),
        ignore=labels.pop("ignore"),
        classes={value: text for text, value in labels.items()},
        channels=list(known["channel_names"].values()),
    )
    for key in ("labels", "channel_names", "numTraining", "file_ending"):
        assert report.content[key] == known[key]
