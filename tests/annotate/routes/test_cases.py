from __future__ import annotations

import io
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from annotate_tiny import TOKEN, Draw, make_dataset, serving
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image as Picture

from medcl.annotate.app import create_app
from medcl.data.geometry import Geometry, Image
from medcl.data.io import write_image
from medcl.files import write_json


def nifti(content: bytes) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image.from_bytes(content)


def test_the_case_list(client: TestClient) -> None:
    rows = client.get("/api/cases").json()
    assert [(row["id"], row["split"], row["can_draw"], row["state"]) for row in rows] == [
        ("oblique", "Tr", True, "untouched"),
        ("upright", "Tr", True, "untouched"),
        ("held", "Val", False, "untouched"),
    ]
    assert rows[0]["size"] == [12, 24, 20]  # file (z, y, x) = (12, 20, 24); z points to the right, x back, y up
    assert rows[0]["spacing_mm"] == pytest.approx([2.5, 0.9, 1.0])
    assert [row["id"] for row in client.get("/api/cases", params={"search": "RIG"}).json()] == ["upright"]
    assert client.get("/api/cases", params={"state": "reviewed"}).json() == []
    assert client.get("/api/cases", params={"state": "odd"}).status_code == 422


@pytest.mark.parametrize("case", ["oblique", "upright"])
def test_the_image_is_nibabels_closest_canonical(client: TestClient, folder: Path, case: str) -> None:
    found = nifti(client.get(f"/api/cases/{case}/image.nii").content)
    expected = nibabel.as_closest_canonical(nibabel.load(folder / "imagesTr" / f"{case}_0000.nii.gz"))
    assert found.get_data_dtype() == np.int16
    np.testing.assert_array_equal(np.asarray(found.dataobj), np.asarray(expected.dataobj))
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-4)


def test_strokes_and_labels_count_unlabelled_as_nothing(client: TestClient, draw: Draw) -> None:
    draw("upright", [7, 2], 0)
    draw("upright", [9, 2], 2)
    found = nifti(client.get("/api/cases/upright/scribble.nii").content)
    assert found.get_data_dtype() == np.uint8
    assert np.asarray(found.dataobj).ravel(order="F")[6:12].tolist() == [0, 1, 1, 3, 3, 0]
    label = np.asarray(nifti(client.get("/api/cases/held/label.nii").content).dataobj)
    assert np.bincount(label.ravel()).tolist() == [0, 1920 - 48, 48]
    assert client.get("/api/cases/upright/label.nii").status_code == 404


def test_a_volume_is_never_sent_twice(client: TestClient, draw: Draw) -> None:
    for name in ("image.nii", "scribble.nii", "thumbnail.png"):
        path = f"/api/cases/upright/{name}"
        tag = client.get(path).headers["etag"]
        again = client.get(path, headers={"If-None-Match": f'"other", W/{tag}'})
        assert (again.status_code, again.content) == (304, b"")
    draw("upright", [7, 2], 0)
    answer = client.get("/api/cases/upright/scribble.nii", headers={"If-None-Match": tag})
    assert (answer.status_code, answer.headers["etag"] != tag) == (200, True)


def test_an_image_that_is_a_link_to_nothing_is_one_sentence(client: TestClient, folder: Path) -> None:
    image = folder / "imagesTr" / "upright_0000.nii.gz"
    image.unlink()
    image.symlink_to("gone.nii.gz")
    for part in ("image.nii", "scribble.nii", "thumbnail.png"):
        answer = client.get(f"/api/cases/upright/{part}")
        assert answer.status_code == 422
        assert "case upright: expected the file upright_0000.nii.gz, but" in answer.json()["message"]
    assert client.get("/api/cases/upright").json()["can_draw"] is False


def test_parts_of_a_volume(client: TestClient) -> None:
    path = "/api/cases/oblique/image.nii"
    whole = client.get(path)
    part = client.get(path, headers={"Range": "bytes=352-451"})
    assert (part.status_code, part.content) == (206, whole.content[352:452])
    assert part.headers["content-range"] == f"bytes 352-451/{len(whole.content)}"
    old = client.get(path, headers={"Range": "bytes=0-9", "If-Range": '"older"'})
    assert (old.status_code, len(old.content)) == (200, len(whole.content))
    assert client.get(path, headers={"Range": "bytes=999999999-"}).status_code == 416


def test_packed_only_over_a_network(app: FastAPI) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept-Encoding": "gzip"}
    path = "/api/cases/upright/image.nii"
    answers = {}
    for address in ("127.0.0.1", "192.168.1.20"):
        with TestClient(app, base_url="http://127.0.0.1", headers=headers, client=(address, 1)) as client:
            answers[address] = client.get(path)
    near, far = answers.values()
    assert "content-encoding" not in near.headers
    assert far.headers["content-encoding"] == "gzip"
    assert near.content == far.content
    assert near.headers["etag"] != far.headers["etag"]


