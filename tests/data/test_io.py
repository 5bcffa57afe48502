"""Reading and writing against nibabel, Pillow and tifffile as second implementations."""

import dataclasses
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from medcl.data.geometry import Geometry, Image
from medcl.data.io import (
    IMAGE_ENDINGS,
    case_ending,
    read_geometry,
    read_image,
    read_map,
    strip_ending,
    write_image,
    write_map,
)
from medcl.errors import DataError

GEOMETRY_FIELDS = (
    "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d",
    "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z",
)  # fmt: skip


def oblique(degrees: tuple[float, float] = (31.0, -17.0), spacing: tuple[float, ...] = (0.71, 0.83, 3.3)) -> np.ndarray:
    """Return a 4 x 4 affine turned about two axes."""
    a, b = np.deg2rad(degrees)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x * spacing
    affine[:3, 3] = (-52.3, 17.9, 121.1)
    return affine


def voxels(*shape: int, dtype: str = "int16") -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def affine_of(geometry: Geometry) -> np.ndarray:
    """Return the RAS+ affine of (x, y, z) indices that nibabel would give."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(geometry.direction, (3, 3)) * geometry.spacing_mm[::-1]
    affine[:3, 3] = geometry.origin_mm
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def test_nifti_values_and_geometry_agree_with_nibabel(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(voxels(4, 5, 3), oblique()), tmp_path / "a.nii.gz")
    image = read_image(tmp_path / "a.nii.gz")
    other = nibabel.load(tmp_path / "a.nii.gz")
    assert image.array.shape == (1, 3, 5, 4)
    np.testing.assert_array_equal(image.array[0].T, np.asarray(other.dataobj))
    np.testing.assert_allclose(affine_of(image.geometry), other.affine, atol=1e-5)
    assert image.geometry.file_ndim == 3
    assert read_geometry(tmp_path / "a.nii.gz") == image.geometry


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("codes", [(1, 1), (0, 2), (1, 0), (3, 4)])
@pytest.mark.parametrize("big_endian", [False, True])
def test_written_maps_carry_the_nifti_header_to_the_last_bit(
    tmp_path: Path, ending: str, codes: tuple[int, int], big_endian: bool
) -> None:
    header = nibabel.Nifti1Header(endianness=">" if big_endian else "<")
    source = nibabel.Nifti1Image(voxels(4, 5, 3), oblique(), header)
    source.set_qform(oblique(), codes[0])
    source.set_sform(oblique(), codes[1])
    source.header.set_xyzt_units("mm", "sec")
    nibabel.save(source, tmp_path / f"image{ending}")
    geometry = read_geometry(tmp_path / f"image{ending}")
    write_map(tmp_path / f"mask{ending}", voxels(3, 5, 4) % 3, geometry)
    image, mask = nibabel.load(tmp_path / f"image{ending}"), nibabel.load(tmp_path / f"mask{ending}")
    for name in GEOMETRY_FIELDS:
        np.testing.assert_array_equal(mask.header[name], image.header[name], err_msg=name)
    np.testing.assert_array_equal(mask.affine, image.affine)
    np.testing.assert_array_equal(np.asarray(mask.dataobj).T, voxels(3, 5, 4) % 3)
    assert mask.get_data_dtype() == np.uint8


def test_a_changed_geometry_is_not_overruled_by_the_old_header(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(voxels(4, 5, 3), oblique()), tmp_path / "a.nii.gz")
    moved = dataclasses.replace(
        read_geometry(tmp_path / "a.nii.gz"), spacing_mm=(1.0, 2.0, 3.0), origin_mm=(7.0, 8.0, 9.0)
    )
    write_map(tmp_path / "b.nii.gz", voxels(3, 5, 4), moved)
    assert not moved.differences(read_geometry(tmp_path / "b.nii.gz"), 1e-5)


def test_2d_nifti_stays_2d_and_one_slice_stays_3d(tmp_path: Path) -> None:
    for shape, ndim in (((4, 5), 2), ((4, 5, 1), 3)):
        nibabel.save(nibabel.Nifti1Image(voxels(*shape), oblique()), tmp_path / "a.nii.gz")
        image = read_image(tmp_path / "a.nii.gz")
        assert image.array.shape == (1, 1, 5, 4)
        assert image.geometry.file_ndim == ndim
        write_map(tmp_path / "b.nii.gz", image.array[0], image.geometry)
        other = nibabel.load(tmp_path / "b.nii.gz")
        assert other.shape == shape
        np.testing.assert_array_equal(other.affine, nibabel.load(tmp_path / "a.nii.gz").affine)


@pytest.mark.parametrize(("slope", "intercept"), [(2.7, 0.0), (0.5, -1024.0), (1.0, 3.0), (-2.0, 1.0)])
def test_header_slope_and_intercept_are_applied(tmp_path: Path, slope: float, intercept: float) -> None:
    source = nibabel.Nifti1Image(voxels(4, 5, 3), np.eye(4))
    source.header.set_slope_inter(slope, intercept)
    source.to_filename(tmp_path / "a.nii.gz")
    patched = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(read_image(tmp_path / "a.nii.gz").array[0].T, patched.get_fdata(), rtol=1e-6)


def test_slope_on_many_channels_is_applied_without_harm(tmp_path: Path) -> None:
    """SimpleITK alone writes past its memory here."""
    array = np.stack([voxels(3, 5, 4), voxels(3, 5, 4) + 100])
    write_image(tmp_path / "a.nii", Image(array, Geometry((3, 5, 4))))
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[112:120] = np.array([2.0, 5.0], "<f4").tobytes()  # scl_slope, scl_inter
    (tmp_path / "a.nii").write_bytes(raw)
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii").array, array * 2 + 5)


def test_slightly_skewed_axes_are_repaired_and_noted_and_kept_in_what_is_written(tmp_path: Path) -> None:
    skewed = oblique()
    skewed[0, 1] += 0.01
    nibabel.save(nibabel.Nifti1Image(voxels(4, 5, 3), skewed), tmp_path / "a.nii.gz")
    image = read_image(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(image.array[0].T, voxels(4, 5, 3))
    assert image.metadata["notes"]
    direction = np.reshape(image.geometry.direction, (3, 3))
    np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-6)
    write_map(tmp_path / "b.nii.gz", image.array[0], image.geometry)
    np.testing.assert_array_equal(
        nibabel.load(tmp_path / "b.nii.gz").affine, nibabel.load(tmp_path / "a.nii.gz").affine
    )


def test_strongly_skewed_axes_are_refused(tmp_path: Path) -> None:
    skewed = oblique()
    skewed[0, 1] += 0.6
    nibabel.save(nibabel.Nifti1Image(voxels(40, 50, 3), skewed), tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match=r"right angles.*resample"):
        read_image(tmp_path / "a.nii.gz")


def test_disagreeing_forms_are_noted(tmp_path: Path) -> None:
    source = nibabel.Nifti1Image(voxels(4, 5, 3), oblique())
    source.set_qform(np.eye(4), 1)
    nibabel.save(source, tmp_path / "a.nii.gz")
    image = read_image(tmp_path / "a.nii.gz")
    differs = np.abs(affine_of(image.geometry) - oblique()).max() > 1e-3
    assert differs == bool(image.metadata.get("notes"))


def test_4d_is_refused_with_file_and_shape(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(voxels(4, 5, 3, 2), np.eye(4)), tmp_path / "a.nii.gz")
    for function in (read_image, read_map, read_geometry):
        with pytest.raises(DataError, match=r"a\.nii\.gz.*4 x 5 x 3 x 2"):
            function(tmp_path / "a.nii.gz")


def test_a_fourth_axis_of_length_one_does_not_count(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(voxels(4, 5, 3, 1), np.eye(4)), tmp_path / "a.nii.gz")
    assert read_image(tmp_path / "a.nii.gz").array.shape == (1, 3, 5, 4)


def test_nan_and_infinity_pass_in_images_and_are_refused_in_maps(tmp_path: Path) -> None:
    array = voxels(4, 5, 3, dtype="float32")
    array[1, 2, 0], array[0, 0, 1] = np.nan, np.inf
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii.gz").array[0].T, array)
    with pytest.raises(DataError, match=r"got nan at \(z, y, x\) \(0, 2, 1\) and 1 more"):
        read_map(tmp_path / "a.nii.gz")


def test_maps_name_the_value_that_is_no_integer_and_accept_whole_floats(tmp_path: Path) -> None:
    array = voxels(4, 5, 3, dtype="float64")
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "whole.nii.gz")
    assert read_map(tmp_path / "whole.nii.gz")[0].dtype == np.int32
    array[3, 1, 2] = 1.25
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match=r"1\.25 at \(z, y, x\) \(2, 1, 3\)"):
        read_map(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ((0, 4), "uint8"),
        ((-1, 3), "int8"),
        ((0, 255), "uint8"),
        ((-1, 255), "int16"),
        ((0, 256), "int16"),
        ((0, 2**20), "int32"),
    ],
)
def test_maps_take_the_smallest_integer_type(tmp_path: Path, values: tuple[int, int], dtype: str) -> None:
    array = np.array(values, np.int64).reshape(1, 1, 2)
    for ending in (".nii.gz", ".nrrd", ".mha"):
        write_map(tmp_path / f"a{ending}", array, Geometry((1, 1, 2)))
        back, _ = read_map(tmp_path / f"a{ending}")
        assert back.dtype == dtype
        np.testing.assert_array_equal(back, array)


def test_same_map_gives_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_map(tmp_path / f"{name}.nii.gz", voxels(3, 5, 4) % 2 > 0, Geometry((3, 5, 4)))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize("ending", [".png", ".tif", ".jpg"])
def test_pictures_agree_with_pillow(tmp_path: Path, ending: str) -> None:
    for shape in ((6, 7), (6, 7, 3)):
        PillowImage.fromarray(voxels(*shape, dtype="uint8")).save(tmp_path / f"a{ending}")
        image = read_image(tmp_path / f"a{ending}")
        other = np.asarray(PillowImage.open(tmp_path / f"a{ending}")).reshape(6, 7, -1)
        assert image.array.shape == (other.shape[-1], 1, 6, 7)
        assert image.geometry.file_ndim == 2
        assert image.metadata["colour"] == (len(shape) == 3)
        tolerance = 3 if ending == ".jpg" else 0  # decoders may round differently
        np.testing.assert_allclose(image.array[:, 0], np.moveaxis(other, -1, 0), atol=tolerance)


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_alpha_is_dropped_and_said(tmp_path: Path, ending: str) -> None:
    pixels = voxels(6, 7, 4, dtype="uint8")
    PillowImage.fromarray(pixels).save(tmp_path / f"a{ending}")
    image = read_image(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(image.array[:, 0], np.moveaxis(pixels[..., :3], -1, 0))
    assert image.metadata["alpha_dropped"] is True


@pytest.mark.parametrize(("ending", "bits"), [(".png", 8), (".png", 4), (".png", 2), (".tif", 8)])
def test_indexed_pictures_keep_their_integers_as_maps(tmp_path: Path, ending: str, bits: int) -> None:
    indices = (voxels(6, 7) % 4).astype(np.uint8)
    picture = PillowImage.fromarray(indices, mode="P")
    picture.putpalette([0, 0, 0, 200, 10, 10, 10, 200, 10, 90, 60, 200])
    picture.save(tmp_path / f"a{ending}", **({"bits": bits} if ending == ".png" else {}))
    np.testing.assert_array_equal(read_map(tmp_path / f"a{ending}")[0][0], indices)
    if ending == ".png":
        assert read_image(tmp_path / "a.png").array[:, 0, 0, 1].tolist() == [200, 10, 10]


def test_colour_maps_are_refused_and_grey_saved_as_colour_is_read(tmp_path: Path) -> None:
    grey = (voxels(6, 7) % 3).astype(np.uint8)
    PillowImage.fromarray(np.dstack([grey] * 3)).save(tmp_path / "same.png")
    np.testing.assert_array_equal(read_map(tmp_path / "same.png")[0][0], grey)
    PillowImage.fromarray(voxels(6, 7, 3, dtype="uint8")).save(tmp_path / "colour.png")
    with pytest.raises(DataError, match="3 channels"):
        read_map(tmp_path / "colour.png")


def test_jpeg_is_no_place_for_maps(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="JPEG"):
        write_map(tmp_path / "a.jpg", voxels(1, 6, 7), Geometry((1, 6, 7)))
    PillowImage.fromarray(voxels(6, 7, dtype="uint8")).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="JPEG"):
        read_map(tmp_path / "a.jpg")


def test_tiff_pages_are_slices_and_lossy_layouts_are_refused(tmp_path: Path) -> None:
    stack = voxels(5, 6, 7, dtype="uint16")
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array[0], stack)
    tifffile.imwrite(tmp_path / "b.tif", voxels(3, 6, 7, dtype="uint16"), photometric="rgb", planarconfig="separate")
    with pytest.raises(DataError, match="side by side"):
        read_image(tmp_path / "b.tif")
    tifffile.imwrite(tmp_path / "c.tif", voxels(6, 7) > 9)
    with pytest.raises(DataError, match="bits"):
        read_image(tmp_path / "c.tif")


def test_formats_refuse_geometry_they_cannot_hold(tmp_path: Path) -> None:
    turned = Geometry((1, 6, 7), origin_mm=(5.0, 0.0, 0.0), file_ndim=2)
    with pytest.raises(DataError, match=r"origin.*write \.nii\.gz"):
        write_map(tmp_path / "a.png", voxels(1, 6, 7), turned)
    with pytest.raises(DataError, match="one slice"):
        write_map(tmp_path / "a.png", voxels(2, 6, 7), Geometry((2, 6, 7)))
    with pytest.raises(DataError, match="cannot hold int8"):
        write_map(tmp_path / "a.png", voxels(1, 6, 7) - 1, Geometry((1, 6, 7)))
    assert list(tmp_path.iterdir()) == []


def test_several_files_become_channels_of_one_grid(tmp_path: Path) -> None:
    for index in range(2):
        affine = oblique()
        nibabel.save(nibabel.Nifti1Image(voxels(4, 5, 3) + index, affine), tmp_path / f"a_000{index}.nii.gz")
    paths = sorted(tmp_path.iterdir())
    image = read_image(paths)
    assert image.array.shape == (2, 3, 5, 4)
    np.testing.assert_array_equal(image.array[1], image.array[0] + 1)
    nibabel.save(nibabel.Nifti1Image(voxels(4, 5, 3), oblique(spacing=(0.71, 0.83, 3.4))), paths[1])
    with pytest.raises(DataError, match=r"a_0001.*spacing"):
        read_image(paths)


def test_broken_files_give_one_sentence(tmp_path: Path) -> None:
    whole = Image(voxels(1, 6, 30, 40), Geometry((6, 30, 40)))
    flat = Image(voxels(1, 1, 30, 40, dtype="uint8"), Geometry((1, 30, 40), file_ndim=2))
    for ending in IMAGE_ENDINGS:
        path = tmp_path / f"a{ending}"
        write_image(path, flat if ending in (".png", ".jpg", ".jpeg") else whole)
        content = path.read_bytes()
        broken = {
            "half": content[: len(content) // 2],
            "all but 30": content[:-30],
            "empty": b"",
            "text": b"hello" * 99,
        }
        for kind, data in broken.items():
            path.write_bytes(data)
            with pytest.raises(DataError) as caught:
                read_image(path)
            assert str(path) in str(caught.value), kind
            assert "\n" not in str(caught.value), kind


def test_missing_and_unknown_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.nii\.gz: no such file"):
        read_image(tmp_path / "none.nii.gz")
    (tmp_path / "a.docx").write_bytes(b"x")
    with pytest.raises(DataError, match=r"\.nii\.gz.*a\.docx"):
        read_image(tmp_path / "a.docx")
    with pytest.raises(DataError, match="at least one file"):
        read_image([])


def test_content_of_another_kind_than_the_ending_is_refused(tmp_path: Path) -> None:
    PillowImage.fromarray(voxels(6, 7, dtype="uint8")).save(tmp_path / "a.png")
    for ending in IMAGE_ENDINGS:
        if ending != ".png":
            (tmp_path / f"b{ending}").write_bytes((tmp_path / "a.png").read_bytes())
            with pytest.raises(DataError, match="expected"):
                read_image(tmp_path / f"b{ending}")


def test_a_header_that_claims_terabytes_takes_no_memory(tmp_path: Path) -> None:
    write_image(tmp_path / "a.nii", Image(voxels(1, 3, 5, 4), Geometry((3, 5, 4))))
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[42:48] = np.array([30000] * 3, "<i2").tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    (tmp_path / "a.mha").write_bytes(
        b"NDims = 3\nDimSize = 30000 30000 30000\nElementType = MET_SHORT\nElementDataFile = LOCAL\n" + b"\0" * 99
    )
    (tmp_path / "a.nrrd").write_bytes(
        b"NRRD0004\ntype: short\ndimension: 3\nsizes: 30000 30000 30000\nencoding: raw\nendian: little\n\n" + b"\0" * 99
    )
    for ending in (".nii", ".mha", ".nrrd"):
        with pytest.raises(DataError, match="claims"):
            read_image(tmp_path / f"a{ending}")


def test_headers_that_point_to_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mha").write_bytes(
        b"NDims = 2\nDimSize = 2 2\nElementType = MET_UCHAR\nElementDataFile = /etc/hosts\n"
    )
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\ntype: uchar\ndimension: 2\nsizes: 2 2\ndata file: /etc/hosts\n\n")
    for ending in (".mha", ".nrrd"):
        with pytest.raises(DataError, match="in one file"):
            read_image(tmp_path / f"a{ending}")


def test_libraries_do_not_print(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    PillowImage.fromarray(voxels(60, 70, dtype="uint8")).save(tmp_path / "a.jpg")
    content = bytearray((tmp_path / "a.jpg").read_bytes())
    content[200:210] = b"\xff\xc4" * 5
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError):
        read_image(tmp_path / "a.jpg")
    test_disagreeing_forms_are_noted(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_endings() -> None:
    assert case_ending("x/Case.1.NII.GZ") == ".nii.gz"
    assert strip_ending("x/Case.1.nii.gz") == "Case.1"
    assert strip_ending(Path("a_0000.png")) == "a_0000"
    for wrong in ("a.zip", ".nii.gz", "a"):
        with pytest.raises(DataError):
            case_ending(wrong)


def test_real_images_agree_with_nibabel_and_keep_their_header(shared_data: Path, tmp_path: Path) -> None:
    paths = sorted((shared_data / "mscmr" / "imagesTr").glob("*.nii.gz"))
    scaled = [path for path in paths if nibabel.load(path).dataobj.slope != 1]
    assert scaled
    for path in [scaled[0], paths[0]]:
        image, other = read_image(path), nibabel.load(path)
        np.testing.assert_allclose(image.array[0].T, other.get_fdata(), rtol=1e-6)
        write_map(tmp_path / "mask.nii.gz", np.zeros(image.geometry.size, np.uint8), image.geometry)
        mask = nibabel.load(tmp_path / "mask.nii.gz")
        for name in GEOMETRY_FIELDS:
            np.testing.assert_array_equal(mask.header[name], other.header[name], err_msg=name)


def test_odd_types_of_tiff_tags_are_no_trace(tmp_path: Path) -> None:
    """A page kind stored as a real number, and an entry without any value."""
    tifffile.imwrite(tmp_path / "a.tif", voxels(6, 7, dtype="uint8"), photometric="minisblack")
    content = (tmp_path / "a.tif").read_bytes()
    start = content.index((305).to_bytes(2, "little") + (2).to_bytes(2, "little"))  # Software, text
    for kind, count in ((11, 1), (4, 0)):
        entry = bytearray(content)
        entry[start + 2 : start + 8] = kind.to_bytes(2, "little") + count.to_bytes(4, "little")
        entry[start : start + 2] = (254).to_bytes(2, "little")  # NewSubfileType
        (tmp_path / "a.tif").write_bytes(entry)
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array[0, 0], voxels(6, 7))


def test_thumbnails_among_tiff_pages_are_refused(tmp_path: Path) -> None:
    """SimpleITK alone writes past its memory here."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for kind in (0, 1, 2):
            writer.write(voxels(6, 7, dtype="uint8"), photometric="minisblack", subfiletype=kind)
    with pytest.raises(DataError, match="thumbnails"):
        read_image(tmp_path / "a.tif")
