"""The rules of the check, one by one, on arrays."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from medcl.data.check.duplicates import Duplicates, fingerprint
from medcl.data.check.findings import Finding, group_findings, runs_of, shorten
from medcl.data.check.geometry import compare_geometry, find_odd_spacings
from medcl.data.check.intensity import Intensities, check_intensities, find_odd_scales, mask_values
from medcl.data.check.labels import check_values
from medcl.data.check.run import find_inside
from medcl.data.check.strokes import check_all_drawn, check_classes, check_unlabelled, compare_maps
from medcl.data.geometry import Geometry
from medcl.data.labels import UNLABELLED

CLASSES = ("background", "organ", "vessel")
EVERYTHING = (0, 1, 2)


def codes(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.severity, finding.code) for finding in findings]


def scribble_with(**pixels: int) -> np.ndarray:
    """A (1, 10, 10) map with so many pixels of each class, from the start."""
    flat = np.full(100, UNLABELLED, dtype=np.int16)
    start = 0
    for name, count in pixels.items():
        flat[start : start + count] = CLASSES.index(name)
        start += count
    return flat.reshape(1, 10, 10)


# ---- geometry

GRID = Geometry((3, 8, 9), (5.0, 0.7, 0.7), (1.0, 2.0, 3.0))


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"size": (3, 8, 8)}, "size-mismatch", "(3, 8, 8)"),
        ({"spacing_mm": (5.0, 0.7, 0.72)}, "spacing-mismatch", "0.02 mm apart"),
        ({"origin_mm": (1.0, 2.0, 3.5)}, "origin-mismatch", "0.5 mm apart"),
        ({"direction": (-1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)}, "direction-mismatch", "11.2 mm"),  # 2 x 8 x 0.7 mm
    ],
)
def test_grid_differences_are_named_with_their_amount(change: dict, code: str, says: str) -> None:
    found = compare_geometry("a", "labelsTr/a.nii.gz", replace(GRID, **change), "imagesTr/a_0000.nii.gz", GRID)
    assert codes(found) == [("error", code)]
    assert says in found[0].message
    assert "imagesTr/a_0000.nii.gz" in found[0].message
    assert found[0].amounts["tolerance_mm"] == 1e-3


def test_a_thousandth_of_a_millimetre_is_tolerated_and_can_be_changed() -> None:
    near = replace(GRID, origin_mm=(1.0, 2.0, 3.0009))
    assert compare_geometry("a", "x", near, "y", GRID) == []
    assert codes(compare_geometry("a", "x", near, "y", GRID, tolerance_mm=1e-4)) == [("error", "origin-mismatch")]


def test_odd_spacing_is_measured_against_the_median() -> None:
    usual = {f"case{i}": (5.0, 1.0, 1.0) for i in range(4)}
    found = find_odd_spacings({**usual, "odd": (0.5, 1.0, 1.0)})
    assert [(finding.case, finding.code) for finding in found] == [("odd", "odd-spacing")]
    assert found[0].amounts["factor"] == pytest.approx(10)
    assert find_odd_spacings({"a": (5.0, 1.0, 1.0), "b": (0.5, 1.0, 1.0)}) == []  # two cases have no majority


# ---- intensities


def test_not_finite_voxels_are_counted() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    array[0, 0, :2] = np.nan
    array[1, 1, 1] = np.inf
    values, found = check_intensities("a", "f", array)
    assert codes(found) == [("error", "image-not-finite")]
    assert found[0].amounts == {"voxels": 3, "nan": 2, "infinite": 1}
    assert values is not None
    assert np.isfinite([values.low, values.high]).all()


def test_constant_and_wholly_broken_images() -> None:
    values, found = check_intensities("a", "f", np.full((2, 2, 2), 7, dtype=np.int16))
    assert values is None
    assert codes(found) == [("error", "image-constant")]
    values, found = check_intensities("a", "f", np.full((2, 2, 2), np.nan))
    assert values is None
    assert codes(found) == [("error", "image-not-finite")]


def test_contrast_in_a_single_voxel_is_contrast() -> None:
    array = np.zeros((1, 50, 50), dtype=np.int16)
    array[0, 7, 7] = 9
    values, found = check_intensities("a", "f", array)
    assert codes(found) == [("warning", "image-like-mask")]
    assert values == Intensities(0.0, 9.0)


def test_masks_are_told_from_images() -> None:
    random = np.random.default_rng(0)
    mask = random.integers(0, 4, (2, 30, 30)).astype(np.uint8)
    assert mask_values(mask) == (0, 1, 2, 3)
    assert mask_values(mask.astype(np.float32)) == (0, 1, 2, 3)
    hidden = np.zeros((4, 700, 700), np.int16)  # what the even sample does not see
    hidden[0, 0, 1:40] = np.arange(39)
    for image in (
        random.integers(0, 200, mask.shape),
        mask * 0.5,
        mask.astype(np.int8) - 1,
        np.where(mask == 0, np.nan, mask),
        mask[:, :5, :5],  # too small to say
        np.zeros_like(mask),
        hidden,
    ):
        assert mask_values(image) == ()


def test_odd_intensity_scale() -> None:
    usual = {f"case{i}": Intensities(0.0, 1000.0 + i) for i in range(5)}
    found = find_odd_scales("MR", {**usual, "wide": Intensities(0.0, 1e6), "narrow": Intensities(0.0, 1.0)})
    assert [(f.case, f.code) for f in found] == [("wide", "odd-intensity-scale"), ("narrow", "odd-intensity-scale")]
    assert "wider" in found[0].message
    assert "narrower" in found[1].message


# ---- label values

VALUES = {0: 0, 1: 1, 2: 2, 4: UNLABELLED}


def test_values_become_class_indices() -> None:
    array = np.array([[[0, 1, 2, 4]]], dtype=np.uint8)
    result, found = check_values("a", "f", array, VALUES)
    assert found == []
    assert result is not None
    assert result.tolist() == [[[0, 1, 2, UNLABELLED]]]


def test_unknown_values_are_counted_and_become_unlabelled() -> None:
    array = np.array([[[0, 1, 7, 7, -3]]], dtype=np.int16)
    result, found = check_values("a", "f", array, VALUES)
    assert codes(found) == [("error", "label-unknown-value")]
    assert found[0].amounts["pixels"] == {"-3": 1, "7": 2}
    assert result is not None
    assert result.tolist() == [[[0, 1, UNLABELLED, UNLABELLED, UNLABELLED]]]


def test_fractions_and_nan_are_told_apart() -> None:
    array = np.array([[[0.0, 1.0, 0.5, 0.5, 0.25, np.nan]]], dtype=np.float32)
    result, found = check_values("a", "f", array, VALUES)
    assert codes(found) == [("error", "label-not-finite"), ("error", "label-not-integer")]
    assert found[0].amounts["pixels"] == 1
    assert found[1].amounts == {"pixels": 3, "values": [0.25, 0.5]}
    assert result is not None
    assert result.tolist() == [[[0, 1, *[UNLABELLED] * 4]]]


def test_without_names_values_are_still_tested_for_being_integers() -> None:
    assert check_values("a", "f", np.array([[[3, 9]]]), None) == (None, [])
    assert codes(check_values("a", "f", np.array([[[0.5]]]), None)[1]) == [("error", "label-not-integer")]


# ---- strokes


def test_unlabelled_must_be_told_from_background() -> None:
    assert check_unlabelled("a", "f", scribble_with(background=10, organ=10), CLASSES) == []
    nothing = check_unlabelled("a", "f", scribble_with(background=90, organ=10), CLASSES)
    assert codes(nothing) == [("error", "no-pixel-unlabelled")]
    assert nothing[0].amounts["largest_share"] == 0.9
    swapped = check_unlabelled("a", "f", scribble_with(background=80, organ=10), CLASSES)
    assert codes(swapped) == [("warning", "ignore-not-dominant")]
    assert swapped[0].amounts["unlabelled_share"] == pytest.approx(0.1)


def test_no_stroke_is_one_finding_and_no_more() -> None:
    assert codes(check_classes("a", "f", scribble_with(), CLASSES, EVERYTHING)) == [("warning", "no-stroke")]


def test_classes_that_are_not_drawn() -> None:
    found = check_classes("a", "f", scribble_with(organ=5), CLASSES, EVERYTHING)
    assert codes(found) == [("warning", "background-not-drawn"), ("note", "class-not-drawn")]
    assert found[1].amounts["class"] == "vessel"
    assert check_classes("a", "f", scribble_with(organ=5), CLASSES, (1,)) == []  # nobody looked for the others


def test_a_class_that_the_label_holds_was_forgotten() -> None:
    label = np.zeros((1, 10, 10), dtype=np.int16)
    label[0, 9, 8:] = 2
    found = check_classes("a", "f", scribble_with(background=5, organ=5), CLASSES, EVERYTHING, label)
    assert codes(found) == [("warning", "class-not-drawn")]
    assert found[0].amounts["label_pixels"] == 2


def test_strokes_of_a_class_that_nobody_looked_for() -> None:
    found = check_classes("a", "f", scribble_with(background=5, vessel=5), CLASSES, (0, 1))
    assert ("error", "class-not-annotated") in codes(found)


def test_slices_without_strokes_or_without_a_class() -> None:
    scribble = np.full((6, 4, 4), UNLABELLED, dtype=np.int16)
    scribble[[0, 1, 2, 4], 0, 0] = 0
    scribble[[0, 2, 4], 1, 1] = 1
    found = check_classes("a", "f", scribble, CLASSES[:2], (0, 1))
    assert [(f.code, f.amounts["slices"]) for f in found] == [
        ("class-skips-slice", [3]),  # background
        ("class-skips-slice", [1, 3]),  # organ
        ("slices-without-stroke", [3, 5]),
    ]


def test_contradictions_are_counted_by_pair() -> None:
    label = np.zeros((1, 10, 10), dtype=np.int16)
    label[0, 0, 9] = UNLABELLED  # says nothing, so contradicts nothing
    found = compare_maps("a", "s", scribble_with(organ=10), "l", label, CLASSES, dense=True)
    assert codes(found) == [("warning", "scribble-against-label")]
    assert found[0].amounts["pixels"] == 9
    assert found[0].amounts["compared"] == 9
    assert found[0].amounts["pairs"] == [["organ", "background", 9]]
    assert found[0].amounts["first_at"] == [0, 0, 0]
    agree = compare_maps("a", "s", scribble_with(background=10), "l", label, CLASSES, dense=True)
    assert agree == []


def test_few_contradictions_are_a_note() -> None:
    first, second = np.zeros((1, 20, 20), dtype=np.int16), np.zeros((1, 20, 20), dtype=np.int16)
    second[0, 3, 4] = 2
    found = compare_maps("a", "s", first, "t", second, CLASSES, dense=False)
    assert codes(found) == [("note", "annotators-disagree")]
    assert found[0].amounts["share"] == 1 / 400


def test_classes_that_no_training_case_shows() -> None:
    assert codes(check_all_drawn(CLASSES, Counter(), 0)) == [("error", "nothing-annotated")]
    found = check_all_drawn(CLASSES, Counter({1: 3}), 3)
    assert codes(found) == [("error", "background-never-drawn"), ("error", "class-never-drawn")]
    assert found[1].amounts["class"] == "vessel"


# ---- duplicates


def test_fingerprint_looks_at_values_and_shape_only() -> None:
    array = np.arange(12).reshape(1, 3, 4)
    assert fingerprint(array.astype(np.int16)) == fingerprint(array.astype(np.float32))
    assert fingerprint(array) != fingerprint(array.reshape(1, 4, 3))
    assert fingerprint(array[:, :, ::-1]) != fingerprint(array)


def test_duplicates_across_parts_are_errors() -> None:
    seen = Duplicates()
    for case, split, digest in (("a", "Tr", "x"), ("b", "Tr", "x"), ("c", "Tr", "y"), ("d", "Val", "y")):
        seen.add("image", digest, split, case, f"images{split}/{case}_0000.nii.gz")
        seen.add("label", digest, split, case, f"labels{split}/{case}.nii.gz")  # follows its image: not told again
    found = seen.findings()
    assert codes(found) == [("warning", "duplicate-image"), ("error", "duplicate-image")]
    assert [finding.amounts["cases"] for finding in found] == [["a", "b"], ["c", "d"]]


def test_one_scribble_on_two_images_is_an_error() -> None:
    seen = Duplicates()
    for case in "ab":
        seen.add("image", f"image of {case}", "Tr", case, f"imagesTr/{case}_0000.nii.gz")
        seen.add("scribble", "s", "Tr", case, f"scribblesTr/{case}.nii.gz")
    assert codes(seen.findings()) == [("error", "duplicate-scribble")]


# ---- the rest


def test_margin_is_the_value_that_most_corners_share() -> None:
    image = np.random.default_rng(0).integers(1, 100, (2, 6, 6))
    assert find_inside(image) is None
    image[:, 0, :] = image[:, -1, :] = 0
    inside = find_inside(image)
    assert inside is not None
    assert np.array_equal(inside, image != 0)
    assert find_inside(np.zeros((1, 3, 3))) is None


def test_groups_put_errors_first_and_keep_all_members() -> None:
    findings = [Finding("note", "n", None, None, "m", "t")]
    findings += [Finding("error", "e", f"case{i}", None, "m", "t") for i in range(5)]
    groups = group_findings(findings)
    assert [(group.code, len(group.findings)) for group in groups] == [("e", 5), ("n", 1)]
    assert groups[0].where() == "case0, case1, case2 and 2 more"
    assert groups[1].where() == "data set"


def test_lists_stay_short() -> None:
    assert runs_of([5, 0, 1, 2]) == "0-2, 5"
    assert shorten(range(9), 2) == "0, 1, ... (9 in all)"
