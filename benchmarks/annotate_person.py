"""A made-up person at the annotation page: draws where it is asked to, through the true server."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from medcl.annotate import Client, create_app
from medcl.annotate.schemas import Job, NewJob, Suggestion
from medcl.data.dataset import Dataset
from medcl.data.io import read_geometry
from medcl.data.labels import UNLABELLED
from medcl.data.view import View
from medcl.evaluation.metrics import dice
from medcl.phantom import make_phantom
from medcl.scribbles.presets import preset
from medcl.scribbles.simulator import draw

AXES = {"axial": 0, "coronal": 1, "sagittal": 2}
TOKEN = "benchmark-of-this-machine"


class Truth:
    """Dense labels of all cases in the view grid, which the server never sees."""

    def __init__(self, folder: Path) -> None:
        dataset = Dataset.open(folder)
        self.classes = dataset.classes
        self.labels: dict[str, np.ndarray] = {}
        self.spacing: dict[str, tuple[float, float, float]] = {}
        self.splits: dict[str, list[str]] = {"Tr": [], "Val": [], "Ts": []}
        for split, names in self.splits.items():
            for case in dataset.cases(split):  # type: ignore[arg-type]
                view = View.of(read_geometry(case.images[0]))
                self.labels[case.id] = np.ascontiguousarray(view.to_view(dataset.read_label(case)))
                x, y, z = view.spacing_mm
                self.spacing[case.id] = (z, y, x)
                names.append(case.id)

    def scores(self, case: str, mask: np.ndarray) -> list[float]:
        """Return Dice of each structure."""
        label = self.labels[case]
        return [dice(mask == c, label == c, ignored=label == UNLABELLED) for c in range(1, len(self.classes))]


class Annotator:
    """Draws one stroke of a class in a slice, as `medcl.scribbles` simulates people.

    Args:
        client: The server.
        truth: What the person knows.
        seed: Of the hand.
    """

    def __init__(self, client: Client, truth: Truth, seed: int) -> None:
        self.client, self.truth, self.seed = client, truth, seed
        self.settings = preset("acdc-like", breaks=0.0, budget={"strokes": 1})
        self.drawn = 0

    def stroke(self, case: str, plane: str, index: int, class_index: int) -> bool:
        """Draw a stroke; where the class is not in the slice, one of background. Return whether there was room."""
        label = np.moveaxis(self.truth.labels[case], AXES[plane], 0)[index]
        if not (label == class_index).any():
            class_index = 0
        spacing = tuple(np.delete(self.truth.spacing[case], AXES[plane]))
        drawing = draw(label.astype(np.int16), spacing, self.settings, self.seed * 1000 + self.drawn)
        where = np.zeros(self.truth.labels[case].shape, bool)
        np.moveaxis(where, AXES[plane], 0)[index] = drawing.scribble == class_index
        if not where.any():
            return False
        cost = self.settings.cost
        lengths = [stroke.length_mm for stroke in drawing.strokes if stroke.value == class_index]
        seconds = cost.per_stroke_s * len(lengths) + cost.per_mm_s * sum(lengths)
        self.client.draw(case, where, class_index, plane=plane, seconds=round(seconds, 1))  # type: ignore[arg-type]
        self.drawn += 1
        return True

    def follow(self, place: Suggestion) -> bool:
        """Draw what `next` asks for."""
        return self.stroke(place.case, place.plane, place.slice, place.class_index)

    def cold_start(self, strokes: int) -> None:
        """Draw every class in the slices that `coverage` asks for, until so many strokes are there."""
        classes = [*range(1, len(self.truth.classes)), 0]
        for place in self.client.next("coverage", count=strokes):
            for class_index in classes:
                label = np.moveaxis(self.truth.labels[place.case], AXES[place.plane], 0)[place.slice]
                if self.drawn >= strokes:
                    return
                if (label == class_index).any():
                    self.stroke(place.case, place.plane, place.slice, class_index)


@contextlib.contextmanager
def served(folder: Path, author: str = "annotator", *, inline: bool = False) -> Iterator[Client]:
    """Serve a folder on a free port and give a client; the worker's life goes on until it has nothing to do.

    Args:
        folder: What to serve.
        author: Name of the person.
        inline: Start no worker; `wait_for` does the jobs in this process. For many small trainings, whose processes
            would take longer to start than to train.
    """
    import uvicorn

    from medcl.annotate.routes import jobs

    if inline:
        jobs.start_worker = lambda context: None

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = create_app(folder, token=TOKEN)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.05)
        with Client(f"http://127.0.0.1:{port}", token=TOKEN, author=author) as client:
            client.inline = app.state.context.recipe() if inline else None  # type: ignore[attr-defined]
            yield client
    finally:
        server.should_exit = True
        thread.join(timeout=30)


def wait_for(client: Client, job: Job, *, each: float = 0.5) -> Job:
    """Wait until a job has ended.

    Raises:
        RuntimeError: It crashed.
    """
    recipe = getattr(client, "inline", None)
    if recipe is not None:
        from medcl.annotate.context import Context
        from medcl.annotate.jobs import processes, queue, work

        context = Context(**recipe)
        assert queue.claim(context, processes.identity()) == job.id
        work.do(context, job.id)
        job = client.job(job.id)
    while job.state in ("queued", "running"):
        time.sleep(each)
        job = client.job(job.id)
    if job.state != "finished":
        raise RuntimeError(f"job {job.id} {job.state}: {job.message}")
    return job


def train(client: Client, *, steps: int, **settings: Any) -> Job:
    """Train for a number of steps, so that a busy machine changes the time and not the result."""
    return wait_for(client, client.start(NewJob(kind="train", settings={"budget": {"steps": steps}, **settings})))


def phantoms(
    out: Path, *, cases: int, test: int, seed: int, size: tuple[int, int, int] | None = None
) -> tuple[Path, Truth]:
    """Write made-up hearts for the server, without strokes or training labels, and keep the truth aside."""
    folder = make_phantom(out, "heart", cases=cases, validation=0, test=test, seed=seed, dense=True, size=size)
    truth = Truth(folder)
    for name in ("scribblesTr", "labelsTr", "labelsTs"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return folder, truth


def cpu_seconds(folder: Path) -> float:
    """Return the processor time that worker and job of a folder have used so far."""
    import psutil

    total = 0.0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if Path(process.cwd()) == folder / ".medcl":
                times = process.cpu_times()
                total += times.user + times.system
    return round(total, 1)


def machine() -> dict[str, Any]:
    """Return what a timing depends on."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"cores": os.cpu_count(), "processor": platform.machine(), "load": load, "nice": os.nice(0)}


def write(path: Path, content: dict[str, Any]) -> None:
    """Write results as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
