"""Training from the page: progress while it runs, drawing meanwhile, and predictions that arrive by themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import all_saved, make_server, open_case, until, write_scans

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_train(new_page: Callable[..., Any], tmp_path: Path, row_by_keys: Callable[..., None]) -> None:
    own = make_server(write_scans(tmp_path / "balls"), tmp_path)
    try:
        page = new_page(own)
        for case in ("straight", "thick"):
            open_case(page, case)
            page.evaluate("() => window.medcl.setPreferences({ width: 1 })")
            for key, row in (("0", 2), ("1", 12), ("2", 6)):
                row_by_keys(page, key, [8, row, 6], 4)
                row_by_keys(page, key, [8, row, 5], 4)
        all_saved(page)
        page.get_by_label("Minutes of training").fill("0.15")
        page.get_by_role("button", name="Train", exact=True).click()
        page.get_by_role("button", name="Cancel").wait_for()
        row_by_keys(page, "0", [8, 20, 7], 2)
        all_saved(page)
        page.locator(".job[data-state=finished]").wait_for(timeout=800_000)
        until(page, "() => window.medcl.desk.mask !== null")
        page.locator(".row[aria-current=true] .state.predicted").wait_for()
        cases = {one["id"]: one for one in own.ask("/api/cases")}
        assert cases["straight"]["prediction"]
        assert cases["thick"]["prediction"]
        shown = page.evaluate("() => [window.medcl.desk.mask.length, Math.max(...window.medcl.desk.mask)]")
        assert shown[0] == 20 * 24 * 12
        assert shown[1] <= 2
        # what was drawn while it trained came too late for this one, and is kept
        assert own.drawn("thick")[8, 20, 7] == 1
    finally:
        own.stop()
