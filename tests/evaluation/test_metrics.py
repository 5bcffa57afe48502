from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcl.data.labels import UNLABELLED
from medcl.errors import DataError
from medcl.evaluation.metrics import (
    METRICS,
    assd_mm,
    case_scores,
    dice,
    hd95_mm,
    relative_volume_error,
    surface,
    surface_dice,
    surface_distances,
)

NAMES = ("background", "a", "b", "c")


def box(shape: tuple[int, int, int], start: tuple[int, int, int], stop: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return mask


def brute_surface(mask: np.ndarray, ignored: np.ndarray) -> list[tuple[int, ...]]:
    """Voxels of the mask with a face neighbour that is neither in the mask nor ignored, or outside the image."""
    found = []
    for place in itertools.product(*map(range, mask.shape)):
        if not mask[place]:
            continue
        axes = [axis for axis in range(3) if mask.shape[axis] > 1]
        open_face = not axes
        for axis, step in itertools.product(axes, (-1, 1)):
            near = list(place)
            near[axis] += step
            inside = 0 <= near[axis] < mask.shape[axis]
            open_face |= not inside or not (mask[tuple(near)] or ignored[tuple(near)])
        if open_face:
            found.append(place)
    return found


def brute_distances(
    start: list[tuple[int, ...]], end: list[tuple[int, ...]], spacing: tuple[float, ...]
) -> list[float]:
    def length(a: tuple[int, ...], b: tuple[int, ...]) -> float:
        return math.sqrt(sum(((i - j) * s) ** 2 for i, j, s in zip(a, b, spacing, strict=True)))

    return [min(length(a, b) for b in end) for a in start] if end else []


@st.composite
def pairs_of_maps(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)))
    generator = np.random.default_rng(draw(st.integers(0, 10_000)))
    spacing = draw(st.sampled_from([(1.0, 1.0, 1.0), (5.0, 0.75, 0.75), (0.5, 2.0, 1.25)]))
    label = generator.integers(UNLABELLED if draw(st.booleans()) else 0, 3, shape).astype(np.int16)
    changed = generator.random(shape) < 0.4
    prediction = np.where(changed, generator.integers(0, 3, shape), np.maximum(label, 0)).astype(np.int16)
    return prediction, label, spacing


class TestByHand:
    """Two cubes of 2 x 2 x 2 voxels, one voxel apart along x; spacing (5, 2, 1) mm."""

    first = box((4, 6, 6), (1, 2, 2), (3, 4, 4))
    second = box((4, 6, 6), (1, 2, 3), (3, 4, 5))
    spacing = (5.0, 2.0, 1.0)

    def test_dice_is_half(self) -> None:
        assert dice(self.first, self.second) == 0.5  # 4 voxels of 8 each are common

    def test_distances_are_zero_or_one_mm(self) -> None:
        there, back = surface_distances(self.first, self.second, self.spacing)
        assert sorted(there) == sorted(back) == [0.0] * 4 + [1.0] * 4

    def test_hd95_and_assd(self) -> None:
        assert hd95_mm(self.first, self.second, self.spacing) == 1.0
        assert assd_mm(self.first, self.second, self.spacing) == 0.5

    def test_surface_dice_counts_voxels_within_tolerance(self) -> None:
        assert surface_dice(self.first, self.second, self.spacing, 0.5) == 0.5
        assert surface_dice(self.first, self.second, self.spacing, 1.0) == 1.0

    def test_relative_volume_error_is_signed(self) -> None:
        half = box((4, 6, 6), (1, 2, 2), (2, 4, 4))
        assert relative_volume_error(half, self.first) == -0.5
        assert relative_volume_error(self.first, half) == 1.0

    def test_volumes_in_ml(self) -> None:
        row = case_scores(self.first.astype(int), self.second.astype(int), (5, 2, 1), NAMES[:2])[0]
        assert row.prediction_ml == row.label_ml == pytest.approx(8 * 10 / 1000)

    def test_hd95_is_the_larger_directed_percentile(self) -> None:
        long = box((1, 1, 40), (0, 0, 0), (1, 1, 40))
        short = box((1, 1, 40), (0, 0, 0), (1, 1, 2))
        # a line's surface is its two ends; from 0 and 39 to the nearest of 0 and 1: 0 and 38
        assert hd95_mm(long, short, (1, 1, 1)) == pytest.approx(0.95 * 38)

    def test_tolerance_survives_rounding(self) -> None:
        first, second = box((1, 1, 9), (0, 0, 1), (1, 1, 2)), box((1, 1, 9), (0, 0, 4), (1, 1, 5))
        assert surface_dice(first, second, (1, 1, 0.1), 0.3) == 1.0


