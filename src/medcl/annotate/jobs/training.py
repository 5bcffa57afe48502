"""A training job: MedCL on the strokes so far, from the newest model on, with predictions while it goes on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import select

from medcl.annotate.jobs.holdback import scores
from medcl.annotate.jobs.material import Material, gather
from medcl.annotate.jobs.plans import plan_for
from medcl.annotate.jobs.predicting import Predictor
from medcl.annotate.jobs.processes import threads
from medcl.annotate.jobs.progress import Report, Stopped
from medcl.annotate.jobs.recipe import has_file, settings_for
from medcl.annotate.problems import Refused
from medcl.annotate.schemas import NewJob
from medcl.annotate.state.tables import ModelRow, now
from medcl.data.layout import Case
from medcl.errors import DataError, ModelError

if TYPE_CHECKING:
    from medcl.annotate.context import Context
    from medcl.data.store import Store
    from medcl.training.run import RunResult
    from medcl.training.supervisor import Progress
    from medcl.training.watching import Snapshot

TRAINING_SHARE = 0.9
"""Share of a job's progress that is training; the rest is predicting."""

FIRST_LOOK_SECONDS = 12.0
"""The first prediction is made so long after the first step,"""

LOOK_SECONDS = 20.0
"""the second so long after the first,"""

GROWTH = 1.25
"""and each later pause is so much longer;"""

LARGEST_LOOK = 0.2
"""but predicting takes at most this share of the time, apart from the open case the first time."""

_GONE = "is no longer part of the data set; its image was removed or renamed while the training ran."

KEPT_RUNS = 3
KEPT_STORES = 2


def train_job(context: Context, report: Report, job: int, asked: NewJob) -> str:
    """Do a training job.

    Returns:
        What came of it, a sentence.

    Raises:
        MedclError: The data or the settings cannot be used, in a sentence.
        Stopped: Somebody cancelled; the model so far is kept.
    """
    from medcl.training.run import train

    report.say("looking at what is drawn")
    material = gather(context)
    _note_strokes(context, job, material.strokes)
    report.check()
    report.say("planning")
    newest = None if asked.fresh else newest_model(context)
    settings = settings_for(asked, start=newest)
    plan = plan_for(context, material.dataset, settings.pop("plan", {}))
    report.check()
    watcher = _Watcher(context, report, job, asked, material)
    out = context.state / "runs" / f"job-{job:05d}"
    shutil.rmtree(out, ignore_errors=True)

    def go(chosen: dict[str, Any]) -> RunResult:
        return train(
            material.dataset,
            out,
            budget=f"{asked.minutes!r}m" if "budget" not in chosen else None,
            settings=chosen,
            plan=plan,
            store=context.state / "store",
            show=watcher.show,
            watch=watcher.watch,
        )

    told = ""
    try:
        result = go(settings)
    except ModelError as error:
        if newest is None or not has_file(settings) or (out / "run.json").exists():
            raise
        told = f"; it started from nothing, as the newest model does not fit ({error})"
        result = go(settings_for(asked, start=None) | {"plan": {}})
    words = watcher.finish(result)
    if report.stop.is_set():
        raise Stopped
    return words + told


def newest_model(context: Context) -> Path | None:
    """Return the folder of the newest model whose files are there."""
    with context.database.session(write=False) as session:
        for row in session.scalars(select(ModelRow).order_by(ModelRow.id.desc()).limit(20)):
            if (context.state / row.folder / "model.json").is_file():
                return context.state / row.folder
    return None


