"""One round: ask, draw until the seconds are spent, train, predict, score. Each part is resumable or short."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medcl.benchmark.simulation.asking import pool_of, truly_shown
from medcl.benchmark.simulation.person import visit, visit_seed
from medcl.benchmark.simulation.recipe import Asking
from medcl.benchmark.simulation.state import State
from medcl.data.io import read_geometry, read_map, write_map
from medcl.data.labels import UNLABELLED
from medcl.data.layout import split_ending
from medcl.data.prepare import Prepared
from medcl.evaluation.metrics import dice
from medcl.files import atomic_folder, read_json, write_json
from medcl.inference.postprocess import LargestComponent, keep_largest
from medcl.inference.segment import segment
from medcl.queries import Place, Query, build_strategy, needs
from medcl.queries.places import from_rows, places_of, to_rows

if TYPE_CHECKING:
    from medcl.benchmark.simulation.stage import Stage
    from medcl.data.layout import Case
    from medcl.inference.model import Model

Report = Callable[[str, float, float | None], None]

STROKES, RUN, PLACES, MASKS = "strokes", "run", "places.json", "masks"

AT_ONCE = 40
"""A strategy is asked for so many places at a time."""


def draw_round(
    stage: Stage,
    state: State,
    before: Path | None,
    folder: Path,
    asking: Asking,
    *,
    until: float,
    total: float,
    what: Literal["slice", "class"],
    seed: int,
) -> None:
    """Let the person follow a strategy until the seconds are spent, and write the strokes.

    The visit during which the seconds run out is finished: nobody knows beforehand how long a slice takes. What it
    takes too long is taken from the next round.

    Args:
        stage: The data.
        state: What is drawn; changed in place.
        before: Folder of the last round; None: nothing is drawn.
        folder: Folder of this round; gets `strokes`.
        asking: Whom to follow.
        until: Seconds after which no further slice is visited.
        total: Seconds at the end of all rounds.
        what: See `visit`.
        seed: Seed of the person and the lots.
    """
    strategy = build_strategy(asking.strategy or "", asking.settings)
    maps: dict[str, np.ndarray] = {}
    cases = {case.id: case for case in stage.pool}
    labels: dict[str, np.ndarray] = {}
    places = read_places(before) if before is not None else []
    shows = truly_shown(stage) if asking.informed else None
    state.strokes = state.strokes or [0] * len(stage.dataset.classes)
    while state.seconds < until and not state.exhausted:
        pool = pool_of(stage, state, strategy, places, shows=shows, progress=state.seconds / total)
        found = strategy.rank(pool, AT_ONCE, seed=_lot(seed, state))
        visited = 0
        for query in found:
            if state.seconds >= until:
                break
            if query.case not in labels:
                labels[query.case] = stage.label(cases[query.case])
                maps[query.case] = _strokes_of(stage, cases[query.case], before)
            _go_to(stage, state, cases[query.case], query, labels[query.case], maps[query.case], what, seed)
            visited += 1
        state.exhausted = visited == 0
    with atomic_folder(folder / STROKES) as temporary:
        if before is not None:
            for path in (before / STROKES).iterdir():
                shutil.copyfile(path, temporary / path.name)
        for name, strokes in maps.items():
            case = cases[name]
            values = stage.dataset.labels.strokes.encode(strokes)
            write_map(temporary / _file_name(case), values, read_geometry(case.images[0]))


def _go_to(
    stage: Stage,
    state: State,
    case: Case,
    query: Query,
    label: np.ndarray,
    strokes: np.ndarray,
    what: Literal["slice", "class"],
    seed: int,
) -> None:
    """Draw in one slice and book it."""
    axis = stage.axis(case)
    spacing = read_geometry(case.images[0]).spacing_mm
    across = tuple(mm for a, mm in enumerate(spacing) if a != axis)
    plane = np.moveaxis(label, axis, 0)[query.slice]
    visits = state.visits.setdefault(case.id, {})
    lot = visit_seed(seed, case.id, query.slice, visits.get(query.slice, 0))
    done = visit(plane, across, stage.settings, lot, asked=query.class_index, what=what)  # type: ignore[arg-type]
    ink = np.moveaxis(strokes, axis, 0)[query.slice]
    new = (done.strokes > 0) & (ink != done.strokes)
    ink[done.strokes != UNLABELLED] = done.strokes[done.strokes != UNLABELLED]
    visits[query.slice] = visits.get(query.slice, 0) + 1
    classes = set(state.drawn.setdefault(case.id, {}).get(query.slice, [])) | set(done.counts)
    state.drawn[case.id][query.slice] = sorted(classes)
    state.seconds += done.seconds
    state.voxels += int(new.sum())
    for value, number in done.counts.items():
        state.strokes[value] += number
    state.asked.append(
        {
            "case": case.id,
            "slice": query.slice,
            "class": query.class_index,
            "seconds": round(done.seconds, 2),
            "strokes": sum(done.counts.values()),
            "reason": query.reason,
        }
    )


def train_round(
    stage: Stage, folder: Path, settings: dict[str, Any], report: Report, *, learn: Any = None
) -> tuple[Path, int, float]:
    """Train on the strokes of a round; goes on where it was interrupted.

    Args:
        stage: The data.
        folder: Folder of the round.
        settings: Settings of the training.
        report: Told how far it is.
        learn: Data set to learn from in place of the strokes.

    Returns:
        Model folder, steps done and seconds of training.
    """
    import medcl
    from medcl.benchmark.work import Stopped
    from medcl.data.store import Store

    data = learn or stage.learned(strokes_in(stage, folder))
    run = folder / RUN
    settings = {key: value for key, value in settings.items() if key != "plan"}
    result = medcl.train(
        data,
        run,
        settings=settings,
        plan=stage.plan,
        resume=(run / "run.json").exists(),
        store=stage.out / "store",
        show=lambda moment: report("training", moment.share, moment.seconds_left),
    )
    if not result.finished:
        raise Stopped
    # Only the images stay prepared: each round has other strokes, and hundreds of rounds would fill the disk.
    prepared = Store.prepare(data, stage.plan, stage.out / "store", splits=("Tr", "Val"))
    if prepared.path != stage.images.path:
        shutil.rmtree(prepared.path, ignore_errors=True)
    for name in ("checkpoints", "pictures", "best_model"):
        shutil.rmtree(run / name, ignore_errors=True)
    return run / "model", result.steps, 60 * result.minutes


def look(stage: Stage, model: Model, folder: Path, report: Report, *, samples: Sequence[Model] = ()) -> None:
    """Predict the pool and write what the predictions say of its slices."""
    rows: dict[str, list[list[float | int]]] = {}
    for number, case in enumerate(stage.pool):
        report("predicting the pool", number / len(stage.pool), None)
        known = stage.images[case.id]
        prepared = Prepared(np.asarray(known.image, dtype=np.float32), known.grid)
        shares = [_shares(member, stage, prepared) for member in (model, *samples)]
        axis = stage.axis(case)
        found = places_of(
            case.id,
            np.mean(shares, axis=0) if samples else shares[0],
            known.geometry.spacing_mm,
            axis,
            samples=np.stack(shares) if samples else None,
        )
        rows[case.id] = to_rows(found)
    write_json(folder / PLACES, rows)


def _shares(model: Model, stage: Stage, prepared: Prepared) -> np.ndarray:
    result = segment(model.engine, stage.plan, prepared, flips=False, probabilities=True)
    assert result.probabilities is not None  # asked for
    return result.probabilities


def score(
    stage: Stage, model: Model, pieces: LargestComponent, report: Report, keep: Path | None = None
) -> dict[str, dict[str, float | None]]:
    """Predict the scored cases and return Dice of each structure; unlabelled voxels of a label do not count.

    Args:
        stage: The data.
        model: The round's model.
        pieces: Which pieces of a mask stay.
        report: Told how far it is.
        keep: Where to keep the mask of the first case, for pictures.
    """
    unions = model.unions(pieces)
    classes = stage.dataset.classes
    found: dict[str, dict[str, float | None]] = {}
    for number, case in enumerate(stage.test):
        report("scoring", number / len(stage.test), None)
        known = stage.scored[case.id]
        prepared = Prepared(np.asarray(known.image, dtype=np.float32), known.grid)
        mask = keep_largest(segment(model.engine, stage.plan, prepared, flips=False).mask, unions)
        label = stage.dataset.read_label(case)
        found[case.id] = {
            classes[c]: round(dice(mask == c, label == c, ignored=label == UNLABELLED), 5)
            for c in case.annotated
            if c > 0
        }
        if keep is not None and number == 0:
            write_map(keep / f"{case.id}.nii.gz", mask, known.geometry)
    return found


def wants_samples(asking: Asking) -> bool:
    """Whether the strategy reads several predictions of each case."""
    return needs(build_strategy(asking.strategy or "", asking.settings), "samples")


def read_places(folder: Path) -> list[Place]:
    """Read what `look` wrote."""
    return [place for case, rows in read_json(folder / PLACES).items() for place in from_rows(case, rows)]


def strokes_in(stage: Stage, folder: Path) -> dict[str, Path]:
    """Return case -> file of the strokes of a round."""
    files = {case.id: folder / STROKES / _file_name(case) for case in stage.pool}
    return {name: path for name, path in files.items() if path.exists()}


def _strokes_of(stage: Stage, case: Case, before: Path | None) -> np.ndarray:
    path = None if before is None else strokes_in(stage, before).get(case.id)
    if path is None:
        return np.full(read_geometry(case.images[0]).size, UNLABELLED, np.int16)
    return stage.dataset.labels.strokes.decode(read_map(path)[0], str(path))


def _file_name(case: Case) -> str:
    assert case.label is not None  # the pool holds only cases that a person can draw on
    return f"{case.id}{split_ending(case.label.name)[1]}"


def _lot(seed: int, state: State) -> int:
    """Return a seed of the strategy's lots: another one each time it is asked."""
    return int(np.random.default_rng([seed, state.round, len(state.asked)]).integers(2**31))
