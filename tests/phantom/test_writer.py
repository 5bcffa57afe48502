"""The dataset folder on disk: layout, honesty about dense labels, geometry, repeatability."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medcl.data.dataset import Dataset
from medcl.data.io import read_geometry, read_image, read_map
from medcl.data.labels import UNLABELLED
from medcl.errors import DataError, SettingsError
from medcl.phantom import PhantomSettings, make_phantom, phantom_case
from medcl.phantom.kinds import KINDS

SMALL = {"cases": 2, "validation": 1, "test": 1}


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", ["heart", "abdomen", "scar"])
def test_every_kind_opens_as_a_dataset(tmp_path: Path, kind: str, ndim: int):
    folder = make_phantom(tmp_path / "made", kind, ndim=ndim, size=(80,) if ndim == 2 else (8, 80, 80), **SMALL)
    dataset = Dataset.open(folder)
    assert dataset.classes == KINDS[kind].classes
    for name, members in KINDS[kind].groups.items():
        assert dataset.groups[name] == members
    assert not dataset.problems
    assert [len(dataset.cases(split)) for split in ("Tr", "Val", "Ts")] == [2, 1, 1]
    found: set[int] = set()
    for case in dataset.cases("Tr"):
        assert case.label is None  # strokes are all that training gets to see
        strokes = dataset.read_scribble(case)
        assert (strokes == UNLABELLED).mean() > 0.85  # small grids, broad strokes
        assert dataset.read_image(case).array.shape == (1, *strokes.shape)
        assert strokes.shape == ((1 if ndim == 2 else 8), 80, 80)
        found |= set(np.unique(strokes).tolist())
    assert 0 in found
    for split in ("Val", "Ts"):
        for case in dataset.cases(split):
            assert case.scribble is None
            label = dataset.read_label(case)
            assert (label > 0).any()
            assert UNLABELLED not in label
            if ndim == 3:
                assert set(np.unique(label)) == set(range(len(dataset.classes)))


def test_description_names_everything_a_reader_needs(tmp_path: Path):
    folder = make_phantom(tmp_path / "made", "scar", cases=1, validation=0, size=(4, 64, 64))
    content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    assert content["labels"] == {"background": 0, "RV": 1, "Myo": 2, "LV": 3, "scar": 4, "ignore": 5}
    assert content["groups"]["myocardium"] == ["Myo", "scar"]
    assert content["channel_names"] == {"0": "LGE MR"}
    assert content["numTraining"] == 1
    assert content["file_ending"] == ".nii.gz"
    assert "synthetic" in content["licence"]
    assert content["phantom"]["seed"] == 0
    assert sorted(p.name for p in folder.iterdir()) == ["dataset.json", "imagesTr", "scribblesTr"]


def test_dense_adds_labels_that_the_strokes_agree_with(tmp_path: Path):
    folder = make_phantom(tmp_path / "made", "heart", cases=2, validation=0, size=(5, 96, 96), dense=True)
    dataset = Dataset.open(folder)
    for case in dataset.cases("Tr"):
        label, strokes = dataset.read_label(case), dataset.read_scribble(case)
        drawn = strokes != UNLABELLED
        np.testing.assert_array_equal(label[drawn], strokes[drawn])


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".png"])
def test_every_format_reads_back(tmp_path: Path, ending: str):
    options = {"ndim": 2, "size": (64, 72), "seed": 5, "file_ending": ending}
    folder = make_phantom(tmp_path / "made", "heart", cases=1, validation=1, **options)
    case = phantom_case("heart", "Val", 0, PhantomSettings(ndim=2, size=(64, 72), seed=5))
    dataset = Dataset.open(folder)
    image = read_image(dataset.cases("Val")[0].images[0])
    assert image.array.shape == (1, 1, 64, 72)
    np.testing.assert_array_equal(dataset.read_label(dataset.cases("Val")[0]), case.label)
    if ending == ".png":
        assert image.array.dtype == np.uint8
        assert image.array.max() == 255
    else:
        assert np.abs(image.array[0] - case.image).max() <= 0.5
        assert image.geometry.differences(case.geometry) == []


def test_image_and_maps_share_one_oblique_geometry_that_varies_between_cases(tmp_path: Path):
    folder = make_phantom(tmp_path / "made", "heart", cases=3, validation=0, size=(4, 64, 64))
    geometries = []
    for case in Dataset.open(folder).cases("Tr"):
        geometry = read_geometry(case.images[0])
        assert case.scribble is not None
        assert geometry.differences(read_map(case.scribble)[1]) == []
        direction = np.reshape(geometry.direction, (3, 3))
        np.testing.assert_allclose(direction @ direction.T, np.eye(3), atol=1e-5)
        assert np.abs(direction).max() < 0.99  # oblique
        geometries.append(geometry)
    assert len({g.spacing_mm for g in geometries}) == 3
    assert len({g.direction for g in geometries}) == 3
    assert all(g.spacing_mm[0] > 2 * g.spacing_mm[1] for g in geometries)  # thick slices


def test_no_jitter_gives_one_spacing_and_the_plain_axes():
    settings = PhantomSettings(spacing_jitter=0, tilt_degrees=0, rotation_degrees=0, size=(4, 64, 64))
    cases = [phantom_case("abdomen", "Tr", i, settings) for i in range(2)]
    assert cases[0].geometry.spacing_mm == cases[1].geometry.spacing_mm == (45.0, 6.0938, 6.0938)
    np.testing.assert_allclose(cases[0].geometry.direction, np.eye(3).ravel(), atol=1e-12)


def test_reversed_axes_show_the_same_patient():
    plain, mixed = (PhantomSettings(size=(6, 64, 64), mixed_axes=value) for value in (False, True))
    reversed_somewhere = False
    for index in range(4):
        a, b = phantom_case("abdomen", "Tr", index, plain), phantom_case("abdomen", "Tr", index, mixed)
        signs = np.sign(np.sum(np.reshape(a.geometry.direction, (3, 3)) * np.reshape(b.geometry.direction, (3, 3)), 0))
        axes = [2 - k for k in range(3) if signs[k] < 0]
        reversed_somewhere |= bool(axes)
        np.testing.assert_array_equal(np.flip(b.label, axes), a.label)

        def centre(case) -> np.ndarray:
            g = case.geometry
            at = np.argwhere(case.label == 1).mean(0)[::-1] * g.spacing_mm[::-1]
            return np.array(g.origin_mm) + np.reshape(g.direction, (3, 3)) @ at

        # Only the random position of the patient in the scanner's frame may differ, by no more than its spread.
        middle = {id(c): _middle(c.geometry) for c in (a, b)}
        np.testing.assert_allclose(centre(a) - middle[id(a)], centre(b) - middle[id(b)], atol=1e-6)
    assert reversed_somewhere


def _middle(geometry) -> np.ndarray:
    step = (np.array(geometry.size[::-1]) - 1) / 2 * geometry.spacing_mm[::-1]
    return np.array(geometry.origin_mm) + np.reshape(geometry.direction, (3, 3)) @ step


def test_a_case_depends_on_the_seed_and_its_name_only(tmp_path: Path):
    few = make_phantom(tmp_path / "few", "heart", cases=1, validation=1, size=(3, 64, 64))
    many = make_phantom(tmp_path / "many", "heart", cases=3, validation=2, size=(3, 64, 64))
    other = make_phantom(tmp_path / "other", "heart", cases=1, validation=1, size=(3, 64, 64), seed=1)
    for path in sorted(p.relative_to(few) for p in few.rglob("*.nii.gz")):
        assert (few / path).read_bytes() == (many / path).read_bytes()
        assert (few / path).read_bytes() != (other / path).read_bytes()


def test_stroke_settings_change_nothing_but_the_strokes():
    a = phantom_case("scar", "Tr", 0, PhantomSettings(size=(3, 64, 64)))
    b = phantom_case("scar", "Tr", 0, PhantomSettings.parse({"size": (3, 64, 64), "strokes": {"thickness": 5}}))
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.label, b.label)
    assert not np.array_equal(a.scribble, b.scribble)
    assert a.geometry == b.geometry


def test_splits_hold_different_people():
    settings = PhantomSettings(size=(3, 64, 64))
    images = [phantom_case("heart", split, 0, settings).image for split in ("Tr", "Val", "Ts")]
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[1], images[2])


def test_a_folder_with_content_is_left_alone(tmp_path: Path):
    (tmp_path / "precious.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="choose another name"):
        make_phantom(tmp_path, "heart", cases=1)
    assert [p.name for p in tmp_path.iterdir()] == ["precious.txt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "hart"}, "did you mean 'heart'"),
        ({"cases": 0}, "cases"),
        ({"case": 3}, "did you mean 'cases'"),
        ({"file_ending": ".png"}, "ndim=2"),
        ({"ndim": 2, "size": (4, 64, 64)}, "single slices"),
        ({"size": (8,)}, "at least 32"),
        ({"strokes": {"style": "dots"}}, "style"),
    ],
)
def test_wrong_options_say_what_to_do(tmp_path: Path, options: dict, message: str):
    kind = options.pop("kind", "heart")
    with pytest.raises(SettingsError, match=message):
        make_phantom(tmp_path / "made", kind, **options)
    assert not (tmp_path / "made").exists()
