"""The dataset folder: which files are which case, and file values that become class indices."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from medcl.data.dataset import Dataset
from medcl.data.io import read_map, write_map
from medcl.data.labels import UNLABELLED, Encoding, parse_labels
from medcl.errors import DataError

HEART = {"background": 0, "RV": 1, "Myo": 2, "LV": 3, "ignore": 4}


def save(path: Path, array: Any, dtype: Any = np.int16) -> None:
    """Write (Z, Y, X), or (Z, Y, X, C) for PNG, without medcl."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(array, dtype)
    flat = path.suffix == ".png"
    SimpleITK.WriteImage(
        SimpleITK.GetImageFromArray(array[0] if flat else array, isVector=array.ndim == 4 and flat), str(path)
    )


def describe(folder: Path, **content: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(
        json.dumps({"channel_names": {"0": "MR"}, "labels": HEART} | content), encoding="utf-8"
    )
    return folder


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Return a set with one case of each kind: strokes, dense, both, neither; and one validation case."""
    folder = describe(tmp_path / "mixed")
    for case in ("strokes", "dense", "both", "neither"):
        save(folder / f"imagesTr/{case}_0000.nii.gz", np.arange(8).reshape(1, 2, 4))
    save(folder / "imagesVal/other_0000.nii.gz", np.zeros((1, 2, 4)))
    for case in ("strokes", "both"):
        save(folder / f"scribblesTr/{case}.nii.gz", [[[4, 4, 0, 4], [1, 2, 3, 4]]])
    for case in ("Tr/dense", "Tr/both", "Val/other"):
        save(folder / f"labels{case}.nii.gz", [[[0, 0, 0, 0], [1, 2, 3, 3]]])
    return folder


def test_a_mix_of_strokes_dense_labels_and_neither_opens(mixed: Path) -> None:
    dataset = Dataset.open(mixed)
    assert dataset.classes == ("background", "RV", "Myo", "LV")
    assert dataset.name == "mixed"
    assert dataset.channels == ("MR",)
    found = {case.id: (case.scribble is not None, case.label is not None) for case in dataset.cases("Tr")}
    assert found == {
        "both": (True, True),
        "dense": (False, True),
        "neither": (False, False),
        "strokes": (True, False),
    }
    assert [case.id for case in dataset.cases("Val")] == ["other"]
    assert dataset.cases("Ts") == []
    case = dataset.cases("Tr")[0]
    assert case.annotated == (0, 1, 2, 3)
    assert dataset.read_image(case).array.shape == (1, 1, 2, 4)
    u = UNLABELLED
    assert dataset.read_scribble(case).tolist() == [[[u, u, 0, u], [1, 2, 3, u]]]
    assert dataset.read_label(case).tolist() == [[[0, 0, 0, 0], [1, 2, 3, 3]]]
    assert dataset.read_label(case).dtype == np.int16
    with pytest.raises(DataError, match="case neither: has no label in labelsTr"):
        dataset.read_label(dataset.cases("Tr")[2])
    with pytest.raises(DataError, match=r"unknown split 'train'.*Known: Tr, Ts, Val"):
        dataset.cases("train")  # type: ignore[arg-type]


def test_dense_only_sets_need_no_ignore_and_scribbles_do(mixed: Path) -> None:
    labels = {"background": 0, "RV": 1, "Myo": 2, "LV": 3}
    describe(mixed, labels=labels)
    with pytest.raises(DataError, match='"labels" names no "ignore"'):
        Dataset.open(mixed)
    for path in (mixed / "scribblesTr").iterdir():
        path.unlink()
    assert Dataset.open(mixed).labels.dense.ignore is None


def test_scribble_labels_hold_for_scribbles_only(mixed: Path) -> None:
    own = {"background": 4, "RV": 1, "Myo": 2, "LV": 3, "ignore": 0}
    describe(mixed, labels={"background": 0, "RV": 1, "Myo": 2, "LV": 3}, scribble_labels=own)
    dataset = Dataset.open(mixed)
    case = dataset.cases("Tr")[0]
    u = UNLABELLED
    assert dataset.read_scribble(case).tolist() == [[[0, 0, u, 0], [1, 2, 3, 0]]]
    assert dataset.read_label(case).tolist() == [[[0, 0, 0, 0], [1, 2, 3, 3]]]


def test_unknown_values_name_file_value_count_and_what_is_known(mixed: Path) -> None:
    save(mixed / "scribblesTr/both.nii.gz", [[[4, 4, 9, 9], [1, 2, 3, 7]]])
    dataset = Dataset.open(mixed)
    with pytest.raises(DataError, match=r"both\.nii\.gz \(case both\): unknown label value 7 \(1 voxels\), 9 \(2") as e:
        dataset.read_scribble(dataset.cases("Tr")[0])
    assert "background = 0, RV = 1, Myo = 2, LV = 3, ignore = 4" in str(e.value)


def test_a_scribble_of_another_shape_is_an_error(mixed: Path) -> None:
    save(mixed / "scribblesTr/both.nii.gz", [[[4, 4], [1, 2]]])
    dataset = Dataset.open(mixed)
    with pytest.raises(DataError, match=r"expected the image's size \(z, y, x\) \(1, 2, 4\), got \(1, 2, 2\)"):
        dataset.read_scribble(dataset.cases("Tr")[0])


@pytest.mark.parametrize(
    ("axis", "voxels", "refused"), [(0, 1.0, True), (2, 1.0, True), (1, 0.02, False), (0, 0.0, False)]
)
def test_a_scribble_shifted_by_a_voxel_is_an_error_and_a_rounded_header_is_none(
    mixed: Path, axis: int, voxels: float, refused: bool
) -> None:
    path = mixed / "scribblesTr/both.nii.gz"
    array, geometry = read_map(path)
    origin = list(geometry.origin_mm)
    origin[axis] += voxels * geometry.spacing_mm[2 - axis]
    write_map(path, array, replace(geometry, origin_mm=tuple(origin), nifti_header=""))
    dataset = Dataset.open(mixed)
    if refused:
        with pytest.raises(DataError, match=r"both\.nii\.gz \(case both\): expected the grid of .* another origin"):
            dataset.read_scribble(dataset.cases("Tr")[0])
    else:
        dataset.read_scribble(dataset.cases("Tr")[0])


def test_annotated_says_which_classes_were_looked_for(mixed: Path) -> None:
    save(mixed / "labelsTr/both.nii.gz", [[[0, 0, 0, 0], [1, 1, 1, 0]]])
    describe(mixed, annotated={"both": ["RV"], "dense": ["background", "RV", "Myo"]})
    both, dense, neither, _ = Dataset.open(mixed).cases("Tr")
    assert (both.annotated, dense.annotated, neither.annotated) == ((1,), (0, 1, 2), (0, 1, 2, 3))
    u = UNLABELLED
    assert Dataset.open(mixed).read_label(both).tolist() == [[[u, u, u, u], [1, 1, 1, u]]], (
        "no one looked for Myo there"
    )
    with pytest.raises(DataError, match=r"holds class 'LV', which dataset.json does not list under annotated"):
        Dataset.open(mixed).read_label(dense)
    describe(mixed, annotated={"bot": ["RV"]})
    with pytest.raises(DataError, match="unknown case 'bot'; did you mean 'both'"):
        Dataset.open(mixed)
    describe(mixed, annotated={"both": ["rv"]})
    with pytest.raises(DataError, match=r"unknown class 'rv'.*Known: LV, Myo, RV, background"):
        Dataset.open(mixed)


def test_groups_come_from_regions_groups_or_a_stated_default() -> None:
    default = parse_labels({"labels": HEART}, "x")
    assert (default.groups, default.groups_given) == ({"foreground": (1, 2, 3)}, False)
    assert parse_labels({"labels": {"background": 0, "cell": 1}}, "x").groups == {}
    none = parse_labels({"labels": HEART, "groups": {}}, "x")
    assert (none.groups, none.groups_given) == ({}, True)
    given = parse_labels({"labels": HEART | {"ventricle": [2, 3]}, "groups": {"blood": ["LV", 1]}}, "x")
    assert (given.groups, given.groups_given) == ({"ventricle": (2, 3), "blood": (1, 3)}, True)
    with pytest.raises(DataError, match="group 'a': unknown class 'lv'"):
        parse_labels({"labels": HEART, "groups": {"a": ["lv"]}}, "x")
    with pytest.raises(DataError, match="group 'a' holds the background"):
        parse_labels({"labels": HEART, "groups": {"a": [0, 1]}}, "x")


def test_nnunet_regions_open_and_values_without_a_name_say_so() -> None:
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": [3], "ignore": 4}
    table = parse_labels({"labels": labels, "regions_class_order": [1, 2, 3]}, "x")
    assert table.classes == ("background", "label_1", "label_2", "enhancing")
    assert table.groups == {"whole": (1, 2, 3), "core": (2, 3)}
    with pytest.raises(DataError, match=r"regions_class_order holds unknown value \[7\]"):
        parse_labels({"labels": labels, "regions_class_order": [1, 7]}, "x")


def test_classes_are_ordered_by_file_value_and_background_is_first() -> None:
    table = parse_labels({"labels": {"liver": 7, "background": 5, "kidney": -3, "ignore": 0}}, "x")
    assert table.classes == ("background", "kidney", "liver")
    assert table.dense.decode(np.array([5, 7, -3, 0]), "x").tolist() == [0, 2, 1, UNLABELLED]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, 'expected "labels"'),
        ({"labels": {"0": "background", "1": "RV"}}, "turn it round"),
        ({"labels": {"RV": 1}}, 'must name "background"; named are RV'),
        ({"labels": {"background": 0}}, "names no structure"),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "'b' and 'a' are both value 1"),
        ({"labels": {"background": 0, "a": 1.5}}, "label 'a': expected an integer"),
        ({"labels": {"background": 0, "a": True}}, "label 'a': expected an integer"),
        ({"labels": {"background": 0, "a": 10**30}}, "label 'a': expected an integer"),
        ({"labels": {"background": 0, "a": [0, 1]}}, "region 'a' holds value 0"),
        ({"labels": HEART, "scribble_labels": {"RV": 1}}, '"scribble_labels" must name "ignore"'),
        ({"labels": HEART, "scribble_labels": {"rv": 1, "ignore": 0}}, "unknown class 'rv'"),
        ({"labels": HEART, "scribble_labels": {"RV": 0, "ignore": 0}}, "one value to two names"),
        ({"labels": HEART, "groups": ["LV"]}, 'expected "groups" such as'),
        ({"labels": HEART, "groups": {"LV": ["RV", "Myo"]}}, "has the name of a class"),
    ],
)
def test_unusable_labels_are_explained(content: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError) as error:
        parse_labels(content, "there/dataset.json")
    assert words in str(error.value)
    assert str(error.value).startswith("there/dataset.json: ")


def test_a_folder_that_is_none_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a dataset folder, found nothing"):
        Dataset.open(tmp_path / "missing")
    with pytest.raises(DataError, match=r"no dataset.json; write one with: medcl init"):
        Dataset.open(tmp_path)
    (tmp_path / "dataset.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match="expected a JSON object, got list"):
        Dataset.open(tmp_path)
    describe(tmp_path, channel_names={"1": "MR"})
    with pytest.raises(DataError, match="numbered from 0"):
        Dataset.open(tmp_path)


def test_several_annotators_demand_a_choice(mixed: Path) -> None:
    for path in (mixed / "scribblesTr").iterdir():
        path.unlink()
    save(mixed / "scribblesTr/ann/both.nii.gz", np.full((1, 2, 4), 4))
    save(mixed / "scribblesTr/bob/both.nii.gz", [[[4, 4, 4, 4], [4, 4, 4, 1]]])
    with pytest.raises(DataError, match="choose one with scribbles=: scribblesTr/ann, scribblesTr/bob"):
        Dataset.open(mixed)
    for choice in ("scribblesTr/bob", "bob"):
        dataset = Dataset.open(mixed, scribbles=choice)
        assert (dataset.read_scribble(dataset.cases("Tr")[0]) == 1).sum() == 1
    with pytest.raises(DataError, match="no scribble folder 'scribblesTr/eve'; there are: scribblesTr/ann"):
        Dataset.open(mixed, scribbles="scribblesTr/eve")


def test_channels_as_files_or_as_one_colour_picture(tmp_path: Path) -> None:
    folder = describe(tmp_path / "rgb", channel_names={"0": "R", "1": "G", "2": "B"}, labels={"background": 0, "n": 1})
    save(folder / "imagesTr/picture_0000.png", np.arange(24).reshape(1, 2, 4, 3), np.uint8)
    for channel in range(3):
        save(folder / f"imagesTr/files_{channel:04d}.nii.gz", np.full((1, 2, 4), channel))
    for channel in (0, 2):
        save(folder / f"imagesTr/gap_{channel:04d}.nii.gz", np.zeros((1, 2, 4)))
    save(folder / "imagesTr/grey_0000.nii.gz", np.zeros((1, 2, 4)))
    dataset = Dataset.open(folder)
    files, gap, grey, picture = dataset.cases("Tr")
    assert dataset.read_image(files).array[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert dataset.read_image(picture).array[:, 0, 0, 1].tolist() == [3, 4, 5]
    assert gap.missing == (1,)
    assert [problem.kind for problem in dataset.problems] == ["missing-channel"]
    with pytest.raises(DataError, match=r"case gap: expected 3 channels, G \(_0001\) missing"):
        dataset.read_image(gap)
    with pytest.raises(DataError, match=r"grey.*expected 3 channels \(R, G, B\), got 1"):
        dataset.read_image(grey)


def test_odd_names_are_all_found_and_fatal_ones_refused(mixed: Path) -> None:
    save(mixed / "imagesTr/both_0000.nrrd", np.zeros((1, 2, 4)))
    save(mixed / "imagesTr/deep_0007.nii.gz", np.zeros((1, 2, 4)))
    save(mixed / "imagesVal/both_0000.nii.gz", np.zeros((1, 2, 4)))
    save(mixed / "labelsTr/lonely.nii.gz", np.zeros((1, 2, 4)))
    (mixed / "imagesTr/notes.txt").write_text("x", encoding="utf-8")
    (mixed / "imagesTr/.hidden.nii.gz").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match=r"both_0000.nii.gz and both_0000.nrrd are both of case both") as error:
        Dataset.open(mixed)
    for words in ("deep_0007.nii.gz: expected a name that ends in the channel (_0000)", "imagesTr and in imagesVal"):
        assert words in str(error.value)
    problems = Dataset.open(mixed, strict=False).problems
    assert sorted((problem.kind, problem.case) for problem in problems) == [
        ("duplicate-case", "both"),
        ("duplicate-file", "both"),
        ("map-without-image", "lonely"),
        ("stray-file", "notes.txt"),
        ("unknown-channel", "deep"),
    ]


@pytest.mark.parametrize("case", ["a b", "näme", "slice_0001", "1.2.840", "-rf", "x[y]*{z}", "a\nb", "a'\"b"])
def test_weird_case_names_open(tmp_path: Path, case: str) -> None:
    folder = describe(tmp_path)
    save(folder / f"imagesTr/{case}_0000.nrrd", np.zeros((1, 2, 4)))
    save(folder / f"scribblesTr/{case}.mha", np.full((1, 2, 4), 4))
    dataset = Dataset.open(folder)
    assert [found.id for found in dataset.cases("Tr")] == [case]
    assert (dataset.read_scribble(dataset.cases("Tr")[0]) == UNLABELLED).all()


def test_names_without_channel_suffix_are_one_channel(tmp_path: Path) -> None:
    folder = describe(tmp_path, channel_names=None)
    save(folder / "imagesTr/a.nii.gz", np.zeros((1, 2, 4)))
    dataset = Dataset.open(folder)
    assert dataset.channels == ("image",)
    assert [case.id for case in dataset.cases("Tr")] == ["a"]


def test_the_digest_follows_content_and_nothing_else(mixed: Path) -> None:
    before = Dataset.open(mixed)
    (mixed / "dataset.json").write_text((mixed / "dataset.json").read_text(encoding="utf-8") + "\n\n", encoding="utf-8")
    (mixed / "imagesTr/notes.txt").write_text("x", encoding="utf-8")
    assert Dataset.open(mixed).digest == before.digest
    save(mixed / "scribblesTr/both.nii.gz", [[[4, 4, 0, 0], [1, 2, 3, 4]]])
    after = Dataset.open(mixed)
    assert after.digest != before.digest
    changed = [old.id for old, new in zip(before.cases("Tr"), after.cases("Tr"), strict=True)
               if before.case_digest(old) != after.case_digest(new)]  # fmt: skip
    assert changed == [], "both read the file as it is now"
    describe(mixed, labels=HEART | {"vein": 9})
    assert Dataset.open(mixed).digest != after.digest


@st.composite
def encodings(draw: st.DrawFn) -> Encoding:
    count = draw(st.integers(2, 20))
    ignore = draw(st.sampled_from([-1, 0, 4, 255, "highest"]))
    pool = [value for value in range(40) if value != ignore]
    values = draw(st.permutations(pool))[:count]
    names = tuple(f"c{index}" for index in range(count))
    return Encoding(names, tuple(values), max(values) + 1 if ignore == "highest" else ignore)


@given(encodings(), st.integers(0, 2**32 - 1))
def test_written_and_read_back_gives_the_same_class_indices(encoding: Encoding, seed: int) -> None:
    indices = np.random.default_rng(seed).integers(UNLABELLED, len(encoding.classes), (2, 3, 5)).astype(np.int16)
    stored = encoding.encode(indices)
    meaning = dict(enumerate(encoding.values)) | {UNLABELLED: encoding.ignore}  # second implementation: a dictionary
    assert stored.ravel().tolist() == [meaning[int(index)] for index in indices.ravel()]
    assert np.array_equal(encoding.decode(stored, "x"), indices)


@given(encodings(), st.integers(0, 2**32 - 1))
def test_the_order_of_names_in_the_file_changes_nothing(encoding: Encoding, seed: int) -> None:
    pairs = [("background", encoding.values[0]), *zip(encoding.classes[1:], encoding.values[1:], strict=True)]
    pairs.append(("ignore", encoding.ignore))
    shuffled = [pairs[index] for index in np.random.default_rng(seed).permutation(len(pairs))]
    tables = [parse_labels({"labels": dict(order)}, "x") for order in (pairs, shuffled)]
    assert tables[0] == tables[1]
    assert list(tables[0].dense.values[1:]) == sorted(encoding.values[1:])  # type: ignore[type-var]


def test_far_apart_values_decode_too() -> None:
    encoding = Encoding(("background", "a"), (0, 2**40), -(2**40))
    array = np.array([0, 2**40, -(2**40)])
    assert encoding.decode(array, "x").tolist() == [0, 1, UNLABELLED]
    with pytest.raises(DataError, match=r"unknown label value 3 \(1 voxels\)"):
        encoding.decode(np.array([0, 3]), "x")
    assert encoding.decode(np.zeros((0, 2), np.uint8), "x").shape == (0, 2)
    with pytest.raises(DataError, match="ignore has no file value"):
        Encoding(("background", "a"), (0, 1)).encode(np.array([UNLABELLED]))


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int16, np.int64])
def test_any_type_of_indices_is_encoded(kind: type) -> None:
    found = Encoding(("background", "a", "b"), (0, 5, 300), 9).encode(np.array([[0, 1]], kind))
    assert (found.tolist(), found.dtype) == ([[0, 5]], np.uint16)


@pytest.mark.parametrize("index", [-2, 3, 10**12])
def test_indices_that_are_no_class_are_named(index: int) -> None:
    with pytest.raises(DataError, match=f"class index {index} has no file value; known: background = 0"):
        Encoding(("background", "a", "b"), (0, 5, 300), 9).encode(np.array([0, index]))


@pytest.mark.parametrize("name", ["mscmr", "acdc", "hippocampus", "curvas", "nuclei", "medscribble"])
def test_real_sets_open_and_read(shared_data: Path, name: str) -> None:
    dataset = Dataset.open(shared_data / name, scribbles="annotator1" if name == "medscribble" else None)
    known = json.loads((shared_data / name / "dataset.json").read_text(encoding="utf-8"))
    assert len(dataset.cases("Tr")) == known["numTraining"]
    assert dataset.problems == ()
    case = dataset.cases("Tr")[0]
    image = dataset.read_image(case)
    assert image.array.shape[0] == len(known["channel_names"])
    for path, read in ((case.scribble, dataset.read_scribble), (case.label, dataset.read_label)):
        if path is not None:
            raw = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).reshape(image.array.shape[1:]).astype(int)
            expected = np.where(raw == known["labels"]["ignore"], UNLABELLED, raw)  # their values are the indices
            assert np.array_equal(read(case), expected)
