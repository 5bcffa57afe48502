"""The annotation page in a browser: seconds until it is ready, milliseconds to a saved stroke and to another slice.

    python benchmarks/annotate_page.py [--size 200 512 512] [--strokes 30] [--out RUNS/annotate_page.json]

Starts the true server on one made-up scan and opens the true page in headless Chromium over loopback. "Ready" is from
the call of the address until the scan is on the screen and can be drawn on, in a fresh browser profile, after the
server has the file in its cache. "Saved" is from pen up until the page says that all is saved. A slice change is from
the call until the graphics card (here a processor) has finished the picture. Asked for: 2 s, 100 ms, 50 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from annotate_crowd import TOKEN, Server
from medcl.data.geometry import Geometry, Image
from medcl.data.io import write_image
from medcl.files import write_json

FLAGS = ["--no-sandbox", "--disable-background-networking", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
READY = "() => window.medcl?.desk?.viewer?.grid && document.getElementById('busy').textContent === ''"
WATCH = """() => {
    window.waited = []
    let up = 0
    addEventListener('pointerup', () => { up = performance.now() }, true)
    const saved = document.querySelector('.saved')
    new MutationObserver(() => {
        if (up && saved.textContent.includes('All saved')) { window.waited.push(performance.now() - up); up = 0 }
    }).observe(saved, { childList: true, characterData: true, subtree: true })
}"""
SLICES = """async (count) => {
    const viewer = window.medcl.desk.viewer
    const gl = viewer.canvas.getContext('webgl2')
    const [ni, nj, nk] = viewer.grid.size
    const took = []
    for (let step = 0; step < count; step++) {
        await new Promise(requestAnimationFrame)
        const began = performance.now()
        viewer.goTo([ni >> 1, nj >> 1, (3 * step) % nk])
        viewer.drawNow()
        gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4))
        took.push(performance.now() - began)
    }
    return took
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=(200, 512, 512), metavar=("Z", "Y", "X"))
    parser.add_argument("--opens", type=int, default=5, help="How often the page is opened.")
    parser.add_argument("--strokes", type=int, default=30)
    parser.add_argument("--slices", type=int, default=60)
    parser.add_argument("--out", type=Path, help="Where the figures go as JSON.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="medcl-page-") as scratch:
        found = run(Path(scratch), tuple(arguments.size), arguments.opens, arguments.strokes, arguments.slices)
    print(json.dumps(found, indent=2))
    if arguments.out:
        write_json(arguments.out, found)


def run(scratch: Path, size: tuple[int, ...], opens: int, strokes: int, slices: int) -> dict[str, Any]:
    """Measure in an empty folder and return the figures."""
    from playwright.sync_api import sync_playwright

    folder = one_scan(scratch / "scan", size)
    server = Server(folder, scratch / "server.log")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        server.start()
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
            ready = []
            for number in range(opens + 1):  # the first one fills the server's cache and does not count
                context = browser.new_context(viewport={"width": 1280, "height": 720})
                page = context.new_page()
                page.set_default_timeout(300_000)
                ready.append(_open(page, server))
                if number < opens:
                    context.close()
            page.evaluate(WATCH)
            waited = _draw(page, strokes)
            changed = page.evaluate(SLICES, slices)
            browser.close()
    finally:
        server.stop()
    return {
        "size": list(size),
        "ready_seconds_first": round(ready[0], 2),
        "ready_seconds": _quantiles(ready[1:]),
        "stroke_saved_ms": _quantiles(waited),
        "strokes_seen_saved": len(waited),
        "slice_ms": _quantiles(changed),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def one_scan(folder: Path, size: tuple[int, ...]) -> Path:
    """Write one made-up CT of (z, y, x) voxels: smooth parts with noise, as large on disk as real ones."""
    generator = np.random.default_rng(0)
    z, y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in size)
    body = (z[:, None, None] ** 2 + y[:, None] ** 2 * 1.4 + x**2 * 1.1) < 0.8
    volume = np.where(body, 40, -1000).astype(np.int16)
    for plane in volume:
        plane += generator.integers(-12, 13, plane.shape, dtype=np.int16)
    write_image(folder / "imagesTr" / "scan_0000.nii.gz", Image(volume[None], Geometry(size, (1.5, 0.8, 0.8))))  # type: ignore[arg-type]
    labels = {"background": 0, "organ": 1, "lump": 2, "ignore": 9}
    write_json(folder / "dataset.json", {"channel_names": {"0": "CT"}, "labels": labels})
    return folder


def _open(page: Any, server: Server) -> float:
    page.add_init_script("localStorage['medcl:preferences'] = JSON.stringify({guided: true})")
    began = time.perf_counter()
    page.goto(f"{server.address}/?token={TOKEN}#scan")
    while not page.evaluate(READY):
        if time.perf_counter() - began > 300:
            raise RuntimeError("the page was not ready within five minutes")
        if page.evaluate(
            "() => !!document.querySelector('.row') && !document.querySelector('.row[aria-current=true]')"
        ):
            page.locator(".row").first.click()
        page.wait_for_timeout(10)
    page.evaluate("() => window.medcl.desk.viewer.drawNow()")
    return time.perf_counter() - began


def _draw(page: Any, strokes: int) -> list[float]:
    box = page.locator("#pad").bounding_box()
    page.evaluate("() => { const v = window.medcl.desk.viewer; v.goTo(v.grid.size.map((n) => n >> 1)) }")
    tile = page.evaluate("() => window.medcl.desk.viewer.tiles().find((one) => one.plane === 'axial')")
    x0, y0 = page.evaluate(
        """() => { const v = window.medcl.desk.viewer; const [ni, nj] = v.grid.size
            return v.screenAt(v.tiles().find((one) => one.plane === 'axial'), ni / 2, nj / 2) }"""
    )
    assert tile is not None
    page.keyboard.press("1")
    for number in range(strokes):
        x, y = box["x"] + x0 - 60 + 2 * number, box["y"] + y0 - 40 + 2 * number
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 50, y + 12, steps=8)
        page.mouse.up()
        page.wait_for_timeout(400)
    page.locator(".saved", has_text="All saved").wait_for()
    return [float(value) for value in page.evaluate("() => window.waited")]


def _quantiles(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {name: round(float(np.quantile(values, q)), 2) for name, q in (("p50", 0.5), ("p95", 0.95), ("max", 1.0))}


if __name__ == "__main__":
    main()
