"""Draw docs/images/annotate.png: the annotation page on made-up hearts.

`python docs/make_page_image.py FOLDER [MINUTES]` with an empty folder to work in; needs Chromium and the packages of
the tests. MINUTES of training give a picture with a prediction and a suggestion; 0, the default, one of strokes alone.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

import medcl

TOKEN = "token-of-one-picture-alone"
PORT = 8790
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def wait() -> None:
    """Wait until the server listens."""
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", PORT), timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the server did not start")


def main(folder: Path, minutes: float) -> None:
    """Start the server, train from the page if asked to, and look."""
    medcl.make_phantom(folder / "hearts", "heart", cases=6, validation=1, test=1)
    address = f"http://127.0.0.1:{PORT}/?token={TOKEN}"
    command = [sys.executable, "-m", "medcl", "annotate", str(folder / "hearts"), "--port", str(PORT), "--token", TOKEN,
               "--author", "Ann", "--no-browser"]  # fmt: skip
    server = subprocess.Popen(command)
    try:
        wait()
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
            remembered = json.dumps({"guided": True, "minutes": minutes or 2.0})
            page.add_init_script(f"localStorage['medcl:preferences'] ||= {json.dumps(remembered)}")
            page.goto(address)
            page.locator(".row[aria-current=true]").wait_for(timeout=120_000)
            while page.evaluate("() => window.medcl.desk.busy !== '' || !window.medcl.desk.viewer.grid"):
                page.wait_for_timeout(200)
            if minutes:
                page.get_by_role("button", name="Train", exact=True).click()
                page.locator(".job[data-state=finished]").wait_for(timeout=minutes * 60_000 * 4 + 300_000)
                page.wait_for_timeout(5000)
                page.locator("#pad").focus()
                page.keyboard.press("n")
                page.locator(".reason strong").wait_for()
            else:
                page.keyboard.press("2")
            page.wait_for_timeout(3000)
            page.evaluate("() => document.activeElement.blur()")
            page.evaluate("() => { document.getElementById('message').textContent = '' }")
            page.wait_for_timeout(500)
            page.screenshot(path=Path(__file__).parent / "images" / "annotate.png")
            browser.close()
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python docs/make_page_image.py EMPTY_FOLDER [MINUTES]")
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) == 3 else 0.0)
