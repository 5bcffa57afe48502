"""Twenty people draw while a network learns: does anything fail, and how long does saving a stroke take?

    python benchmarks/annotate_load.py [--people 20] [--seconds 120] [--no-training] [--out RUNS/annotate_load.json]

Starts the true server on made-up scans. Everybody draws a stroke about every second, two people on each scan and some
on the first one too; meanwhile others list cases and load volumes, as pages do. The time of saving is from the
call to its answer, at the caller. Asked for: no error, p95 below 200 ms and median below 100 ms on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from annotate_crowd import Drawer, Server, drawing, make_folder
from medcl.files import write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--size", type=int, nargs=3, default=(24, 192, 192), metavar=("Z", "Y", "X"))
    parser.add_argument("--pause", type=float, default=1.0, help="Mean seconds between two strokes of a person.")
    parser.add_argument("--no-training", action="store_true")
    parser.add_argument("--out", type=Path, help="Where the figures go as JSON.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="medcl-load-") as scratch:
        found = run(
            Path(scratch),
            people=arguments.people,
            seconds=arguments.seconds,
            cases=arguments.cases,
            size=tuple(arguments.size),
            pause=arguments.pause,
            training=not arguments.no_training,
        )
    print(json.dumps(found, indent=2))
    if arguments.out:
        write_json(arguments.out, found)
    if found["errors"]:
        sys.exit(1)


def run(
    scratch: Path, *, people: int, seconds: float, cases: int, size: tuple[int, ...], pause: float, training: bool
) -> dict[str, Any]:
    """Measure in an empty folder and return the figures."""
    folder = make_folder(scratch / "scans", cases, size)
    names = [f"case_{number:02d}" for number in range(cases)]
    server = Server(folder, scratch / "server.log")
    try:
        ready = server.start()
        annotators = [
            # pairs share a scan, and every fifth person looks in on the first one
            Drawer(server, [names[who % cases]] * 3 + names[:1] * (who % 5 == 0), size, seed=who, pause=pause)
            for who in range(people)
        ]
        visitor = Visitor(server, names)
        job: dict[str, Any] = {}
        with drawing(annotators):
            time.sleep(min(3.0, seconds / 10))  # the first strokes: something to learn from
            if training:
                body = {"kind": "train", "minutes": max(seconds / 60, 0.1)}
                job = httpx.post(f"{server.address}/api/jobs", headers=server.headers, json=body, timeout=60).json()
            visitor.start()
            time.sleep(seconds)
            visitor.ended.set()
            if job.get("id"):
                job = httpx.get(f"{server.address}/api/jobs/{job['id']}", headers=server.headers, timeout=60).json()
        visitor.join(60)
        memory = server.process.memory_info().rss / 1e6
    finally:
        server.stop()
    took = [1000 * value for annotator in annotators for value in annotator.seconds]
    errors = [error for annotator in annotators for error in annotator.errors] + visitor.errors
    log = (scratch / "server.log").read_text(encoding="utf-8", errors="replace")
    if "Traceback" in log:
        errors.append("the server's log holds a trace: " + log[log.index("Traceback") :][:2000])
    return {
        "people": people,
        "seconds": seconds,
        "cases": cases,
        "size": list(size),
        "strokes": len(took),
        "conflicts_sent_again": sum(annotator.conflicts for annotator in annotators),
        "save_ms": _quantiles(took),
        "visits_ms": {name: _quantiles(values) for name, values in visitor.took.items()},
        "training": {key: job.get(key) for key in ("state", "share", "message")} if training else None,
        "server_ready_seconds": round(ready, 2),
        "server_memory_mb": round(memory),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "errors": errors[:20],
    }


class Visitor(threading.Thread):
    """Somebody who walks through the cases as a page does: list, project, volumes, thumbnails, suggestions."""

    def __init__(self, server: Server, names: list[str]) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.took: dict[str, list[float]] = {}
        self.errors: list[str] = []
        self._server, self._names = server, names

    def run(self) -> None:
        """Visit."""
        dice = random.Random(7)
        with httpx.Client(base_url=self._server.address, headers=self._server.headers, timeout=60) as client:
            while not self.ended.wait(0.5):
                case = dice.choice(self._names)
                for name, path in (
                    ("cases", "/api/cases"),
                    ("project", "/api/project"),
                    ("image", f"/api/cases/{case}/image.nii"),
                    ("scribble", f"/api/cases/{case}/scribble.nii"),
                    ("thumbnail", f"/api/cases/{case}/thumbnail.png"),
                    ("next", "/api/next?count=3"),
                    ("statistics", "/api/statistics"),
                ):
                    began = time.perf_counter()
                    answer = client.get(path)
                    self.took.setdefault(name, []).append(1000 * (time.perf_counter() - began))
                    if answer.status_code != 200:
                        self.errors.append(f"GET {path}: {answer.status_code} {answer.text[:200]}")


def _quantiles(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {name: round(float(np.quantile(values, q)), 1) for name, q in (("p50", 0.5), ("p95", 0.95), ("max", 1.0))}


if __name__ == "__main__":
    main()
