"""The stage of a simulation: who may be drawn on, who is scored, the plan, and prepared images; made once, shared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from medcl.benchmark.folders import simulation_settings
from medcl.benchmark.simulation.recipe import Drawing, Pool
from medcl.data.dataset import Dataset
from medcl.data.io import read_geometry
from medcl.data.labels import UNLABELLED
from medcl.data.layout import Case, Split
from medcl.data.plan import Plan, make_plan
from medcl.data.store import Store
from medcl.errors import DataError
from medcl.queries.places import drawing_axis

if TYPE_CHECKING:
    from medcl.scribbles import ScribbleSettings


@dataclass
class Stage:
    """One data set as one seed sees it.

    Attributes:
        dataset: The folder, opened, with all its cases.
        pool: Training cases that may be drawn on, in the order of a lot.
        test: Scored cases.
        plan: Plan of all trainings on this data set.
        settings: How the person draws.
        out: Folder of all prepared arrays.
    """

    dataset: Dataset
    pool: list[Case]
    test: list[Case]
    plan: Plan
    settings: ScribbleSettings
    out: Path

    @cached_property
    def images(self) -> Store:
        """Prepared images of the pool; later stores link to them."""
        return self._prepared("Tr", self.pool)

    @cached_property
    def scored(self) -> Store:
        """Prepared images of the scored cases: a store of their own, as the pool may have cases of the same names."""
        return self._prepared("Val", self.test)

    def _prepared(self, split: Split, cases: list[Case]) -> Store:
        alone = {"Tr": [], "Val": [], "Ts": [], split: [replace(c, split=split, label=None) for c in cases]}
        return Store.prepare(replace(self.dataset, _cases=alone), self.plan, self.out / "store")  # type: ignore[arg-type]

    def learned(self, strokes: dict[str, Path]) -> Dataset:
        """Return the data set that a training sees: images and strokes of the pool, no dense label.

        Args:
            strokes: Case -> file of its strokes.
        """
        cases = [replace(case, scribble=strokes.get(case.id), label=None) for case in sorted_cases(self.pool)]
        return replace(self.dataset, _cases={"Tr": cases, "Val": [], "Ts": []})

    def label(self, case: Case) -> np.ndarray:
        """Return the dense label of a case, int16 (Z, Y, X), without classes that nobody may draw."""
        label = self.dataset.read_label(case)
        hidden = [index for index, value in enumerate(self.dataset.labels.strokes.values) if value is None]
        return np.where(np.isin(label, hidden), UNLABELLED, label).astype(np.int16) if hidden else label

    def axis(self, case: Case) -> int:
        """Return the axis (of Z, Y, X) across which the person draws."""
        geometry = read_geometry(case.images[0])
        return drawing_axis(geometry.size, geometry.spacing_mm)


def sorted_cases(cases: list[Case]) -> list[Case]:
    """Return cases by name, as a data set lists them."""
    return sorted(cases, key=lambda case: case.id)


def check_pool(name: str, entry: Pool, drawing: Drawing) -> Dataset:
    """Open a data set and refuse what cannot be simulated.

    Raises:
        DataError: No dense labels to draw from or to score, or no value for pixels that nobody drew on.
        SettingsError: The person's settings.
    """
    dataset = open_without_strokes(Path(entry.folder))
    simulation_settings(drawing)
    if dataset.labels.strokes.ignore is None:
        unlabelled = 1 + max(value for value in dataset.labels.strokes.values if value is not None)
        raise DataError(
            f'{dataset.folder / "dataset.json"} (data set {name}): "labels" names no "ignore", the value of pixels '
            f'that nobody drew on; add "ignore": {unlabelled}.'
        )
    for part, why in (("Tr", "to draw strokes from"), (entry.part, "to score")):
        if not any(case.label for case in dataset.cases(part)):  # type: ignore[arg-type]
            raise DataError(f"{dataset.folder} (data set {name}): expected dense labels in labels{part} {why}.")
    drawable = sum(case.label is not None for case in dataset.cases("Tr"))
    if entry.cases is not None and entry.cases > drawable:
        raise DataError(
            f"{dataset.folder} (data set {name}): expected at least {entry.cases} training cases with dense labels "
            f"(cases), found {drawable}; ask for fewer."
        )
    if entry.part == "Tr" and (entry.cases is None or entry.cases >= drawable):
        raise DataError(
            f"{dataset.folder} (data set {name}): the scored part is the one that is drawn on; set cases below "
            f"{drawable}, so that others are left to score."
        )
    return dataset


def set_the_stage(
    name: str,
    entry: Pool,
    drawing: Drawing,
    seed: int,
    out: Path,
    plan_wishes: dict[str, Any],
    key: str,
    report: Callable[[str, float, float | None], None] = lambda doing, share, left: None,
) -> Stage:
    """Open everything that the jobs of a data set and seed share.

    The plan follows from all training images, so that it is the same for all seeds; whoever comes first makes it.

    Args:
        name: Name of the data set in the recipe.
        entry: What the recipe says of it.
        drawing: How the person draws.
        seed: Chooses the cases that may be drawn on.
        out: Folder of the simulation.
        plan_wishes: Keys of `PlanSettings`.
        key: Digest of data and wishes; names the plan.
        report: Told what is going on.
    """
    dataset = open_without_strokes(Path(entry.folder))
    drawable = [case for case in sorted_cases(dataset.cases("Tr")) if case.label is not None]
    order = np.random.default_rng([seed, 11]).permutation(len(drawable)).tolist()
    pool = [drawable[number] for number in order[: entry.cases]]
    rest = {case.id for case in pool} if entry.part == "Tr" else set()
    scored = [case for case in dataset.cases(entry.part) if case.label is not None and case.id not in rest]
    count = len(scored) if entry.test is None else min(entry.test, len(scored))
    test = [scored[int(n)] for n in np.linspace(0, len(scored) - 1, count).round()]
    path = out / "plans" / f"{name}-{key}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            report("planning", 0.0, None)
            make_plan(dataset, **plan_wishes).save(path)
        stage = Stage(dataset, pool, test, Plan.load(path), simulation_settings(drawing), out)
        report("preparing images", 0.0, None)
        _ = stage.images, stage.scored  # one at a time: others then link to what is there
    return stage


def open_without_strokes(folder: Path) -> Dataset:
    """Open a data set whose own strokes do not count here, several people's neither."""
    people = sorted(p.name for p in (folder / "scribblesTr").glob("*") if p.is_dir() and not p.name.startswith("."))
    opened = Dataset.open(folder, scribbles=people[0] if people else None)
    stripped = {split: [replace(case, scribble=None) for case in opened.cases(split)] for split in ("Tr", "Val", "Ts")}
    return replace(opened, _cases=stripped)  # type: ignore[arg-type]
