"""The annotation page in a real browser against the true server, on made-up scans whose every voxel is known."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

TOKEN = "token-of-these-tests-alone"
FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--use-angle=swiftshader",
         "--enable-unsafe-swiftshader"]  # fmt: skip
# On a busy machine a page can be open before the browser has laid it out: a place on screen that is worked out now
# would be another one when the pen comes down.
_LAID_OUT = """() => new Promise((done) => {
    const canvas = document.getElementById('picture')
    const where = () => JSON.stringify([canvas.getBoundingClientRect(), canvas.width, canvas.height])
    const before = where()
    const fits = () => Math.abs(canvas.width - canvas.clientWidth * devicePixelRatio) < 2 &&
        Math.abs(canvas.height - canvas.clientHeight * devicePixelRatio) < 2
    requestAnimationFrame(() => requestAnimationFrame(() => done(fits() && where() === before)))
})"""
_AXE = Path(__file__).parents[3] / "web" / "node_modules" / "axe-core" / "axe.min.js"


@dataclass
class Server:
    """A running `medcl annotate` that can be killed and started again on the same port."""

    folder: Path
    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/?token={TOKEN}"

    def start(self) -> Server:
        command = [sys.executable, "-m", "medcl", "annotate", str(self.folder), "--port", str(self.port),
                   "--token", TOKEN, "--author", "Tester", "--no-browser"]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **self.environment})
        end = time.monotonic() + 180
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.ask("/api/project")
                return self
            except OSError:  # nobody listens yet, or nobody answers yet
                time.sleep(0.1)
        raise AssertionError(f"the server did not start:\n{self.log.read_text(encoding='utf-8')}")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()

    def ask(self, path: str, body: object = None, author: str = "Tester") -> Any:
        """Call the API as somebody else would."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {TOKEN}",
                "Content-Type": "application/json",
                "X-Medcl": "1",
                "X-Medcl-Author": author,
            },
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            content = answer.read()
        return json.loads(content) if answer.headers.get_content_type() == "application/json" else content

    def drawn(self, case: str) -> np.ndarray:
        """Return what is saved, uint8 (i, j, k) of the view grid: 0 unlabelled, class index + 1."""
        content = self.ask(f"/api/cases/{case}/scribble.nii")
        size = np.frombuffer(content, "<i2", 3, 42)
        offset = int(np.frombuffer(content, "<f4", 1, 108)[0])
        return np.frombuffer(content, np.uint8, int(size.prod()), offset).reshape(size, order="F")


def write_scans(folder: Path) -> Path:
    """Write four small training cases: straight, anisotropic, oblique and a colour picture's folder apart.

    Every scan holds a bright ball on a dark ground, (z, y, x) = (12, 24, 20).
    """
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "imagesTs").mkdir()
    content = {
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, "ball": 1, "shell": 2, "ignore": 255},
        "numTraining": 3,
        "file_ending": ".nii.gz",
        "name": "balls",
    }
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    tilt = np.deg2rad(17)
    oblique = [1, 0, 0, 0, np.cos(tilt), -np.sin(tilt), 0, np.sin(tilt), np.cos(tilt)]
    for name, spacing, direction, part in (
        ("straight", (1.0, 1.0, 1.0), None, "Tr"),
        ("thick", (0.7, 0.7, 4.0), None, "Tr"),
        ("oblique", (1.0, 1.5, 2.0), oblique, "Tr"),
        ("unseen", (1.0, 1.0, 1.0), None, "Ts"),
    ):
        z, y, x = np.mgrid[:12, :24, :20]
        ball = (z - 6) ** 2 * 4 + (y - 12) ** 2 + (x - 10) ** 2
        image = SimpleITK.GetImageFromArray(
            (np.where(ball < 20, 200, np.where(ball < 70, 120, 20)) + (x * 3 + y * 7) % 11).astype(np.int16)
        )
        image.SetSpacing(spacing)
        image.SetOrigin((10.0, -20.0, 5.0))
        if direction is not None:
            image.SetDirection([float(value) for value in direction])
        SimpleITK.WriteImage(image, folder / f"images{part}" / f"{name}_0000.nii.gz")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = tmp_path_factory.mktemp("page")
    running = make_server(write_scans(place / "balls"), place)
    yield running
    running.stop()


def make_server(folder: Path, place: Path) -> Server:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return Server(folder, port, place / "server.log").start()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS, timeout=120_000)
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser: Any, server: Server) -> Iterator[Callable[..., Any]]:
    """Open the page; anything that it complains of, or asks of another host, fails the test."""
    contexts, trouble = [], []

    def open_page(target: Server | None = None, *, case: str = "", guided: bool = True, **options: Any) -> Any:
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 720}, "reduced_motion": "reduce", **options}
        )
        contexts.append(context)
        context.set_default_timeout(60_000)
        if guided:
            context.add_init_script("localStorage['medcl:preferences'] ||= JSON.stringify({guided: true})")
        page = context.new_page()
        page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        host = f"http://127.0.0.1:{(target or server).port}/"
        page.on(
            "request", lambda one: None if one.url.startswith((host, "blob:", "data:")) else trouble.append(one.url)
        )
        page.goto((target or server).address)
        if case:
            open_case(page, case)
        return page

    open_page.trouble = trouble  # type: ignore[attr-defined]
    yield open_page
    for context in contexts:
        context.close()
    # What browsers write when a server dies, and refusals that tests ask for.
    away = (
        "net::ERR_CONNECTION_REFUSED",
        "net::ERR_INCOMPLETE_CHUNKED_ENCODING",
        "net::ERR_CONNECTION_RESET",
        "net::ERR_CONNECTION_ABORTED",
        "net::ERR_CONNECTION_CLOSED",
        "net::ERR_SOCKET_NOT_CONNECTED",
        "net::ERR_EMPTY_RESPONSE",
        "409",
        "422",
    )
    assert [text for text in trouble if not any(word in text for word in away)] == []


def open_case(page: Any, case: str) -> None:
    page.locator(f".row:has(.id:text-is('{case}'))").click()
    ready(page, case)


def ready(page: Any, case: str) -> None:
    page.locator(f".row[aria-current=true]:has(.id:text-is('{case}'))").wait_for()
    until(page, "() => document.getElementById('busy').textContent === '' && window.medcl.desk.viewer.grid !== null")
    until(page, _LAID_OUT)


def until(page: Any, condition: str, argument: object = None, seconds: float = 60) -> None:
    """Wait for a condition. Playwright's `wait_for_function` compiles strings, which the page's policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition, argument):
        assert time.monotonic() < end, f"waited {seconds} s for {condition} ({argument})"
        page.wait_for_timeout(50)


def comes(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something outside the page, or for what a picture of it shows."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited {seconds} s"
        time.sleep(0.1)


def all_saved(page: Any) -> None:
    page.locator(".saved", has_text="All saved").wait_for()


@pytest.fixture
def axe() -> Path:
    """Return axe-core's script; skip where the page's development packages are not installed."""
    if not _AXE.is_file():
        pytest.skip("axe-core is not installed (npm ci in web/)")
    return _AXE


@pytest.fixture
def row_by_keys() -> Callable[..., None]:
    """Return what draws a row of voxels, to the right on screen, by keys alone."""

    def draw(page: Any, key: str, place: list[int], steps: int) -> None:
        page.evaluate("(place) => window.medcl.desk.viewer.goTo(place)", place)
        page.locator("#pad").focus()
        page.keyboard.press(key)
        page.keyboard.press("Space")
        for _ in range(steps):
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Space")

    return draw
