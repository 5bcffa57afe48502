"""The report as a browser sees it: it renders, asks nothing of the network, and fits a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medcl.evaluation import evaluate

pytestmark = pytest.mark.browser

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture
def browser(chromium: str) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


def test_report(browser: Any, folder: Path) -> None:
    (folder / "predictions/case1.nii.gz").unlink()
    result = evaluate(folder / "predictions", folder / "labelsTs", folder / "out", title="Made-up hearts")
    assert result.report is not None
    trouble: list[str] = []
    requests: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.on("console", lambda message: trouble.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(result.report.as_uri())

    assert page.title() == "Made-up hearts"
    assert page.locator("h2").all_inner_texts()[:3] == ["Scores", "Findings", "Best, median and worst case"]
    assert f"{result.get().mean:.3f}" in page.locator(".cards").inner_text()

    pictures = page.locator(".gallery img")
    assert pictures.count() >= 9
    for index in range(pictures.count()):
        pictures.nth(index).scroll_into_view_if_needed()
    page.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert all(image.get_attribute("alt") for image in pictures.all())
    assert page.locator(".figures svg").count() == 7
    assert all(svg.bounding_box()["height"] > 80 for svg in page.locator(".figures svg").all())

    worst = page.locator("table", has_text="Dice per case")
    worst.locator("thead button", has_text="Mean").click()
    assert worst.locator("tbody th").all_inner_texts() == ["case3", "case2", "case0"]
    worst.locator("thead button", has_text="Mean").click()
    assert worst.locator("tbody th").all_inner_texts() == ["case0", "case2", "case3"]

    page.locator("nav a", has_text="Settings").click()
    assert page.locator("dt", has_text="surface Dice tolerance").is_visible()

    page.set_viewport_size({"width": 375, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375  # only tables scroll sideways

    colours = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert colours[0] != colours[1]

    assert trouble == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
