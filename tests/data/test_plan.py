from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medcl.data.geometry import Geometry, Image
from medcl.data.labels import UNLABELLED
from medcl.data.plan import ChannelPlan, Plan, make_plan, neighbours
from medcl.data.planning import choose_pooling
from medcl.errors import DataError, SettingsError

OBLIQUE = (0.54, 0.37, -0.75, 0.82, -0.03, 0.57, -0.19, 0.93, 0.32)  # short axis of a heart, rounded


class FakeDataset:
    """A data set in memory: as much of one as a plan looks at."""

    def __init__(self, images: list[Image], channels: tuple[str, ...] = ("MR",), stroke: Any = None) -> None:
        self.folder = Path("fake")
        self.name = "fake"
        self.classes = ("background", "RV", "LV")
        self.groups = {"heart": (1, 2)}
        self.channels = channels
        self.digest = "0" * 64
        self._images = {f"case{i:02d}": image for i, image in enumerate(images)}
        self._stroke = stroke

    def cases(self, split: str) -> list[Any]:
        assert split == "Tr"
        drawn = "drawn" if self._stroke is not None else None
        return [SimpleNamespace(id=name, scribble=drawn, label=None) for name in self._images]

    def read_image(self, case: Any) -> Image:
        return self._images[case.id]

    def read_scribble(self, case: Any) -> np.ndarray:
        return self._stroke(self._images[case.id])


def scan(
    size: tuple[int, int, int],
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    *,
    channels: int = 1,
    low: float = 1,
    high: float = 200,
    dtype: Any = np.int16,
    **geometry: Any,
) -> Image:
    values = np.random.default_rng(3).uniform(low, high, size=(channels, *size)).astype(dtype)
    return Image(values, Geometry(size, spacing, **geometry))


def plan_of(images: list[Image], channels: tuple[str, ...] = ("MR",), **options: Any) -> Plan:
    return make_plan(FakeDataset(images, channels), **options)  # type: ignore[arg-type]


def test_a_short_axis_stack_is_segmented_slice_by_slice() -> None:
    plan = plan_of([scan((12, 480, 480), (5.0, 0.73, 0.73), direction=OBLIQUE)])
    assert plan.ndim == 2
    assert plan.orientation == "as-stored"
    assert plan.spacing_mm == (None, 1.3687, 1.3687)  # 480 * 0.73 mm on 256 pixels
    assert plan.size == (12, 256, 256)
    assert plan.patch == (160, 160)
    assert any("coarsened" in note for note in plan.notes)


def test_images_that_fit_keep_their_spacing() -> None:
    plan = plan_of([scan((10, 216, 250), (10.0, s, s)) for s in (1.4, 1.5, 1.6)])
    assert plan.spacing_mm == (None, 1.5, 1.5)
    assert plan.size == (10, 216, 250)


def test_slices_stored_along_x_become_z() -> None:
    plan = plan_of([scan((200, 190, 9), (1.0, 1.0, 6.0))])
    assert plan.ndim == 2
    assert plan.size == (9, 200, 190)


def test_an_isotropic_volume_is_3d_with_common_axes() -> None:
    plan = plan_of([scan((36, 50, 34))])
    assert (plan.ndim, plan.orientation, plan.spacing_mm) == (3, "LPS", (1.0, 1.0, 1.0))
    assert plan.patch == (40, 64, 48)


def test_volumes_far_from_the_axes_stay_as_stored() -> None:
    plan = plan_of([scan((36, 50, 34), direction=OBLIQUE)])
    assert (plan.ndim, plan.orientation) == (3, "as-stored")
    assert any("oblique" in note for note in plan.notes)


def test_a_large_ct_is_coarsened_in_all_directions_and_its_patch_fits_a_laptop() -> None:
    plan = plan_of([scan((64, 512, 512), (1.0, 0.8, 0.8), dtype=np.uint8)])
    assert plan.spacing_mm == (1.6, 1.6, 1.6)
    assert plan.size == (40, 256, 256)
    assert int(np.prod(plan.patch)) <= 64 * 96 * 96
    assert all(n % 8 == 0 for n in plan.patch)


