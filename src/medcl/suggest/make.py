"""The whole way from a data set and a model to a list of places, with pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from medcl.data.dataset import Dataset
from medcl.errors import DataError, ModelError, SettingsError, counted
from medcl.inference.sources import SourceSettings, members_from
from medcl.queries import Pool, Query, Strategy, build_strategy, needs, queries, ranks_boxes
from medcl.queries.choosing import Choosing
from medcl.queries.cost import priced, within
from medcl.queries.features import as_rows
from medcl.queries.listing import ListedPlace, PlaceList, write_list
from medcl.scribbles.settings import StrokeCost
from medcl.settings import Settings
from medcl.suggest.folder import CACHE, PICTURES, UnwritableError, keep_pictures, note_pictures, picture_name, try_place
from medcl.suggest.material import Material, Open, gather
from medcl.suggest.measuring import Measured, measure

if TYPE_CHECKING:
    from medcl.inference.model import Model

Tell = Callable[[str, float, int, str], None]
"""Stage, done (may be a fraction), of how many, what comes next."""

DEFAULT, COLD_START = "clasp-pe", "cold-start"


class SuggestSettings(Settings):
    """What `medcl suggest` may vary."""

    strategy: str | None = Field(
        None, description=f"How places are chosen; default: {DEFAULT}, without a model {COLD_START}."
    )
    options: dict[str, Any] = Field({}, description="Settings of the strategy.")
    budget_s: float | None = Field(None, gt=0, description="Seconds of a person's time that the list is cut at.")
    places: int | None = Field(None, ge=1, description="Most places in the list.")
    seed: int = Field(0, ge=0, description="Seed of strategies that draw lots.")
    box_mm: float | None = Field(None, gt=0, description="Side of boxes in mm; default: whole slices.")
    labels: bool = Field(True, description="Whether a dense label counts as annotated.")
    redraw: bool = Field(False, description="Also ask for slices that have strokes, after all others.")
    progress: float | None = Field(
        None, ge=0, le=1, description="Share of the whole budget spent, for schedules; default: that of drawn slices."
    )
    source: SourceSettings | None = Field(
        None, description="Where several probability maps come from; default: one map, or those of several models."
    )
    pictures: int = Field(50, ge=0, description="Most places that get a picture.")
    cost: StrokeCost = Field(StrokeCost(), description="What drawing costs a person.")


@dataclass(frozen=True)
class Suggestions:
    """What came out.

    Attributes:
        content: The list, as written.
        folder: Where it lies.
        failed: Case -> why it could not be read.
    """

    content: PlaceList
    folder: Path
    failed: dict[str, str]


def suggest(
    model: Model | Path | str | None,
    dataset: Dataset | Path | str,
    out: Path | str,
    settings: SuggestSettings | None = None,
    *,
    others: Sequence[Model | Path | str] = (),
    tell: Tell | None = None,
) -> Suggestions:
    """Say where to draw next in the training cases that are not annotated, and write it.

    Writes `suggestions.json`, `suggestions.csv`, `suggestions.html` and `pictures/` into `out`, and keeps what the
    models said of each case under `out/.cases`, so that an interrupted call goes on where it was and another strategy
    needs no new prediction.

    Args:
        model: A model or its folder or run; None: there is none yet.
        dataset: A dataset or its folder.
        out: Folder for the results.
        settings: See `SuggestSettings`.
        others: Further models of the same classes, for strategies that read disagreement; predictions are averaged.
        tell: Called as the work goes on.

    Raises:
        SettingsError: Unknown strategy or setting, or one that needs what is not given: before any work.
        ModelError: Models that do not fit each other or the data set.
        DataError: Nothing to suggest, or a place for results that cannot be written.
    """
    settings = settings or SuggestSettings()
    out = Path(out)
    try_place(out)
    if model is None and (others or settings.source is not None):
        raise SettingsError(
            "expected a model beside further ones (--with) or a source of several maps (--uncertainty-from), got none; "
            "name the first model, or leave both out."
        )
    source = settings.source or SourceSettings(name="runs" if others else "softmax")
    strategy, name = _strategy(settings, model is not None, source)
    if not isinstance(dataset, Dataset):
        dataset = Dataset.open(dataset)
    models = [] if model is None else _models([model, *others], dataset)
    material = gather(
        dataset,
        labels=settings.labels,
        redraw=settings.redraw,
        progress=None if tell is None else lambda done, total, case: tell("read strokes", done, total, case),
    )
    if models:
        members_from(source, models)  # says what cannot be had before any work
    measured, failed = _measure_all(dataset, material, models, source, needs(strategy, "features"), settings, out, tell)
    failed = material.failed | failed
    if needs(strategy, "features"):
        described, more = _describe_done(dataset, material.done, out)
        failed |= more
    else:
        described = {}
    blind = not models and not needs(strategy, "features")  # no image was looked at so far
    readable: set[str] = set()
    while True:
        if not measured:
            raise DataError(f"{dataset.folder}: no case could be read; the first: {next(iter(failed.values()))}")
        pool = _pool(dataset, material, measured, described, settings)
        found = priced(_ranked(strategy, pool, settings), pool, settings.cost)
        chosen = found if settings.budget_s is None else within(found, settings.budget_s)
        asked = {query.case for query in chosen} - readable if blind else set()
        broken = _unreadable(dataset, material, asked, tell)
        if not broken:
            break
        # others take the places of what nobody can draw in, and those found readable are not read again
        readable |= asked - set(broken)
        failed |= broken
        measured = {case: one for case, one in measured.items() if case not in broken}
    ours = note_pictures(out, [picture_name(rank, query) for rank, query in enumerate(chosen[: settings.pictures], 1)])
    pictures = _draw(out, dataset, material, measured, pool, chosen[: settings.pictures], failed, tell)
    notes = _notes(found, chosen, material, failed, settings)
    content = PlaceList(
        dataset=dataset.name,
        classes=dataset.classes,
        strategy=name,
        settings=settings.model_dump(mode="json") | {"stage": round(pool.stage, 4)},
        model=models[0].info.weights_sha256 if models else None,
        budget_s=settings.budget_s,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        notes=tuple(notes),
        places=tuple(_listed(pool, material, chosen, pictures)),
    )
    write_list(out, content)
    keep_pictures(out, ours, [Path(picture).name for picture in pictures.values()])  # once no list names the others
    from medcl.suggest.report import write_page

    write_page(out, content, circles=any(pool.points(chosen[rank - 1]) for rank in pictures))
    if tell is not None:
        tell("done", 1, 1, "")
    return Suggestions(content, out, failed)


def _strategy(settings: SuggestSettings, has_model: bool, source: SourceSettings) -> tuple[Strategy, str]:
    name = settings.strategy or (DEFAULT if has_model else COLD_START)
    options = dict(settings.options)
    family: Any = queries.get(name)
    if issubclass(family, Choosing) and "drawn" not in options:  # others may mean something else by it
        options["drawn"] = "last" if settings.redraw else "never"
    if "cost" in getattr(family, "model_fields", {}) and "cost" not in options:  # one price for the order and the list
        options["cost"] = settings.cost.model_dump()
    strategy = build_strategy(name, options)
    if isinstance(strategy, Choosing) and (strategy.drawn == "never") == settings.redraw:
        expected, do = ("last or equal", "leave --redraw out") if settings.redraw else ("never", "add --redraw")
        raise SettingsError(
            f"strategy '{name}': expected drawn={expected} {'with' if settings.redraw else 'without'} --redraw, which "
            f"says whether slices with strokes are asked for, got drawn={strategy.drawn}; {do}, or leave drawn out."
        )
    if settings.box_mm is not None and not ranks_boxes(strategy):
        able = ", ".join(other for other in queries if ranks_boxes(queries.get(other)))
        raise SettingsError(
            f"strategy '{name}': expected one that ranks boxes (--box-mm), got one of whole slices; take {able}, or "
            "leave --box-mm out."
        )
    if strategy.needs_prediction and not has_model:
        able = ", ".join(other for other in queries if not queries.get(other).needs_prediction)
        raise SettingsError(f"strategy '{name}': expected a model that has looked at the cases, got none; take {able}.")
    if needs(strategy, "samples") and source.name == "softmax":
        raise SettingsError(
            f"strategy '{name}': expected several probability maps of each case whose disagreement counts, got one; "
            "say --uncertainty-from tta (or mc-dropout, checkpoints), or give other trainings with --with; "
            "'entropy' needs one map only."
        )
    return strategy, name


def _models(given: Sequence[Model | Path | str], dataset: Dataset) -> list[Model]:
    from medcl.inference.model import Model
    from medcl.inference.vote import check_members

    models = [one if isinstance(one, Model) else Model.load(one) for one in given]
    for model in models:
        if model.classes != dataset.classes:
            raise ModelError(
                f"{model.folder}: expected a model of the data set's classes ({', '.join(dataset.classes)}), got "
                f"{', '.join(model.classes)}; train one on this data set, or start without: medcl suggest none ..."
            )
    check_members([model.plan for model in models])
    return models


def _measure_all(
    dataset: Dataset,
    material: Material,
    models: Sequence[Model],
    source: SourceSettings,
    features: bool,
    settings: SuggestSettings,
    out: Path,
    tell: Tell | None,
) -> tuple[dict[str, Measured], dict[str, str]]:
    measured: dict[str, Measured] = {}
    failed: dict[str, str] = {}
    total = len(material.cases)
    for number, opened in enumerate(material.cases):

        def within_case(share: float, number: int = number, case: str = opened.case.id) -> None:
            if tell is not None:
                tell("predict", number + share, total, case)

        if tell is not None:
            tell("predict" if models else "look", number, total, opened.case.id)
        if not models and not features:
            measured[opened.case.id] = Measured((), None, None, None)
            continue
        try:
            measured[opened.case.id] = measure(
                dataset,
                opened,
                models,
                source,
                features=features,
                box_mm=settings.box_mm,
                cache=out / CACHE,
                progress=within_case,
            )
        except UnwritableError:
            raise
        except (DataError, ModelError) as error:  # one case must not cost the others
            failed[opened.case.id] = str(error)
    return measured, failed


def _unreadable(dataset: Dataset, material: Material, asked: Set[str], tell: Tell | None) -> dict[str, str]:
    """Read the images of cases and return those that cannot be read, with the reason."""
    found: dict[str, str] = {}
    cases = [one.case for one in material.cases if one.case.id in asked]
    for number, case in enumerate(cases):
        if tell is not None:
            tell("read images", number, len(cases), case.id)
        try:
            dataset.read_image(case)
        except DataError as error:
            found[case.id] = str(error)
    return found


def _describe_done(dataset: Dataset, done: Sequence[Open], out: Path) -> tuple[dict[str, Measured], dict[str, str]]:
    """Return the features of cases that are done, which need no prediction, and those that cannot be read."""
    measured: dict[str, Measured] = {}
    failed: dict[str, str] = {}
    # apart from the others: what a model said of the case before it was done stays good for --redraw
    cache = out / CACHE / "done"
    for opened in done:
        try:
            measured[opened.case.id] = measure(
                dataset, opened, (), SourceSettings(), features=True, box_mm=None, cache=cache
            )
        except UnwritableError:
            raise
        except DataError as error:
            failed[opened.case.id] = str(error)
    return measured, failed


def _pool(
    dataset: Dataset,
    material: Material,
    measured: dict[str, Measured],
    described: dict[str, Measured],
    settings: SuggestSettings,
) -> Pool:
    """Return what strategies read; `described`: cases that are done."""
    features: dict[tuple[str, int], tuple[float, ...]] = {}
    for case, found in (measured | described).items():
        if found.features is not None:
            features |= as_rows(case, found.features)
    return Pool(
        dataset.classes,
        tuple(opened.facts for opened in material.cases if opened.case.id in measured),
        tuple(place for found in measured.values() for place in found.places),
        material.strokes,
        features,
        settings.progress,
        tuple(opened.facts for opened in material.done),
    )


def _ranked(strategy: Strategy, pool: Pool, settings: SuggestSettings) -> list[Query]:
    """Return the best places, as many as can be paid for; slices with strokes never, or after all others."""
    most = _most(settings, pool)
    if isinstance(strategy, Choosing):  # knows itself what to do with slices that have strokes
        return strategy.rank(pool, most, settings.seed)
    # Others name drawn slices among the rest, each once: so many more are enough for a list of full length.
    found = strategy.rank(pool, most + sum(len(case.drawn) for case in pool.cases), settings.seed)
    fresh = [query for query in found if query.slice not in pool.by_id[query.case].drawn]
    if settings.redraw and "drawn" in settings.options:  # weighed by the strategy, as somebody asked for
        return found[:most]
    again = [query for query in found if query.slice in pool.by_id[query.case].drawn] if settings.redraw else []
    return [*fresh, *again][:most]


def _most(settings: SuggestSettings, pool: Pool) -> int:
    """Return how many places can be paid for at most, so that no more are ranked."""
    every = max(sum(case.slices for case in pool.cases), len(pool.places))
    least = settings.cost.per_slice_s + settings.cost.per_stroke_s
    if settings.budget_s is not None and least > 0:
        every = min(every, ceil(settings.budget_s / least) + 1)
    return every if settings.places is None else min(every, settings.places)


def _notes(
    found: Sequence[Query],
    chosen: Sequence[Query],
    material: Material,
    failed: dict[str, str],
    settings: SuggestSettings,
) -> list[str]:
    notes = [
        f"{counted(count, 'training case')} left out: {'it' if count == 1 else 'each'} {why}."
        for why, count in material.left_out.items()
    ]
    if failed:
        notes.append(f"{counted(len(failed), 'case')} could not be read: {'; '.join(failed.values())}")
    if found and not chosen and settings.budget_s is not None:
        cost = found[0].cost_s or 0.0
        notes.append(
            f"The budget of {settings.budget_s:.0f} s pays for no place: the first costs {cost:.0f} s; give more."
        )
    if not found:
        notes.append("The strategy found no place: the prediction is sure everywhere, or all is drawn.")
    return notes


def _draw(
    out: Path,
    dataset: Dataset,
    material: Material,
    measured: dict[str, Measured],
    pool: Pool,
    chosen: Sequence[Query],
    failed: dict[str, str],
    tell: Tell | None,
) -> dict[int, str]:
    """Write the pictures and return rank -> file; cases whose image cannot be read are added to `failed`."""
    from medcl.suggest.pictures import draw_case

    opened = {one.case.id: one for one in material.cases}
    ranked: dict[str, list[tuple[int, Query]]] = {}
    for rank, query in enumerate(chosen, 1):
        ranked.setdefault(query.case, []).append((rank, query))
    pointing = {rank for rank, query in enumerate(chosen, 1) if pool.points(query)}
    folder = out / PICTURES
    files: dict[int, str] = {}
    for number, (case, places) in enumerate(ranked.items()):
        if tell is not None:
            tell("draw pictures", number, len(ranked), case)
        try:
            drawn = draw_case(folder, dataset, opened[case], measured[case], pool.classes, places, pointing)
        except UnwritableError:
            raise
        except DataError as error:  # such as strokes that vanished meanwhile
            failed[case] = str(error)
            continue
        files |= {rank: f"{PICTURES}/{name}" for rank, name in drawn}
    return files


def _listed(pool: Pool, material: Material, chosen: Sequence[Query], pictures: dict[int, str]) -> list[ListedPlace]:
    opened: dict[str, Open] = {one.case.id: one for one in material.cases}
    spent, rows = 0.0, []
    for rank, query in enumerate(chosen, 1):
        spent += query.cost_s or 0.0
        axis, number = opened[query.case].in_file(query.slice)
        rows.append(
            ListedPlace.parse(
                {
                    "rank": rank,
                    "case": query.case,
                    "plane": query.plane,
                    "slice": query.slice,
                    "file_axis": axis,
                    "file_slice": number,
                    "class_index": query.class_index,
                    "class_name": pool.classes[query.class_index],
                    "place": query.place,
                    "box": query.box,
                    "score": round(query.score, 6),
                    "cost_s": round(query.cost_s or 0.0, 1),
                    "total_s": round(spent, 1),
                    "reason": query.reason,
                    "picture": pictures.get(rank),
                }
            )
        )
    return rows