class _Watcher:
    """Looks at a training while it runs: tells how far it is, and predicts with what it has learned so far."""

    def __init__(self, context: Context, report: Report, job: int, asked: NewJob, material: Material) -> None:
        self.context, self.report, self.job, self.asked, self.material = context, report, job, asked, material
        self.model: int | None = None
        self._store: Store | None = None  # what the training itself reads: complete, whatever becomes of the files
        self._started = time.monotonic()
        self._next: float | None = None
        self._pause = LOOK_SECONDS
        self._turn = 0
        self._unread: dict[str, str] = {}  # case -> why it could not be predicted

    def show(self, moment: Progress) -> None:
        """Take a line of the training's own progress."""
        if not moment.step:  # while cases are prepared there are no steps to stop at
            self.report.check()
        if moment.message:
            print(moment.message, flush=True)
            if not moment.step:
                self.report.say(moment.message)
        if moment.losses:
            self.report.add("losses", moment.step, moment.losses)

    def watch(self, snapshot: Snapshot) -> bool:
        """Look at a step; True ends the training."""
        self._store = snapshot.store
        if self.report.stop.is_set():
            return True
        moment = time.monotonic()
        if self._next is None:
            self._started, self._next = moment, moment + FIRST_LOOK_SECONDS
            self.report.say("training")
        self._tell(snapshot, moment)
        if moment >= self._next and snapshot.share < 0.95:  # the end brings predictions of its own
            self._look(snapshot)
            took = time.monotonic() - moment
            self._pause = max(self._pause, took / LARGEST_LOOK)
            self._next = time.monotonic() + self._pause
            self._pause *= GROWTH
        return self.report.stop.is_set()

    def finish(self, result: RunResult) -> str:
        """Keep the last model and predict the training cases with it; return a sentence."""
        from medcl.inference.model import Model
        from medcl.inference.postprocess import unions_of

        if not result.model.is_dir():
            raise Stopped  # ended from outside before there was a model
        self._keep_model(result.steps, result.model)
        model = Model.load(result.model, engine="torch", threads=threads())
        unions = unions_of("auto", classes=len(model.classes), groups=model.plan.groups, one_piece=model.info.one_piece)
        predictor = Predictor(self.context, model.plan, model.engine, unions, self._store)
        self.report.say("predicting")
        masks: dict[str, np.ndarray] = {}
        cases = list(self._cases(only_held=self.report.stop.is_set()))
        for number, case in enumerate(cases):
            self._predict(predictor, case, masks)
            self.report.at(TRAINING_SHARE + (1 - TRAINING_SHARE) * (number + 1) / len(cases))
            if self.report.stop.is_set():
                break
        self._score(result.steps, masks)
        _tidy(self.context, self.job)
        words = f"trained {result.steps} steps on {_count(self.material.strokes, 'stroke')}; {self.material.words}"
        return "; ".join([words, *self._unread.values()])

    def _predict(self, predictor: Predictor, case: Case, masks: dict[str, np.ndarray]) -> None:
        """Predict a case; one that cannot be read does not cost the training."""
        try:
            mask = predictor.predict(case, self._model(), self.job)
        except (DataError, Refused) as error:
            self._unread[case.id] = str(error)
            return
        if case.id in self.material.held:
            masks[case.id] = mask

    # --- while it trains ---

    def _tell(self, snapshot: Snapshot, moment: float) -> None:
        share = snapshot.share
        left = (moment - self._started) * (1 - share) / share if share > 0 else None
        self.report.at(TRAINING_SHARE * share, left)

    def _look(self, snapshot: Snapshot) -> None:
        """Keep the network of this moment, and predict: the open case, what is scored, then others as time allows."""
        begin = time.monotonic()
        folder = self.context.state / "runs" / f"job-{self.job:05d}" / "so-far"
        snapshot.save(folder)
        self._keep_model(snapshot.step, folder)
        predictor = Predictor(self.context, snapshot.plan, snapshot.forward, snapshot.one_piece, snapshot.store)
        allowed = LARGEST_LOOK * self._pause
        masks: dict[str, np.ndarray] = {}
        for number, case in enumerate(self._turned()):
            if number and time.monotonic() - begin > allowed:
                break
            self._predict(predictor, case, masks)
            if self.report.stop.is_set():
                return
        if set(masks) == set(self.material.held):
            self._score(snapshot.step, masks)

    def _cases(self, *, only_held: bool = False) -> Iterator[Case]:
        """Yield the open case, those that are scored, and the others: as asked for, else all training cases."""
        held = self.material.held
        cases = {case.id: case for case in self.context.cases()}
        others = self.asked.cases
        if others is None:
            others = [name for name, case in cases.items() if case.split == "Tr"]
        first = [] if self.asked.first is None else [self.asked.first]
        for name in dict.fromkeys([*first, *held, *others]):
            if not only_held or name == self.asked.first or name in held:
                if name in cases:
                    yield cases[name]
                else:
                    self._unread[name] = f"case {name}: {_GONE}"

    def _turned(self) -> Iterator[Case]:
        """Yield the cases for a look: the first ones always, the rest in turn, so that each has its day."""
        cases = list(self._cases())
        always = [case for case in cases if case.id == self.asked.first or case.id in self.material.held]
        rest = cases[len(always) :]
        yield from always
        for _ in range(len(rest)):
            self._turn += 1
            yield rest[(self._turn - 1) % len(rest)]

    # --- what stays ---

    def _model(self) -> int:
        assert self.model is not None  # a model is kept before anything is predicted with it
        return self.model

    def _keep_model(self, steps: int, folder: Path) -> None:
        with self.context.database.session() as session:
            row = session.get(ModelRow, self.model) if self.model is not None else None
            if row is None:
                row = ModelRow(
                    job=self.job,
                    at=now(),
                    folder="",
                    steps=0,
                    strokes=self.material.strokes,
                    seconds=self.material.seconds,
                    voxels=self.material.voxels,
                    scores={},
                )
                session.add(row)
            row.folder, row.steps, row.at = folder.relative_to(self.context.state).as_posix(), steps, now()
            session.flush()
            self.model = row.id
            self.context.tell(session, "model", "kept", job=self.job)

    def _score(self, step: int, masks: dict[str, np.ndarray]) -> None:
        cases = {case.id: case for case in self.context.cases()}
        pairs = []
        for name, mask in masks.items():
            try:
                if name not in cases:
                    raise DataError(f"case {name}: {_GONE}")
                pairs.append((self.context.view(cases[name]).to_view(mask), self.material.held[name]))
            except DataError as error:  # removed since it was predicted
                self._unread[name] = str(error)
        found = scores(pairs, self.material.dataset.classes)
        if not found:
            return
        self.report.add("scores", step, found)
        with self.context.database.session() as session:
            row = session.get(ModelRow, self._model())
            assert row is not None  # `_keep_model` wrote it
            row.scores = found
            self.context.tell(session, "model", "scored", job=self.job)


def _note_strokes(context: Context, job: int, strokes: int) -> None:
    from medcl.annotate.jobs.queue import row_of

    with context.database.session() as session:
        row_of(session, job).strokes = strokes


def _tidy(context: Context, job: int) -> None:
    """Remove runs and prepared arrays of long ago; the newest ones are linked by those that come."""
    runs = sorted(path for path in (context.state / "runs").glob("job-*") if path.is_dir())
    for path in runs[:-KEPT_RUNS]:
        shutil.rmtree(path, ignore_errors=True)
    stores = [path for path in (context.state / "store").glob("*/store.json") if not path.parent.name.startswith(".")]
    for path in sorted(stores, key=lambda p: p.stat().st_mtime)[:-KEPT_STORES]:
        shutil.rmtree(path.parent, ignore_errors=True)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