def test_pictures_are_2d_and_their_patch_covers_them() -> None:
    plan = plan_of([scan((1, 100, 130))])
    assert (plan.ndim, plan.patch, plan.size) == (2, (112, 144), (1, 100, 130))


def test_few_slices_are_2d() -> None:
    assert plan_of([scan((5, 60, 60))]).ndim == 2


def test_options_override_the_rules() -> None:
    images = [scan((36, 50, 34), (2.0, 1.0, 1.0))]
    plan = plan_of(images, ndim=2, spacing_mm=0.5, patch=(64, 32))
    assert (plan.ndim, plan.spacing_mm, plan.patch) == (2, (None, 0.5, 0.5), (64, 32))
    assert plan_of(images, ndim=2, spacing_mm=(0.5, 0.7)).spacing_mm == (None, 0.5, 0.7)
    assert plan_of(images, ndim=3, spacing_mm=(3, 2, 2)).spacing_mm == (3, 2, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ndim": 3, "spacing_mm": (1.0, 1.0)}, r"expected one number or \(z, y, x\)"),
        ({"ndim": 2, "patch": (32, 32, 32)}, "expected 2 positive lengths"),
        ({"spacing_mm": -1.0}, "expected positive lengths"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        plan_of([scan((36, 50, 34))], **options)


def test_pictures_cannot_be_3d() -> None:
    with pytest.raises(SettingsError, match="use ndim 2"):
        plan_of([scan((1, 50, 34))], ndim=3)


def test_a_set_without_images_is_refused() -> None:
    with pytest.raises(DataError, match="imagesTr"):
        plan_of([])


def test_another_number_of_channels_names_the_case() -> None:
    with pytest.raises(DataError, match=r"case01.*expected 1 channels.*got 2"):
        plan_of([scan((9, 8, 8)), scan((9, 8, 8), channels=2)])


def test_not_finite_values_name_case_and_channel() -> None:
    broken = scan((9, 8, 8), dtype=np.float32)
    broken.array[0, 1, 2, 3] = np.nan
    with pytest.raises(DataError, match=r"case00.*MR"):
        plan_of([broken])


# normalisation


def test_ct_is_clipped_to_what_the_structures_show() -> None:
    image = scan((20, 32, 32), low=-1000, high=1000)
    image.array[:, :, :8] = 50
    image.array[:, ::2, :8] = 70

    def stroke(image: Image) -> np.ndarray:
        drawn = np.full(image.geometry.size, UNLABELLED, dtype=np.int16)
        drawn[:, 8:16] = 0  # background strokes do not count
        drawn[:, :8] = 2
        return drawn

    plan = make_plan(FakeDataset([image], ("CT",), stroke))  # type: ignore[arg-type]
    channel = plan.channels[0]
    assert channel.normalisation == "ct"
    assert (channel.low, channel.high, channel.mean, channel.std) == (50, 70, 60, 10)


def test_ct_without_strokes_uses_all_voxels_and_says_so() -> None:
    plan = plan_of([scan((20, 32, 32), low=-1000, high=1000)], ("CT",))
    channel = plan.channels[0]
    assert channel.normalisation == "ct"
    assert channel.low == pytest.approx(-990, abs=10)
    assert any("too few strokes" in note for note in plan.notes)


def test_ct_in_eight_bits_is_no_ct() -> None:
    plan = plan_of([scan((1, 64, 64), dtype=np.uint8)], ("CT (8-bit, windowed by the source)",))
    channel = plan.channels[0]
    assert (channel.normalisation, channel.scale) == ("unit", 255)
    assert any("not Hounsfield units" in note for note in plan.notes)


def test_values_that_start_at_air_are_ct_whatever_the_name() -> None:
    plan = plan_of([scan((20, 32, 32), low=-1024, high=1500)], ("image",))
    assert plan.channels[0].normalisation == "ct"
    assert any("Hounsfield" in note for note in plan.notes)


def test_mr_with_negative_values_is_not_ct() -> None:
    images = [scan((20, 32, 32), low=-1024.5, high=1500, dtype=np.float32), scan((20, 32, 32), low=-300)]
    for image in images:
        assert plan_of([image]).channels[0].normalisation == "zscore"


def test_colour_pictures_share_one_scale_with_the_set() -> None:
    plan = plan_of([scan((1, 64, 64), channels=3, high=256, dtype=np.uint8)], ("R", "G", "B"))
    assert [channel.name for channel in plan.channels] == ["R", "G", "B"]
    for channel in plan.channels:
        assert (channel.normalisation, channel.scale) == ("unit", 255)
        assert channel.mean == pytest.approx(0.5, abs=0.02)
        assert channel.std == pytest.approx(12**-0.5, abs=0.02)


def test_blank_background_is_left_out_of_the_statistics() -> None:
    image = scan((20, 32, 32))
    image.array[:, :, :16] = 0
    plan = plan_of([image])
    assert plan.channels[0].skip_zeros
    assert not plan_of([scan((20, 32, 32))]).channels[0].skip_zeros


# the file


def test_same_data_same_plan_and_the_file_is_readable(tmp_path: Path) -> None:
    images = [scan((12, 48, 48), (5.0, 0.7, 0.7))]
    plan = plan_of(images)
    assert plan == plan_of(images)
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    text = (tmp_path / "plan.json").read_text(encoding="utf-8")
    assert text.count("\n") > 20
    assert json.loads(text)["classes"] == ["background", "RV", "LV"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"patch": [16]}, "expected 2 positive lengths"),
        ({"spacing_mm": [1, 1, 1]}, "(?i)z is null in 2D"),
        ({"spacing_mm": [None, 0, 1]}, "expected positive lengths"),
        ({"pach": [16, 16]}, "did you mean 'patch'"),
        ({"groups": {"heart": [1, 3]}}, r"expected class indices 1\.\.2"),
        ({"classes": ["background", "RV", "RV"]}, "names must differ"),
        ({"channels": [{"name": "CT", "normalisation": "ct", "low": 0, "high": 1}]}, "needs mean, std"),
        ({"channels": []}, "channels"),
    ],
)
def test_wrong_edits_are_refused_with_the_file_named(tmp_path: Path, edit: dict[str, Any], message: str) -> None:
    path = tmp_path / "plan.json"
    plan_of([scan((12, 48, 48), (5.0, 0.7, 0.7))]).save(path)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | edit), encoding="utf-8")
    with pytest.raises(SettingsError, match=message) as caught:
        Plan.load(path)
    assert "plan.json" in str(caught.value)


