"""What every importer does, on a made-up tree with the official names."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from importer_trees import DIRECTION, ORIGIN, SPACING, TREES, Tree

import medcl
from medcl.data.labels import UNLABELLED
from medcl.errors import DataError, SettingsError
from medcl.files import read_json
from medcl.importers import importers
from medcl.importers.run import ImportFindingsError, import_dataset


@pytest.fixture(scope="module", params=list(importers))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Tree]:
    """Name of an importer, the folder of its tree, and what is in it."""
    root = tmp_path_factory.mktemp("trees") / request.param
    return request.param, root, TREES[request.param](root)


@pytest.fixture
def own(made: tuple[str, Path, Tree], tmp_path: Path) -> tuple[str, Path, Tree]:
    """A copy of the tree that a test may damage."""
    name, root, tree = made
    copy = tmp_path / "tree"
    shutil.copytree(root, copy)
    moved = Tree(tree.cases, copy / tree.label.relative_to(root), copy / tree.needed.relative_to(root), tree.options)
    return name, copy, moved


def test_arrives_voxel_for_voxel(made: tuple[str, Path, Tree], tmp_path: Path) -> None:
    name, root, tree = made
    seen: list[str] = []
    out = tmp_path / "out"
    result = import_dataset(name, root, out, allow_partial=True, progress=lambda done, total, case: seen.append(case))
    dataset = medcl.Dataset.open(out)
    cases = [case for split in ("Tr", "Val", "Ts") for case in dataset.cases(split)]
    assert {case.id: case.split for case in cases} == {name: case.split for name, case in tree.cases.items()}
    assert seen == [case.id for case in cases]
    assert sum(result.cases.values()) == len(cases)
    assert dataset.classes[1 : 1 + len(tree.classes)] == tree.classes
    for case in cases:
        wanted = tree.cases[case.id]
        image = dataset.read_image(case)
        assert np.array_equal(image.array, wanted.image)
        assert np.allclose(image.geometry.spacing_mm, SPACING[::-1], atol=1e-5)
        assert np.allclose(image.geometry.origin_mm, ORIGIN, atol=1e-4)
        assert np.allclose(image.geometry.direction, DIRECTION, atol=1e-6)
        for kind, path, read, array in (
            ("label", case.label, dataset.read_label, wanted.label),
            ("scribble", case.scribble, dataset.read_scribble, wanted.scribble),
        ):
            assert (path is None) == (array is None), f"{case.id}: {kind}"
            if array is not None:
                assert np.array_equal(read(case), np.where(array < 0, UNLABELLED, array))
                judge = nibabel.load(path)  # a second reader
                other = nibabel.load(case.images[0])
                assert np.allclose(judge.affine, other.affine, atol=1e-5)


def test_check_finds_nothing_wrong(made: tuple[str, Path, Tree], tmp_path: Path) -> None:
    name, root, _ = made
    import_dataset(name, root, tmp_path / "out", allow_partial=True)
    report = medcl.check(tmp_path / "out")
    assert report.ok, [finding.message for finding in report.findings]
    assert report.find("geometry-mismatch") == []


def test_says_whose_the_images_are(made: tuple[str, Path, Tree], tmp_path: Path) -> None:
    name, root, _ = made
    result = import_dataset(name, root, tmp_path / "out", allow_partial=True)
    facts = importers.get(name).facts
    content = read_json(tmp_path / "out" / "dataset.json")
    assert (content["licence"], content["citation"]) == (facts.licence, facts.citation)
    page = (tmp_path / "out" / "SOURCE.md").read_text(encoding="utf-8")
    assert facts.licence in page
    assert facts.citation in page
    assert facts.sources
    assert result.facts == facts
    assert content["import"]["importer"] == name
    assert "ignore" in content["labels"]


def test_a_part_is_refused_unless_asked_for(made: tuple[str, Path, Tree], tmp_path: Path) -> None:
    name, root, _ = made
    if name == "msd":  # the task's own dataset.json says what is complete, and the tree is
        assert import_dataset(name, root, tmp_path / "out").cases["Tr"] == 2
        return
    with pytest.raises(ImportFindingsError, match=r"expected \d+ .*(not there|got \d).*--allow-partial"):
        import_dataset(name, root, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(own: tuple[str, Path, Tree], tmp_path: Path) -> None:
    name, root, tree = own
    folder = tree.needed.parent
    if name == "chaos":
        shutil.rmtree(folder)
    else:
        tree.needed.unlink()
    with pytest.raises(ImportFindingsError) as caught:
        import_dataset(name, root, tmp_path / "out", allow_partial=True)
    assert len(caught.value.findings) == 1
    assert (folder.name if name == "chaos" else tree.needed.name.removesuffix(".nii.gz")) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


def test_wrong_values_are_counted(own: tuple[str, Path, Tree], tmp_path: Path) -> None:
    name, root, tree = own
    image = SimpleITK.ReadImage(str(tree.label))
    array = SimpleITK.GetArrayFromImage(image)
    array.ravel()[:3] = 77
    damaged = SimpleITK.GetImageFromArray(array)
    damaged.CopyInformation(image)
    SimpleITK.WriteImage(damaged, str(tree.label))
    with pytest.raises(ImportFindingsError, match=r"expected the values 0 background.*got 77 \(3 voxels\)") as caught:
        import_dataset(name, root, tmp_path / "out", allow_partial=True)
    assert (tree.label.parent if name == "chaos" else tree.label).name in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


def test_a_damaged_image_is_named(own: tuple[str, Path, Tree], tmp_path: Path) -> None:
    name, root, tree = own
    tree.needed.write_bytes(tree.needed.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"cut short|damaged|DICOM"):
        import_dataset(name, root, tmp_path / "out", allow_partial=True)
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


def test_another_folder_says_what_is_looked_for(made: tuple[str, Path, Tree], tmp_path: Path) -> None:
    name, _, _ = made
    source = tmp_path / "other"
    source.mkdir()
    (source / "holiday.txt").write_text("sun", encoding="utf-8")
    with pytest.raises(DataError, match=r"expected (files of|one task)"):
        import_dataset(name, source, tmp_path / "out")
    with pytest.raises(SettingsError, match="unknown setting 'organ'"):
        import_dataset(name, source, tmp_path / "out", organ=8)
