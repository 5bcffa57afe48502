from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from annotate_tiny import OBLIQUE, TOKEN, UPRIGHT, make_dataset, serving
from PIL import Image as Picture

from medcl.annotate.app import create_app
from medcl.data.dataset import Dataset
from medcl.data.geometry import Image
from medcl.data.io import write_image, write_map
from medcl.errors import DataError
from medcl.files import read_json
from medcl.scribbles.check import check

ORGANS = {"classes": ["organ", "lump"], "channel": "CT", "groups": {"all": ["organ", "lump"]}}


def scans(folder: Path) -> Path:
    """A folder as people have it: sub-folders, two formats, the same name twice."""
    array = np.random.default_rng(0).integers(0, 1000, (1, *UPRIGHT.size)).astype(np.int16)
    for name in ("monday/p1.nii.gz", "tuesday/p1.nii.gz", "p2.nrrd"):
        write_image(folder / name, Image(array, UPRIGHT))
        array = array + 1
    return folder


def test_a_folder_of_scans_becomes_a_data_set_and_nothing_in_it_changes(tmp_path: Path) -> None:
    home = scans(tmp_path / "scans")
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    with serving(create_app(home, token=TOKEN)) as client:
        project = client.get("/api/project").json()
        assert (project["needs_setup"], project["name"]) == (True, "scans")
        assert project["found"] == ["monday/p1.nii.gz", "p2.nrrd", "tuesday/p1.nii.gz"]
        assert client.get("/api/cases").status_code == 409
        assert client.get("/api/events").status_code == 409
        project = client.post("/api/project/setup", json=ORGANS).json()
        assert (project["needs_setup"], project["cases"], project["channels"]) == (False, 3, ["CT"])
        assert [one["name"] for one in project["classes"]] == ["background", "organ", "lump"]
        assert project["groups"] == {"all": [1, 2]}
        assert [row["id"] for row in client.get("/api/cases").json()] == ["monday_p1", "p2", "tuesday_p1"]
        for value in range(3):
            body = {"id": str(uuid4()), "base_version": value, "value": value, "runs": [9 * value, 5]}
            assert client.post("/api/cases/monday_p1/strokes", json=body).status_code == 200
        assert client.get("/api/cases/p2/image.nii").status_code == 200
        assert client.post("/api/project/setup", json=ORGANS).status_code == 422  # once only
    assert {path: path.read_bytes() for path in before} == before
    data = home / "medcl-dataset"
    assert (data / "imagesTr" / "p2_0000.nrrd").is_symlink()
    assert (data / "scribblesTr" / "monday_p1.nii.gz").is_file()
    report = check(data)
    assert not [finding for finding in report.findings if finding.severity == "error"]
    with serving(create_app(home, token=TOKEN)) as client:  # and again: the same folder is named
        assert client.get("/api/cases/monday_p1").json()["strokes"] == 3


def test_the_dataset_layout_gets_its_json_in_place(tmp_path: Path) -> None:
    home = tmp_path / "set"
    write_image(home / "imagesTr" / "a_0000.nii.gz", Image(np.ones((1, *OBLIQUE.size), np.int16), OBLIQUE))
    with serving(create_app(home, token=TOKEN)) as client:
        assert client.get("/api/project").json()["needs_setup"] is True
        assert client.post("/api/project/setup", json={"classes": ["organ"]}).status_code == 200
    assert read_json(home / "dataset.json")["labels"] == {"background": 0, "organ": 1, "ignore": 2}


def test_pictures(tmp_path: Path) -> None:
    home = tmp_path / "tiles"
    home.mkdir()
    for name in ("a.png", "b.jpg"):
        Picture.fromarray(np.full((20, 30, 3), 200, np.uint8)).save(home / name)
    with serving(create_app(home, token=TOKEN)) as client:
        assert client.post("/api/project/setup", json={"classes": ["nucleus"]}).json()["channels"] == ["R", "G", "B"]
        assert [row["color"] for row in client.get("/api/cases").json()] == [True, True]


