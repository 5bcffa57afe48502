from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from medcl import explain, explain_files
from medcl.cli import app
from medcl.data.geometry import Geometry, Image
from medcl.data.io import read_image, write_image
from medcl.errors import DataError, SettingsError
from medcl.inference.explain.run import EXPLAINERS, REPORT
from medcl.inference.model import Model

COARSE: dict[str, Any] = {"cell_mm": 4, "margin_mm": 2, "least_masks": 60, "steps": 6}
MakeModel = Callable[..., Model]


@pytest.mark.parametrize("ndim", [2, 3])
def test_saliency_lies_on_the_structure_in_the_images_geometry(model: MakeModel, image: Image, ndim: int) -> None:
    changes: dict[str, Any] = (
        {"ndim": ndim, "spacing_mm": (8.0, 1.0, 1.0)} if ndim == 3 else {"spacing_mm": (None, 2.0, 1.0)}
    )
    found = explain(model(**changes), image, "square", settings=COARSE)
    assert found.saliency.shape == (3, 40, 30)
    assert found.geometry == image.geometry
    inside = image.array[0] > 0.5
    np.testing.assert_array_equal(found.mask, inside)
    z, y, x = np.unravel_index(found.saliency.argmax(), found.saliency.shape)
    assert inside[z, y, x]
    assert np.abs(found.saliency[:, 20:]).max() == 0
    (place,) = found.places
    assert place.score == pytest.approx(1.0)
    assert place.deletion is not None
    assert place.insertion is not None
    assert place.deletion < 0.5 < place.insertion


@pytest.mark.parametrize("view", ["z", "y"])
def test_models_with_neighbours_and_other_views(model: MakeModel, image: Image, view: str) -> None:
    spacing = (None, 1.0, 1.0) if view == "z" else (8.0, 1.0, 1.0)
    network = model(context=1, views=(view,), spacing_mm=spacing)
    found = explain(network, image, "square", settings={**COARSE, "scores": False})
    assert len(found.places) == (1 if view == "z" else 8)  # slices across y hold the square in rows 4 to 11
    z, y, x = np.unravel_index(found.saliency.argmax(), found.saliency.shape)
    assert image.array[0, z, y, x] > 0.5
    assert found.mean("deletion") is None


def test_errors_say_what_to_do(model: MakeModel, image: Image) -> None:
    loaded = model()
    with pytest.raises(SettingsError, match="unknown structure 'sqare'; did you mean 'square'"):
        explain(loaded, image, "sqare")
    with pytest.raises(SettingsError, match="unknown region 'heart'"):
        explain(loaded, image, "square", settings={"region": "heart"})
    with pytest.raises(DataError, match="nothing to explain"):
        explain(loaded, image, "other")
    with pytest.raises(SettingsError, match="between 0 and 2"):
        explain(loaded, image, "square", slices=[7])
    with pytest.raises(DataError, match="slice 0"):
        explain(loaded, image, "square", slices=[0])
    with pytest.raises(SettingsError, match="unknown setting"):
        explain(loaded, image, "square", settings={"cell": 1})


def test_named_regions(model: MakeModel, image: Image) -> None:
    shares = {
        region: explain(model(), image, "square", settings={**COARSE, "region": region, "scores": False}).mean(
            "region_share"
        )
        for region in ("predicted", "both", "whole")
    }
    assert shares["predicted"] == shares["both"] == pytest.approx(12 * 12 / 1200)
    assert shares["whole"] == 1.0


def test_a_file_is_explained_as_the_image_in_it(model: MakeModel, image: Image, tmp_path: Path) -> None:
    loaded, path = model(), tmp_path / "case_0000.nii.gz"
    write_image(path, image)
    settings = {**COARSE, "scores": False}
    expected = explain(loaded, read_image(path), structure="square", settings=settings)
    for source in (path, str(path), [path]):
        found = explain(loaded, source, structure="square", settings=settings)
        np.testing.assert_array_equal(found.saliency, expected.saliency)


