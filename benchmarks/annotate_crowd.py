"""What the scripts about `medcl annotate` share: a made-up data set, the true server in a process, people who draw."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import psutil

from medcl.data.geometry import Geometry, Image
from medcl.data.io import write_image
from medcl.files import write_json

TOKEN = "a-token-for-measuring-only"
CLASSES = ("organ", "lump")


def make_folder(folder: Path, cases: int, size: Sequence[int]) -> Path:
    """Write made-up scans with two structures that can be told by their grey, (z, y, x) voxels each."""
    geometry = Geometry(tuple(size), (3.0, 1.0, 1.0))  # type: ignore[arg-type]
    for number in range(cases):
        generator = np.random.default_rng(number)
        volume = generator.normal(100, 12, size).astype(np.int16)
        organ, lump = _boxes(size)
        volume[organ] += 80
        volume[lump] += 90
        write_image(folder / "imagesTr" / f"case_{number:02d}_0000.nii.gz", Image(volume[None], geometry))
    labels = {"background": 0, **{name: index for index, name in enumerate(CLASSES, 1)}, "ignore": 9}
    write_json(folder / "dataset.json", {"channel_names": {"0": "MR"}, "labels": labels})
    return folder


def _boxes(size: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    organ = tuple(slice(n // 4, 3 * n // 4) for n in size)
    lump = tuple(slice(3 * n // 8, 5 * n // 8) for n in size)
    return organ, lump


class Server:
    """`medcl annotate` in a process of its own.

    Args:
        folder: Dataset folder.
        log: Where its output goes; one file for all starts.
    """

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._log = log.open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What a caller sends along."""
        return {"Authorization": f"Bearer {TOKEN}"}

    def start(self, patience: float = 120.0) -> float:
        """Start it; return the seconds until it answered."""
        command = [sys.executable, "-m", "medcl", "annotate", str(self.folder), "--port", str(self.port)]
        began = time.perf_counter()
        self._process = subprocess.Popen(
            [*command, "--token", TOKEN, "--no-browser"], stdout=self._log, stderr=self._log, start_new_session=True
        )
        while time.perf_counter() - began < patience:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended with code {self._process.returncode}; see {self._log.name}")
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.address}/api/project", headers=self.headers, timeout=5).status_code == 200:
                    return time.perf_counter() - began
            time.sleep(0.05)
        raise RuntimeError(f"the server did not answer within {patience:.0f} s; see {self._log.name}")

    @property
    def process(self) -> psutil.Process:
        """The server's process."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def workers(self) -> list[psutil.Process]:
        """Return the processes that work on jobs of this folder, whoever started them."""
        found = []
        for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
            words = " ".join(process.info["cmdline"] or ())
            if "medcl.annotate.jobs" in words and str(self.folder) in (process.info["cwd"] or ""):
                found.append(process)
        return found

    def kill(self) -> None:
        """Kill -9 the server."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, 9)
            self._process.wait()

    def kill_workers(self) -> int:
        """Kill -9 all that works on jobs; return how many there were."""
        found = self.workers()
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return len(found)

    def stop(self) -> None:
        """End everything and wait for it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self.kill_workers()
        self._log.close()


@dataclass
class Saved:
    """A stroke that the server said was kept.

    Attributes:
        id: Its id.
        case: Where.
        value: Class, or None for an eraser.
        runs: Its voxels.
        version: Version of the case that it made.
    """

    id: str
    case: str
    value: int | None
    runs: list[int]
    version: int


@dataclass
class Drawer(threading.Thread):
    """Draws strokes until told to stop, and keeps what the server acknowledged.

    Attributes:
        server: Where.
        cases: Cases to draw on, one after the other.
        size: Voxels (z, y, x) of a scan.
        seed: Everybody draws differently.
        pause: Mean seconds between strokes.
        patient: Go on after lost connections: the server is being killed.
        saved: What was acknowledged.
        seconds: How long each saving took, from the call to the answer, without waiting for one's turn.
        conflicts: How often somebody else had been faster.
        errors: Answers that should not be.
    """

    server: Server
    cases: list[str]
    size: Sequence[int]
    seed: int
    pause: float = 1.0
    patient: bool = False
    saved: list[Saved] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    conflicts: int = 0
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self._versions: dict[str, int] = {}

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        """Draw."""
        dice = random.Random(self.seed)
        headers = {**self.server.headers, "X-Medcl-Author": f"annotator-{self.seed}"}
        with httpx.Client(base_url=self.server.address, headers=headers, timeout=30) as client:
            while not self.ended.is_set():
                try:
                    self._draw(client, dice)
                except httpx.HTTPError as error:
                    if not self.patient:
                        self.errors.append(f"{type(error).__name__}: {error}")
                    self.ended.wait(0.05)
                self.ended.wait(dice.expovariate(1 / self.pause) if self.pause else 0.0)

    def _draw(self, client: httpx.Client, dice: random.Random) -> None:
        case = dice.choice(self.cases)
        if case not in self._versions:
            answer = client.get(f"/api/cases/{case}/strokes")
            if answer.status_code != 200:
                self.errors.append(f"GET strokes: {answer.status_code} {answer.text[:200]}")
                return
            self._versions[case] = answer.json()["version"]
        version = self._versions[case]
        value = dice.choice((0, 1, 1, 2, 2, None))
        stroke: dict[str, Any] = {
            "id": str(uuid4()),
            "value": value,
            "tool": "eraser" if value is None else "pen",
            "seconds": 1.5,
            "width": 3,
            **pen_stroke(self.size, dice),
        }
        for _ in range(20):
            began = time.perf_counter()
            answer = client.post(f"/api/cases/{case}/strokes", json={**stroke, "base_version": version})
            took = time.perf_counter() - began
            if answer.status_code == 200:
                self.seconds.append(took)
                self._versions[case] = answer.json()["version"]
                self.saved.append(Saved(stroke["id"], case, value, stroke["runs"], self._versions[case]))
                return
            if answer.status_code != 409:
                self.errors.append(f"POST stroke: {answer.status_code} {answer.text[:200]}")
                return
            self.conflicts += 1
            version = answer.json()["version"]
            self.ended.wait(dice.uniform(0.0, 0.05))  # two who repeat at the same pace would meet again
        self.errors.append("a stroke found no gap in 20 tries")


def pen_stroke(size: Sequence[int], dice: random.Random) -> dict[str, Any]:
    """Return a wavy pen stroke, three voxels wide, in one axial slice: runs of the view grid (i fastest)."""
    nk, nj, ni = size
    k, j, i = dice.randrange(nk), dice.randrange(nj // 4, 3 * nj // 4), dice.randrange(ni // 8, ni // 4)
    voxels: set[int] = set()
    for step in range(ni // 2):
        j = min(max(j + dice.choice((-1, 0, 0, 1)), 1), nj - 2)
        voxels.update(i + step + ni * (row + nj * k) for row in (j - 1, j, j + 1))
    return {"plane": "axial", "slice": k, "runs": runs_of(voxels)}


def runs_of(voxels: set[int]) -> list[int]:
    """Join voxel numbers to rising (start, length) pairs, as one list."""
    runs: list[int] = []
    for number in sorted(voxels):
        if runs and runs[-2] + runs[-1] == number:
            runs[-1] += 1
        else:
            runs += [number, 1]
    return runs


@contextlib.contextmanager
def drawing(drawers: Sequence[Drawer]) -> Iterator[None]:
    """Let people draw for the length of the block."""
    for drawer in drawers:
        drawer.start()
    try:
        yield
    finally:
        for drawer in drawers:
            drawer.ended.set()
        for drawer in drawers:
            drawer.join(60)
