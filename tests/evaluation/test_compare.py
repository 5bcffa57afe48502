from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import medcl
from medcl.data.geometry import Geometry
from medcl.data.io import read_map, write_map
from medcl.errors import DataError, SettingsError
from medcl.evaluation import evaluate
from medcl.evaluation.metrics import case_scores
from medcl.evaluation.statistics import ALL
from medcl.files import write_json
from medcl.inference.predict import REPORT


def rewrite(path: Path, change: object) -> None:
    array, geometry = read_map(path)
    write_map(path, change(array), geometry)  # type: ignore[operator]


def test_is_public() -> None:
    assert medcl.evaluate is evaluate


class TestFolders:
    def test_scores_names_and_classes_from_the_dataset(self, folder: Path) -> None:
        result = evaluate(folder / "predictions", folder / "labelsTs")
        assert result.cases == ["case0", "case1", "case2", "case3"]
        assert result.classes == ("background", "ring", "core")
        assert result.complete
        assert not result.findings
        best = [row for row in result.scores if row.case == "case0"]
        assert [row.dice for row in best] == [1.0, 1.0]
        worst = next(row for row in result.scores if row.case == "case3" and row.structure == "core")
        assert worst.dice == 2 * 2 / 5 / 2  # five or six columns wide, moved by three: 2 of 5 are common
        assert worst.hd95_mm == 3.0
        assert worst.relative_volume_error == 0.0

    def test_equals_scores_for_arrays(self, folder: Path) -> None:
        result = evaluate(folder / "predictions", folder / "labelsTs")
        for case in result.cases:
            prediction, label = (
                read_map(folder / part / f"{case}.nii.gz")[0].astype(int) for part in ("predictions", "labelsTs")
            )
            expected = case_scores(prediction, label, (5, 1, 1), result.classes, case=case)
            assert [row for row in result.scores if row.case == case] == expected

    def test_mean_over_cases(self, folder: Path) -> None:
        result = evaluate(folder / "predictions", folder / "labelsTs")
        values = [row.dice for row in result.scores if row.structure == "core"]
        assert result.get("dice", "core").mean == pytest.approx(np.mean(values))
        assert result.get().structure == ALL
        with pytest.raises(KeyError, match="known: assd_mm of all structures"):
            result.get("dice", "liver")

    def test_missing_prediction_is_listed(self, folder: Path) -> None:
        (folder / "predictions/case1.nii.gz").unlink()
        result = evaluate(folder / "predictions", folder / "labelsTs")
        assert not result.complete
        assert [(f.severity, f.case) for f in result.findings] == [("error", "case1")]
        assert result.cases == ["case0", "case2", "case3"]

    def test_unmatched_prediction_is_listed(self, folder: Path) -> None:
        (folder / "labelsTs/case1.nii.gz").unlink()
        result = evaluate(folder / "predictions", folder / "labelsTs")
        assert result.complete
        assert [(f.severity, f.case) for f in result.findings] == [("warning", "case1")]

    def test_a_broken_file_does_not_cost_the_others(self, folder: Path) -> None:
        (folder / "predictions/case2.nii.gz").write_bytes(b"no image")
        result = evaluate(folder / "predictions", folder / "labelsTs")
        assert [f.case for f in result.findings] == ["case2"]
        assert len(result.cases) == 3

    def test_another_grid_says_what_differs(self, folder: Path) -> None:
        path = folder / "predictions/case2.nii.gz"
        array, geometry = read_map(path)
        write_map(path, array, replace(geometry, origin_mm=(12.0, -3.0, 7.0)))
        result = evaluate(folder / "predictions", folder / "labelsTs")
        assert "case case2: expected the prediction on the grid of the label" in result.findings[0].message
        assert "2 mm apart" in result.findings[0].message

    def test_nothing_matches(self, folder: Path, tmp_path: Path) -> None:
        for path in (folder / "predictions").iterdir():
            path.rename(path.with_name("x" + path.name))
        with pytest.raises(DataError, match=r"predictions hold xcase0, .* labels hold case0"):
            evaluate(folder / "predictions", folder / "labelsTs")

    def test_nothing_scored_gives_the_first_reason(self, folder: Path) -> None:
        for path in (folder / "predictions").iterdir():
            path.write_bytes(b"no image")
        with pytest.raises(DataError, match=r"not one of 4 cases could be scored; the first, case0: .*case0"):
            evaluate(folder / "predictions", folder / "labelsTs")

    def test_two_files_of_one_case(self, folder: Path) -> None:
        array, geometry = read_map(folder / "predictions/case0.nii.gz")
        write_map(folder / "predictions/case0.mha", array, geometry)
        with pytest.raises(DataError, match="predictions: two files for case case0"):
            evaluate(folder / "predictions", folder / "labelsTs")

    @pytest.mark.parametrize("what", ["predictions", "labels"])
    def test_missing_and_empty_folders(self, folder: Path, what: str) -> None:
        (folder / "empty").mkdir()
        for other, text in ((folder / "nowhere", "does not exist"), (folder / "empty", "holds no image files")):
            paths = {"predictions": folder / "predictions", "labels": folder / "labelsTs", what: other}
            with pytest.raises(DataError, match=f"{what}: .*{text}"):
                evaluate(paths["predictions"], paths["labels"])

    def test_a_folder_and_a_file(self, folder: Path) -> None:
        with pytest.raises(DataError, match="of one kind, got a folder and a file"):
            evaluate(folder / "predictions", folder / "labelsTs/case0.nii.gz")

    def test_progress_names_every_case(self, folder: Path) -> None:
        seen: list[tuple[int, int, str]] = []
        evaluate(folder / "predictions", folder / "labelsTs", progress=lambda *now: seen.append(now))
        assert seen == [(1, 4, "case0"), (2, 4, "case1"), (3, 4, "case2"), (4, 4, "case3")]