class TestEmpty:
    empty = np.zeros((2, 4, 4), bool)
    full = box((2, 4, 4), (0, 1, 1), (2, 3, 3))

    def test_both_empty(self) -> None:
        assert dice(self.empty, self.empty) == 1.0
        assert surface_dice(self.empty, self.empty, (1, 1, 1)) == 1.0
        assert math.isnan(hd95_mm(self.empty, self.empty, (1, 1, 1)))
        assert math.isnan(assd_mm(self.empty, self.empty, (1, 1, 1)))
        assert math.isnan(relative_volume_error(self.empty, self.empty))

    @pytest.mark.parametrize("swap", [False, True])
    def test_one_empty(self, swap: bool) -> None:
        pair = (self.full, self.empty) if swap else (self.empty, self.full)
        assert dice(*pair) == 0.0
        assert surface_dice(*pair, (1, 1, 1)) == 0.0
        assert math.isnan(hd95_mm(*pair, (1, 1, 1)))
        assert math.isnan(assd_mm(*pair, (1, 1, 1)))

    def test_volume_error_of_a_missed_structure_is_minus_one(self) -> None:
        assert relative_volume_error(self.empty, self.full) == -1.0
        assert math.isnan(relative_volume_error(self.full, self.empty))

    def test_states(self) -> None:
        label = np.zeros((1, 4, 8), int)
        prediction = label.copy()
        label[0, 0, 0] = prediction[0, 0, 0] = 1
        label[0, 2, 2] = 2
        prediction[0, 3, 3] = 3
        rows = case_scores(prediction, label, (1, 1, 1), (*NAMES, "d"))
        assert [row.state for row in rows] == ["both", "prediction empty", "label empty", "both empty"]
        assert [row.dice for row in rows] == [1, 0, 0, 1]
        assert [row.surface_dice for row in rows] == [1, 0, 0, 1]


class TestUnlabelled:
    def test_predictions_under_unlabelled_change_nothing(self) -> None:
        generator = np.random.default_rng(0)
        label = generator.integers(UNLABELLED, 3, (3, 9, 9)).astype(np.int16)
        prediction = generator.integers(0, 3, label.shape)
        other = np.where(label == UNLABELLED, generator.integers(0, 3, label.shape), prediction)
        assert not np.array_equal(prediction, other)
        assert case_scores(prediction, label, (5, 1, 1), NAMES[:3]) == case_scores(other, label, (5, 1, 1), NAMES[:3])

    def test_they_are_not_background(self) -> None:
        label = np.array([[[1, 1, UNLABELLED, 0]]])
        prediction = np.array([[[1, 1, 1, 0]]])
        assert case_scores(prediction, label, (1, 1, 1), NAMES[:2])[0].dice == 1.0

    def test_a_border_towards_unlabelled_is_no_surface(self) -> None:
        mask = box((1, 5, 8), (0, 0, 0), (1, 5, 4))
        ignored = box((1, 5, 8), (0, 0, 4), (1, 5, 6))
        assert surface(mask)[0, 2].tolist() == [True, False, False, True] + [False] * 4
        assert surface(mask, ignored)[0, 2].tolist() == [True] + [False] * 7

    def test_a_case_without_any_label_has_no_score(self) -> None:
        label = np.full((1, 3, 3), UNLABELLED)
        rows = case_scores(np.ones((1, 3, 3), int), label, (1, 1, 1), NAMES[:2])
        assert rows[0].state == "not annotated"
        assert all(math.isnan(getattr(rows[0], metric.key)) for metric in METRICS)

    def test_a_class_nobody_looked_for_has_no_score(self) -> None:
        label = box((1, 4, 4), (0, 0, 0), (1, 2, 2)).astype(int)
        rows = case_scores(label, label, (1, 1, 1), NAMES[:3], annotated=(0, 1))
        assert [row.state for row in rows] == ["both", "not annotated"]
        assert math.isnan(rows[1].dice)