def test_a_folder_of_dicom(tmp_path: Path) -> None:
    home = tmp_path / "hospital"
    write_series(home / "patient" / "series")
    with serving(create_app(home, token=TOKEN)) as client:
        assert client.get("/api/project").json()["found"] == ["patient/series"]
        assert client.post("/api/project/setup", json={"classes": ["organ"]}).json()["cases"] == 1
        row = client.get("/api/cases").json()[0]
        assert row["size"] == [6, 5, 3]
        body = {"id": str(uuid4()), "base_version": 0, "value": 1, "runs": [0, 5]}
        assert client.post(f"/api/cases/{row['id']}/strokes", json=body).status_code == 200
        assert client.get(f"/api/cases/{row['id']}/image.nii").status_code == 200
    assert len(list((home / "medcl-dataset" / "scribblesTr").glob("*.nii.gz"))) == 1


def write_series(folder: Path) -> None:
    import SimpleITK

    folder.mkdir(parents=True)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(3):
        image = SimpleITK.GetImageFromArray(np.full((1, 5, 6), 100 * number, np.int16))
        image.SetSpacing((1, 1, 2))
        for tag, value in {
            "0008|0060": "MR",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.1.{number + 1}",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.2",
            "0020|000e": "1.2.826.0.1.3680043.2.1125.3",
            "0020|0013": str(number),
            "0020|0032": f"0\\0\\{2 * number}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{number}.dcm"))
        writer.Execute(image)


def test_folders_with_masks_need_somebody_who_knows_them(tmp_path: Path) -> None:
    home = scans(tmp_path / "scans")
    write_map(home / "masks" / "p2.nii.gz", np.ones(UPRIGHT.size, np.uint8), UPRIGHT)
    with serving(create_app(home, token=TOKEN)) as client:
        answer = client.post("/api/project/setup", json=ORGANS)
        assert (answer.status_code, "medcl init" in answer.json()["message"]) == (422, True)
    assert not (home / "medcl-dataset").exists()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"classes": ["a", "a"]}, "name of its own"),
        ({"classes": ["Background"]}, "background needs no name"),
        ({"classes": [" "]}, "names of structures"),
        ({"classes": []}, "classes"),
        ({"groups": {"g": ["nobody"]}}, "known: organ, lump"),
        ({"groups": {"organ": ["organ"]}}, "rename"),
        ({"classes": ["x" * 61]}, "60"),
    ],
)
def test_names_that_cannot_be(tmp_path: Path, change: dict, word: str) -> None:
    with serving(create_app(scans(tmp_path / "scans"), token=TOKEN)) as client:
        answer = client.post("/api/project/setup", json={**ORGANS, **change})
        assert answer.status_code == 422
        assert word in answer.json()["message"]
        assert client.get("/api/project").json()["needs_setup"] is True


def test_a_scan_that_is_a_link_to_elsewhere(tmp_path: Path) -> None:
    home = scans(tmp_path / "scans")
    (tmp_path / "secret.nii.gz").write_bytes((home / "monday" / "p1.nii.gz").read_bytes())
    (home / "link.nii.gz").symlink_to(tmp_path / "secret.nii.gz")
    with serving(create_app(home, token=TOKEN)) as client:
        answer = client.post("/api/project/setup", json=ORGANS)
        assert (answer.status_code, "link" in answer.json()["message"]) == (422, True)


def test_folders_without_scans(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found nothing"):
        create_app(tmp_path / "nowhere", token=TOKEN)
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match="found a file"):
        create_app(tmp_path / "file", token=TOKEN)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        create_app(tmp_path / "empty", token=TOKEN)