def test_a_list_is_no_plan(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("[]", encoding="utf-8")
    with pytest.raises(SettingsError, match="keys and values, got list"):
        Plan.load(tmp_path / "plan.json")


@pytest.mark.parametrize(
    "values", [{"low": 2.0, "high": 1.0}, {"clip": (99.0, 1.0)}, {"std": 0.0}, {"normalisation": "unit"}]
)
def test_channels_that_cannot_be_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        ChannelPlan.parse({"name": "a", "normalisation": "zscore"} | values)


# --- pooling, neighbours and views ---


@pytest.mark.parametrize(
    ("spacing", "patch", "strides", "kernels"),
    [
        # isotropic: halve everything
        ((1, 1, 1), (32, 64, 64), ["222", "222", "222", "122"], ["333"] * 5),
        # slices four times thicker: halve in plane until voxels are less than twice as long; kernels reach across then
        ((4, 1, 1), (16, 64, 64), ["122", "122", "222", "222"], ["133", "133", "333", "333", "333"]),
        # a thin patch of cubes is never halved below four slices, but its kernels reach across
        ((1, 1, 1), (4, 16, 16), ["122", "122"], ["333"] * 3),
        # cardiac stack: slices are never as fine as pixels, and too few to halve
        ((10, 1.25, 1.25), (4, 32, 32), ["122", "122", "122"], ["133", "133", "133", "333"]),
        # thin slices: z waits, y and x wait for nobody
        ((1, 3, 3), (64, 32, 32), ["211", "222", "222", "222"], ["311", "333", "333", "333", "333"]),
        # slices: two pixels are enough
        ((None, 1, 1), (32, 32), ["22"] * 4, ["33"] * 5),
        ((None, 1, 1), (2, 3), ["22"], ["33"] * 2),
    ],
)
def test_pooling_makes_voxels_cubes_first(spacing: Any, patch: Any, strides: list[str], kernels: list[str]) -> None:
    def numbers(steps: list[str]) -> tuple:
        return tuple(tuple(int(n) for n in step) for step in steps)

    assert choose_pooling(spacing, patch) == (numbers(strides), numbers(kernels))


def test_the_plan_says_strides_and_kernels_and_people_may_edit_them(tmp_path: Path) -> None:
    plan = plan_of([scan((12, 60, 60), (5, 1, 1))], ndim=3)
    assert plan.strides is not None
    assert plan.strides[0] == (1, 2, 2)
    assert plan.kernels is not None
    assert plan.kernels[0] == (1, 3, 3)
    plan.save(tmp_path / "plan.json")
    values = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    for edit, message in (
        ({"strides": [[2, 2]]}, "expected 3 positive numbers"),
        ({"kernels": [[3, 3, 3]]}, "expected one per level"),
        ({"kernels": [[2, 3, 3]] * (len(plan.strides) + 1)}, "expected odd lengths"),
    ):
        with pytest.raises(SettingsError, match=message):
            Plan.parse({**values, **edit})
    edited = Plan.parse({**values, "strides": [[2, 2, 2]], "kernels": None})
    assert edited.strides == ((2, 2, 2),)
    old = {key: value for key, value in values.items() if key not in ("strides", "kernels", "context", "views")}
    assert Plan.parse({k: v for k, v in old.items() if k != "neighbours"}).strides is None


def test_neighbours_are_channels_slice_by_slice_and_borders_repeat() -> None:
    plan = plan_of([scan((12, 60, 60), channels=2)], ("T1", "T2"), context=2)
    assert (plan.ndim, plan.context, plan.input_channels) == (2, 2, 10)
    assert neighbours(0, 2, 12) == [0, 0, 0, 1, 2]
    assert neighbours(11, 1, 12) == [10, 11, 11]
    assert neighbours(0, 1, 1) == [0, 0, 0]


def test_views_ask_for_cubes_and_say_when_slices_are_thick() -> None:
    plan = plan_of([scan((20, 60, 40), (1.5, 1, 1))], views=("z", "y", "x"))
    assert (plan.ndim, plan.spacing_mm, plan.size) == (2, (1, 1, 1), (30, 60, 40))
    assert plan.patch == (64, 64)  # slices of 60 x 40, 30 x 40 and 30 x 60, in whole steps
    assert not any("Views" in note for note in plan.notes)
    thick = plan_of([scan((10, 60, 60), (6, 1, 1))], views=("y",))
    assert any("6.0 times thicker" in note for note in thick.notes)
    wished = plan_of([scan((10, 60, 60), (6, 1, 1))], views=("y",), spacing_mm=2)
    assert any("3.0 times thicker" in note for note in wished.notes)
    assert plan_of([scan((20, 60, 40), (1.5, 1, 1))], views=("x",), spacing_mm=2).spacing_mm == (2, 2, 2)


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        ((1, 50, 50), {"context": 1}, "context: expected volumes, got single slices"),
        ((12, 50, 50), {"context": 1, "ndim": 3}, "context: expected none in 3D"),
        ((12, 50, 50), {"views": ("x", "y"), "ndim": 3}, "views: expected none in 3D"),
        ((12, 50, 50), {"views": ("x", "x")}, "expected each axis once"),
        ((12, 50, 50), {"views": ("x", "w")}, "views"),
        ((12, 50, 50), {"neighbours": "attention"}, "expected context of at least 1"),
        ((12, 50, 50), {"context": -1}, "context"),
    ],
)
def test_neighbours_and_views_that_cannot_be(size: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        plan_of([scan(size)], **options)
