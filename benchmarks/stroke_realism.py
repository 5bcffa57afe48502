"""Simulated strokes against those of real people: writes docs/strokes-measured.md and the table of known sets.

    python benchmarks/stroke_realism.py [--data ../shared/data] [--page docs/strokes-measured.md] [--known] [--every 1]

Needs the data sets acdc, mscmr and medscribble. Each preset is compared with the set that it was fitted to: strokes
are simulated on that set's dense labels (mscmr: on those of its validation part, as its training part has none) and
measured like the real ones. Without --known the package's table is left as it is.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medcl.data.dataset import Dataset
from medcl.data.io import read_geometry
from medcl.files import atomic_write, write_json
from medcl.scribbles import ScribbleSettings, draw
from medcl.scribbles.compare import QUANTILES, compare_strokes, summarise
from medcl.scribbles.measure import QUANTITIES, StrokeRow, measure_strokes
from medcl.scribbles.presets import preset
from medcl.scribbles.write import case_seed

ROOT = Path(__file__).resolve().parents[1]
KNOWN = ROOT / "src" / "medcl" / "scribbles" / "known.json"
PEOPLE = ("annotator0", "annotator1", "annotator2")


@dataclass(frozen=True)
class Pair:
    """A set of real strokes and the presets that are compared with it."""

    data: str
    presets: tuple[str | None, ...]
    people: tuple[str, ...] = ()
    simulated_on: str = "Tr"


PAIRS = (
    Pair("acdc", ("acdc-like", None)),
    Pair("mscmr", ("mscmr-like", None), simulated_on="Val"),
    Pair("medscribble", ("quick", None), PEOPLE),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "strokes-measured.md")
    parser.add_argument("--known", action="store_true", help="Also write the package's table of known sets.")
    parser.add_argument("--every", type=int, default=1, help="Use every n-th case only.")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    lines = [HEADER]
    table = {}
    for pair in PAIRS:
        folder = arguments.data / pair.data
        people = {name: list(real_rows(folder, name, arguments.every)) for name in pair.people or ("",)}
        for name, rows in people.items():
            table["/".join(filter(None, (pair.data, name)))] = summarise(rows)
        real = [row for rows in people.values() for row in rows]
        lines += [f"\n## {pair.data}\n", describe(pair, real)]
        for name in pair.presets:
            settings = preset(name) if name else ScribbleSettings()
            simulated = list(simulated_rows(folder, pair, settings, arguments.every, arguments.seed))
            lines += [
                f"\n{f'Preset `{name}`' if name else 'Default settings, for comparison'}:\n",
                *rows_of(real, simulated),
            ]
        if len(people) > 1:
            lines += ["\nOne person against the two others, for scale:\n", *between_people(people)]
    with atomic_write(arguments.page) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if arguments.known:
        write_json(KNOWN, {"quantiles": list(QUANTILES), "quantities": QUANTITIES, "sets": table})


HEADER = """# Strokes, measured

Written by `python benchmarks/stroke_realism.py`. Per slice and class: quartiles of real people's strokes and of
simulated ones, the Wasserstein distance of order 1 between the two distributions (in the quantity's unit), and the same
as a share of the real mean. What each quantity means: [strokes.md](strokes.md)."""


def describe(pair: Pair, real: list[StrokeRow]) -> str:
    cases = len({row.case for row in real})
    where = "the same cases" if pair.simulated_on == "Tr" else "the validation cases, which have dense labels"
    who = f", {len(pair.people)} people" if pair.people else ""
    return f"{cases} cases with real strokes{who}; simulated on {where}."


def real_rows(folder: Path, person: str, every: int) -> Iterator[StrokeRow]:
    dataset = Dataset.open(folder, scribbles=person or None)
    # files that are identical for two images belong to at most one of them (see dataset.json of medscribble)
    doubtful = {
        case
        for entry in dataset.content.get("identical_scribbles_on_two_images", [])
        if f"annotator{entry['annotator']}" == person
        for case in entry["cases"]
    }
    for case in dataset.cases("Tr")[::every]:
        if case.scribble is None or case.id in doubtful:
            continue
        label = dataset.read_label(case) if case.label else None
        spacing = read_geometry(case.images[0]).spacing_mm
        yield from measure_strokes(dataset.read_scribble(case), spacing, label, case=f"{case.id}")


def simulated_rows(folder: Path, pair: Pair, settings: ScribbleSettings, every: int, seed: int) -> Iterator[StrokeRow]:
    dataset = Dataset.open(folder, scribbles=pair.people[0] if pair.people else None)
    for case in dataset.cases(pair.simulated_on)[::every]:
        label, spacing = dataset.read_label(case), read_geometry(case.images[0]).spacing_mm
        scribble = draw(label, spacing, settings, case_seed(seed, case.id)).scribble
        yield from measure_strokes(scribble, spacing, label, case=case.id)


def rows_of(real: list[StrokeRow], simulated: list[StrokeRow]) -> list[str]:
    lines = [
        "| strokes of | quantity | real (25 / 50 / 75 %) | simulated | distance | of mean |",
        "|---|---|---|---|---|---|",
    ]
    for entry in compare_strokes(real, simulated):
        first, second = (" / ".join(number(v) for v in values) for values in (entry.real, entry.simulated))
        relative = "-" if np.isnan(entry.relative) else f"{entry.relative:.0%}"
        lines.append(
            f"| {entry.kind} | {entry.quantity} | {first} | {second} | {number(entry.wasserstein)} | {relative} |"
        )
    return lines


def between_people(people: dict[str, list[StrokeRow]]) -> list[str]:
    found: dict[tuple[str, str], list[float]] = {}
    for name, rows in people.items():
        others = [row for other, theirs in people.items() if other != name for row in theirs]
        for entry in compare_strokes(others, rows):
            found.setdefault((entry.kind, entry.quantity), []).append(entry.relative)
    lines = ["| strokes of | quantity | distance of mean, for each person |", "|---|---|---|"]
    return lines + [
        f"| {kind} | {name} | {', '.join(f'{v:.0%}' for v in values)} |" for (kind, name), values in found.items()
    ]


def number(value: float) -> str:
    return f"{value:.3g}"


if __name__ == "__main__":
    main()
