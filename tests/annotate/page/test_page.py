"""The page by keys alone, by touch alone, for people who listen, and from the first question on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from .conftest import Server, all_saved, comes, make_server, open_case, ready, until

pytestmark = pytest.mark.browser

_RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}}


def violations(page: Any, axe: Path) -> list[str]:
    page.evaluate(axe.read_text(encoding="utf-8"))
    found = page.evaluate("(rules) => window.axe.run(document, rules)", _RULES)["violations"]
    return [f"{one['id']}: {one['help']} at {[node['target'] for node in one['nodes']][:4]}" for one in found]


def test_keys_alone(server: Server, new_page: Callable[..., Any]) -> None:
    page = new_page(guided=False)
    page.get_by_role("button", name="Begin").wait_for()
    page.keyboard.press("Enter")
    for _ in range(60):  # into the case list by Tab, down it by arrows
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.classList.contains('row')"):
            break
    for _ in range(10):
        if "thick" in page.evaluate("() => document.activeElement.textContent"):
            break
        page.keyboard.press("ArrowDown")
    else:
        raise AssertionError("ArrowDown never came to the case")
    page.keyboard.press("Enter")
    ready(page, "thick")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.id") == "pad":
            break
    else:
        raise AssertionError("Tab never came to the picture")
    page.evaluate("() => window.medcl.desk.viewer.goTo([10, 12, 6])")
    page.keyboard.press("2")
    for _ in range(10):
        page.keyboard.press("[")
    page.keyboard.press("PageUp")
    page.keyboard.press("Space")
    for _ in range(4):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    all_saved(page)
    column = server.drawn("thick")[10, :, 7]
    assert np.flatnonzero(column).tolist() == [8, 9, 10, 11, 12]  # down on screen is to the back, as radiologists look
    assert (column[8:13] == 3).all()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    page.keyboard.press("z")
    all_saved(page)
    assert not server.drawn("thick")[:, :, 7].any()
    page.keyboard.press("?")
    assert page.get_by_role("heading", name="Keys", exact=True).is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    assert page.evaluate("() => window.medcl.desk.viewer.layout") == "multi"
    page.keyboard.press("PageDown")
    assert page.evaluate("() => window.medcl.desk.viewer.place[2]") == 6


def test_touch_alone(server: Server, new_page: Callable[..., Any]) -> None:
    page = new_page(viewport={"width": 1024, "height": 768}, has_touch=True, is_mobile=True)
    page.locator(".row:has(.id:text-is('oblique'))").tap()
    ready(page, "oblique")
    page.locator(".pen", has_text="shell").tap()
    page.evaluate("() => { window.medcl.setPreferences({ width: 1 }); window.medcl.desk.viewer.goTo([10, 12, 2]) }")
    page.wait_for_timeout(200)
    where = """(points) => {
        const { viewer } = window.medcl.desk
        const tile = viewer.tiles()[0]
        const box = document.getElementById('pad').getBoundingClientRect()
        const at = ([u, v]) => viewer.screenAt(tile, u + 0.5, v + 0.5)
        return points.map(at).map(([x, y]) => ({ x: x + box.left, y: y + box.top }))
    }"""
    path = page.evaluate(where, [[u, 6] for u in range(4, 12)])
    wire = page.context.new_cdp_session(page)

    def touch(kind: str, *points: dict[str, float]) -> None:
        wire.send(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": [{**one, "id": n} for n, one in enumerate(points)]},
        )

    touch("touchStart", path[0])
    for point in path[1:]:
        touch("touchMove", point)
    touch("touchEnd")
    all_saved(page)
    row = server.drawn("oblique")[:, 6, 2]
    assert np.flatnonzero(row == 3).tolist() == list(range(4, 12))

    # Two fingers move and zoom; they leave no stroke.
    before = server.ask("/api/cases/oblique")["strokes"]
    one, other = path[2], path[5]
    touch("touchStart", one)
    touch("touchStart", one, other)
    for step in range(1, 6):
        touch("touchMove", {"x": one["x"] - 12 * step, "y": one["y"]}, {"x": other["x"] + 12 * step, "y": other["y"]})
    touch("touchEnd")
    until(page, "() => window.medcl.desk.viewer.zoom > 1.3")
    all_saved(page)
    assert server.ask("/api/cases/oblique")["strokes"] == before
    page.get_by_role("button", name="Next slice").tap()
    assert page.evaluate("() => window.medcl.desk.viewer.place[2]") == 3


def test_mouse_wheel_zoom_pan_and_window(new_page: Callable[..., Any]) -> None:
    page = new_page(case="straight")
    box = page.locator("#pad").bounding_box()
    middle = (box["x"] + box["width"] / 2 + 60, box["y"] + box["height"] / 2 + 30)
    page.mouse.move(*middle)
    page.mouse.wheel(0, -80)
    until(page, "() => window.medcl.desk.viewer.place[2] === 8")

    under = """([x, y]) => {
        const { viewer } = window.medcl.desk
        const box = document.getElementById('pad').getBoundingClientRect()
        const tile = viewer.tiles()[0]
        return [tile.origin[0] + tile.step[0] * (x - box.left), tile.origin[1] + tile.step[1] * (y - box.top)]
    }"""
    before = page.evaluate(under, middle)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    until(page, "() => window.medcl.desk.viewer.zoom > 1.5")
    page.wait_for_timeout(200)
    assert page.evaluate(under, middle) == pytest.approx(before, abs=0.05)  # zoomed about the pointer
    page.mouse.down(button="middle")
    page.mouse.move(middle[0] + 50, middle[1] - 35, steps=5)
    page.mouse.up(button="middle")
    page.wait_for_timeout(200)
    assert page.evaluate(under, (middle[0] + 50, middle[1] - 35)) == pytest.approx(before, abs=0.05)

    low = float(page.get_by_label("Darkest value").input_value())
    page.mouse.down(button="right")
    page.mouse.move(middle[0], middle[1] - 120, steps=4)
    page.mouse.up(button="right")
    assert float(page.get_by_label("Darkest value").input_value()) != low
    page.get_by_label("Window: which grey values are shown").select_option("lung")
    assert page.get_by_label("Darkest value").input_value() == "-1350"
    assert page.get_by_label("Brightest value").input_value() == "150"


def test_search_and_states(server: Server, new_page: Callable[..., Any]) -> None:
    page = new_page()
    ready(page, "oblique")
    page.get_by_label("Search cases").fill("th")
    assert page.locator(".row .id").all_inner_texts() == ["thick"]
    page.get_by_label("Search cases").fill("")
    page.get_by_label("Show cases of this state").select_option("untouched")
    untouched = [one["id"] for one in server.ask("/api/cases") if one["state"] == "untouched"]
    assert page.locator(".row .id").all_inner_texts() == untouched
    until(
        page,
        "() => [...document.querySelectorAll('.row img')].every((image) => image.complete && image.naturalWidth > 0)",
    )


def test_own_name(server: Server, new_page: Callable[..., Any]) -> None:
    page = new_page(case="straight")
    page.get_by_role("button", name="Tester").click()
    page.get_by_label("Strokes and reviews are kept under this name.").fill("Zoë Ł")
    page.get_by_role("button", name="Keep").click()
    page.get_by_role("button", name="✎ Zoë Ł").wait_for()  # the name counts from when the page shows it
    page.evaluate("() => window.medcl.desk.viewer.goTo([10, 12, 3])")
    page.locator("#pad").focus()
    page.keyboard.press("1")
    page.keyboard.press("Space")
    page.keyboard.press("Space")
    all_saved(page)
    assert server.ask("/api/cases/straight/strokes")["strokes"][-1]["author"] == "Zoë Ł"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(new_page: Callable[..., Any], axe: Path, scheme: str) -> None:
    page = new_page(guided=False, color_scheme=scheme)
    page.get_by_role("button", name="Begin").wait_for()
    assert violations(page, axe) == []
    page.keyboard.press("Escape")
    open_case(page, "straight")
    page.evaluate("() => document.querySelectorAll('details').forEach((part) => { part.open = true })")
    assert violations(page, axe) == []
    page.keyboard.press("?")
    assert violations(page, axe) == []


@pytest.mark.parametrize("size", [(1280, 720), (1024, 768), (768, 1024), (390, 800)])
def test_nothing_sticks_out(new_page: Callable[..., Any], size: tuple[int, int]) -> None:
    page = new_page(viewport={"width": size[0], "height": size[1]}, case="straight")
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    box = page.locator("#pad").bounding_box()
    assert box["width"] > 300
    assert box["height"] > 300


def test_a_folder_of_scans_is_asked_about_first(new_page: Callable[..., Any], tmp_path: Path, axe: Path) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("one", "two"):
        array = (np.arange(12 * 16 * 16).reshape(12, 16, 16) % 97).astype(np.int16)
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), folder / f"{name}.nii.gz")
    own = make_server(folder, tmp_path)
    try:
        page = new_page(own)
        page.get_by_role("heading", name="2 scans").wait_for()
        assert violations(page, axe) == []
        page.get_by_role("button", name="Begin").click()
        assert "at least one structure" in page.get_by_role("alert").inner_text()
        page.get_by_label("Name of a structure").fill("liver")
        page.get_by_role("button", name="Add a structure").click()
        page.get_by_label("Name of a structure").last.fill("liver")
        page.get_by_role("button", name="Begin").click()
        assert "same name" in page.get_by_role("alert").inner_text()
        page.get_by_label("Name of a structure").last.fill("spleen")
        page.get_by_role("button", name="Begin").click()
        page.locator(".row").first.wait_for()
        assert page.locator(".pen .name").all_inner_texts() == ["background", "liver", "spleen"]
        case = page.locator(".row .id").first.inner_text()
        ready(page, case)
        page.locator("#pad").focus()
        page.keyboard.press("2")
        page.keyboard.press("Space")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Space")
        all_saved(page)
        assert (own.drawn(case) == 3).any()
    finally:
        own.stop()


def test_colour_pictures_are_flat(new_page: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "imagesTr").mkdir(parents=True)
    content = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "polyp": 1, "ignore": 9},
        "numTraining": 1,
        "file_ending": ".png",
    }
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    y, x = np.mgrid[:60, :80]
    picture = np.stack([x * 3, y * 4, np.where((x < 20) & (y < 15), 255, 40)], axis=-1).astype(np.uint8)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(picture, isVector=True), folder / "imagesTr" / "photo_0000.png")
    own = make_server(folder, tmp_path)
    try:
        page = new_page(own)
        ready(page, "photo")
        assert page.get_by_role("button", name="Coronal").is_hidden()
        assert page.get_by_label("Slice", exact=True).is_hidden()
        page.wait_for_timeout(300)
        page.evaluate("() => { window.medcl.setPreferences({ width: 1 }); window.medcl.desk.setValue(1) }")
        box = page.locator("#pad").bounding_box()
        # The picture's own left top corner is left and on top: drawing there touches row 0, column 0 of the file.
        corner = page.evaluate("""() => {
            const { viewer } = window.medcl.desk
            const tile = viewer.tiles()[0]
            const [nx, ny] = viewer.grid.size
            const ends = [viewer.screenAt(tile, 0.5, 0.5), viewer.screenAt(tile, nx - 0.5, ny - 0.5)]
            return [Math.min(ends[0][0], ends[1][0]), Math.min(ends[0][1], ends[1][1])]
        }""")
        page.mouse.click(box["x"] + corner[0], box["y"] + corner[1])
        all_saved(page)
        comes(lambda: bool(list(folder.glob("scribblesTr/[!.]*"))))
        (file,) = folder.glob("scribblesTr/[!.]*")
        stroke = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))
        assert np.argwhere(np.squeeze(stroke) == 1).tolist() == [[0, 0]]
    finally:
        own.stop()