def test_a_project_has_a_key_of_its_own(tmp_path: Path) -> None:
    keys = []
    for place in ("one", "two"):
        folder = make_dataset(tmp_path / place / "tiny")
        with serving(create_app(folder, token=TOKEN)) as client:
            keys.append(client.get("/api/project").json()["key"])
        assert keys[-1] == (folder / ".medcl" / "id").read_text(encoding="utf-8")
    assert len(set(keys)) == 2
    with serving(create_app(folder, token=TOKEN)) as client:
        assert client.get("/api/project").json()["key"] == keys[1]  # the same on the next day


def test_channels_in_files_of_their_own(tmp_path: Path) -> None:
    home = tmp_path / "scans"
    array = np.random.default_rng(0).integers(0, 1000, (1, *UPRIGHT.size)).astype(np.int16)
    for name in ("a/p1_0000.nii.gz", "a/p1_0001.nii.gz", "b/p1_0000.nii.gz", "b/p1_0001.nii.gz"):
        write_image(home / name, Image(array, UPRIGHT))
    with serving(create_app(home, token=TOKEN)) as client:
        project = client.post("/api/project/setup", json=ORGANS).json()
        assert (project["cases"], project["channels"]) == (2, ["CT 1", "CT 2"])
        assert [row["id"] for row in client.get("/api/cases").json()] == ["a_p1", "b_p1"]
    names = sorted(path.name for path in (home / "medcl-dataset" / "imagesTr").iterdir())
    assert names == ["a_p1_0000.nii.gz", "a_p1_0001.nii.gz", "b_p1_0000.nii.gz", "b_p1_0001.nii.gz"]


@pytest.mark.parametrize(
    ("names", "case", "word"),
    [
        (("p1_0000", "p2_0000"), ["p1", "p2"], ""),  # one channel each: the number is none of the name
        (("scan_1234", "scan_1235"), ["scan_1234", "scan_1235"], ""),  # no _0000: part of the name
        (("p1_0000", "p1_0002"), [], "once each"),
        (("p1_0000", "p1_0001", "p2_0000"), [], "as many channels in every case, got 1 in p2 and 2 in p1"),
    ],
)
def test_numbers_at_the_end_of_names(tmp_path: Path, names: tuple[str, ...], case: list[str], word: str) -> None:
    home = tmp_path / "scans"
    for name in names:
        write_image(home / f"{name}.nii.gz", Image(np.zeros((1, *UPRIGHT.size), np.int16), UPRIGHT))
    with serving(create_app(home, token=TOKEN)) as client:
        answer = client.post("/api/project/setup", json=ORGANS)
        assert answer.status_code == (422 if word else 200)
        if word:
            assert word in answer.json()["message"]
        else:
            assert [row["id"] for row in client.get("/api/cases").json()] == case


def test_the_made_folder_may_be_named_and_later_scans_are_told(tmp_path: Path) -> None:
    home = scans(tmp_path / "scans")
    with serving(create_app(home, token=TOKEN)) as client:
        client.post("/api/project/setup", json=ORGANS)
    (home / "later.nrrd").write_bytes((home / "p2.nrrd").read_bytes())
    for named in (home, home / "medcl-dataset"):
        with serving(create_app(named, token=TOKEN)) as client:
            project = client.get("/api/project").json()
            assert project["cases"] == 3
            (notice,) = project["notices"]
            assert notice.startswith("later.nrrd: in the folder, not in its data set")
            assert "medcl-dataset/imagesTr" in notice
            assert client.get("/api/cases/p2/image.nii").status_code == 200
    with pytest.raises(DataError, match=r"the data set seems to be .*medcl-dataset, name that"):
        Dataset.open(home)


def test_a_mask_among_scans_is_named(tmp_path: Path) -> None:
    home = scans(tmp_path / "scans")
    write_map(home / "p2_gt.nrrd", np.ones(UPRIGHT.size, np.uint8), UPRIGHT)
    with serving(create_app(home, token=TOKEN)) as client:
        answer = client.post("/api/project/setup", json=ORGANS)
        assert answer.status_code == 422
        assert "labels (such as p2_gt.nrrd)" in answer.json()["message"]
