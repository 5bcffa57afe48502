"""The whole loop on one page: draw, train, look, follow Next, correct, accept, export, and compare voxel by voxel."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from medcl.data.check import check

from .conftest import all_saved, make_server, open_case, until, write_scans

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def draw_row(page: Any, key: str, place: list[int], steps: int) -> None:
    """Draw a row of voxels to the right on screen with the keys alone."""
    page.evaluate("(place) => window.medcl.desk.viewer.goTo(place)", place)
    page.locator("#pad").focus()
    page.keyboard.press(key)
    page.keyboard.press("Space")
    for _ in range(steps):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")


def test_the_loop(new_page: Callable[..., Any], tmp_path: Path) -> None:
    own = make_server(write_scans(tmp_path / "balls"), tmp_path)
    try:
        page = new_page(own)
        page.evaluate("() => { window.medcl.setPreferences({ width: 1 }); }")
        for case in ("straight", "thick"):
            open_case(page, case)
            for key, row in (("0", 2), ("1", 12), ("2", 6)):
                draw_row(page, key, [8, row, 6], 4)
                draw_row(page, key, [8, row, 5], 4)
        all_saved(page)
        page.locator("#picture").screenshot(path=tmp_path / "before.png")

        page.get_by_label("Minutes of training").fill("0.15")
        page.get_by_role("button", name="Train", exact=True).click()
        page.get_by_role("button", name="Cancel").wait_for()
        draw_row(page, "0", [8, 20, 7], 2)  # drawing goes on meanwhile
        all_saved(page)
        page.locator(".job[data-state=finished]").wait_for(timeout=400_000)
        until(page, "() => window.medcl.desk.mask !== null")
        assert page.locator(".charts svg").count() >= 1
        assert page.locator(".row .state.predicted").count() >= 1
        page.wait_for_timeout(500)
        assert page.locator("#picture").screenshot() != (tmp_path / "before.png").read_bytes()
        plain = page.locator("#picture").screenshot()
        page.keyboard.press("u")
        page.wait_for_timeout(1500)
        assert page.locator("#picture").screenshot() != plain

        page.keyboard.press("n")
        reason = page.locator(".reason strong")
        reason.wait_for()
        first = own.ask("/api/next?count=1")[0]
        assert reason.inner_text() == first["reason"]
        assert page.evaluate("() => window.medcl.desk.summary.id") == first["case"]
        until(page, "(place) => String(window.medcl.desk.viewer.place) === String(place)", first["place"])
        page.get_by_role("button", name="Skip").click()
        second = own.ask("/api/next?count=1&skip=1")[0]
        until(page, "(place) => String(window.medcl.desk.viewer.place) === String(place)", second["place"])

        open_case(page, "straight")
        until(page, "() => window.medcl.desk.mask !== null")
        draw_row(page, "2", [6, 12, 8], 3)
        all_saved(page)
        fix = own.ask("/api/cases/straight/strokes")["strokes"][-1]
        assert fix["on_prediction"] == own.ask("/api/cases/straight")["prediction"]["id"]

        page.get_by_role("button", name="Accept as label").click()
        page.locator(".verdict", has_text="Accepted by Tester").wait_for()
        page.locator("summary", has_text="Export").click()
        for what, known in (("strokes", own.drawn("straight")), ("label", None)):
            page.get_by_label("What to export").select_option(what)
            with page.expect_download() as download:
                page.get_by_role("button", name="This case").click()
            path = tmp_path / download.value.suggested_filename
            download.value.save_as(path)
            exported = SimpleITK.ReadImage(str(path))
            scan = SimpleITK.ReadImage(str(own.folder / "imagesTr/straight_0000.nii.gz"))
            assert exported.GetDirection() == pytest.approx(scan.GetDirection())
            assert exported.GetOrigin() == pytest.approx(scan.GetOrigin())
            array = SimpleITK.GetArrayFromImage(exported).transpose(2, 1, 0)[
                ::-1, ::-1
            ]  # (x, y, z) of LPS to the view's RAS
            if known is not None:
                np.testing.assert_array_equal(np.where(array == 255, 0, array + 1), known)
            else:
                drawn = own.drawn("straight")
                np.testing.assert_array_equal(array[drawn > 0], drawn[drawn > 0] - 1)  # strokes override the prediction
        with page.expect_download() as download:
            page.get_by_role("button", name="All cases (zip)").click()
        names = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())).namelist()
        assert any("straight" in name for name in names)

        page.locator("summary", has_text="Statistics").click()
        assert "Tester" in page.locator("dl.numbers").inner_text()
        page.get_by_role("button", name="Mark wrong").click()
        page.locator(".verdict", has_text="Marked wrong by Tester").wait_for()
        page.get_by_role("button", name="Reopen").click()
        until(page, "() => document.querySelector('.verdict').textContent === ''")
        page.wait_for_timeout(2000)
        assert not check(own.folder).errors
    finally:
        own.stop()