class TestTwoFiles:
    def test_names_may_differ(self, folder: Path) -> None:
        result = evaluate(folder / "predictions/case1.nii.gz", folder / "labelsTs/case0.nii.gz")
        assert result.cases == ["case0"]
        assert math.isnan(result.get().low)  # one case has no interval

    def test_a_problem_is_raised(self, folder: Path) -> None:
        path = folder / "predictions/case0.nii.gz"
        array, geometry = read_map(path)
        write_map(path, array[:2], replace(geometry, size=(2, 24, 20)))
        with pytest.raises(DataError, match=r"size \(z, y, x\) \(3, 24, 20\) against \(2, 24, 20\)"):
            evaluate(path, folder / "labelsTs/case0.nii.gz")


class TestMeaningOfValues:
    def test_unlabelled_voxels_count_nowhere(self, folder: Path) -> None:
        def hide(array: np.ndarray) -> np.ndarray:
            array[:, :, 12:] = 9
            return array

        for case in range(4):
            rewrite(folder / f"labelsTs/case{case}.nii.gz", hide)
        before = evaluate(folder / "predictions", folder / "labelsTs")

        def scribble_over(array: np.ndarray) -> np.ndarray:
            array[:, :, 12:] = np.random.default_rng(0).integers(0, 3, array[:, :, 12:].shape)
            return array

        for case in range(4):
            rewrite(folder / f"predictions/case{case}.nii.gz", scribble_over)
        assert evaluate(folder / "predictions", folder / "labelsTs").scores == before.scores

    def test_ignore_by_option_equals_ignore_in_the_dataset(self, folder: Path) -> None:
        for case in range(4):
            rewrite(folder / f"labelsTs/case{case}.nii.gz", lambda array: np.where(array == 2, 9, array))
        expected = evaluate(folder / "predictions", folder / "labelsTs").scores
        (folder / "dataset.json").unlink()
        names = ["background", "ring", "core"]
        result = evaluate(folder / "predictions", folder / "labelsTs", classes=names, ignore=9)
        assert result.scores == expected
        result = evaluate(folder / "predictions", folder / "labelsTs", ignore=9)
        assert [row.dice for row in result.scores] == [row.dice for row in expected]

    def test_unlabelled_voxels_in_a_prediction_are_refused(self, folder: Path) -> None:
        rewrite(folder / "predictions/case0.nii.gz", lambda array: np.where(array == 1, 9, array))
        result = evaluate(folder / "predictions", folder / "labelsTs")
        assert "unknown label value 9" in result.findings[0].message

    def test_without_names_the_values_that_occur_are_used_and_said(self, folder: Path) -> None:
        (folder / "dataset.json").unlink()
        result = evaluate(folder / "predictions", folder / "labelsTs")
        assert result.classes == ("background", "label_1", "label_2")
        assert result.findings[0].severity == "note"
        assert "0 is taken as background" in result.findings[0].message

    def test_other_file_values(self, folder: Path) -> None:
        plain = evaluate(folder / "predictions", folder / "labelsTs")
        for part in ("predictions", "labelsTs"):
            for case in range(4):
                rewrite(folder / part / f"case{case}.nii.gz", lambda array: np.array([0, 200, 50])[array])
        classes = {"background": 0, "ring": 200, "core": 50}
        assert evaluate(folder / "predictions", folder / "labelsTs", classes=classes).scores == plain.scores

    def test_masks_of_medcl_hold_class_indices_whatever_the_labels_hold(self, folder: Path) -> None:
        plain = evaluate(folder / "predictions", folder / "labelsTs")
        for case in range(4):
            rewrite(folder / f"labelsTs/case{case}.nii.gz", lambda array: np.array([0, 50, 200])[array])
        labels = {"background": 0, "ring": 50, "core": 200}
        (folder / "dataset.json").write_text(json.dumps({"labels": labels}), encoding="utf-8")
        with pytest.raises(DataError, match=r"unknown label value 1 .*known: background = 0, ring = 50"):
            evaluate(folder / "predictions/case0.nii.gz", folder / "labelsTs/case0.nii.gz")
        write_json(folder / "predictions" / REPORT, {"classes": ["background", "ring", "core"]})
        assert evaluate(folder / "predictions", folder / "labelsTs").scores == plain.scores

    def test_a_model_of_other_classes(self, folder: Path) -> None:
        write_json(folder / "predictions" / REPORT, {"classes": ["background", "liver"]})
        with pytest.raises(DataError, match=r"the model predicts background, liver, but .* names background, ring"):
            evaluate(folder / "predictions", folder / "labelsTs")
        names = ["background", "a", "b"]
        assert evaluate(folder / "predictions", folder / "labelsTs", classes=names).complete

    def test_classes_nobody_looked_for(self, folder: Path) -> None:
        content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        content["annotated"] = {"case0": ["background", "ring"]}
        (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
        result = evaluate(folder / "predictions", folder / "labelsTs")
        assert [row.state for row in result.scores if row.case == "case0"] == ["both", "not annotated"]
        assert result.get("dice", "core").cases == 3

    def test_background_nobody_looked_for_is_unlabelled(self, folder: Path) -> None:
        content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        content["annotated"] = {f"case{case}": ["ring", "core"] for case in range(4)}
        (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
        rewrite(folder / "predictions/case0.nii.gz", lambda array: np.where(array == 0, 1, array))
        result = evaluate(folder / "predictions", folder / "labelsTs")
        assert [row.dice for row in result.scores if row.case == "case0"] == [1.0, 1.0]

    @pytest.mark.parametrize(
        ("declared", "text"),
        [({"case0": ["liver"]}, "unknown class 'liver'"), (["case0"], 'expected "annotated" such as')],
    )
    def test_wrong_annotated(self, folder: Path, declared: object, text: str) -> None:
        content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        (folder / "dataset.json").write_text(json.dumps({**content, "annotated": declared}), encoding="utf-8")
        with pytest.raises(DataError, match=text):
            evaluate(folder / "predictions", folder / "labelsTs")

    @pytest.mark.parametrize(
        "classes", [["a", "b"], ["background"], ["background", "a", "a"], {"background": 0, "a": 0}]
    )
    def test_wrong_classes(self, folder: Path, classes: list[str]) -> None:
        with pytest.raises(SettingsError, match="classes: expected"):
            evaluate(folder / "predictions", folder / "labelsTs", classes=classes)

    def test_ignore_that_is_a_class(self, folder: Path) -> None:
        with pytest.raises(SettingsError, match="ignore: 1 is the value of a class"):
            evaluate(folder / "predictions", folder / "labelsTs", classes=["background", "a", "b"], ignore=1)

    def test_tolerance_must_be_positive(self, folder: Path) -> None:
        with pytest.raises(SettingsError, match="tolerance_mm: expected more than 0 mm"):
            evaluate(folder / "predictions", folder / "labelsTs", tolerance_mm=0)


class TestArrays:
    label = np.pad(np.ones((1, 4, 4), int), ((0, 0), (2, 2), (2, 2)))

    def test_one_pair(self) -> None:
        result = evaluate(np.roll(self.label, 1, axis=2), self.label, spacing_mm=(1, 1, 1))
        assert result.get().mean == 0.75
        assert result.get("hd95_mm").mean == 1.0

    def test_unlabelled_is_minus_one(self) -> None:
        label = np.where(np.indices(self.label.shape)[2] > 4, -1, self.label)
        result = evaluate(self.label, label, spacing_mm=(1, 1, 1))
        assert result.get().mean == 1.0

    def test_by_case(self) -> None:
        labels = {"a": self.label, "b": self.label, "c": self.label}
        result = evaluate({"a": self.label, "b": 0 * self.label}, labels, spacing_mm=(1, 1, 1))
        assert [(row.case, row.dice) for row in result.scores] == [("a", 1.0), ("b", 0.0)]
        assert [finding.case for finding in result.findings if finding.severity == "error"] == ["c"]

    def test_masks_of_bool(self) -> None:
        assert evaluate(self.label > 0, self.label > 0, spacing_mm=(1, 1, 1)).get().mean == 1.0

    def test_spacing_is_needed_for_arrays_and_refused_for_files(self, folder: Path) -> None:
        with pytest.raises(SettingsError, match="spacing_mm: expected the spacing"):
            evaluate(self.label, self.label)
        with pytest.raises(SettingsError, match="files know their own spacing"):
            evaluate(folder / "predictions", folder / "labelsTs", spacing_mm=(1, 1, 1))

    def test_two_axes_and_probabilities_are_refused(self) -> None:
        with pytest.raises(DataError, match="first axis of 1"):
            evaluate(self.label[0], self.label[0], spacing_mm=(1, 1, 1), classes=["background", "a"])
        with pytest.raises(DataError, match="argmax of probabilities"):
            evaluate(self.label * 0.5, self.label, spacing_mm=(1, 1, 1), classes=["background", "a"])

    def test_only_background(self) -> None:
        with pytest.raises(DataError, match="besides background"):
            evaluate(0 * self.label, 0 * self.label, spacing_mm=(1, 1, 1))


class TestFiles:
    def test_tables_hold_the_scores(self, folder: Path) -> None:
        rewrite(folder / "predictions/case3.nii.gz", lambda array: array * (array != 2))
        result = evaluate(folder / "predictions", folder / "labelsTs", folder / "out")
        names = ["evaluation.json", "report.html", "scores.csv", "summary.csv"]
        assert sorted(path.name for path in (folder / "out").iterdir()) == names
        with (folder / "out/scores.csv").open(encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        assert [float(row["dice"]) for row in rows] == [row.dice for row in result.scores]
        assert rows[-1]["hd95_mm"] == "nan"
        content = json.loads((folder / "out/evaluation.json").read_text(encoding="utf-8"))
        assert content["scores"][-1]["hd95_mm"] is None
        assert content["summary"][0]["mean"] == result.summary[0].mean
        assert content["versions"]["medcl"] == medcl.__version__

    def test_same_input_same_files_without_names_of_folders(self, folder: Path) -> None:
        for name in ("one", "two"):
            evaluate(folder / "predictions", folder / "labelsTs", folder / name)
        for path in (folder / "one").iterdir():
            assert path.read_bytes() == (folder / "two" / path.name).read_bytes()
            assert str(folder.parent) not in path.read_text(encoding="utf-8")  # no folders of this machine

    def test_2d_png(self, tmp_path: Path) -> None:
        geometry = Geometry((1, 12, 12), file_ndim=2)
        label = np.zeros((1, 12, 12), np.uint8)
        label[0, 3:9, 3:9] = 255
        write_map(tmp_path / "labels/a.png", label, geometry)
        write_map(tmp_path / "predictions/a.png", np.roll(label, 3, axis=2), geometry)
        names = {"background": 0, "nucleus": 255}
        result = evaluate(tmp_path / "predictions", tmp_path / "labels", tmp_path / "out", classes=names)
        assert result.get().mean == 0.5

    def test_pictures_that_do_not_fit_are_a_note(self, folder: Path) -> None:
        write_map(folder / "scribblesTs/case0.nii.gz", np.zeros((1, 4, 4), int), Geometry((1, 4, 4)))
        (folder / "imagesTs/case3_0000.nii.gz").write_bytes(b"no image")
        result = evaluate(folder / "predictions", folder / "labelsTs", folder / "out")
        assert [(f.severity, f.case) for f in result.findings] == [("note", "case0"), ("note", "case3")]
        assert result.complete


def test_real_labels_against_themselves(shared_data: Path) -> None:
    labels = shared_data / "mscmr" / "labelsVal"
    result = evaluate(labels, labels)
    assert result.classes[1:] == ("RV", "Myo", "LV")
    assert result.get("dice").mean == 1.0
    assert result.get("hd95_mm").maximum == 0.0
