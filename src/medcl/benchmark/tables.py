"""The tables of a benchmark, as data: Markdown and HTML both draw them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from medcl.benchmark.results import Group, Outcome, Results
from medcl.evaluation.blocks import Cell, Table
from medcl.evaluation.comparison import case_mean, compare_methods, seed_interval
from medcl.evaluation.ranking import RankStability, rank_stability

LEVEL = 0.05
NAMED = 6
"""How many unfinished jobs are named; the list of jobs has them all."""

VIEWS = {
    "auto": "largest piece where strokes say one piece",
    "none": "all pieces",
    "class": "largest piece per class",
    "group": "largest piece per group",
    "best": "best checkpoint",
}


def number(value: float | None, digits: int = 3) -> str:
    """Return a rounded number, or a dash where there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def with_interval(scores: np.ndarray, digits: int = 3) -> str:
    """Return the mean of (seeds, cases) and on a second line its 95 % interval."""
    low, high = seed_interval(scores)
    text = number(mean_of(scores), digits)
    return text if math.isnan(low) else f"{text}\n{number(low, digits)} to {number(high, digits)}"


def mean_of(scores: np.ndarray) -> float:
    """Return the mean over all seeds and cases that have a score."""
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if known.size else math.nan


def score_table(group: Group) -> Table:
    """Return Dice and HD95 per method: mean and 95 % interval over cases and seeds."""
    others = [view for view in group.first.views if view != group.first.view]
    columns = ["Method", "Seeds", "Dice", *(f"Dice {name}" for name in group.structures)]
    columns += ["HD95 mm", "Not found", *(f"Dice, {VIEWS[view]}" for view in others), "SD over seeds"]
    if len(group.structures) == 1:
        columns.remove(f"Dice {group.structures[0]}")
    rows: list[list[Cell]] = []
    for method, jobs in group.methods.items():
        dice, far = group.scores(method, "dice"), group.scores(method, "hd95_mm")
        row: list[Cell] = [method, ", ".join(str(job.seed) for job in jobs), with_interval(dice)]
        if len(group.structures) > 1:
            row += [number(mean_of(group.scores(method, "dice", structure=name))) for name in group.structures]
        row += [with_interval(far, 1), str(_undefined(group, jobs))]
        row += [number(mean_of(group.scores(method, "dice", view=view))) for view in others]
        by_seed = [mean_of(line) for line in dice]
        row.append(number(statistics.stdev(by_seed)) if len(by_seed) > 1 else "-")
        rows.append(row)
    rows.sort(key=lambda row: -_leading(str(row[2])))
    caption = (
        f"{group.title}: mean over {len(group.cases)} cases and all seeds, 95 % interval over both. Best mean first. "
        "HD95 over structures that were found at all; 'not found' counts the others."
    )
    return Table(caption, columns, rows, text_columns=2)


def _undefined(group: Group, jobs: Sequence[Outcome]) -> int:
    """Count structures of cases that have a Dice and no surface distance, although the label holds them."""
    count = 0
    for job in jobs:
        rows = [r for r in job.rows if r.truth == group.truth and r.view == job.view]
        dice = {(r.case, r.structure): r.value for r in rows if r.metric == "dice"}
        far = [r for r in rows if r.metric == "hd95_mm" and math.isnan(r.value)]
        count += sum(dice[r.case, r.structure] == 0 for r in far)  # both empty counts as 1
    return count


def _leading(text: str) -> float:
    try:
        return float(text.split("\n")[0])
    except ValueError:
        return -1.0


