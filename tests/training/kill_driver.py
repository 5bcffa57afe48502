"""Trains in child processes and kills them at random moments; run by test_resume.py.

The parent imports everything once and forks, so that a child starts in a fraction of a second.

    python kill_driver.py DATA RUN STEPS KILLS SEED
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from medcl.training import train
from medcl.training.checkpoint import load_checkpoint
from medcl.training.log import read_log

SETTINGS = json.loads(os.environ["MEDCL_TEST_SETTINGS"])


def start(data: Path, run: Path, steps: int) -> int:
    """Fork a child that starts the run, or goes on with it."""
    child = os.fork()
    if child:
        return child
    train(
        data,
        run,
        budget=f"{steps}steps",
        settings=SETTINGS,
        resume=(run / "run.json").exists(),
        store=run.parent / "store",
    )
    os._exit(0)


def main() -> None:
    """Kill, check that every file can be read, resume; then let the run finish."""
    data, run = Path(sys.argv[1]), Path(sys.argv[2])
    steps, kills, seed = (int(v) for v in sys.argv[3:6])
    torch.set_num_threads(1)
    draw = random.Random(seed)
    done = 0
    while done < kills:
        child = start(data, run, steps)
        time.sleep(draw.uniform(0.02, 1.2))
        finished, _ = os.waitpid(child, os.WNOHANG)
        if finished:  # a fast machine
            print(json.dumps({"kills": done, "status": 0}))
            return
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        done += 1
        if (run / "checkpoints" / "last.ckpt").exists():
            load_checkpoint(run / "checkpoints" / "last.ckpt")
        if (run / "run.json").exists():
            json.loads((run / "run.json").read_text(encoding="utf-8"))
        read_log(run / "log.csv")
    child = start(data, run, steps)
    _, status = os.waitpid(child, 0)
    print(json.dumps({"kills": done, "status": status}))


if __name__ == "__main__":
    main()
