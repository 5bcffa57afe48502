"""DICOM series made with pydicom: values and geometry must be what was written."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from medcl.data.dicom import list_series
from medcl.data.io import read_geometry, read_image, write_map
from medcl.errors import DataError

pydicom = pytest.importorskip("pydicom", reason="needs the extra: pip install 'medcl[dicom]'")

ROW = np.array([0.8, 0.6, 0.0])
COLUMN = np.array([-0.36, 0.48, -0.8])
NORMAL = np.cross(ROW, COLUMN)
ORIGIN = np.array([-12.5, 30.25, 7.0])
SERIES = "1.2.826.0.1.3680043.2.1125.1"


def stored(index: int) -> np.ndarray:
    """Return the stored numbers of a slice, (Y, X) = (5, 6)."""
    return (np.arange(30).reshape(5, 6) + 100 * index).astype(np.uint16)


def write_slice(
    path: Path,
    index: int,
    *,
    series: str = SERIES,
    position: np.ndarray | None = None,
    rescale: tuple[float, float] | None = (2.0, -1024.0),
    description: str = "T1 axial",
    sop_class: str = "1.2.840.10008.5.1.4.1.1.2",
    pixels: bool = True,
) -> None:
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = f"{series}.{index + 1}"
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    entry = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    entry.SOPClassUID, entry.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    entry.SeriesInstanceUID, entry.StudyInstanceUID = series, "1.2.826.0.1.3680043.2.1125"
    entry.SeriesDescription, entry.Modality, entry.PatientName = description, "CT", "Someone^Real"
    if pixels:
        entry.ImageOrientationPatient = [float(value) for value in (*ROW, *COLUMN)]
        entry.ImagePositionPatient = [
            float(v) for v in (ORIGIN + 2.5 * index * NORMAL if position is None else position)
        ]
        entry.PixelSpacing, entry.SliceThickness = [0.75, 0.5], 2.0
        entry.Rows, entry.Columns, entry.SamplesPerPixel = 5, 6, 1
        entry.PhotometricInterpretation, entry.PixelRepresentation = "MONOCHROME2", 0
        entry.BitsAllocated, entry.BitsStored, entry.HighBit = 16, 16, 15
        if rescale is not None:
            entry.RescaleSlope, entry.RescaleIntercept = rescale
        entry.PixelData = stored(index).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    entry.save_as(path, enforce_file_format=True)


def write_series(folder: Path, count: int = 4, **options: object) -> Path:
    for index in range(count):  # file names run against the slice order
        write_slice(folder / f"IM{count - index:03d}", index, **options)  # type: ignore[arg-type]
    return folder


def expected(count: int = 4) -> np.ndarray:
    return np.stack([stored(index) * 2.0 - 1024.0 for index in range(count)])


def test_values_and_geometry_are_what_was_written(tmp_path: Path) -> None:
    image = read_image(write_series(tmp_path / "a"))
    np.testing.assert_array_equal(image.array[0], expected())
    geometry = image.geometry
    assert geometry.size == (4, 5, 6)
    np.testing.assert_allclose(geometry.spacing_mm, (2.5, 0.75, 0.5))  # from positions, not from the thickness of 2
    np.testing.assert_allclose(geometry.origin_mm, ORIGIN)
    np.testing.assert_allclose(
        np.reshape(geometry.direction, (3, 3)), np.column_stack([ROW, COLUMN, NORMAL]), atol=1e-7
    )
    assert geometry.file_ndim == 3
    assert read_geometry(tmp_path / "a") == geometry
    assert image.metadata["series"] == SERIES
    assert "Someone" not in str(image.metadata)
    write_map(tmp_path / "mask.nii.gz", np.zeros(geometry.size, np.uint8), geometry)
    assert geometry.differences(read_geometry(tmp_path / "mask.nii.gz")) == []


def test_each_slice_has_its_own_slope(tmp_path: Path) -> None:
    for index, slope in enumerate((1.0, 2.5, 0.125)):
        write_slice(tmp_path / f"{index}.dcm", index, rescale=(slope, 0.0))
    array = read_image(tmp_path).array[0]
    np.testing.assert_allclose(array, [stored(index) * slope for index, slope in enumerate((1.0, 2.5, 0.125))])


def test_nested_folders_zips_and_companions(tmp_path: Path) -> None:
    write_series(tmp_path / "a" / "study" / "series")
    (tmp_path / "a" / "readme.txt").write_text("not an image", encoding="utf-8")
    write_slice(tmp_path / "a" / "report.dcm", 9, series="1.9", sop_class="1.2.840.10008.5.1.4.1.1.88.11", pixels=False)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in (tmp_path / "a").rglob("*"):
            archive.write(path, f"../../{path.name}")  # names that try to leave the folder
    for source in (tmp_path / "a", tmp_path / "a.zip"):
        np.testing.assert_array_equal(read_image(source).array[0], expected())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.zip"]
    assert list_series(tmp_path / "a.zip") == {SERIES: ("T1 axial", 4)}


def test_several_series_are_listed_and_one_is_picked(tmp_path: Path) -> None:
    write_series(tmp_path / "one")
    write_series(tmp_path / "two", 3, series="1.2.3", description="T2 sagittal")
    with pytest.raises(DataError) as caught:
        read_image(tmp_path)
    for part in (SERIES, "T1 axial", "4 file(s)", "1.2.3", "T2 sagittal", "3 file(s)", "series=UID"):
        assert part in str(caught.value)
    assert read_image(tmp_path, series="1.2.3").array.shape == (1, 3, 5, 6)
    with pytest.raises(DataError, match=r"no DICOM series has the UID '1\.5'"):
        read_image(tmp_path, series="1.5")


def test_a_single_slice_is_an_image(tmp_path: Path) -> None:
    write_slice(tmp_path / "a.dcm", 0)
    assert read_image(tmp_path / "a.dcm").array.shape == (1, 1, 5, 6)


def test_a_missing_slice_is_named(tmp_path: Path) -> None:
    write_series(tmp_path, 6)
    (tmp_path / "IM004").unlink()
    with pytest.raises(DataError, match=r"2\.5 mm apart.*5 mm between IM005 and IM003: 1 slice"):
        read_image(tmp_path)


def test_slightly_uneven_slices_are_noted_and_uneven_ones_refused(tmp_path: Path) -> None:
    for folder, shift in (("slight", 0.01), ("strong", 0.6)):
        for index in range(4):
            position = ORIGIN + (2.5 * index + (shift if index == 2 else 0)) * NORMAL
            write_slice(tmp_path / folder / str(index), index, position=position)
    assert "vary" in read_image(tmp_path / "slight").metadata["notes"][0]
    with pytest.raises(DataError, match="uneven"):
        read_image(tmp_path / "strong")


def test_two_volumes_in_one_series_are_refused(tmp_path: Path) -> None:
    for index in range(4):
        write_slice(tmp_path / str(index), index, position=ORIGIN + 2.5 * (index // 2) * NORMAL)
    with pytest.raises(DataError, match="share one"):
        read_image(tmp_path)


def test_a_tilted_gantry_is_refused(tmp_path: Path) -> None:
    for index in range(4):
        write_slice(tmp_path / str(index), index, position=ORIGIN + index * (2.5 * NORMAL + COLUMN))
    with pytest.raises(DataError, match="tilted"):
        read_image(tmp_path)


def test_broken_and_absent_dicom_is_one_sentence(tmp_path: Path) -> None:
    write_series(tmp_path / "cut")
    path = tmp_path / "cut" / "IM002"
    path.write_bytes(path.read_bytes()[:-20])
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.nii.gz").write_bytes(b"x")
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "text.dcm").write_bytes(b"hello" * 100)
    for name in ("cut", "empty", "other", "bad.zip", "text.dcm"):
        with pytest.raises(DataError) as caught:
            read_image(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_zip_that_claims_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "a")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in (tmp_path / "a").iterdir():
            archive.write(path, path.name)
    monkeypatch.setattr("medcl.data.archive._MOST_ZIP_BYTES", 1000)
    with pytest.raises(DataError, match="unpack it yourself"):
        read_image(tmp_path / "a.zip")


def test_a_header_that_claims_too_many_pixels_takes_no_memory(tmp_path: Path) -> None:
    write_slice(tmp_path / "a.dcm", 0)
    entry = pydicom.dcmread(tmp_path / "a.dcm")
    entry.Rows = entry.Columns = 60000
    entry.save_as(tmp_path / "a.dcm")
    with pytest.raises(DataError, match="claims"):
        read_image(tmp_path / "a.dcm")
