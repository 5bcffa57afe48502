"""From the folders of finished jobs to curves, areas and tests; tables and report are written from these alone."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medcl.benchmark.simulation.curves import AreaTest, area, compare_areas, foreground_efficiency
from medcl.benchmark.simulation.jobs import AnnotationJob
from medcl.benchmark.simulation.recipe import AnnotationRecipe
from medcl.benchmark.work import RESULT
from medcl.errors import DataError
from medcl.files import atomic_write, read_json, write_json

COLUMNS = (
    "data", "strategy", "seed", "round", "seconds", "strokes", "slices", "cases", "foreground_share", "case",
    "structure", "dice",
)  # fmt: skip
"""Columns of `curves.csv`: one line per point, scored case and structure."""


@dataclass(frozen=True)
class Curve:
    """Dice over seconds of one strategy and seed.

    Attributes:
        job: What it is.
        folder: Where it lies.
        facts: What `benchmark.json` holds.
    """

    job: AnnotationJob
    folder: Path
    facts: dict[str, Any]

    @property
    def points(self) -> list[dict[str, Any]]:
        """The start and the rounds."""
        return list(self.facts["points"])

    @property
    def seconds(self) -> list[float]:
        """Seconds of drawing at each point."""
        return [float(point["seconds"]) for point in self.points]

    @property
    def shares(self) -> list[float]:
        """Stroked share of the pool's foreground at each point."""
        return [point["voxels"] / max(1, self.facts["foreground_voxels"]) for point in self.points]

    def by_case(self, structure: str | None = None) -> np.ndarray:
        """Return Dice (points, cases), the mean over structures or of one; nan where it is not defined."""
        return np.array([[_mean(scores, structure) for scores in point["dice"].values()] for point in self.points])

    @property
    def mean(self) -> list[float]:
        """Mean Dice over the scored cases at each point."""
        return [float(np.nanmean(row)) for row in self.by_case()]

    @property
    def cases(self) -> list[str]:
        """Scored cases."""
        return list(self.points[0]["dice"])

    @property
    def strokes(self) -> list[float]:
        """Strokes drawn at each point."""
        return [float(point["strokes"]) for point in self.points]

    def areas(self) -> np.ndarray:
        """Return the area of each case (cases,), from the end of the start to the seconds of the recipe."""
        return self._areas(self.seconds, self.job.spending.total)

    def areas_over_strokes(self, end: float) -> np.ndarray:
        """Return the area of each case (cases,) over strokes in place of seconds, to a number of strokes."""
        return self._areas(self.strokes, end)

    def _areas(self, spent: list[float], end: float) -> np.ndarray:
        return np.array([area(spent, column, spent[0], end) for column in self.by_case().T])


@dataclass(frozen=True)
class DataResults:
    """All finished curves of one data set.

    Attributes:
        name: Name of the data set.
        curves: Strategy -> seed -> curve, in the recipe's order.
        full: Mean Dice of the model with all dense labels; None where there is none.
        reference: Strategy that the others are tested against.
    """

    name: str
    curves: dict[str, dict[int, Curve]]
    full: float | None
    reference: str

    @cached_property
    def seeds(self) -> list[int]:
        """Seeds that every strategy has finished: comparisons are made on these."""
        sets = [set(found) for found in self.curves.values()]
        return sorted(set.intersection(*sets)) if sets else []

    @cached_property
    def areas(self) -> dict[str, np.ndarray]:
        """Strategy -> (seeds, cases) areas, of the seeds that all have."""
        return {name: np.stack([found[seed].areas() for seed in self.seeds]) for name, found in self.curves.items()}

    @cached_property
    def tests(self) -> list[AreaTest]:
        """Every strategy against the reference."""
        if not self.seeds or self.reference not in self.curves:
            return []
        return compare_areas(self.areas, self.reference)

    @cached_property
    def tests_over_strokes(self) -> list[AreaTest]:
        """The same at equal strokes: up to as many as every strategy has drawn with that seed."""
        if not self.tests:
            return []
        ends = {seed: min(found[seed].strokes[-1] for found in self.curves.values()) for seed in self.seeds}
        return compare_areas(
            {
                name: np.stack([found[seed].areas_over_strokes(ends[seed]) for seed in self.seeds])
                for name, found in self.curves.items()
            },
            self.reference,
        )

    def efficiency(self, strategy: str) -> float:
        """Return the foreground efficiency over all seeds; nan without the reference that has all labels."""
        if self.full is None or not self.seeds:
            return math.nan
        found = [self.curves[strategy][seed] for seed in self.seeds]
        first = (float(np.mean([c.shares[0] for c in found])), float(np.mean([c.mean[0] for c in found])))
        return foreground_efficiency(
            [x for c in found for x in c.shares], [y for c in found for y in c.mean], first, self.full
        )

    def mean_curve(self, strategy: str, points: int = 25) -> tuple[list[float], list[float]]:
        """Return seconds and mean Dice over the seeds, on a common grid of seconds."""
        found = [self.curves[strategy][seed] for seed in self.seeds]
        start, end = max(c.seconds[0] for c in found), found[0].job.spending.total
        grid = np.linspace(min(start, end), end, points)
        heights = np.mean([np.interp(grid, c.seconds, c.mean) for c in found], axis=0)
        return grid.tolist(), heights.tolist()

    def summary(self) -> list[dict[str, Any]]:
        """Return one mapping per strategy: what tables show."""
        tests = {test.strategy: asdict(test) for test in self.tests}
        rows = []
        for name in self.curves:
            table = self.areas[name] if self.seeds else np.full((1, 1), np.nan)
            by_seed = np.nanmean(table, axis=1)
            found = [self.curves[name][seed] for seed in self.seeds]
            rows.append(
                {
                    "strategy": name,
                    "seeds": self.seeds,
                    "area": float(by_seed.mean()),
                    "area_sd": float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None,
                    "first": float(np.mean([c.mean[0] for c in found])) if found else None,
                    "last": float(np.mean([c.mean[-1] for c in found])) if found else None,
                    "seconds": float(np.mean([c.seconds[-1] for c in found])) if found else None,
                    "slices": float(np.mean([c.points[-1]["slices"] for c in found])) if found else None,
                    "efficiency": self.efficiency(name),
                    "test": tests.get(name),
                }
            )
        return rows


