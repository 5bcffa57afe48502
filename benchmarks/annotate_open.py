"""How long a large scan takes to open in the annotation server, on loopback: first, when it is cached, and unchanged.

    python benchmarks/annotate_open.py [--size 200x512x512] [--repeats 5]

Prints seconds of `image.nii` (first: read, turned and cached; then: sent from the cache; then: not sent, 304), of the
case list, and of saving a stroke, with the server in a process of its own.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import httpx
import numpy as np

from medcl.annotate import Client
from medcl.data.geometry import Geometry, Image
from medcl.data.io import write_image
from medcl.files import write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="200x512x512", help="voxels, ZxYxX")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    size = tuple(int(part) for part in options.size.split("x"))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "large"
        array = np.random.default_rng(0).integers(-1000, 2000, (1, *size)).astype(np.int16)
        geometry = Geometry(size, (1.0, 0.8, 0.8), direction=(0, 0, 1, 1, 0, 0, 0, 1, 0))  # all axes swapped
        write_image(folder / "imagesTr" / "scan_0000.nii.gz", Image(array, geometry))
        write_json(folder / "dataset.json", {"labels": {"background": 0, "organ": 1, "ignore": 2}})
        command = [sys.executable, "-m", "medcl", "annotate", str(folder), "--no-browser", "--port", "8799"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
            try:
                measure(_address(process), array.nbytes, options.repeats)
            finally:
                process.terminate()


def measure(address: str, size: int, repeats: int) -> None:
    with Client(address) as client, httpx.Client(timeout=600) as http:
        base, _, token = address.partition("/?token=")
        headers = {"Authorization": f"Bearer {token}"}
        image = f"{base}/api/cases/scan/image.nii"
        first = _seconds(lambda: http.get(image, headers=headers).raise_for_status(), 1)
        cached = _seconds(lambda: http.get(image, headers=headers).raise_for_status(), repeats)
        known = {**headers, "If-None-Match": http.head(image, headers=headers).headers.get("etag", "")}
        if known["If-None-Match"] == "":
            with http.stream("GET", image, headers=headers) as answer:
                known["If-None-Match"] = answer.headers["etag"]
        unchanged = _seconds(lambda: http.get(image, headers=known), repeats)
        rows = _seconds(client.cases, repeats)
        where = np.zeros(client.case("scan").size[::-1], bool)
        where[10, 20, 30:60] = True
        strokes = _seconds(lambda: client.draw("scan", where, 1), repeats)
        drawn = _seconds(lambda: client.scribble("scan"), 1)
    for name, seconds in (
        ("image.nii, first", first),
        ("image.nii, cached", cached),
        ("image.nii, unchanged (304)", unchanged),
        ("case list", rows),
        ("stroke saved (with the version asked first)", strokes),
        ("scribble.nii, first", drawn),
    ):
        print(f"{name:45} {1000 * seconds:9.1f} ms")
    print(f"{'cached, throughput':45} {size / cached / 1e6:9.0f} MB/s")


def _seconds(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://\S+", line):
            return found.group()
    raise SystemExit("the server did not start")


if __name__ == "__main__":
    main()
