"""NIfTI files with four axes, and DICOM slices that are known to belong together."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from medcl.data.dicom import read_slices
from medcl.data.io import read_image, read_time_series
from medcl.errors import DataError

AFFINE = np.array([[-1.5, 0, 0, 10], [0, -1.25, 0, -20], [0, 0, 4.0, 5], [0, 0, 0, 1.0]])


def test_channels_of_a_four_axis_file(tmp_path: Path) -> None:
    array = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(5, 4, 3, 2)  # (x, y, z, channel)
    nibabel.save(nibabel.Nifti1Image(array, AFFINE), tmp_path / "all.nii.gz")
    nibabel.save(nibabel.Nifti1Image(array[..., 1], AFFINE), tmp_path / "one.nii.gz")
    whole, one = read_time_series(tmp_path / "all.nii.gz"), read_image(tmp_path / "one.nii.gz")
    assert whole.array.shape == (2, 3, 4, 5)
    assert np.array_equal(whole.array, array.T)
    assert whole.geometry.differences(one.geometry) == []
    assert np.array_equal(read_time_series(tmp_path / "one.nii.gz").array, one.array)


def test_scaling_of_the_header_is_applied(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.ones((5, 4, 3, 2), np.int16), AFFINE)
    image.header.set_slope_inter(2.5, 1.0)
    nibabel.save(image, tmp_path / "scaled.nii")
    raw = bytearray((tmp_path / "scaled.nii").read_bytes())
    raw[112:120] = np.array([2.5, 1.0], "<f4").tobytes()
    (tmp_path / "scaled.nii").write_bytes(raw)
    stored = np.frombuffer(raw[352:], "<i2")
    assert np.allclose(read_time_series(tmp_path / "scaled.nii").array, stored[0] * 2.5 + 1)


def test_what_is_no_series_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a NIfTI file, found none"):
        read_time_series(tmp_path / "none.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 4, 3, 9), np.int16), AFFINE), tmp_path / "cut.nii")
    raw = (tmp_path / "cut.nii").read_bytes()
    (tmp_path / "cut.nii").write_bytes(raw[:-100])
    with pytest.raises(DataError, match="cut short"):
        read_time_series(tmp_path / "cut.nii")
    with pytest.raises(DataError, match="expected DICOM files, got none"):
        read_slices([])