def pair_table(group: Group, reference: str | None) -> Table | None:
    """Return the paired tests between methods; None with one method."""
    scores = {method: group.scores(method, "dice") for method in group.methods}
    if len(scores) < 2:
        return None
    names = {name.partition("+")[0] for name in scores}
    chosen = reference if reference in scores and reference in names else None
    comparisons = compare_methods(scores, reference=chosen)
    rows: list[list[Cell]] = []
    for test in comparisons:
        interval = "-" if math.isnan(test.low) else f"{test.low:+.3f} to {test.high:+.3f}"
        verdict = "yes" if test.p_corrected < LEVEL else "no"
        rows.append(
            [
                f"{test.first} - {test.second}",
                f"{test.difference:+.3f}",
                interval,
                f"{test.wins} : {test.losses}",
                p_value(test.p),
                p_value(test.p_corrected),
                verdict,
            ]
        )
    caption = (
        f"{group.title}: paired differences of Dice per case (mean over seeds), Wilcoxon signed-rank test, "
        f"Holm's correction for {len(comparisons)} tests."
    )
    smallest = min(test.smallest_p for test in comparisons)
    if smallest * len(comparisons) > LEVEL:
        caption += (
            f" With {comparisons[0].cases} cases no p-value can be below {p_value(smallest)} "
            f"({p_value(min(1.0, smallest * len(comparisons)))} corrected): nothing can be significant here."
        )
    columns = [
        "Difference",
        "Dice",
        "95 % interval",
        "Cases won : lost",
        "p",
        "p corrected",
        f"p corrected < {LEVEL:g}",
    ]
    return Table(caption, columns, rows, folded=len(rows) > 12)


