"""Any image comes back as it was written; any damaged file is an error or an image, never anything else."""

import tempfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from medcl.data.geometry import Geometry, Image
from medcl.data.io import read_geometry, read_image, read_map, write_image, write_map
from medcl.errors import DataError

VOLUMES = (".nii", ".nii.gz", ".nrrd", ".mha")
LENGTH = st.sampled_from([1, 2, 3, 5, 7])
SPACING = st.floats(0.0625, 50, width=32)


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Any size down to 1 x 1 x N, any spacing, any orientation, mirrored axes included."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    exact = draw(st.booleans())  # a turn by right angles only
    direction = np.eye(3)[random.permutation(3)] * random.choice([-1.0, 1.0], 3) if exact else turn
    return Geometry(
        size=draw(st.tuples(LENGTH, LENGTH, LENGTH)),
        spacing_mm=draw(st.tuples(SPACING, SPACING, SPACING)),
        origin_mm=draw(st.tuples(*[st.floats(-500, 500, width=32)] * 3)),
        direction=tuple(float(value) for value in direction.flat),
    )


@given(
    geometry=geometries(),
    ending=st.sampled_from(VOLUMES),
    dtype=st.sampled_from(["uint8", "int16", "int32", "float32", "float64"]),
    channels=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_images_come_back(geometry: Geometry, ending: str, dtype: str, channels: int, seed: int) -> None:
    single_row = geometry.size[:2] == (1, 1) and channels > 1
    assume(not (ending.startswith(".nii") and single_row))  # refused, see below
    random = np.random.default_rng(seed)
    array = (random.normal(size=(channels, *geometry.size)) * 50 + 60).astype(dtype)
    if dtype.startswith("float"):
        array.flat[0] = random.choice([np.nan, np.inf, -np.inf, 0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{ending}"
        write_image(path, Image(array, geometry))
        image = read_image(path)
        np.testing.assert_array_equal(image.array, array)
        assert image.array.dtype == dtype
        # NIfTI keeps float32 quaternions and matrices, the others decimal text with all digits
        tolerance = 1e-3 if ending.startswith(".nii") else 1e-9
        assert geometry.differences(image.geometry, tolerance) == []
        assert read_geometry(path) == image.geometry
        write_map(Path(folder) / f"b{ending}", np.zeros(geometry.size, np.uint8), image.geometry)
        assert image.geometry.differences(read_geometry(Path(folder) / f"b{ending}"), 1e-9) == []
        if ending.startswith(".nii"):
            source, copy = nibabel.load(path), nibabel.load(Path(folder) / f"b{ending}")
            np.testing.assert_array_equal(copy.affine, source.affine)
            stored = np.asarray(source.dataobj).reshape(*geometry.size[::-1], channels)
            np.testing.assert_array_equal(stored.T, array)


@given(
    size=st.tuples(LENGTH, LENGTH, LENGTH),
    ignore=st.sampled_from([-1, 0, 4, 255, 300, 70000]),
    ending=st.sampled_from(VOLUMES),
    seed=st.integers(0, 99),
)
def test_maps_come_back_with_any_value_of_ignore(
    size: tuple[int, int, int], ignore: int, ending: str, seed: int
) -> None:
    array = np.random.default_rng(seed).choice([0, 1, 2, ignore], size)
    with tempfile.TemporaryDirectory() as folder:
        write_map(Path(folder) / f"a{ending}", array, Geometry(size))
        back, geometry = read_map(Path(folder) / f"a{ending}")
    np.testing.assert_array_equal(back, array)
    assert geometry.size == size


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Small files of all kinds, one and more channels."""
    folder = tmp_path_factory.mktemp("whole")
    array = np.arange(60, dtype=np.uint8).reshape(1, 3, 5, 4)
    contents = {}
    for ending in (*VOLUMES, ".png", ".tif", ".jpg"):
        flat = ending not in VOLUMES
        for channels in (1, 3):
            voxels = np.concatenate([array[:, :1] if flat else array] * channels)
            geometry = Geometry(voxels.shape[1:], file_ndim=2 if flat else 3)
            write_image(folder / f"a{ending}", Image(voxels, geometry))
            contents[f"{channels}{ending}"] = (folder / f"a{ending}").read_bytes()
    return contents


@pytest.mark.parametrize("name", [f"{c}{e}" for c in (1, 3) for e in (*VOLUMES, ".png", ".tif", ".jpg")])
@given(data=st.data())
def test_damaged_files_are_an_error_or_an_image(
    whole_files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    content = bytearray(whole_files[name])
    reach = min(len(content), 400)
    for _ in range(data.draw(st.integers(1, 4), "changes")):
        place = data.draw(st.integers(0, reach - 1), "place")
        content[place] = data.draw(st.one_of(st.integers(0, 255), st.sampled_from(b"09-. \n")), "byte")
    content = content[: data.draw(st.sampled_from([len(content)] * 4 + [len(content) // 2, 1]), "length")]
    path = tmp_path_factory.getbasetemp() / f"damaged-{name}"
    path.write_bytes(content)
    for function in (read_image, read_map, read_geometry):
        message = None
        try:
            function(path)
        except DataError as error:
            message = str(error)
        assert message is None or (str(path) in message and "\n" not in message)


OBLIQUE = (
    -0.0956675857,
    -0.3346384225,
    -0.9374778783,
    -0.0798180490,
    -0.9361860304,
    0.3423226483,
    -0.9922080387,
    0.1075768365,
    0.0628524633,
)


@pytest.mark.parametrize("size", [(1, 2, 1), (1, 2, 3), (1, 5, 1), (3, 1, 2), (2, 1, 1)])
@pytest.mark.parametrize(
    "direction", [OBLIQUE, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)], ids=["oblique", "straight"]
)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_channels_of_flat_nifti_keep_their_place(size: tuple, direction: tuple, ending: str, tmp_path: Path) -> None:
    """SimpleITK drops trailing axes of length 1 from files with channels, and the tilt and position along them."""
    geometry = Geometry(size, (3.0, 2.0, 1.0), (1.0, 2.0, 3.0), direction)
    array = np.arange(2 * np.prod(size), dtype=np.uint8).reshape(2, *size)
    write_image(tmp_path / f"a{ending}", Image(array, geometry))
    image = read_image(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(image.array, array)
    assert geometry.differences(image.geometry) == []


def test_a_single_row_with_channels_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"more than one row or slice in a NIfTI image with channels.*\.mha"):
        write_image(tmp_path / "a.nii", Image(np.zeros((2, 1, 1, 4), np.uint8), Geometry((1, 1, 4))))