def test_files_and_command(model: MakeModel, image: Image, tmp_path: Path) -> None:
    loaded = model()
    write_image(tmp_path / "in" / "case_0000.nii.gz", image)
    words = ["explain", str(loaded.folder), str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--class", "square"]
    words += ["--method", "occlusion", "--method", "rise", "--slices", "1"]
    for assignment in ("cell_mm=4", "margin_mm=2", "least_masks=60", "steps=6"):
        words += ["--set", assignment]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "insertion" in done.output
    original = read_image(tmp_path / "in" / "case_0000.nii.gz")
    for method in ("occlusion", "rise"):
        written = read_image(tmp_path / "out" / f"case_square_{method}.nii.gz")
        assert written.geometry == original.geometry
        assert written.array.max() > 0
        assert (tmp_path / "out" / f"case_square_{method}.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((tmp_path / "out" / REPORT).read_text(encoding="utf-8"))
    assert {row["settings"]["method"] for row in report["explanations"]} == {"occlusion", "rise"}
    assert "earlier call" not in done.output
    again = CliRunner().invoke(app, [*words, "--set", "scores=false"], catch_exceptions=False)
    assert f"{REPORT} of an earlier call and 4 of its files" in " ".join(again.output.split())
    wrong = CliRunner().invoke(app, [*words[:7], "--slices", "one"])
    assert wrong.exit_code == 1
    assert "whole numbers" in wrong.output


def test_every_method_is_a_setting(model: MakeModel, image: Image, tmp_path: Path) -> None:
    from typing import get_args

    from medcl.inference.explain.settings import MethodName

    assert set(EXPLAINERS) == set(get_args(MethodName))
    found = explain_files(
        model(),
        write(tmp_path, image),
        tmp_path / "out",
        structures=["square"],
        methods=["rise"],
        settings={**COARSE, "scores": False},
    )
    assert [one.method for one in found] == ["rise"]


def test_of_two_distant_pieces_the_larger_one_is_in_the_window(model: MakeModel) -> None:
    """The middle of both lies between them, 50 voxels from either, and the window of 16 would show neither."""
    array = np.zeros((1, 4, 32, 128), np.float32)
    array[:, :, 8:16, 4:12] = 1
    array[:, :, 8:20, 110:120] = 1
    changes: dict[str, Any] = {"ndim": 3, "size": (4, 32, 128)}
    settings = {**COARSE, "scores": False}
    found = explain(
        model(**changes), Image(array, Geometry((4, 32, 128), (1.0, 1.0, 1.0))), "square", settings=settings
    )
    _, _, x = np.unravel_index(found.saliency.argmax(), found.saliency.shape)
    assert 110 <= x < 120
    assert np.abs(found.saliency[..., :100]).max() == 0


def test_of_a_ring_the_window_shows_a_part(model: MakeModel) -> None:
    array = np.ones((1, 4, 64, 64), np.float32)
    array[:, :, 8:56, 8:56] = 0
    changes: dict[str, Any] = {"ndim": 3, "size": (4, 64, 64)}
    settings = {**COARSE, "scores": False}
    found = explain(model(**changes), Image(array, Geometry((4, 64, 64), (1.0, 1.0, 1.0))), "square", settings=settings)
    assert array[0][np.unravel_index(found.saliency.argmax(), found.saliency.shape)] == 1
    assert found.places[0].score == pytest.approx(1.0)


def test_by_default_what_is_not_predicted_is_left_out_and_told(model: MakeModel, image: Image, tmp_path: Path) -> None:
    settings, told = {**COARSE, "scores": False}, []
    loaded, folder = model(), write(tmp_path, image)
    write_image(folder / "b.nii.gz", Image(image.array * 0, image.geometry))
    found = explain_files(loaded, folder, tmp_path / "out", settings=settings, tell=told.append)
    assert [one.structure for one in found] == ["square"]
    rows = json.loads((tmp_path / "out" / REPORT).read_text(encoding="utf-8"))["explanations"]
    assert [(row["case"], row["structure"], "left_out" in row) for row in rows] == [
        ("b", "square", True),
        ("b", "other", True),
        ("c", "square", False),
        ("c", "other", True),
    ]
    assert [line.partition(" is left out")[0] for line in told] == ["b: square", "b: other", "c: other"]
    with pytest.raises(DataError, match="expected other in the prediction"):
        explain_files(loaded, folder / "c.nii.gz", tmp_path / "out", structures=["other"], settings=settings)
    with pytest.raises(DataError, match="in at least one prediction of 1 image"):
        explain_files(loaded, folder / "b.nii.gz", tmp_path / "out", settings=settings)


def test_files_refuse_lacking_channels_and_a_method_among_settings(
    model: MakeModel, image: Image, tmp_path: Path
) -> None:
    for channel in (0, 2):
        write_image(tmp_path / "in" / f"x_{channel:04d}.nii.gz", image)
    with pytest.raises(DataError, match="x"):
        explain_files(model(), tmp_path / "in", tmp_path / "out")
    with pytest.raises(SettingsError, match="--method"):
        explain_files(model(), tmp_path / "in", tmp_path / "out", settings={"method": "rise"})


def write(folder: Path, image: Image) -> Path:
    write_image(folder / "in" / "c.nii.gz", image)
    return folder / "in"
