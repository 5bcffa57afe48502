"""Part of the results page: what the annotation page and its server were measured to do."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any


def lines(runs: Path) -> list[str]:
    """Return the Markdown of all figures of `medcl annotate` that are there.

    Args:
        runs: Benchmark folder with what `benchmarks/annotate_*.py --out RUNS/annotate_NAME.json` left.
    """
    rows: list[tuple[str, str, str, str]] = []
    for name, read in (("first", _first), ("page", _page), ("load", _load), ("kill", _kill)):
        content = _content(runs, name)
        if content is not None:
            rows += [(f"`annotate_{name}.py`", *row) for row in read(content)]
    loop = _content(runs, "loop")
    found = []
    if rows:
        found += ["| script | what | asked | measured |", "|---|---|---|---|"]
        found += [f"| {' | '.join(row)} |" for row in rows] + [""]
    if loop is not None:
        found += _loop(loop)
    return (
        ["## Annotation page", "", "Two cores, Chromium without a graphics card, all on one machine.", "", *found]
        if found
        else []
    )


def _content(runs: Path, name: str) -> dict[str, Any] | None:
    path = runs / f"annotate_{name}.json"
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _first(content: dict[str, Any]) -> list[tuple[str, str, str]]:
    runs = content["runs"]
    useful = [run["seconds_to_useful"] for run in runs]
    text = ", ".join("never" if seconds is None else f"{seconds:.0f} s" for seconds in useful)
    strokes = runs[0]["strokes"]
    last = mean(mean(run["dice_all_cases"].values()) for run in runs)
    return [
        (
            f"from the tenth stroke to Dice {content['useful']} of the open case (made-up hearts, {len(runs)} seeds)",
            "120 s",
            text,
        ),
        (
            f"mean Dice of all cases after {content['minutes']:g} minutes, {strokes} strokes",
            "",
            f"{last:.3f}",
        ),
    ]


def _page(content: dict[str, Any]) -> list[tuple[str, str, str]]:
    size = " x ".join(map(str, content["size"]))
    ready, saved, change = content["ready_seconds"], content["stroke_saved_ms"], content["slice_ms"]
    load = f"load {content['load']:g}"
    return [
        (f"page ready, scan of {size} in the server's cache, median ({load})", "2 s", f"{ready['p50']:.2f} s"),
        ("pen up until saved, median; p95", "100 ms", f"{saved['p50']:.0f} ms; {saved['p95']:.0f} ms"),
        ("another slice on the screen, median; p95", "50 ms", f"{change['p50']:.0f} ms; {change['p95']:.0f} ms"),
    ]


def _load(content: dict[str, Any]) -> list[tuple[str, str, str]]:
    saved = content["save_ms"]
    beside = "beside a training" if content["training"] else "without training"
    people = f"{content['people']} people for {content['seconds']:g} s {beside}, {content['strokes']} strokes"
    return [
        (f"{people}: saving, median; p95", "100 ms; 200 ms", f"{saved['p50']:.0f} ms; {saved['p95']:.0f} ms"),
        (f"{people}: errors", "0", str(len(content["errors"]))),
    ]


def _kill(content: dict[str, Any]) -> list[tuple[str, str, str]]:
    what = f"kill -9 of server or worker, {content['rounds']} rounds, {content['acknowledged_strokes']} strokes: lost"
    other = len(content["problems"]) - content["lost"]
    return [(what, "0", str(content["lost"])), ("anything else wrong after them", "0", str(other))]


def _loop(content: dict[str, Any]) -> list[str]:
    summary = content["summary"]
    rounds = len(next(iter(summary["mean"].values())))
    found = [
        f"`annotate_loop.py`: made-up hearts, {len(content['runs'])} seeds, the same strokes at the start, then "
        "as many strokes for each strategy where it asks for them; mean Dice of cases that nobody drew on.",
        "",
        f"| strategy | start | {' | '.join(f'round {n}' for n in range(1, rounds))} |",
        "|---|" + "---|" * rounds,
    ]
    for name, scores in summary["mean"].items():
        found.append(f"| {name} | {' | '.join(f'{score:.3f}' for score in scores)} |")
    found.append("")
    for pair, difference in summary["difference"].items():
        spread = difference["standard_deviation_over_seeds"]
        found += [
            f"{pair}: {difference['mean_over_rounds']:+.3f} over the rounds"
            + ("" if spread is None else f" (standard deviation over seeds {spread:.3f})")
            + f", {difference['last_round']:+.3f} at the end, in favour in {difference['seeds_in_favour']} of "
            f"{difference['seeds']} seeds.",
            "",
        ]
    return found
