"""Predictions on the page: they arrive by themselves, show fill and doubt, are corrected, judged and exported."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from medcl.queries.listing import PlaceList

from .conftest import Server, all_saved, comes, make_server, open_case, until, write_scans
from .made_up import leave_predictions

pytestmark = pytest.mark.browser


def ball_and_shell() -> np.ndarray:
    """Probabilities (class, Z, Y, X) of a ball of class 1 in a shell of class 2; their border is in doubt."""
    z, y, x = np.mgrid[:12, :24, :20]
    distance = np.sqrt(((z - 6) * 2) ** 2 + (y - 12) ** 2 + (x - 10) ** 2)
    scores = np.stack([distance - 8.2, 4.5 - distance, 3.2 - np.abs(distance - 6.5)])
    share = np.exp(2.0 * scores)
    return share / share.sum(axis=0)


@pytest.fixture
def page_and_server(new_page: Callable[..., Any], tmp_path: Path) -> Any:
    own = make_server(write_scans(tmp_path / "balls"), tmp_path)
    page = new_page(own, case="oblique")
    yield page, own
    own.stop()


def colours(page: Any, path: Path) -> np.ndarray:
    """Return the picture without lines over it, (height, width, 3)."""
    page.evaluate("() => { document.activeElement.blur(); document.getElementById('lines').hidden = true }")
    page.mouse.move(5, 5)
    page.wait_for_timeout(400)
    page.locator("#picture").screenshot(path=path)
    page.evaluate("() => { document.getElementById('lines').hidden = false }")
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))[..., :3].astype(int)


def blueness(picture: np.ndarray) -> int:
    """Count pixels that are clearly blue: class 1's colour over grey."""
    return int((picture[..., 2] - picture[..., 0] > 40).sum())


def test_a_prediction_arrives_and_is_shown(page_and_server: tuple[Any, Server], tmp_path: Path) -> None:
    page, own = page_and_server
    none = blueness(colours(page, tmp_path / "none.png"))  # the letters at the border
    assert none < 300
    share = ball_and_shell()
    leave_predictions(own.folder, {"oblique": share, "straight": share})
    until(page, "() => window.medcl.desk.mask !== null")
    comes(lambda: blueness(colours(page, tmp_path / "fill.png")) > none + 2000)
    mask = page.evaluate("() => Array.from(window.medcl.desk.mask)")
    shown = np.reshape(mask, (20, 24, 12), order="F")
    np.testing.assert_array_equal(shown, share.argmax(axis=0).transpose(2, 1, 0)[::-1, ::-1])  # LPS file, RAS view
    page.locator(".job", has_text="Training finished").wait_for()
    assert page.locator(".charts svg").count() >= 2
    assert "Newest model: 40 steps" in page.locator("#tools").inner_text()

    outlined = page.locator("#picture").screenshot()
    page.get_by_label("Outline").uncheck()
    comes(lambda: page.locator("#picture").screenshot() != outlined)
    page.locator("label.slider", has_text="Fill").locator("input").fill("0")
    comes(lambda: blueness(colours(page, tmp_path / "nofill.png")) == none)
    warm = lambda picture: int((picture[..., 0] - picture[..., 2] > 60).sum())  # noqa: E731
    before = warm(colours(page, tmp_path / "cold.png"))
    page.keyboard.press("u")
    comes(lambda: warm(colours(page, tmp_path / "heat.png")) > before + 500)


def test_next_goes_there_and_says_why(page_and_server: tuple[Any, Server]) -> None:
    page, own = page_and_server
    leave_predictions(own.folder, {"thick": ball_and_shell(), "straight": ball_and_shell()})
    page.locator(".row .state.predicted").nth(1).wait_for()
    first, second = own.ask("/api/next?count=2")
    page.keyboard.press("n")
    there = "(place) => String(window.medcl.desk.viewer.place) === String(place) && window.medcl.desk.busy === ''"
    until(page, there, first["place"])
    assert page.locator(".reason strong").inner_text() == first["reason"]
    assert page.evaluate("() => window.medcl.desk.summary.id") == first["case"]
    assert page.evaluate("() => [window.medcl.desk.value, window.medcl.desk.hand]") == [first["class_index"], "pen"]
    page.get_by_role("button", name="Skip").click()
    until(page, there, second["place"])
    assert page.locator("select[aria-label='How the next place is chosen'] option").count() > 1


