"""Exported files, read by nibabel and pydicom: every voxel is where it was drawn."""

import io
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medcl.data.io import read_geometry, read_map

SIZE = (6, 8, 10)
DRAWN = {1: [(0, 1, 2), (0, 1, 3), (4, 6, 9)], 2: [(5, 0, 0)], 0: [(2, 2, 2)]}  # class -> (z, y, x) in the file
VALUES = {0: 0, 1: 1, 2: 5}


def draw_all(world: Any, case: str) -> None:
    for value, voxels in DRAWN.items():
        world.draw(case, voxels, value)


@pytest.mark.parametrize("case", ["oblique", "plain"])
def test_strokes_are_where_they_were_drawn(world: Any, tmp_path: Path, case: str) -> None:
    draw_all(world, case)
    path = tmp_path / "strokes.nii.gz"
    path.write_bytes(world.client.get(f"/api/cases/{case}/export?what=strokes&format=nifti").content)
    image = nibabel.load(world.folder / "imagesTr" / f"{case}_0000.nii.gz")
    found = nibabel.load(path)
    np.testing.assert_allclose(found.affine, image.affine, atol=1e-5)
    array = np.asarray(found.dataobj)
    wanted = np.full(SIZE, 9)
    for value, voxels in DRAWN.items():
        wanted[tuple(np.transpose(voxels))] = VALUES[value]
    np.testing.assert_array_equal(array, wanted.transpose())  # nibabel: (x, y, z)
    path = tmp_path / "strokes.nrrd"
    answer = world.client.get(f"/api/cases/{case}/export?what=strokes&format=nrrd")
    assert answer.headers["content-disposition"].startswith(f'attachment; filename="{case}_strokes.nrrd"')
    path.write_bytes(answer.content)
    array, geometry = read_map(path)
    np.testing.assert_array_equal(array, wanted)
    assert geometry.differences(read_geometry(world.folder / "imagesTr" / f"{case}_0000.nii.gz")) == []


def test_strokes_on_dicom_refer_to_their_slices(world: Any, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    draw_all(world, "ct")
    path = tmp_path / "seg.dcm"
    answer = world.client.get("/api/cases/ct/export?what=strokes&format=dicom-seg")
    assert answer.headers["content-type"] == "application/dicom"
    path.write_bytes(answer.content)
    seg = pydicom.dcmread(path)
    names = [str(segment.SegmentLabel) for segment in seg.SegmentSequence]
    assert names == ["RV", "LV", "background"]
    found = set()
    for frame, group in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        segment = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        z = int(source.rpartition(".")[2]) - 1
        found |= {(segment % 3, z, int(y), int(x)) for y, x in np.argwhere(frame)}
    assert found == {(value, *voxel) for value, voxels in DRAWN.items() for voxel in voxels}


def test_masks_labels_and_the_zip_of_all(world: Any, tmp_path: Path) -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[1, 2, 3:6] = 2
    numbers = {case: world.predict(case, mask) for case in ("oblique", "ct", "test")}
    path = tmp_path / "mask.nii.gz"
    path.write_bytes(world.client.get("/api/cases/oblique/export").content)
    np.testing.assert_array_equal(read_map(path)[0], np.where(mask == 2, 5, mask))
    archive = zipfile.ZipFile(io.BytesIO(world.client.get("/api/export.zip?what=mask&format=nrrd").content))
    assert sorted(archive.namelist()) == ["ct_mask.nrrd", "oblique_mask.nrrd", "test_mask.nrrd"]
    world.review("oblique", "accept", prediction=numbers["oblique"])
    archive = zipfile.ZipFile(io.BytesIO(world.client.get("/api/export.zip?what=label").content))
    assert archive.namelist() == ["oblique_label.nii.gz"]
    path.write_bytes(archive.read("oblique_label.nii.gz"))
    np.testing.assert_array_equal(read_map(path)[0], np.where(mask == 2, 5, mask))


def test_what_cannot_be_exported_is_one_sentence(world: Any) -> None:
    world.predict("plain", np.zeros(SIZE, np.uint8))
    for address, status, words in (
        ("cases/oblique/export?what=mask", 404, "has no prediction yet"),
        ("cases/oblique/export?what=strokes", 404, "nothing is drawn yet"),
        ("cases/oblique/export?what=label", 404, "has no dense label yet"),
        ("cases/nobody/export", 404, "unknown case 'nobody'; known: ct, oblique, plain"),
        ("cases/plain/export?format=dicom-seg", 422, "case plain: plain_0000.nii.gz: expected a DICOM series"),
        ("export.zip?format=dicom-seg", 422, "DICOM segmentations refer to a DICOM series, and 3 of 4 cases"),
        ("export.zip?what=label", 404, "has no dense label yet"),
        ("cases/plain/export?format=tiff", 422, ""),
    ):
        answer = world.client.get(f"/api/{address}")
        assert answer.status_code == status, (address, answer.text)
        assert words in answer.json()["message"]
        assert str(world.folder) not in answer.text


def test_a_mask_whose_file_is_gone_is_no_crash(world: Any) -> None:
    number = world.predict("plain", np.ones(SIZE, np.uint8))
    place = world.folder / ".medcl" / "predictions" / "plain" / str(number)
    (place / "mask.nii.gz").unlink()
    answer = world.client.get("/api/cases/plain/export")
    assert answer.status_code == 422
    assert f"the file of prediction {number} is gone; predict it again" in answer.json()["message"]


def test_the_report_says_cost_and_cases_and_needs_no_network(world: Any) -> None:
    draw_all(world, "plain")
    answer = world.client.get("/api/report.html")
    assert answer.status_code == 200
    for words in ("Annotation of hearts", "4 strokes in 6 s", "Strokes by class", "plain", "strokes drawn"):
        assert words in answer.text
    assert "http://" not in answer.text.replace("http://www.w3.org", "")
    assert "sandbox" in answer.headers["content-security-policy"]
