"""Drawing with the mouse on each plane of straight, thick-sliced and oblique scans; and what dying servers lose."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from .conftest import Server, all_saved, comes, make_server, open_case, ready, until, write_scans

pytestmark = pytest.mark.browser

PLANES = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}
KEYS = {"axial": "a", "coronal": "c", "sagittal": "s"}


def on_screen(page: Any, plane: str, u: float, v: float) -> tuple[float, float]:
    """Where the middle of a voxel of the shown slice lies on the page, from what the page says of its tiles."""
    page.evaluate("() => window.medcl.desk.viewer.drawNow()")
    x, y = page.evaluate(
        """([plane, u, v]) => {
            const { viewer } = window.medcl.desk
            const tile = viewer.tiles().find((one) => one.plane === plane)
            const box = document.getElementById('pad').getBoundingClientRect()
            const [x, y] = viewer.screenAt(tile, u + 0.5, v + 0.5)
            return [x + box.left, y + box.top]
        }""",
        [plane, u, v],
    )
    return float(x), float(y)


def drag(page: Any, plane: str, *points: tuple[int, int]) -> None:
    page.mouse.move(*on_screen(page, plane, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*on_screen(page, plane, *point), steps=6)
    page.mouse.up()


def set_width(page: Any, width: int) -> None:
    page.evaluate("(width) => { window.medcl.setPreferences({ width }); window.medcl.desk.emit('hand') }", width)


@pytest.mark.parametrize("case", ["straight", "thick", "oblique"])
def test_a_stroke_on_each_plane_is_saved_where_it_was_drawn(
    server: Server, new_page: Callable[..., Any], case: str
) -> None:
    page = new_page(case=case)
    size = page.evaluate("() => window.medcl.desk.viewer.grid.size")
    assert size == [20, 24, 12]
    set_width(page, 1)
    expected = server.drawn(case).copy()
    page.keyboard.press("2")
    for number, (plane, (a, b, depth)) in enumerate(PLANES.items()):
        page.keyboard.press(KEYS[plane])
        place = [4 + number, 5 + number, 3 + number]
        page.evaluate("(place) => window.medcl.desk.viewer.goTo(place)", place)
        drag(page, plane, (3, 4), (9, 4))
        for u in range(3, 10):
            voxel = [0, 0, 0]
            voxel[a], voxel[b], voxel[depth] = u, 4, place[depth]
            expected[tuple(voxel)] = 3
    all_saved(page)
    np.testing.assert_array_equal(server.drawn(case), expected)
    strokes = [one for one in server.ask(f"/api/cases/{case}/strokes")["strokes"] if one["tool"] == "pen"]
    assert [(one["plane"], one["slice"], one["value"], one["voxels"]) for one in strokes] == [
        ("axial", 3, 2, 7), ("coronal", 6, 2, 7), ("sagittal", 6, 2, 7)
    ]  # fmt: skip
    assert all(one["author"] == "Tester" and one["seconds"] > 0 for one in strokes)


def test_the_picture_shows_the_stroke_and_undo_takes_it_back(server: Server, new_page: Callable[..., Any]) -> None:
    page = new_page(case="straight")
    set_width(page, 3)

    def seen() -> bytes:
        page.mouse.move(5, 5)
        page.evaluate("() => document.activeElement.blur()")
        page.wait_for_timeout(200)
        return bytes(page.locator("#picture").screenshot())

    page.evaluate("() => window.medcl.desk.viewer.goTo([15, 20, 9])")
    before = seen()
    page.keyboard.press("1")
    drag(page, "axial", (4, 15), (15, 15))
    comes(lambda: seen() != before)
    drawn = seen()
    page.locator("button", has_text="Undo").click()
    comes(lambda: seen() == before)
    all_saved(page)
    undone = server.drawn("straight") > 0
    assert not undone[4:16, 14:17, 9].any()
    page.keyboard.press("Control+Shift+z")
    comes(lambda: seen() == drawn)
    all_saved(page)
    assert (server.drawn("straight")[4:16, 14:17, 9] == 2).all()


def test_eraser_line_and_fill(server: Server, new_page: Callable[..., Any]) -> None:
    page = new_page(case="thick")
    page.evaluate("() => window.medcl.desk.viewer.goTo([10, 12, 10])")
    set_width(page, 1)
    page.keyboard.press("1")
    page.keyboard.press("l")
    for one, other in [((5, 5), (12, 5)), ((12, 5), (12, 12)), ((12, 12), (5, 12)), ((5, 12), (5, 5))]:
        drag(page, "axial", one, other)
    all_saved(page)
    ring = server.drawn("thick")[:, :, 10]
    assert (ring == 2).sum() == 28

    page.get_by_label("Allow filling").check()
    page.keyboard.press("f")
    page.mouse.click(*on_screen(page, "axial", 2, 2))
    page.locator("#message", has_text="leave a gap").wait_for()
    page.mouse.click(*on_screen(page, "axial", 8, 8))
    all_saved(page)
    assert (server.drawn("thick")[5:13, 5:13, 10] == 2).all()
    assert (server.drawn("thick")[:, :, 10] > 0).sum() == 64

    page.keyboard.press("e")
    drag(page, "axial", (5, 8), (12, 8))
    all_saved(page)
    left = server.drawn("thick")[:, :, 10]
    assert not left[5:13, 8].any()
    assert (left > 0).sum() == 56


def test_strokes_are_there_after_a_reload_and_undo_still_works(server: Server, new_page: Callable[..., Any]) -> None:
    page = new_page(case="oblique")
    set_width(page, 1)
    page.evaluate("() => window.medcl.desk.viewer.goTo([1, 1, 11])")
    page.keyboard.press("0")
    drag(page, "axial", (1, 20), (8, 20))
    all_saved(page)
    assert (server.drawn("oblique")[1:9, 20, 11] == 1).all()
    page.reload()
    ready(page, "oblique")
    shown = "([i, j, k]) => window.medcl.desk.viewer.nv.drawBitmap[i + 20 * (j + 24 * k)]"
    assert page.evaluate(shown, [4, 20, 11]) == 1
    page.keyboard.press("z")
    all_saved(page)
    until(page, "() => window.medcl.desk.viewer.nv.drawBitmap[4 + 20 * (20 + 24 * 11)] === 0")
    assert not server.drawn("oblique")[1:9, 20, 11].any()
    page.keyboard.press("y")
    all_saved(page)
    until(page, "() => window.medcl.desk.viewer.nv.drawBitmap[4 + 20 * (20 + 24 * 11)] === 1")
    assert (server.drawn("oblique")[1:9, 20, 11] == 1).all()


def test_a_killed_server_loses_nothing(new_page: Callable[..., Any], tmp_path: Path) -> None:
    own = make_server(write_scans(tmp_path / "balls"), tmp_path)
    try:
        page = new_page(own, case="straight")
        set_width(page, 1)
        page.evaluate("() => window.medcl.desk.viewer.goTo([10, 12, 5])")
        page.keyboard.press("1")
        drag(page, "axial", (2, 2), (6, 2))
        all_saved(page)
        own.kill()
        drag(page, "axial", (2, 4), (6, 4))
        page.locator(".saved", has_text="1 change not saved yet").wait_for()
        drag(page, "axial", (2, 6), (6, 6))
        page.keyboard.press("z")
        page.locator(".saved", has_text="3 changes not saved yet").wait_for()
        page.keyboard.press("y")
        own.start()
        all_saved(page)
        expected = np.zeros((20, 24, 12), np.uint8)
        expected[2:7, [2, 4, 6], 5] = 2
        np.testing.assert_array_equal(own.drawn("straight"), expected)

        own.kill()
        drag(page, "axial", (2, 8), (6, 8))
        page.locator(".saved", has_text="1 change not saved yet").wait_for()
        context = page.context
        page.close()  # the tab is closed while the server is away
        own.start()
        again = context.new_page()
        again.goto(own.address)
        open_case(again, "straight")
        all_saved(again)
        expected[2:7, 8, 5] = 2
        np.testing.assert_array_equal(own.drawn("straight"), expected)
    finally:
        own.stop()


def test_two_people_on_one_case(server: Server, new_page: Callable[..., Any]) -> None:
    page = new_page(case="straight")
    set_width(page, 1)
    page.evaluate("() => window.medcl.desk.viewer.goTo([10, 12, 1])")
    page.keyboard.press("1")
    number = lambda i, j, k: i + 20 * (j + 24 * k)  # noqa: E731

    def other(start: int, length: int, identity: str) -> None:
        version = server.ask("/api/cases/straight")["version"]
        stroke = {"id": identity, "base_version": version, "value": 2, "slice": 1, "runs": [start, length]}
        server.ask("/api/cases/straight/strokes", stroke, author="Ann")

    # Elsewhere: theirs appears here by itself, mine is saved without a question.
    other(number(0, 0, 1), 5, "11111111-1111-4111-8111-111111111111")
    until(page, "(at) => window.medcl.desk.viewer.nv.drawBitmap[at] === 3", number(2, 0, 1))
    # The same voxels, before the page has heard of it: it asks.
    page.evaluate(
        """() => {
            const { send } = window.medcl.queue
            window.medcl.queue.send = async (...all) => { await window.hold; return send(...all) }
        }"""
    )
    page.evaluate("() => { window.hold = new Promise((resolve) => { window.release = resolve }) }")
    drag(page, "axial", (2, 3), (8, 3))
    other(number(5, 3, 1), 5, "22222222-2222-4222-8222-222222222222")
    page.evaluate("() => window.release()")
    dialog = page.locator("dialog")
    assert "Ann" in dialog.inner_text()
    dialog.get_by_role("button", name="Keep Ann's, drop mine").click()
    all_saved(page)
    drawn = server.drawn("straight")[:, 3, 1]
    assert drawn[2:5].tolist() == [0, 0, 0]
    assert drawn[5:10].tolist() == [3] * 5
    until(page, "(at) => window.medcl.desk.viewer.nv.drawBitmap[at] === 3", number(6, 3, 1))
    assert page.evaluate("(at) => window.medcl.desk.viewer.nv.drawBitmap[at]", number(3, 3, 1)) == 0


def test_the_folder_is_valid_while_it_is_drawn_on(server: Server, new_page: Callable[..., Any]) -> None:
    page = new_page(case="thick")
    page.keyboard.press("0")
    set_width(page, 2)
    drag(page, "axial", (2, 2), (2, 20))
    all_saved(page)
    content = json.loads((server.folder / "dataset.json").read_text(encoding="utf-8"))
    assert content["labels"]["ignore"] == 255
    drawn = server.drawn("thick")
    assert (drawn == 1).any()
    file = server.folder / "scribblesTr" / "thick.nii.gz"

    def written() -> bool:
        if not file.is_file():
            return False
        values = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file))).transpose(2, 1, 0)[::-1, ::-1]
        return bool((np.where(values == 255, 0, values.astype(int) + 1) == drawn).all())

    comes(written)


def test_other_cases_are_looked_at_only(new_page: Callable[..., Any], server: Server) -> None:
    page = new_page()
    open_case(page, "unseen")
    page.keyboard.press("1")
    drag(page, "axial", (5, 5), (9, 9))
    page.locator("#message", has_text="takes no strokes").wait_for()
    assert not server.drawn("unseen").any()
