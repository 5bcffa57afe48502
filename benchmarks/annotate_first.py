"""Seconds from the tenth stroke to a useful prediction: made-up hearts, through the true server and its worker.

    python benchmarks/annotate_first.py --out annotate_first.json --seeds 3

A made-up person draws ten strokes (every class in the slices that `coverage` asks for), presses *Train* with the first
case open, and looks at each prediction that arrives. Useful: mean Dice of the structures of the open case >= 0.75.
Run it on idle cores: seconds count. `cpu_seconds` is what worker and job had computed by then, whatever the load.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from annotate_person import Annotator, cpu_seconds, machine, phantoms, served, write

USEFUL = 0.75


def once(folder: Path, seed: int, *, strokes: int, minutes: float) -> dict[str, Any]:
    """Return what one person saw when."""
    folder, truth = phantoms(folder / f"hearts-{seed}", cases=8, test=0, seed=seed)
    with served(folder) as client:
        person = Annotator(client, truth, seed)
        person.cold_start(strokes)
        open_case = next(row.id for row in client.cases() if row.strokes)
        begin = time.monotonic()
        job = client.train(minutes=minutes, first=open_case)
        seen: dict[str, int] = {}
        looks, useful, everywhere = [], None, None
        newest: dict[str, float] = {}
        while True:
            job = client.job(job.id)
            for row in client.cases():
                if row.prediction is None or seen.get(row.id) == row.prediction.id:
                    continue
                seen[row.id] = row.prediction.id
                score = float(np.mean(truth.scores(row.id, client.prediction(row.id))))
                after = round(time.monotonic() - begin, 1)
                newest[row.id] = score
                if row.id == open_case:
                    looks.append({"seconds": after, "cpu_seconds": cpu_seconds(folder), "dice": round(score, 4)})
                    if useful is None and score >= USEFUL:
                        useful = after
                if everywhere is None and len(newest) == 8 and np.mean(list(newest.values())) >= USEFUL:
                    everywhere = after
            if job.state not in ("queued", "running"):
                break
            time.sleep(0.5)
        return {
            "seed": seed,
            "strokes": person.drawn,
            "state": job.state,
            "message": job.message,
            "open_case": looks,
            "seconds_to_useful": useful,
            "seconds_to_useful_mean_of_all_cases": everywhere,
            "seconds_in_all": round(time.monotonic() - begin, 1),
            "dice_all_cases": {name: round(score, 4) for name, score in newest.items()},
        }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("annotate_first.json"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--strokes", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=2.0)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="medcl-first-") as folder:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            rows.append(once(Path(folder), seed, strokes=options.strokes, minutes=options.minutes))
            print(rows[-1], flush=True)
            write(options.out, {"useful": USEFUL, "minutes": options.minutes, "machine": machine(), "runs": rows})


if __name__ == "__main__":
    main()
