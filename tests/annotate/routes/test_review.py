"""Accept, mark wrong, reopen: what lies in labelsTr, what is kept aside, and that the folder stays valid."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medcl.annotate.pool import make_pool
from medcl.data.dataset import Dataset
from medcl.data.io import read_map, write_map
from medcl.scribbles.check import check

SIZE = (6, 8, 10)


def mask() -> np.ndarray:
    array = np.zeros(SIZE, np.uint8)
    array[2:4, 3:6, 4:8] = 1
    array[3, 4, 5] = 2
    return array


def label(world: Any, case: str) -> np.ndarray:
    dataset = Dataset.open(world.folder)
    return dataset.read_label(next(entry for entry in dataset.cases("Tr") if entry.id == case))


def test_accept_writes_the_mask_with_the_strokes_on_it(world: Any) -> None:
    number = world.predict("oblique", mask())
    world.draw("oblique", [(0, 0, 0), (5, 7, 9)], 2)
    world.draw("oblique", [(2, 4, 4)], 1)
    world.draw("oblique", [(2, 3, 4)], 0)  # a background stroke takes a voxel from the mask
    answer = world.review("oblique", "accept", prediction=number)
    assert answer.status_code == 200, answer.text
    pool = make_pool(world.context)
    assert "oblique" not in {case.id for case in pool.cases}, "nobody is asked about it"
    assert [case.id for case in pool.done if case.drawn] == ["oblique"], "and what was drawn in it still counts"
    assert answer.json()["state"] == "reviewed"
    assert answer.json()["notice"] == ""
    wanted = mask().astype(int)
    wanted[0, 0, 0] = wanted[5, 7, 9] = 2
    wanted[2, 3, 4] = 0
    np.testing.assert_array_equal(label(world, "oblique"), wanted)
    path = world.folder / "labelsTr" / "oblique.nii.gz"
    assert set(np.unique(read_map(path)[0])) == {0, 1, 5}  # the values of dataset.json
    image = nibabel.load(world.folder / "imagesTr" / "oblique_0000.nii.gz")
    np.testing.assert_allclose(nibabel.load(path).affine, image.affine, atol=1e-5)
    world.context.flush()
    report = check(world.folder)
    assert report.ok, report.findings
    events = [line for line in world.client.get("/monai/logs/").text.splitlines() if "accept" in line]
    assert len(events) == 1


def test_an_older_label_is_kept_aside_and_comes_back_when_reopened(world: Any) -> None:
    older = np.ones(SIZE, np.uint8)
    write_map(world.folder / "labelsTr" / "plain.nii.gz", older, Dataset.open(world.folder).read_image(
        Dataset.open(world.folder).cases("Tr")[2]).geometry)  # fmt: skip
    number = world.predict("plain", mask())
    answer = world.review("plain", "accept", prediction=number).json()
    assert answer["notice"].startswith("The label that was there is kept as .medcl/replaced/plain-")
    kept = list((world.folder / ".medcl" / "replaced").iterdir())
    np.testing.assert_array_equal(read_map(kept[0])[0], older)
    again = world.review("plain", "accept", prediction=number).json()
    assert again["notice"] == ""  # the same label once more replaces nothing
    opened = world.review("plain", "reopen").json()
    assert "label from before is back" in opened["notice"]
    assert opened["state"] == "predicted"
    np.testing.assert_array_equal(label(world, "plain"), older)


@pytest.mark.parametrize("absolute", [True, False])
def test_an_older_label_that_is_a_link_comes_back(world: Any, absolute: bool) -> None:
    source = world.folder / "elsewhere" / "theirs.nii.gz"
    older = np.ones(SIZE, np.uint8)
    write_map(source, older, world.context.view(world.context.case("plain")).grid.geometry)
    label_file = world.folder / "labelsTr" / "plain.nii.gz"
    label_file.parent.mkdir()
    label_file.symlink_to(source if absolute else Path("../elsewhere/theirs.nii.gz"))
    number = world.predict("plain", mask())
    world.review("plain", "accept", prediction=number)
    assert not label_file.is_symlink()
    (kept,) = (world.folder / ".medcl" / "replaced").iterdir()
    assert (kept.is_symlink(), kept.resolve()) == (True, source)
    assert "label from before is back" in world.review("plain", "reopen").json()["notice"]
    np.testing.assert_array_equal(label(world, "plain"), older)
    assert label_file.readlink() == (source if absolute else Path("../elsewhere/theirs.nii.gz"))
    np.testing.assert_array_equal(read_map(source)[0], older)  # what the link leads to was never touched


def test_wrong_takes_an_accepted_label_back_but_never_another_ones(world: Any) -> None:
    number = world.predict("plain", mask())
    world.review("plain", "accept", prediction=number)
    answer = world.review("plain", "wrong").json()
    assert answer["state"] == "wrong"
    assert "no longer part of the data set" in answer["notice"]
    assert not (world.folder / "labelsTr" / "plain.nii.gz").exists()
    world.review("plain", "accept", prediction=number)
    path = world.folder / "labelsTr" / "plain.nii.gz"
    write_map(path, np.full(SIZE, 5, np.uint8), read_map(path)[1])  # another program corrects it
    answer = world.review("plain", "reopen").json()
    assert "changed by another program" in answer["notice"]
    assert (label(world, "plain") == 2).all()


def test_what_moved_on_is_a_conflict(world: Any) -> None:
    number = world.predict("plain", mask())
    seen = world.version("plain")
    world.draw("plain", [(0, 0, 0)], 1)
    body = {"verdict": "accept", "base_version": seen, "prediction": number}
    answer = world.client.post("/api/cases/plain/review", json=body)
    assert answer.status_code == 409
    assert answer.json()["version"] == seen + 1
    assert len(answer.json()["strokes"]) == 1
    assert not (world.folder / "labelsTr").exists()
    newer = world.predict("plain", mask())
    answer = world.review("plain", "accept", prediction=number)
    assert answer.status_code == 409
    assert f"prediction {newer} is the newest" in answer.json()["message"]
    before = world.version("plain")
    assert world.review("plain", "accept", prediction=newer).json()["version"] == before + 1


def test_what_cannot_be_accepted_is_one_sentence(world: Any) -> None:
    for case, more, words in (
        ("plain", {"prediction": 1}, "has no prediction to accept"),
        ("plain", {}, "expected the number of the prediction"),
        ("test", {"prediction": 1}, "only training cases take labels"),
    ):
        answer = world.review(case, "accept", **more)
        assert answer.status_code == 422
        assert words in answer.json()["message"]
    outside = world.folder.parent / "elsewhere"
    outside.mkdir()
    (world.folder / "labelsTr").symlink_to(outside)
    number = world.predict("plain", mask())
    answer = world.review("plain", "accept", prediction=number)
    assert answer.status_code == 422
    assert "leads out of the data set" in answer.json()["message"]
    assert list(outside.iterdir()) == []


def test_classes_that_nobody_looked_for_stay_unlabelled(world: Any) -> None:
    import json

    path = world.folder / "dataset.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "annotated": {"plain": ["background", "RV"]}}), encoding="utf-8")
    number = world.predict("plain", mask())
    assert world.review("plain", "accept", prediction=number).status_code == 200
    found = label(world, "plain")
    assert found[3, 4, 5] == -1
    assert (found == 1).sum() == mask().astype(bool).sum() - 1


def test_a_stroke_after_acceptance_leaves_the_label_and_says_so(world: Any) -> None:
    number = world.predict("oblique", mask())
    world.review("oblique", "accept", prediction=number)
    row = world.client.get("/api/cases/oblique").json()
    assert (row["state"], row["label_is_older"]) == ("reviewed", False)
    world.draw("oblique", [(0, 0, 0)], 2)
    row = world.client.get("/api/cases/oblique").json()
    assert (row["state"], row["label_is_older"], row["reviewed_by"] is not None) == ("predicted", True, True)
    assert label(world, "oblique")[0, 0, 0] == 0
    opened = world.review("oblique", "reopen").json()
    assert (opened["state"], opened["label_is_older"]) == ("predicted", False)
    assert not (world.folder / "labelsTr" / "oblique.nii.gz").exists()
