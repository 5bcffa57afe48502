"""kill -9 of server and worker while people draw and a network learns: is any acknowledged stroke lost?

    python benchmarks/annotate_kill.py [--rounds 20] [--out RUNS/annotate_kill.json] [--no-training]

Every round starts the true server on the same folder, lets four people draw, starts a training, and after a random time
kills the server, the worker with its job, or both. Then it looks into the database, not at what the server says:
integrity, every acknowledged stroke with its voxels, and after the next start, whether jobs whose process died are told
as crashed and whether the stroke files are what the history gives.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from annotate_crowd import Drawer, Saved, Server, drawing, make_folder
from medcl.annotate.runs import unpack
from medcl.data.dataset import Dataset
from medcl.data.labels import UNLABELLED
from medcl.files import write_json

SIZE = (12, 48, 40)
PEOPLE = 4
KINDS = ("server", "worker", "both")
PATIENCE = 300.0
LOOK_SECONDS = 30.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-training", action="store_true", help="Kill the server while people draw, nothing else.")
    parser.add_argument("--out", type=Path, help="Where the figures go as JSON.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="medcl-kill-") as scratch:
        found = run(Path(scratch), arguments.rounds, training=not arguments.no_training, seed=arguments.seed)
    print(json.dumps(found, indent=2))
    if arguments.out:
        write_json(arguments.out, found)
    if found["problems"]:
        sys.exit(1)


def run(scratch: Path, rounds: int, *, training: bool, seed: int = 0, longest: float = 4.0) -> dict[str, Any]:
    """Do all rounds in an empty folder and return what was found."""
    folder = make_folder(scratch / "scans", 3, SIZE)
    dice = random.Random(seed)
    server = Server(folder, scratch / "server.log")
    saved: list[Saved] = []
    problems: list[str] = []
    starts: list[float] = []
    crashed, killed_workers = 0, 0
    names = [f"case_{number:02d}" for number in range(3)]
    try:
        for number in range(rounds):
            starts.append(server.start())
            kind = KINDS[number % 3] if training else "server"
            people = [
                Drawer(server, names, SIZE, seed=100 * number + who, pause=0.02, patient=True) for who in range(PEOPLE)
            ]
            with drawing(people):
                if training:
                    _begin_training(server, problems)
                    _wait_for_work(server)
                _wait_for_strokes(people)
                time.sleep(dice.uniform(0.0, longest))
                if kind in ("worker", "both"):
                    killed_workers += server.kill_workers()
                if kind in ("server", "both"):
                    server.kill()
            saved += [stroke for annotator in people for stroke in annotator.saved]
            problems += [f"round {number + 1}: {error}" for annotator in people for error in annotator.errors]
            problems += [f"round {number + 1}: {error}" for error in _look(folder, saved)]
            if kind == "worker":
                server.kill()
        starts.append(server.start())
        if training:
            crashed = _wait_for_ends(server, problems)
        problems += _compare_files(server, folder, names)
    finally:
        server.stop()
    return {
        "rounds": rounds,
        "with_training": training,
        "acknowledged_strokes": len(saved),
        "lost": sum("lost" in problem for problem in problems),
        "killed_workers": killed_workers,
        "jobs_told_as_crashed": crashed,
        "start_seconds_median": round(float(np.median(starts)), 2),
        "problems": problems,
    }


def _begin_training(server: Server, problems: list[str]) -> None:
    answer = httpx.post(f"{server.address}/api/jobs", headers=server.headers, json={"minutes": 10}, timeout=30)
    if answer.status_code not in (200, 201, 202, 409):
        problems.append(f"POST /api/jobs: {answer.status_code} {answer.text[:200]}")


def _wait_for_strokes(people: list[Drawer], enough: int = 10) -> None:
    until = time.monotonic() + PATIENCE
    while sum(len(annotator.saved) for annotator in people) < enough:
        if time.monotonic() > until:
            raise RuntimeError(f"fewer than {enough} strokes were saved within {PATIENCE:.0f} s")
        time.sleep(0.05)


def _wait_for_work(server: Server) -> None:
    """Wait for a job that runs: a worker that is killed before it took one up leaves nothing to be told as crashed."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        jobs = httpx.get(f"{server.address}/api/jobs", headers=server.headers, timeout=30).json()
        if server.workers() and any(job["state"] == "running" for job in jobs):
            return
        time.sleep(0.1)
    raise RuntimeError(f"no training began within {PATIENCE:.0f} s")


def _look(folder: Path, saved: list[Saved]) -> list[str]:
    """Look into the database as it lies on the disk."""
    problems = []
    with sqlite3.connect(folder / ".medcl" / "annotate.db", timeout=30) as connection:
        integrity = connection.execute("PRAGMA integrity_check").fetchall()
        if integrity != [("ok",)]:
            problems.append(f"database damaged: {integrity[:3]}")
        rows = {
            UUID(str(key)): (case, value, version, runs)
            for key, case, value, version, runs in connection.execute(
                'SELECT id, "case", value, version, runs FROM strokes'
            )
        }
    for stroke in saved:
        row = rows.get(UUID(stroke.id))
        if row is None:
            problems.append(f"lost: stroke {stroke.id} of {stroke.case}, version {stroke.version}")
        elif row[:3] != (stroke.case, stroke.value, stroke.version):
            problems.append(f"changed: stroke {stroke.id}: {row[:3]}")
        elif unpack(row[3]).ravel().tolist() != stroke.runs:
            problems.append(f"changed: voxels of stroke {stroke.id}")
    return problems


def _wait_for_ends(server: Server, problems: list[str]) -> int:
    """Wait until no job claims to run whose process is dead; return how many were told as crashed."""
    until = time.monotonic() + PATIENCE
    states: dict[int, tuple[str, str]] = {}
    while time.monotonic() < until:
        answer = httpx.get(f"{server.address}/api/jobs", headers=server.headers, timeout=30)
        states = {job["id"]: (job["state"], job["message"]) for job in answer.json()}
        for job, (state, _) in states.items():
            # A running one is first given the time to be told as crashed.
            if state == "queued" or (state == "running" and time.monotonic() > until - PATIENCE + LOOK_SECONDS):
                httpx.post(f"{server.address}/api/jobs/{job}/cancel", headers=server.headers, timeout=30)
        if all(state in ("finished", "cancelled", "crashed") for state, _ in states.values()):
            break
        time.sleep(0.5)
    for job, (state, message) in states.items():
        if state in ("queued", "running"):
            problems.append(f"job {job} is still told as {state}: {message}")
        if state == "crashed" and not message:
            problems.append(f"job {job} crashed without a reason")
    return sum(state == "crashed" for state, _ in states.values())


def _compare_files(server: Server, folder: Path, names: list[str]) -> list[str]:
    """Compare stroke files with the history, once the server had time to write them."""
    problems: list[str] = []
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        problems = []
        dataset = Dataset.open(folder)
        for case in dataset.cases("Tr"):
            listed = httpx.get(f"{server.address}/api/cases/{case.id}", headers=server.headers, timeout=30).json()
            if not listed["drawn"]:
                continue
            drawn = dataset.read_scribble(case) if case.scribble is not None else np.full(SIZE, UNLABELLED)
            counts = {str(value): int((drawn == value).sum()) for value in np.unique(drawn) if value != UNLABELLED}
            if counts != listed["drawn"]:
                problems.append(f"{case.id}: the file holds {counts}, the history {listed['drawn']}")
        if not problems:
            return []
        time.sleep(0.5)
    return problems


if __name__ == "__main__":
    main()