class TestSecondImplementations:
    @given(pairs_of_maps())
    def test_brute_force(self, maps: tuple[np.ndarray, np.ndarray, tuple[float, float, float]]) -> None:
        prediction, label, spacing = maps
        ignored = label == UNLABELLED
        if ignored.all():
            return
        for row in case_scores(prediction, label, spacing, NAMES[:3], 1.3):
            masks = [(values == row.index) & ~ignored for values in (prediction, label)]
            both, total = int((masks[0] & masks[1]).sum()), int(masks[0].sum() + masks[1].sum())
            assert row.dice == (2 * both / total if total else 1.0)
            ends = [brute_surface(mask, ignored) for mask in masks]
            there, back = brute_distances(ends[0], ends[1], spacing), brute_distances(ends[1], ends[0], spacing)
            if not (there and back):
                assert math.isnan(row.hd95_mm)
                continue
            assert row.hd95_mm == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
            assert row.assd_mm == pytest.approx(np.mean(there + back))
            assert row.surface_dice == pytest.approx(np.mean([d <= 1.3 + 1e-6 for d in there + back]))

    @pytest.mark.parametrize("spacing", [(5.0, 0.75, 0.75), (1.0, 1.0, 1.0)])
    @pytest.mark.parametrize("shape", [(9, 40, 36), (1, 40, 36)])
    def test_monai(self, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> None:
        torch = pytest.importorskip("torch")
        metrics = pytest.importorskip("monai.metrics")
        prediction, label = blobs(shape, 1), blobs(shape, 2)
        flat = shape[0] == 1
        first, second = (
            torch.nn.functional.one_hot(torch.from_numpy(values[0] if flat else values).long(), 3).movedim(-1, 0)[None]
            for values in (prediction, label)
        )
        steps = spacing[1:] if flat else spacing
        rows = case_scores(prediction, label, spacing, NAMES[:3], 1.5)
        expected = {
            "dice": metrics.compute_dice(first, second, include_background=False),
            "hd95_mm": metrics.compute_hausdorff_distance(first, second, percentile=95, spacing=steps),
            "assd_mm": metrics.compute_average_surface_distance(first, second, symmetric=True, spacing=steps),
            "surface_dice": metrics.compute_surface_dice(first, second, [1.5, 1.5], spacing=steps),
        }
        for key, values in expected.items():
            assert [getattr(row, key) for row in rows] == pytest.approx(values[0].tolist(), rel=1e-5), key

    def test_medpy(self) -> None:
        medpy = pytest.importorskip("medpy.metric.binary", reason="MedPy is not installed")
        spacing = (5.0, 0.75, 0.75)
        first, second = blobs((9, 40, 36), 1) == 1, blobs((9, 40, 36), 2) == 1
        assert dice(first, second) == pytest.approx(medpy.dc(first, second))
        assert relative_volume_error(first, second) == pytest.approx(medpy.ravd(first, second))
        there, back = surface_distances(first, second, spacing)
        assert there.mean() == pytest.approx(medpy.asd(first, second, spacing))
        assert max(there.max(), back.max()) == pytest.approx(medpy.hd(first, second, spacing))
        pooled = float(np.percentile(np.hstack([there, back]), 95))  # MedPy's HD95 pools; ours takes the larger one
        assert pooled == pytest.approx(medpy.hd95(first, second, spacing))
        assert hd95_mm(first, second, spacing) >= pooled

    def test_speckled_masks_take_the_other_way_to_the_same_answer(self) -> None:
        generator = np.random.default_rng(3)
        first, second = (generator.random((3, 8, 8)) < 0.4 for _ in range(2))
        nothing = np.zeros_like(first)
        there, back = surface_distances(first, second, (5, 1, 2))
        ends = [brute_surface(mask, nothing) for mask in (first, second)]
        assert there == pytest.approx(brute_distances(ends[0], ends[1], (5, 1, 2)))
        assert back == pytest.approx(brute_distances(ends[1], ends[0], (5, 1, 2)))


class TestProperties:
    @given(pairs_of_maps())
    def test_permuting_the_classes_permutes_the_scores(
        self, maps: tuple[np.ndarray, np.ndarray, tuple[float, float, float]]
    ) -> None:
        prediction, label, spacing = maps
        order = np.array([0, 2, 1, UNLABELLED])  # the last entry answers index -1
        plain = case_scores(prediction, label, spacing, NAMES[:3])
        permuted = case_scores(order[prediction], order[label], spacing, NAMES[:3])
        for metric in METRICS:
            values = [getattr(row, metric.key) for row in plain]
            swapped = [getattr(row, metric.key) for row in permuted]
            assert values == pytest.approx(swapped[::-1], nan_ok=True)

    @given(pairs_of_maps(), st.integers(1, 3))
    def test_empty_space_around_changes_nothing_when_no_mask_touches_the_edge(
        self, maps: tuple[np.ndarray, np.ndarray, tuple[float, float, float]], width: int
    ) -> None:
        prediction, label, spacing = (np.pad(maps[0], 1), np.pad(maps[1], 1), maps[2])
        wider = [np.pad(values, width) for values in (prediction, label)]
        for row, other in zip(
            case_scores(prediction, label, spacing, NAMES[:3]), case_scores(*wider, spacing, NAMES[:3]), strict=True
        ):
            assert row.hd95_mm == pytest.approx(other.hd95_mm, nan_ok=True)
            assert row.assd_mm == pytest.approx(other.assd_mm, nan_ok=True)

    @given(pairs_of_maps())
    def test_symmetry(self, maps: tuple[np.ndarray, np.ndarray, tuple[float, float, float]]) -> None:
        prediction, label, spacing = maps[0], np.maximum(maps[1], 0), maps[2]
        for row, back in zip(
            case_scores(prediction, label, spacing, NAMES[:3]),
            case_scores(label, prediction, spacing, NAMES[:3]),
            strict=True,
        ):
            assert row.dice == back.dice
            assert row.hd95_mm == pytest.approx(back.hd95_mm, nan_ok=True)
            assert row.surface_dice == pytest.approx(back.surface_dice, nan_ok=True)


class TestErrors:
    good = np.zeros((2, 3, 4), int)

    def test_sizes_differ(self) -> None:
        with pytest.raises(DataError, match=r"case x: expected prediction and label of one size .*\(2, 3, 4\)"):
            case_scores(self.good, np.zeros((2, 3, 5), int), (1, 1, 1), NAMES, case="x")

    def test_two_axes(self) -> None:
        with pytest.raises(DataError, match="give 2D maps a first axis of 1"):
            case_scores(self.good[0], self.good[0], (1, 1, 1), NAMES)

    def test_no_voxels(self) -> None:
        with pytest.raises(DataError, match="empty array"):
            case_scores(self.good[:0], self.good[:0], (1, 1, 1), NAMES)

    @pytest.mark.parametrize("spacing", [(1, 1), (1, 0, 1), (1, float("nan"), 1)])
    def test_spacing(self, spacing: tuple[float, ...]) -> None:
        with pytest.raises(DataError, match="three positive spacings"):
            case_scores(self.good, self.good, spacing, NAMES)

    @pytest.mark.parametrize("value", [-2, 4])
    def test_values(self, value: int) -> None:
        wrong = self.good.copy()
        wrong[0, 0, 0] = value
        with pytest.raises(DataError, match=r"the label holds values .*, expected class indices 0\.\.3"):
            case_scores(self.good, wrong, (1, 1, 1), NAMES)
        with pytest.raises(DataError, match="the prediction holds values"):
            case_scores(wrong, self.good, (1, 1, 1), NAMES)

    def test_masks_of_two_shapes(self) -> None:
        with pytest.raises(DataError, match="one shape"):
            dice(np.zeros((1, 2, 2), bool), np.zeros((1, 2, 3), bool))


def blobs(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Return two touching blobs, 1 inside 2, shifted a little by the seed; they touch the first slice."""
    z, y, x = np.indices(shape)
    radius = np.sqrt((2 * (z - 2)) ** 2 + (y - 18 - seed) ** 2 + (x - 17 + seed) ** 2 + 2 * seed)
    return np.where(radius < 7, 1, np.where(radius < 12 + seed, 2, 0))
