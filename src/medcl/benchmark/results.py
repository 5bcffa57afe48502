"""From the folders of finished jobs to one tidy table, and to arrays that statistics take."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medcl.benchmark.jobs import amount_in_words
from medcl.benchmark.recipe import Recipe
from medcl.benchmark.work import RESULT, STROKES
from medcl.errors import DataError
from medcl.files import atomic_write, read_json
from medcl.training.log import Row, curve, read_log

TIDY = (
    "data", "truth", "stroke_cases", "protocol", "method", "seed",
    "job", "view", "case", "structure", "metric", "value",
)  # fmt: skip
"""Columns of `results.csv`: one line per job, view, case, structure and metric."""

Key = tuple[str, str, str]
"""Data set (with '/strokes' where those are compared with), stroke cases, protocol: methods are compared within one."""


@dataclass(frozen=True)
class ScoreRow:
    """One number of one job."""

    view: str
    truth: str
    case: str
    structure: str
    metric: str
    value: float


@dataclass(frozen=True)
class Outcome:
    """A finished job.

    Attributes:
        folder: Its folder.
        facts: What `benchmark.json` holds.
    """

    folder: Path
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the job."""
        return str(self.facts["name"])

    @property
    def method(self) -> str:
        """Name of the method or variant."""
        return str(self.facts["method"])

    @property
    def seed(self) -> int:
        """Seed of the training."""
        return int(self.facts["seed"])

    @property
    def view(self) -> str:
        """The view that tables compare."""
        return str(self.facts["pieces"][0])

    @property
    def views(self) -> list[str]:
        """All views, the compared one first."""
        return list(dict.fromkeys(row.view for row in self.rows))

    def key(self, truth: str = "labels") -> Key:
        """Return what its methods are compared within."""
        data = self.facts["data"] + (f"/{STROKES}" if truth == STROKES else "")
        return data, amount_in_words(self.facts["cases"]), self.facts["protocol"]

    @property
    def commit(self) -> str:
        """Commit of the code that it was made with."""
        return str(self.facts["code"]["commit"] or "unknown: the code was no git checkout")

    @property
    def made_with(self) -> dict[str, str]:
        """Machine, versions and code."""
        changed = {True: "yes", False: "no", None: "unknown"}[self.facts["code"]["changed"]]
        about = {**self.facts["machine"], **self.facts["versions"], "commit": self.commit, "code changed": changed}
        return {key: str(value) for key, value in about.items()}

    @cached_property
    def rows(self) -> list[ScoreRow]:
        """All numbers."""
        with (self.folder / "scores.csv").open(newline="", encoding="utf-8") as stream:
            lines = list(csv.reader(stream))[1:]
        return [ScoreRow(words[0], words[1], words[2], words[3], words[4], float(words[5])) for words in lines]

    @cached_property
    def log(self) -> list[Row]:
        """The log of the training."""
        return read_log(self.folder / "run" / "log.csv")

    def validation(self) -> tuple[list[float], list[float]]:
        """Return minutes and mean validation score over the training."""
        names = [row["name"] for row in self.log if row["kind"] == "validation"]
        return curve(self.log, "validation", names[0]) if names else ([], [])


@dataclass(frozen=True)
class Group:
    """Finished jobs of one data set, number of stroke cases and protocol.

    Attributes:
        key: What they have in common.
        truth: `labels` or `strokes`.
        methods: Method -> finished jobs by seed, in the recipe's order.
    """

    key: Key
    truth: str
    methods: dict[str, list[Outcome]]

    @property
    def title(self) -> str:
        """Name for headings."""
        data, amount, protocol = self.key
        return f"{data}, {protocol}" + ("" if amount == "all" else f", strokes in {amount} cases")

    @cached_property
    def first(self) -> Outcome:
        """One job, for what all have in common."""
        return next(iter(self.methods.values()))[0]

    @property
    def structures(self) -> list[str]:
        """Names of the structures."""
        return list(dict.fromkeys(row.structure for row in self.first.rows))

    @cached_property
    def cases(self) -> list[str]:
        """Names of the scored cases of any job, sorted."""
        everyone = (row.case for jobs in self.methods.values() for job in jobs for row in job.rows)
        return sorted(set(everyone))

    def scores(self, method: str, metric: str, *, structure: str | None = None, view: str | None = None) -> np.ndarray:
        """Return scores (seeds, cases) of a method, nan where there is none.

        Args:
            method: Its name.
            metric: Key of the metric.
            structure: Name of a structure; None takes the mean over the structures of each case.
            view: Which masks; None takes the compared ones.
        """
        return np.stack([self._of_job(job, metric, structure, view) for job in self.methods[method]])

    def _of_job(self, job: Outcome, metric: str, structure: str | None, view: str | None) -> np.ndarray:
        values: dict[str, list[float]] = {case: [] for case in self.cases}
        for row in job.rows:
            if row.truth != self.truth or row.metric != metric or row.view != (view or job.view):
                continue
            if structure in (None, row.structure) and not math.isnan(row.value):
                values[row.case].append(row.value)
        return np.array([np.mean(known) if known else np.nan for known in values.values()])


