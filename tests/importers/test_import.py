"""Options and rules of single data sets, all findings at once, the command."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from importer_trees import TREES, save, volume
from typer.testing import CliRunner

import medcl
from medcl.cli import app
from medcl.errors import DataError, SettingsError
from medcl.importers import importers
from medcl.importers.base import Study
from medcl.importers.btcv import EIGHT, LABELLED, TRANSUNET_TEST, Btcv
from medcl.importers.meaning import Meaning
from medcl.importers.mscmr_scribbles import PARTS
from medcl.importers.run import ImportFindingsError, hold_out, import_dataset
from medcl.importers.volumes import File, in_order
from medcl.scribbles.write import scribble

runner = CliRunner()


def test_eight_organs_are_those_of_the_phantom_abdomen(tmp_path: Path) -> None:
    from medcl.phantom.abdomen import CLASSES

    TREES["btcv"](tmp_path / "tree")
    import_dataset("btcv", tmp_path / "tree", tmp_path / "out", allow_partial=True, organs=8)
    dataset = medcl.Dataset.open(tmp_path / "out")
    assert dataset.classes == ("background", *EIGHT)
    assert set(dataset.classes) == set(CLASSES)
    label = dataset.read_label(dataset.cases("Ts")[0])
    source = volume(1, 13)[1]
    assert np.array_equal(label == 1 + EIGHT.index("pancreas"), source == 11)
    assert (label[source == 5] == 0).all()  # the oesophagus is none of the eight


def test_splits_are_complete_and_apart() -> None:
    assert len(LABELLED) == 30
    assert len(set(TRANSUNET_TEST) & set(LABELLED)) == 12
    assert [len(numbers) for numbers in PARTS.values()] == [25, 5, 15]
    assert sorted(n for numbers in PARTS.values() for n in numbers) == list(range(1, 46))


def test_all_of_btcv_can_train(tmp_path: Path) -> None:
    TREES["btcv"](tmp_path / "tree")
    result = import_dataset("btcv", tmp_path / "tree", tmp_path / "out", allow_partial=True, split="all")
    assert result.cases == {"Tr": 3, "Val": 0, "Ts": 1}
    assert result.labelled["Ts"] == 0


def test_hold_out_keeps_frames_of_a_person_together() -> None:
    volumes = (File(Path("a.nii.gz")),)
    studies = [Study(f"p{n}_{f}", "Tr", volumes, volumes[0], volumes[0], f"p{n}") for n in range(4) for f in (1, 2)]
    studies.append(Study("unlabelled", "Ts", volumes))
    moved = hold_out(studies, 2)
    test = [study for study in moved if study.split == "Ts"]
    assert sorted(study.id for study in test) == ["p1_1", "p1_2", "p3_1", "p3_2"]
    assert all(study.scribble is None for study in test)
    with pytest.raises(DataError, match="fewer than the 4 labelled training subjects, got 4"):
        hold_out(studies, 4)


def test_strokes_of_acdc_may_lie_elsewhere_and_be_named_by_moment(tmp_path: Path) -> None:
    tree = TREES["acdc-scribbles"](tmp_path / "tree")
    shutil.move(tmp_path / "tree" / "acdc_scribbles", tmp_path / "strokes")
    for path in (tmp_path / "strokes").glob("patient001*"):
        moment = "ED" if "frame01" in path.name else "ES"
        path.rename(path.with_name(f"patient001_frame_{moment}_scribble.nii.gz"))
    out = tmp_path / "out"
    import_dataset("acdc-scribbles", tmp_path / "tree", out, allow_partial=True, scribbles=tmp_path / "strokes")
    dataset = medcl.Dataset.open(out)
    assert dataset.content["import"]["options"] == {"hold_out": 0}  # no path of the user's
    for case in dataset.cases("Tr"):
        wanted = tree.cases[case.id].scribble
        assert wanted is not None
        assert np.array_equal(dataset.read_scribble(case), wanted)


def test_another_sequence_of_mscmrseg(tmp_path: Path) -> None:
    TREES["mscmrseg"](tmp_path / "tree")
    result = import_dataset("mscmrseg", tmp_path / "tree", tmp_path / "out", allow_partial=True, sequence="C0")
    assert sum(result.labelled.values()) == 0
    assert any("have no label" in note for note in result.notes)


def test_ct_of_chaos_holds_the_liver_alone(tmp_path: Path) -> None:
    from importer_trees import write_slice

    image, label = volume(1, 1)
    study = tmp_path / "tree" / "Train_Sets" / "CT" / "5"
    (study / "Ground").mkdir(parents=True)
    for z in range(len(image)):
        write_slice(study / "DICOM_anon" / f"i{z:04d},0000b.dcm", image[z], z, str(z))
        picture = SimpleITK.GetImageFromArray((255 * label[z]).astype(np.uint8))
        SimpleITK.WriteImage(picture, str(study / "Ground" / f"liver_GT_{z:03d}.png"))
    import_dataset("chaos", tmp_path / "tree", tmp_path / "out", allow_partial=True, part="ct")
    dataset = medcl.Dataset.open(tmp_path / "out")
    assert dataset.classes == ("background", "liver")
    assert np.array_equal(dataset.read_label(dataset.cases("Tr")[0]), label)
    (study / "Ground" / "liver_GT_000.png").unlink()
    with pytest.raises(ImportFindingsError, match="expected a picture for each of the 4 slices, got 3"):
        import_dataset("chaos", tmp_path / "tree", tmp_path / "other", allow_partial=True, part="ct")


def test_a_map_on_another_grid_is_refused(tmp_path: Path) -> None:
    tree = TREES["btcv"](tmp_path / "tree")
    save(tree.label, SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tree.label))), plain=True)
    with pytest.raises(ImportFindingsError, match=r"label0001.*expected the grid of its image, but it differs in orig"):
        import_dataset("btcv", tmp_path / "tree", tmp_path / "out", allow_partial=True)


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    tree = TREES["myops"](tmp_path / "tree")
    for kind in ("C0", "T2"):
        (tmp_path / "tree" / "train25" / f"myops_training_101_{kind}.nii.gz").unlink()
    shutil.copy(tree.label, tree.label.parent.parent / tree.label.name)
    with pytest.raises(ImportFindingsError) as caught:
        import_dataset("myops", tmp_path / "tree", tmp_path / "out")
    text = "\n".join(caught.value.findings)
    assert "have the same name" in text
    assert "case myops_training_101: expected myops_training_101_C0.nii.gz and myops_training_101_T2.nii.gz" in text
    assert "expected 25 training cases, 23 are not there: myops_training_103" in text
    assert "expected 20 test cases, 19 are not there" in text
    assert not (tmp_path / "out").exists()


def test_a_complete_data_set_needs_no_permission(tmp_path: Path) -> None:
    image, label = volume(0, 13)
    for number in LABELLED:
        save(tmp_path / "tree" / "img" / f"img{number}.nii.gz", image[:2])
        save(tmp_path / "tree" / "label" / f"label{number}.nii.gz", label[:2].astype(np.uint8))
    result = import_dataset("btcv", tmp_path / "tree", tmp_path / "out")
    assert result.cases == {"Tr": 18, "Val": 0, "Ts": 12}


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    TREES["la2018"](tmp_path / "tree")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(DataError, match="expected no folder or an empty one"):
        import_dataset("la2018", tmp_path / "tree", tmp_path / "out", allow_partial=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    archive = tmp_path / "download.zip"
    archive.write_bytes(b"PK")
    with pytest.raises(DataError, match="got a file; unpack it first"):
        import_dataset("la2018", archive, tmp_path / "new")


def test_unknown_names_list_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unknown importer 'acdcc'; did you mean 'acdc'"):
        import_dataset("acdcc", tmp_path, tmp_path / "out")
    with pytest.raises(SettingsError, match="organs: input should be 13 or 8, got 9"):
        import_dataset("btcv", tmp_path, tmp_path / "out", organs=9)


def test_values_are_described_as_ranges() -> None:
    meaning = Meaning.of({0: "background", 255: "ignore", 55: "liver", 56: "liver", 70: "spleen"}, ("liver", "spleen"))
    assert meaning.describe() == "0 background, 55-56 liver, 70 spleen, 255 ignore"
    got = meaning.translate(np.array([[0, 255, 55, 56, 70]], np.uint8), Path("a"))
    assert got.tolist() == [[0, -1, 1, 1, 2]]
    with pytest.raises(DataError, match=r"got -5 \(1 voxels\), 3000000 \(2 voxels\)"):
        meaning.translate(np.array([-5, 0, 3_000_000, 3_000_000], np.int32), Path("a"))


def test_numbers_in_names_count() -> None:
    assert [path.name for path in in_order([Path("i10"), Path("i2"), Path("i1")])] == ["i1", "i2", "i10"]


def test_strokes_can_be_drawn_on_what_was_imported(tmp_path: Path) -> None:
    TREES["btcv"](tmp_path / "tree")
    import_dataset("btcv", tmp_path / "tree", tmp_path / "out", allow_partial=True, organs=8)
    assert len(scribble(tmp_path / "out").cases) == 2
    assert all(case.scribble is not None for case in medcl.Dataset.open(tmp_path / "out").cases("Tr"))


def test_the_command_lists_and_imports(tmp_path: Path) -> None:
    listed = runner.invoke(app, ["import", "--list"]).output
    for name in importers:
        assert importers.get(name).facts.licence in listed
    assert "--set organs" in runner.invoke(app, ["import", "btcv", "--list"]).output
    TREES["btcv"](tmp_path / "tree")
    out = tmp_path / "out"
    arguments = ["import", "btcv", str(tmp_path / "tree"), str(out), "--set", "organs=8"]
    refused = runner.invoke(app, arguments)
    assert refused.exit_code == 1
    assert "- expected 30 labelled volumes, 27 are not there" in refused.stderr
    assert not out.exists()
    done = runner.invoke(app, [*arguments, "--allow-partial"])
    assert done.exit_code == 0, done.output
    assert "Tr: 2 cases, 2 with dense labels, 0 with strokes" in done.output
    assert f"please cite: {Btcv.facts.citation}" in done.output
    missing = runner.invoke(app, ["import", "btcv"])
    assert "expected a data set, its folder and the folder to write" in missing.stderr