@dataclass(frozen=True)
class SimulationResults:
    """All that is known of a recipe.

    Attributes:
        name: Name of the recipe.
        recipe: The recipe as it was last run.
        data: One entry per data set with a finished curve.
        unfinished: Names of jobs that are not finished.
        facts: What one finished job says of machine, versions and code.
    """

    name: str
    recipe: AnnotationRecipe
    data: list[DataResults]
    unfinished: list[str]
    facts: dict[str, Any]


def load_simulation(out: Path, name: str) -> SimulationResults:
    """Read the finished jobs of a recipe.

    Raises:
        DataError: No such recipe was run in this folder, or none of its curves is finished.
    """
    path = out / name / "jobs.json"
    if not path.exists():
        known = ", ".join(simulations_in(out)) or "none"
        raise DataError(f"{out}: no simulated annotation '{name}' was run here; there are: {known}.")
    content = read_json(path)
    recipe = AnnotationRecipe.parse(content["recipe"], where=str(path))
    folders = {job: out / "jobs" / place for job, place in content["jobs"].items()}
    done = {job: folder for job, folder in folders.items() if (folder / RESULT).exists()}
    curves: dict[str, dict[str, dict[int, Curve]]] = {}
    full: dict[str, float] = {}
    for folder in done.values():
        job, facts = AnnotationJob.load(folder), read_json(folder / RESULT)
        if job.what == "curve":
            curves.setdefault(job.data, {}).setdefault(job.label, {})[job.seed] = Curve(job, folder, facts)
        elif job.what == "full" and facts["mean_dice"] is not None:
            full[job.data] = float(np.nanmean([_mean(scores, None) for scores in facts["dice"].values()]))
    if not curves:
        raise DataError(f"{out}: no curve of '{name}' is finished yet; run the recipe first.")
    data = [
        DataResults(
            key,
            {label: curves[key][label] for label in recipe.strategies if label in curves[key]},
            full.get(key),
            recipe.reference,
        )
        for key in recipe.data
        if key in curves
    ]
    facts = next(iter(next(iter(data[0].curves.values())).values())).facts
    return SimulationResults(name, recipe, data, sorted(set(folders) - set(done)), facts)


def simulations_in(out: Path) -> list[str]:
    """Return the names of the simulations that were run in a folder."""
    return sorted(path.parent.name for path in out.glob("*/jobs.json") if read_json(path).get("kind") == "annotation")


def write_simulation(out: Path, name: str) -> Path:
    """Write `curves.csv`, `results.json`, `results.md` and `report.html` of a recipe from what is finished.

    Args:
        out: The simulation's folder.
        name: Name of the recipe.

    Returns:
        The folder they lie in.
    """
    from medcl.benchmark.simulation.report import write_simulation_report
    from medcl.benchmark.simulation.tables import markdown

    results = load_simulation(out, name)
    folder = out / name
    with atomic_write(folder / "curves.csv") as path, path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_rows(results))
    write_json(
        folder / "results.json",
        {
            "name": name,
            "recipe": results.recipe.model_dump(mode="json", exclude_defaults=True),
            "unfinished": results.unfinished,
            "data": {data.name: {"full": data.full, "strategies": _plain(data.summary())} for data in results.data},
            **{key: results.facts[key] for key in ("code", "versions", "machine")},
        },
    )
    with atomic_write(folder / "results.md") as path:
        path.write_text("\n".join(markdown(results)) + "\n", encoding="utf-8")
    write_simulation_report(folder / "report.html", results)
    return folder


def _rows(results: SimulationResults) -> Iterator[list[Any]]:
    for data in results.data:
        for label, seeds in data.curves.items():
            for seed, curve in seeds.items():
                for point, share in zip(curve.points, curve.shares, strict=True):
                    common = [point[key] for key in ("round", "seconds", "strokes", "slices", "cases")]
                    for case, scores in point["dice"].items():
                        for structure, dice in scores.items():
                            yield [data.name, label, seed, *common, f"{share:.6g}", case, structure, dice]


def _mean(scores: dict[str, float | None], structure: str | None) -> float:
    values = [v for key, v in scores.items() if v is not None and not math.isnan(v) and structure in (None, key)]
    return float(np.mean(values)) if values else math.nan


def _plain(value: Any) -> Any:
    """Write nan as null, as JSON knows no nan."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
