"""Does asking pay? The loop of drawing and training with `entropy-rarity` against `random`, at equal strokes.

    python benchmarks/annotate_loop.py --out annotate_loop.json --seeds 5

Made-up hearts, a made-up person, the true server and worker. Each seed has its own hearts and one cold start; from a
copy of it each strategy goes its own way: ask for places, draw there, train on from the newest model, predict cases
that nobody draws on, and score them by their dense labels, which the server never sees. Trainings are measured in
steps, so that a busy machine changes the time and not the result.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from annotate_person import Annotator, Truth, machine, phantoms, served, train, wait_for, write
from medcl.annotate import Client


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return settings of each training."""
    return {} if options.width is None else {"backbone.base": options.width}


def score(client: Client, truth: Truth) -> dict[str, Any]:
    """Return mean Dice of the test cases, over all and by class; without any, of the cases that are drawn on."""
    if truth.splits["Ts"]:
        wait_for(client, client.predict(truth.splits["Ts"]))
    cases = truth.splits["Ts"] or truth.splits["Tr"]
    table = np.array([truth.scores(case, client.prediction(case)) for case in cases])
    by_class = {name: round(float(d), 4) for name, d in zip(truth.classes[1:], table.mean(axis=0), strict=True)}
    return {"dice": round(float(table.mean()), 4), "by_class": by_class}


def point(client: Client, person: Annotator, truth: Truth, begin: float) -> dict[str, Any]:
    """Return how good the newest model is, and what it cost."""
    numbers = client.statistics()
    held = numbers.curve[-1].scores.get("dice") if numbers.curve else None
    return {
        "strokes": person.drawn,
        "seconds_drawing": round(numbers.seconds, 1),
        "voxels": numbers.voxels,
        "dice_held_back_strokes": held,
        "seconds": round(time.monotonic() - begin, 1),
        **score(client, truth),
    }


def cold(folder: Path, truth: Truth, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Draw and train until there is a first model."""
    begin = time.monotonic()
    with served(folder, inline=options.inline) as client:
        person = Annotator(client, truth, seed)
        person.cold_start(options.start)
        train(client, steps=options.first_steps, **settings_of(options))
        result = point(client, person, truth, begin)
        _leave(client)
    return result


def follow(folder: Path, truth: Truth, seed: int, strategy: str, drawn: int, options: argparse.Namespace) -> list[Any]:
    """Go on with one strategy; return a point per round."""
    begin, points = time.monotonic(), []
    with served(folder, inline=options.inline) as client:
        person = Annotator(client, truth, seed)
        person.drawn = drawn
        for _ in range(options.rounds):
            # More places than strokes: where somebody finds no room to draw, the next one is taken.
            left = options.strokes
            for place in client.next(strategy, count=3 * options.strokes):
                left -= person.follow(place) if left else 0
            train(client, steps=options.steps, **settings_of(options))
            points.append(point(client, person, truth, begin))
            print(seed, strategy, points[-1], flush=True)
        _leave(client)
    return points


def _leave(client: Client) -> None:
    """Wait until nothing is at work, so that the folder may be copied."""
    while any(job.state in ("queued", "running") for job in client.jobs()):
        time.sleep(0.5)


def once(scratch: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return the curves of all strategies for one set of hearts."""
    start, truth = phantoms(
        scratch / f"{seed}-start", cases=options.cases, test=options.test, seed=seed, size=options.size
    )
    first = cold(start, truth, seed, options)
    print(seed, "cold start", first, flush=True)
    curves = {}
    for strategy in options.strategies:
        folder = scratch / f"{seed}-{strategy}"
        shutil.copytree(start, folder, ignore=shutil.ignore_patterns("worker.lock", "flush.lock"))
        curves[strategy] = [first, *follow(folder, truth, seed, strategy, options.start, options)]
        shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(start, ignore_errors=True)
    return {"seed": seed, "curves": curves}


def summary(rows: list[dict[str, Any]], strategies: list[str]) -> dict[str, Any]:
    """Return mean Dice per round, and the paired difference of the first strategy to the others at the end."""
    result: dict[str, Any] = {"mean": {}, "difference": {}}
    for name in strategies:
        table = np.array([[p["dice"] for p in row["curves"][name]] for row in rows])
        result["mean"][name] = [round(float(d), 4) for d in table.mean(axis=0)]
    for name in strategies[1:]:
        pairs = np.array([_after_start(row, strategies[0]) - _after_start(row, name) for row in rows])
        spread = float(pairs.mean(axis=1).std(ddof=1)) if len(rows) > 1 else None
        result["difference"][f"{strategies[0]} - {name}"] = {
            "mean_over_rounds": round(float(pairs.mean()), 4),
            "last_round": round(float(pairs[:, -1].mean()), 4),
            "standard_deviation_over_seeds": None if spread is None else round(spread, 4),
            "seeds_in_favour": int((pairs.mean(axis=1) > 0).sum()),
            "seeds": len(rows),
        }
    return result


def _after_start(row: dict[str, Any], strategy: str) -> np.ndarray:
    """Return Dice of each round; the cold start is the same for all."""
    return np.array([point["dice"] for point in row["curves"][strategy][1:]])


def main() -> None:
    """Measure and write, after each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("annotate_loop.json"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--test", type=int, default=6, help="0: the cases that are drawn on are scored")
    parser.add_argument("--start", type=int, default=10, help="strokes of the cold start")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--strokes", type=int, default=4, help="strokes per round")
    parser.add_argument("--first-steps", type=int, default=600)
    parser.add_argument("--steps", type=int, default=300, help="training steps per round")
    parser.add_argument("--size", type=int, nargs=3, help="voxels of a scan (z y x); default: as medcl phantom makes")
    parser.add_argument("--width", type=int, help="channels of the finest level of the network; default: 16")
    parser.add_argument("--inline", action="store_true", help="train in this process: for short trainings")
    parser.add_argument("--strategies", nargs="+", default=["entropy-rarity", "random"])
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="medcl-loop-") as scratch:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            rows.append(once(Path(scratch), seed, options))
            settings = {key: value for key, value in vars(options).items() if key != "out"}
            content = {"settings": settings, "machine": machine(), "summary": summary(rows, options.strategies)}
            write(options.out, {**content, "runs": rows})
            print(content["summary"], flush=True)


if __name__ == "__main__":
    main()
