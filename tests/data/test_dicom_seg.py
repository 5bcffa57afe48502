"""Segmentation objects, read back by pydicom: every marked voxel must lie where it was marked."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medcl.data.dicom_seg import write_dicom_seg
from medcl.data.io import read_geometry
from medcl.errors import DataError

pydicom = pytest.importorskip("pydicom", reason="needs the extra: pip install 'medcl[dicom]'")
pytest.importorskip("highdicom", reason="needs the extra: pip install 'medcl[dicom]'")

Writer = Callable[..., Path]


def voxels_of(path: Path) -> dict[tuple[str, int], list[tuple[float, float, float]]]:
    """Return the places in mm of all marked voxels, by segment name and number of the referenced slice."""
    seg = pydicom.dcmread(path)
    names = {int(segment.SegmentNumber): str(segment.SegmentLabel) for segment in seg.SegmentSequence}
    shared = seg.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    spacing = [float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing]
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    found: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    for frame, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        name = names[int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)]
        origin = np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        places = [origin + cosines[:3] * spacing[1] * x + cosines[3:] * spacing[0] * y for y, x in np.argwhere(frame)]
        found.setdefault((name, int(source.rpartition(".")[2])), []).extend(tuple(place) for place in places)
    return found


def test_voxels_and_references_are_those_of_the_source(tmp_path: Path, complete_dicom: Writer) -> None:
    source = complete_dicom(tmp_path / "ct", np.arange(4 * 5 * 6).reshape(4, 5, 6))
    mask = np.zeros((4, 5, 6), np.int16)
    mask[1, 2, 3] = mask[1, 2, 4] = 1
    mask[3, 0, 5] = 2
    write_dicom_seg(tmp_path / "a.dcm", mask, ["Leber links", "LV"], source, description="mask", version="1.2")
    geometry = read_geometry(source)
    direction = np.reshape(geometry.direction, (3, 3))
    place = {
        (z, y, x): np.array(geometry.origin_mm) + direction @ (np.array([x, y, z]) * geometry.spacing_mm[::-1])
        for z, y, x in np.argwhere(mask).tolist()
    }
    found = voxels_of(tmp_path / "a.dcm")
    assert set(found) == {("Leber links", 2), ("LV", 4)}  # SOP instances end in slice number + 1
    np.testing.assert_allclose(found["Leber links", 2], [place[1, 2, 3], place[1, 2, 4]], atol=1e-4)
    np.testing.assert_allclose(found["LV", 4], [place[3, 0, 5]], atol=1e-4)
    seg, first = pydicom.dcmread(tmp_path / "a.dcm"), pydicom.dcmread(next(source.iterdir()))
    for name in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[name].value == first[name].value
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == first.SeriesInstanceUID
    assert seg.SeriesInstanceUID != first.SeriesInstanceUID


def test_an_empty_mask_and_a_missing_class_are_no_errors(tmp_path: Path, complete_dicom: Writer) -> None:
    source = complete_dicom(tmp_path / "ct", np.zeros((3, 4, 4)))
    write_dicom_seg(tmp_path / "a.dcm", np.zeros((3, 4, 4), np.int16), ["RV", "LV"], source, description="mask")
    assert not pydicom.dcmread(tmp_path / "a.dcm").pixel_array.any()
    only = np.zeros((3, 4, 4), np.int16)
    only[0, 0, 0] = 2
    write_dicom_seg(tmp_path / "b.dcm", only, ["RV", "LV"], source, description="mask")
    assert [key for key, places in voxels_of(tmp_path / "b.dcm").items() if places] == [("LV", 1)]


def test_what_cannot_be_referred_to_is_one_sentence(tmp_path: Path, complete_dicom: Writer) -> None:
    mask = np.zeros((3, 4, 4), np.int16)
    with pytest.raises(DataError, match=r"case_0000\.nii\.gz: expected a DICOM series"):
        write_dicom_seg(tmp_path / "a.dcm", mask, ["LV"], tmp_path / "case_0000.nii.gz", description="mask")
    source = complete_dicom(tmp_path / "ct", np.zeros((3, 4, 4)))
    with pytest.raises(DataError, match=r"size \(z, y, x\) \(3, 4, 4\), got \(3, 4, 5\)"):
        write_dicom_seg(tmp_path / "a.dcm", np.zeros((3, 4, 5), np.int16), ["LV"], source, description="mask")
    with pytest.raises(DataError, match=r"expected segments 0 to 1 \(LV\), got 0 to 7"):
        write_dicom_seg(tmp_path / "a.dcm", np.full((3, 4, 4), 7) * (np.eye(4) > 0), ["LV"], source, description="mask")
    broken = complete_dicom(tmp_path / "bare", np.zeros((3, 4, 4)), without=("FrameOfReferenceUID", "StudyInstanceUID"))
    with pytest.raises(DataError, match="bare: expected a DICOM series that a segmentation can refer to"):
        write_dicom_seg(tmp_path / "a.dcm", mask, ["LV"], broken, description="mask")
    assert not (tmp_path / "a.dcm").exists()
