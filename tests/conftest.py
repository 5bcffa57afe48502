"""What all tests share: one thread each, where real data may lie, and which machine features are there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

# Two threads beside another process slow torch down many times over; must be set before torch is imported.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]

# The same examples every time: a failure on one machine is a failure on all.
settings.register_profile(
    "medcl", deadline=None, max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("medcl")


@pytest.fixture(scope="session")
def project_root() -> Path:
    """Return the folder that holds pyproject.toml."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data sets beside the project; skip where there is none. Read only."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real data sets are not on this machine (looked for ../shared/data beside the project)")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of a Chromium browser; skip where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path:
            return path
    pytest.skip("no chromium on this machine (apt-get install chromium)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked gpu where there is no CUDA device; torch is imported only if there are any."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))


@pytest.fixture
def complete_dicom() -> Callable[..., Path]:
    """Return a function that writes an oblique, anisotropic CT series with all that other objects refer to.

    `write(folder, array)` takes uint16 (Z, Y, X) and returns the folder; spacing is (2.5, 0.75, 0.5) mm, file names run
    against the slice order.
    """

    def write(folder: Path, array: np.ndarray, *, without: tuple[str, ...] = ()) -> Path:
        pydicom = pytest.importorskip("pydicom", reason="needs the extra: pip install 'medcl[dicom]'")
        row, column = np.array([0.8, 0.6, 0.0]), np.array([-0.36, 0.48, -0.8])
        normal = np.cross(row, column)
        study, sop_class = "1.2.826.0.1.3680043.2.1125", "1.2.840.10008.5.1.4.1.1.2"
        folder.mkdir(parents=True, exist_ok=True)
        for index, plane in enumerate(array):
            meta = pydicom.dataset.FileMetaDataset()
            meta.MediaStorageSOPClassUID = sop_class
            meta.MediaStorageSOPInstanceUID = f"{study}.7.{index + 1}"
            meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
            path = folder / f"IM{len(array) - index:03d}.dcm"
            entry = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
            entry.SOPClassUID, entry.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
            entry.StudyInstanceUID, entry.SeriesInstanceUID = study, f"{study}.7"
            entry.FrameOfReferenceUID, entry.Modality, entry.SeriesNumber = f"{study}.9", "CT", 3
            entry.InstanceNumber, entry.PositionReferenceIndicator = index + 1, ""
            entry.PatientName, entry.PatientID, entry.PatientBirthDate, entry.PatientSex = "Made^Up", "X1", "", "O"
            entry.StudyDate, entry.StudyTime, entry.StudyID = "20200101", "120000", "1"
            entry.AccessionNumber, entry.ReferringPhysicianName, entry.SeriesDescription = "", "", "made up"
            entry.ImageOrientationPatient = [float(value) for value in (*row, *column)]
            origin = np.array([-12.5, 30.25, 7.0]) + 2.5 * index * normal
            entry.ImagePositionPatient = [round(float(value), 10) for value in origin]
            entry.PixelSpacing, entry.SliceThickness = [0.75, 0.5], 2.5
            entry.Rows, entry.Columns, entry.SamplesPerPixel = *plane.shape, 1
            entry.PhotometricInterpretation, entry.PixelRepresentation = "MONOCHROME2", 0
            entry.BitsAllocated, entry.BitsStored, entry.HighBit = 16, 16, 15
            entry.RescaleSlope, entry.RescaleIntercept = 1.0, -1024.0
            entry.PixelData = plane.astype(np.uint16).tobytes()
            for name in without:
                delattr(entry, name)
            entry.save_as(path, enforce_file_format=True)
        return folder

    return write