def p_value(p: float) -> str:
    """Return a p-value with three digits that count."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def stability(group: Group) -> RankStability | None:
    """Return the ranks of the methods; None with one method or one case."""
    scores = {method: case_mean(group.scores(method, "dice")) for method in group.methods}
    if len(scores) < 2 or len(group.cases) < 2:
        return None
    found = rank_stability(scores)
    return found if found.cases > 1 else None


def rank_table(group: Group) -> Table | None:
    """Return ranks, their intervals and the shares of the resamples per rank."""
    found = stability(group)
    if found is None:
        return None
    columns = ["Method", "Rank", "95 % interval", *(f"rank {place}" for place in range(1, len(found.methods) + 1))]
    rows: list[list[Cell]] = []
    for index, method in enumerate(found.methods):
        shares = [f"{share:.0%}" if share else "" for share in found.shares[index]]
        interval = f"{found.low[index]:g} to {found.high[index]:g}"
        rows.append([method, f"{found.ranks[index]:g}", interval, *shares])
    caption = (
        f"{group.title}: ranks of the mean Dice and their share in {len(found.taus)} draws of the {found.cases} cases. "
        f"Kendall's tau between the ranking and the draws: {number(found.tau, 2)} (1: always the same order)."
    )
    return Table(caption, columns, rows)


def summary_table(groups: Mapping[str, Group], method: str, *, bound: str) -> Table | None:
    """Return one row per comparison: a method beside the best of the others and the upper bound.

    Args:
        groups: Name in the table -> comparison; those without the method are left out.
        method: The method.
        bound: The method that is the upper bound where it was trained; it is none of the others.
    """
    rows: list[list[Cell]] = []
    for title, group in groups.items():
        if method not in group.methods:
            continue
        means = {name: mean_of(group.scores(name, "dice")) for name in group.methods}
        others = {name: mean for name, mean in means.items() if name not in (method, bound) and not math.isnan(mean)}
        best = max(others, key=lambda name: others[name], default=None)
        row: list[Cell] = [title, with_interval(group.scores(method, "dice")), _seeds(group, method)]
        row += [f"{best} {number(others[best])}, {_seeds(group, best)}" if best else "-"]
        row += [f"{number(means[bound])}, {_seeds(group, bound)}" if bound in means else "-"]
        row += [f"{means[method] / means[bound]:.0%}" if means.get(bound) else "-"]
        rows.append(row)
    columns = ["Compared", f"Dice of {method}", "Seeds", "Best of the others", f"Dice of {bound}", f"Share of {bound}"]
    return Table("", columns, rows, text_columns=2) if rows else None


def _seeds(group: Group, method: str) -> str:
    count = len(group.methods[method])
    return "1 seed" if count == 1 else f"{count} seeds"


def overall_rank_table(groups: Sequence[Group]) -> Table | None:
    """Return the mean rank of the methods that all groups have; None with one group."""
    groups = [group for group in groups if len(group.methods) > 1]
    common = [m for m in groups[0].methods if all(m in group.methods for group in groups)] if groups else []
    if len(groups) < 2 or len(common) < 2:
        return None
    ranks: dict[str, list[float]] = {method: [] for method in common}
    for group in groups:
        found = rank_stability({m: case_mean(group.scores(m, "dice")) for m in common}, resamples=1)
        for method, place in zip(found.methods, found.ranks, strict=True):
            ranks[method].append(place)
    order = sorted(common, key=lambda method: statistics.mean(ranks[method]))
    rows: list[list[Cell]] = [
        [method, f"{statistics.mean(ranks[method]):.2f}", *(f"{place:g}" for place in ranks[method])]
        for method in order
    ]
    columns = ["Method", "Mean rank", *(group.title for group in groups)]
    return Table("Ranks over everything that was compared, among the methods that are everywhere.", columns, rows)


def cost_table(group: Group) -> Table:
    """Return seconds and memory per method."""
    columns = ["Method", "Steps", "Seconds a step", "Minutes", "Peak MB", "GPU MB", "Seconds a case", "Parameters"]
    rows: list[list[Cell]] = []
    for method, jobs in group.methods.items():
        facts = [job.facts for job in jobs]
        steps = sorted(f["steps"] for f in facts)
        rows.append(
            [
                method,
                str(steps[0]) if steps[0] == steps[-1] else f"{steps[0]} to {steps[-1]}",
                number(statistics.mean(60 * f["train_minutes"] / max(1, f["steps"]) for f in facts)),
                number(statistics.mean(f["train_minutes"] for f in facts), 1),
                str(max(f["peak_mb"] for f in facts)),
                _most(f["gpu_mb"] for f in facts),
                number(statistics.mean(f["seconds_per_case"] for f in facts), 2),
                f"{facts[0]['parameters']:,}",
            ]
        )
    return Table(f"{group.title}: what training and prediction cost.", columns, rows)


def _most(values: Iterable[int | None]) -> str:
    known = [value for value in values if value is not None]
    return str(max(known)) if known else "-"


def curve_table(group: Group) -> Table | None:
    """Return the validation score at tenths of the budget, mean over seeds; None without validation."""
    rows: list[list[Cell]] = []
    for method, jobs in group.methods.items():
        lines = [_at_tenths(*job.validation()) for job in jobs if job.validation()[0]]
        if lines:
            means = np.mean(lines, axis=0)
            rows.append([method, *(number(float(value)) for value in means)])
    if not rows:
        return None
    columns = ["Method", *(f"{share}0 %" for share in range(1, 11))]
    return Table(f"{group.title}: validation score over the budget, mean over seeds.", columns, rows)


def _at_tenths(minutes: Sequence[float], values: Sequence[float]) -> list[float]:
    """Return the last value up to each tenth of the time, nan before the first.

    A validation starts just after its moment and takes a while: what ends within half a tenth still counts.
    """
    end = minutes[-1] or 1.0
    marks = []
    for tenth in range(1, 11):
        known = [value for at, value in zip(minutes, values, strict=True) if at <= end * (tenth / 10 + 0.05)]
        marks.append(known[-1] if known else math.nan)
    return marks


def notes(results: Results) -> list[str]:
    """Return what a reader must know before believing the tables."""
    found = []
    if results.unfinished:
        named = ", ".join(results.unfinished[:NAMED])
        rest = f" and {len(results.unfinished) - NAMED} more" if len(results.unfinished) > NAMED else ""
        found.append(f"{len(results.unfinished)} jobs are not finished: {named}{rest}.")
    codes = {(o.facts["code"]["commit"], o.facts["code"]["changed"]) for o in results.outcomes}
    if len(codes) > 1:
        names = ", ".join(sorted(f"{c or 'unknown'}{' with changes' if changed else ''}" for c, changed in codes))
        found.append(f"The jobs were trained by different states of the code: {names}.")
    elif next(iter(codes))[1]:
        found.append("The code was changed against the commit that is named below.")
    machines = {(o.facts["machine"].get("processor"), o.facts["machine"].get("gpu")) for o in results.outcomes}
    timed = any("minutes" in o.facts["settings"]["budget"] for o in results.outcomes)
    if len(machines) > 1:
        found.append("The jobs ran on different machines" + (": equal minutes are not equal work." if timed else "."))
    if timed and len({o.facts["jobs_at_once"] for o in results.outcomes}) > 1:
        found.append("Different numbers of jobs shared a machine: equal minutes are not equal work.")
    for group in results.groups:
        for method, jobs in group.methods.items():
            if len({job.facts["trained_with"] for job in jobs}) > 1:
                found.append(f"{group.title}: the seeds of {method} were trained with different default settings.")
    return found