def test_fix_review_and_export(
    page_and_server: tuple[Any, Server], tmp_path: Path, row_by_keys: Callable[..., None]
) -> None:
    page, own = page_and_server
    share = ball_and_shell()
    leave_predictions(own.folder, {"oblique": share})
    until(page, "() => window.medcl.desk.mask !== null")
    page.evaluate("() => window.medcl.setPreferences({ width: 1 })")
    page.keyboard.press("a")
    row_by_keys(page, "2", [7, 12, 6], 5)
    all_saved(page)
    fix = own.ask("/api/cases/oblique/strokes")["strokes"][-1]
    assert fix["on_prediction"] == own.ask("/api/cases/oblique")["prediction"]["id"]

    page.get_by_role("button", name="Accept as label").click()
    page.locator(".verdict", has_text="Accepted by Tester").wait_for()
    page.locator(".row[aria-current=true] .state.reviewed").wait_for()
    page.locator("summary", has_text="Export").click()
    drawn = own.drawn("oblique")
    predicted = share.argmax(axis=0).transpose(2, 1, 0)[::-1, ::-1]
    expected = {
        "strokes": drawn.astype(int) - 1,
        "mask": predicted,
        "label": np.where(drawn > 0, drawn.astype(int) - 1, predicted),
    }
    scan = SimpleITK.ReadImage(str(own.folder / "imagesTr/oblique_0000.nii.gz"))
    for what, form in (("strokes", "nifti"), ("mask", "nrrd"), ("label", "nifti")):
        page.get_by_label("What to export").select_option(what)
        page.get_by_label("File format").select_option(form)
        with page.expect_download() as download:
            page.get_by_role("button", name="This case").click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        exported = SimpleITK.ReadImage(str(path))
        assert exported.GetDirection() == pytest.approx(scan.GetDirection(), abs=1e-6)
        assert exported.GetOrigin() == pytest.approx(scan.GetOrigin(), abs=1e-5)
        array = SimpleITK.GetArrayFromImage(exported).astype(int).transpose(2, 1, 0)[::-1, ::-1]
        np.testing.assert_array_equal(np.where(array == 255, -1, array), expected[what], err_msg=what)
    page.get_by_label("File format").select_option("dicom-seg")
    page.get_by_role("button", name="This case").click()
    page.locator("#message", has_text="DICOM").wait_for()
    page.get_by_label("File format").select_option("nifti")
    with page.expect_download() as download:
        page.get_by_role("button", name="All cases (zip)").click()
    assert any(
        "oblique" in name for name in zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())).namelist()
    )

    page.get_by_role("button", name="Mark wrong").click()
    page.locator(".verdict", has_text="Marked wrong by Tester").wait_for()
    page.get_by_role("button", name="Reopen").click()
    until(page, "() => document.querySelector('.verdict').textContent === ''")
    page.locator("summary", has_text="Statistics").click()
    assert "Tester 1" in page.locator("dl.numbers").inner_text()
    open_case(page, "straight")
    assert page.evaluate("() => window.medcl.desk.mask") is None


def test_a_list_of_places_is_loaded_and_gone_through(page_and_server: tuple[Any, Server]) -> None:
    page, own = page_and_server
    (own_place,) = own.ask("/api/next?strategy=coverage")
    classes = tuple(one["name"] for one in own.ask("/api/project")["classes"])
    place = {k: own_place[k] for k in ("case", "plane", "slice", "place", "class_index", "class_name", "score")}
    listed = {**place, "rank": 1, "file_axis": "z", "file_slice": 0, "cost_s": 7, "total_s": 7, "reason": "Because."}
    content = PlaceList.parse({"dataset": "d", "classes": classes, "strategy": "entropy", "places": [listed]})
    file = {"name": "suggestions.json", "mimeType": "application/json", "buffer": content.model_dump_json().encode()}
    page.locator(".list input[type=file]").set_input_files({**file, "buffer": b"no list"})
    page.get_by_text("got a file that is not JSON").first.wait_for()
    page.locator(".list input[type=file]").set_input_files(file)
    page.get_by_text("By entropy: 1 place left, about 7 s; 0 drawn.").wait_for(state="attached")
    page.keyboard.press("n")
    there = "(place) => String(window.medcl.desk.viewer.place) === String(place) && window.medcl.desk.busy === ''"
    until(page, there, own_place["place"])
    assert page.locator(".reason strong").inner_text() == "Because."
    assert own.ask("/api/suggestions")["left"] == 1


def test_a_case_that_cannot_be_shown_leaves_nothing_of_the_one_before(
    page_and_server: tuple[Any, Server], tmp_path: Path
) -> None:
    page, own = page_and_server
    leave_predictions(own.folder, {"oblique": ball_and_shell(), "straight": ball_and_shell()})
    until(page, "() => window.medcl.desk.mask !== null")
    lines = """() => {
        const canvas = document.getElementById('lines')
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
        return data.some((value) => value > 0)
    }"""
    until(page, lines)
    image = own.folder / "imagesTr" / "straight_0000.nii.gz"
    image.write_bytes(b"no image")
    page.locator(".row:has(.id:text-is('straight'))").click()
    page.locator("#busy", has_text="cannot be shown").wait_for()
    comes(lambda: not page.evaluate(lines))
    assert page.get_by_role("button", name="Accept as label").is_disabled()
    open_case(page, "oblique")
    until(page, "() => !document.querySelector('.verdict').parentElement.querySelector('.buttons button').disabled")