def test_a_changed_image_is_sent_anew(client: TestClient, folder: Path) -> None:
    path = "/api/cases/upright/image.nii"
    before = client.get(path)
    geometry = Geometry((4, 20, 24), (8.0, 1.0, 1.0))
    write_image(folder / "imagesTr" / "upright_0000.nii.gz", Image(np.ones((1, 4, 20, 24), np.int16), geometry))
    after = client.get(path, headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200
    assert np.asarray(nifti(after.content).dataobj).max() == 1


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.array([0, 255], np.uint8), np.uint8),
        (np.array([-5, 100], np.int8), np.int16),
        (np.array([0, 60000], np.uint16), np.uint16),
        (np.array([-9, 9], np.int32), np.int16),
        (np.array([0, 1 << 20], np.int32), np.float32),
        (np.array([0.5, np.nan], np.float64), np.float32),
        (np.array([0.25, -np.inf], np.float32), np.float32),
    ],
)
def test_number_types(tmp_path: Path, array: np.ndarray, kind: type) -> None:
    from medcl.annotate.nifti_view import as_shown

    shown = as_shown(array)
    assert shown.dtype == kind
    assert np.isfinite(shown).all()
    assert shown[0] == array[0]


def test_colour_pictures_are_sent_as_one(tmp_path: Path) -> None:
    folder = tmp_path / "tiles"
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    (folder / "imagesTr").mkdir(parents=True)
    Picture.fromarray(pixels).save(folder / "imagesTr" / "tile_0000.png")
    labels = {"background": 0, "nucleus": 1, "ignore": 2}
    write_json(folder / "dataset.json", {"channel_names": {"0": "R", "1": "G", "2": "B"}, "labels": labels})
    with serving(create_app(folder, token=TOKEN)) as client:
        row = client.get("/api/cases/tile").json()
        assert (row["color"], row["channels"], row["size"]) == (True, 1, [30, 20, 1])
        found = nifti(client.get("/api/cases/tile/image.nii").content)
        assert found.header["datatype"] == 128
        rgb = np.asarray(found.dataobj).view(np.uint8).reshape(30, 20, 1, 3)
        # Seen by a radiologist, i runs to the left and j up: the picture as it is.
        np.testing.assert_array_equal(rgb[::-1, ::-1, 0].transpose(1, 0, 2), pixels)
        assert client.get("/api/cases/tile/image.nii", params={"channel": 1}).status_code == 404
        thumbnail = Picture.open(io.BytesIO(client.get("/api/cases/tile/thumbnail.png").content))
        assert thumbnail.size == (160, 107)
        small = np.asarray(Picture.fromarray(pixels).resize(thumbnail.size, Picture.Resampling.BILINEAR), int)
        assert np.abs(np.asarray(thumbnail, int) - small).max() <= 2


def test_a_thumbnail_shows_the_fullest_slice_in_true_proportions(client: TestClient) -> None:
    picture = Picture.open(io.BytesIO(client.get("/api/cases/upright/thumbnail.png").content))
    assert picture.size == (160, 133)  # 24 x 20 mm


def test_an_image_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny")
    (folder / "imagesTr" / "broken_0000.nii.gz").write_bytes(b"no image")
    with serving(create_app(folder, token=TOKEN)) as client:
        rows = {row["id"]: row for row in client.get("/api/cases").json()}
        assert (rows["broken"]["can_draw"], rows["upright"]["can_draw"]) == (False, True)
        for part in ("image.nii", "thumbnail.png", "strokes", "scribble.nii"):
            answer = client.get(f"/api/cases/broken/{part}")
            assert answer.status_code in (200, 422), part
        assert "broken" in client.get("/api/project").json()["notices"][0]


def test_a_name_that_two_splits_share_is_told(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny")
    (folder / "imagesTs").mkdir()
    shutil.copy(folder / "imagesTr" / "upright_0000.nii.gz", folder / "imagesTs")
    with serving(create_app(folder, token=TOKEN)) as client:
        assert [row["split"] for row in client.get("/api/cases").json()] == ["Tr", "Tr", "Val"]
        assert "upright is in imagesTs too" in client.get("/api/project").json()["notices"][0]


def test_an_error_does_not_tell_where_the_folder_lies(client: TestClient, folder: Path) -> None:
    (folder / "imagesTr" / "upright_0000.nii.gz").write_bytes(b"no scan")
    answer = client.get("/api/cases/upright/image.nii")
    assert answer.status_code == 422
    assert answer.json()["message"].startswith("imagesTr/upright_0000.nii.gz")
    assert str(folder) not in answer.text
