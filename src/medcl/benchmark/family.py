"""The family of backbones in one table: what each costs here, and how well each did in a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medcl.backbones import backbones, dims_of
from medcl.benchmark.cost import Cost, CostRequest, measure
from medcl.benchmark.results import Outcome
from medcl.benchmark.work import RESULT
from medcl.errors import DataError, unknown_name
from medcl.files import read_json, write_json

SIZES = {2: (192, 192), 3: (32, 64, 64)}
"""Images that costs are measured on where nothing else is said."""

QUICK_SIZES = {2: (64, 64), 3: (16, 32, 32)}


@dataclass(frozen=True)
class BenchScore:
    """What a benchmark says of a backbone.

    Attributes:
        backbone: Registered name.
        dice: Mean Dice over structures, cases, seeds and the comparisons that all backbones took part in.
        settings: Settings of the backbone there, without its name.
    """

    backbone: str
    dice: float
    settings: dict[str, Any]


def members(ndim: int) -> list[str]:
    """Return the names of the families that can do 2 or 3 dimensions."""
    return [name for name in backbones if ndim in dims_of(backbones.get(name))]


def measure_family(
    requests: Iterable[CostRequest], *, show: Callable[[str, int, int], None] | None = None
) -> list[Cost]:
    """Measure one backbone after the other, each in a process of its own.

    Args:
        requests: What to measure.
        show: Called with name, number and total before each.
    """
    wanted = list(requests)
    costs = []
    for number, request in enumerate(wanted):
        if show:
            show(request.name, number, len(wanted))
        costs.append(measure(request))
    return costs


def save_costs(path: Path, costs: Sequence[Cost]) -> None:
    """Write measurements as JSON, atomically."""
    write_json(path, {"costs": [cost.model_dump(mode="json") for cost in costs]})


def load_costs(path: Path) -> list[Cost]:
    """Read measurements.

    Raises:
        DataError: Not a file that `save_costs` wrote.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("costs"), list):
        raise DataError(f"{path}: expected measurements written by medcl backbones --out.")
    return [Cost.parse(entry, where=str(path)) for entry in content["costs"]]


def bench_scores(out: Path, data: str | None = None) -> dict[str, BenchScore]:
    """Return what a benchmark's folder says of each backbone.

    Only comparisons (same data, stroke cases, protocol and method) with the largest number of backbones count, so that
    no backbone is judged on easier data than another.

    Args:
        out: Folder of `medcl benchmark --out`.
        data: Name of the recipe's data set that counts; None: all.

    Returns:
        Name -> score; a family that was tried with several settings has them in its names.

    Raises:
        DataError: No finished job is there, none of this data set, or none with dense labels.
    """
    outcomes = [Outcome(path.parent, read_json(path)) for path in sorted((out / "jobs").glob(f"*/{RESULT}"))]
    if not outcomes:
        raise DataError(f"{out}: expected a folder of medcl benchmark with finished jobs, found none.")
    if data is not None:
        known = sorted({outcome.facts["data"] for outcome in outcomes})
        if data not in known:
            raise DataError(f"{out}: {unknown_name('data set', data, known)}")
        outcomes = [outcome for outcome in outcomes if outcome.facts["data"] == data]
    table: dict[tuple[Any, ...], dict[str, list[float]]] = {}
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for outcome in outcomes:
        dice = [
            row.value
            for row in outcome.rows
            if row.metric == "dice" and row.truth == "labels" and row.view == outcome.view and not np.isnan(row.value)
        ]
        if not dice:
            continue
        given = dict(outcome.facts["settings"].get("backbone") or {})
        name = str(given.pop("name", "unet"))
        method = dict(outcome.facts["settings"].get("method") or {}).get("name", "medcl")
        label = " ".join((name, *(f"{key}={value}" for key, value in sorted(given.items()))))
        found[label] = (name, given)
        table.setdefault((*outcome.key(), method), {}).setdefault(label, []).append(float(np.mean(dice)))
    if not table:
        raise DataError(f"{out}: expected jobs scored on dense labels, found none.")
    most = max(len(row) for row in table.values())
    rows = [row for row in table.values() if len(row) == most]
    labels = set.intersection(*(set(row) for row in rows))
    if not labels:  # as many in each, but others: there is nothing to average over
        rows, labels = rows[:1], set(rows[0])
    names = [found[label][0] for label in labels]
    return {
        name if names.count(name) == 1 else label: BenchScore(
            name, float(np.mean([np.mean(row[label]) for row in rows])), given
        )
        for label in sorted(labels)
        for name, given in [found[label]]
    }