@dataclass(frozen=True)
class Results:
    """All that is known of a recipe.

    Attributes:
        name: Name of the recipe.
        recipe: The recipe as it was last run.
        outcomes: Finished jobs, in the recipe's order.
        unfinished: Names of jobs that are not finished.
    """

    name: str
    recipe: Recipe
    outcomes: list[Outcome]
    unfinished: list[str]

    @cached_property
    def groups(self) -> list[Group]:
        """Finished jobs in groups whose methods can be compared."""
        found: dict[tuple[Key, str], dict[str, list[Outcome]]] = {}
        for outcome in self.outcomes:
            for truth in dict.fromkeys(row.truth for row in outcome.rows):
                group = found.setdefault((outcome.key(truth), truth), {})
                group.setdefault(outcome.method, []).append(outcome)
        order = list(self.recipe.methods)

        def place(method: str) -> int:
            name = method.partition("+")[0]
            return order.index(method if method in order else name) if {method, name} & set(order) else len(order)

        return [
            Group(key, truth, {name: methods[name] for name in sorted(methods, key=place)})
            for (key, truth), methods in found.items()
        ]


def load_results(out: Path, name: str) -> Results:
    """Read the finished jobs of a recipe.

    Raises:
        DataError: No such recipe was run in this folder, or none of its jobs is finished.
    """
    path = out / name / "jobs.json"
    if not path.exists():
        raise DataError(
            f"{out}: no benchmark '{name}' was run here; there are: {', '.join(recipes_in(out)) or 'none'}."
        )
    content = read_json(path)
    folders = {job: out / "jobs" / place for job, place in content["jobs"].items()}
    outcomes = [Outcome(f, read_json(f / RESULT)) for f in folders.values() if (f / RESULT).exists()]
    if not outcomes:
        raise DataError(f"{out}: no job of '{name}' is finished yet; run the benchmark first.")
    unfinished = [job for job, folder in folders.items() if not (folder / RESULT).exists()]
    return Results(name, Recipe.parse(content["recipe"], where=str(path)), outcomes, unfinished)


def recipes_in(out: Path) -> list[str]:
    """Return the names of the recipes that were run in a folder."""
    found = out.glob("*/jobs.json")  # simulated annotations have a report of their own
    return sorted(path.parent.name for path in found if "kind" not in read_json(path))


def tidy_rows(outcomes: Iterable[Outcome]) -> Iterator[dict[str, Any]]:
    """Yield one mapping per number, with the columns `TIDY`."""
    for outcome in outcomes:
        facts = outcome.facts
        for row in outcome.rows:
            yield {
                "data": facts["data"],
                "truth": row.truth,
                "stroke_cases": amount_in_words(facts["cases"]),
                "protocol": facts["protocol"],
                "method": outcome.method,
                "seed": outcome.seed,
                "job": outcome.name,
                "view": row.view,
                "case": row.case,
                "structure": row.structure,
                "metric": row.metric,
                "value": f"{row.value:.6g}",
            }


def write_results(out: Path, name: str) -> Path:
    """Write `results.csv`, `results.md` and `report.html` of a recipe from its finished jobs; nothing is trained.

    Args:
        out: The benchmark's folder.
        name: Name of the recipe.

    Returns:
        The folder they lie in.
    """
    from medcl.benchmark.markdown import page
    from medcl.benchmark.report import write_benchmark_report

    results = load_results(out, name)
    folder = out / name
    with atomic_write(folder / "results.csv") as path, path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, TIDY, lineterminator="\n")
        writer.writeheader()
        writer.writerows(tidy_rows(results.outcomes))
    with atomic_write(folder / "results.md") as path:
        path.write_text(page(results), encoding="utf-8")
    write_benchmark_report(folder / "report.html", results, out)
    return folder
