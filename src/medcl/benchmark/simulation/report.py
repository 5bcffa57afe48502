"""The simulated annotation as one HTML file: curves, tables, what was drawn and what came of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medcl.benchmark.simulation.results import Curve, DataResults, SimulationResults
from medcl.benchmark.simulation.rounds import MASKS, STROKES
from medcl.benchmark.simulation.stage import open_without_strokes
from medcl.benchmark.simulation.state import State, round_folder
from medcl.benchmark.simulation.tables import notes, tables_of, verdict
from medcl.data.dataset import Dataset
from medcl.data.io import read_map
from medcl.data.labels import UNLABELLED
from medcl.errors import MedclError
from medcl.evaluation.blocks import (
    Block,
    Card,
    Cards,
    Figure,
    Figures,
    Gallery,
    Legend,
    Picture,
    Section,
    Table,
    Text,
)
from medcl.evaluation.blocks import Curve as Drawing
from medcl.evaluation.pictures import BACKGROUND_COLOUR, Slice, colour_of, picture, window
from medcl.evaluation.plots import box_plot, line_plot
from medcl.evaluation.report import write_report
from medcl.queries.places import drawing_axis

SHOWN = 4
"""Slices shown of each strategy: the first that it asked for."""


def write_simulation_report(path: Path, results: SimulationResults) -> None:
    """Write the report of a recipe.

    Args:
        path: The HTML file; written atomically.
        results: Finished curves.
    """
    recipe = results.recipe
    settings = recipe.model_dump(mode="json", exclude_defaults=True)
    for entry in settings["data"].values():
        entry["folder"] = Path(entry["folder"]).name  # folders of this machine are not handed on
    sections = [_overview(results)]
    for data in results.data:
        sections.append(_curves(data))
        if data.seeds:
            sections.append(_pictures(data))
    sections.append(Section("Jobs", [_jobs(results)], folded=True))
    code = {"commit": str(results.facts["code"]["commit"] or "unknown: the code was no git checkout")}
    write_report(
        path,
        None,
        title=recipe.title or f"Simulated annotation {recipe.name}",
        settings=settings,
        versions={key: str(v) for key, v in {**results.facts["machine"], **results.facts["versions"], **code}.items()},
        subtitle=recipe.description.strip(),
        extra_sections=sections,
    )


def _overview(results: SimulationResults) -> Section:
    cards = []
    for data in results.data:
        better = [test.strategy for test in data.tests if verdict(test) == "better"]
        seeds = f"{len(data.seeds)} seeds"
        cards.append(Card(data.name, ", ".join(better) or "none", f"better than {data.reference}, {seeds}"))
    return Section("Overview", [Cards(cards), *(Text(note, "warning") for note in notes(results))])


def _curves(data: DataResults) -> Section:
    blocks: list[Block] = []
    if data.seeds:
        lines = {label: data.mean_curve(label) for label in data.curves}
        drawing = Drawing(
            "Dice over seconds of drawing",
            "seconds",
            "Dice",
            lines,
            note=f"Means over {len(data.seeds)} seeds.",
        )
        ends = "; ".join(f"{label} ends at {y[-1]:.3f}" for label, (_, y) in lines.items())
        areas = {label: np.nanmean(table, axis=1).tolist() for label, table in data.areas.items()}
        blocks.append(
            Figures(
                [
                    Figure(line_plot(drawing), f"Dice over seconds of drawing: {ends}."),
                    Figure(box_plot(areas, "area under the curve"), "Area of each strategy.", "One point per seed."),
                ]
            )
        )
    return Section(data.name, [*blocks, *tables_of(data)])


def _pictures(data: DataResults) -> Section:
    """Show the first slices that each strategy asked for, and its last mask of one scored case."""
    seed = data.seeds[0]
    curves = {label: found[seed] for label, found in data.curves.items()}
    try:
        dataset = open_without_strokes(Path(next(iter(curves.values())).job.entry.folder))
        blocks: list[Block] = [_asked(label, curve, dataset) for label, curve in curves.items()]
        blocks.append(_masks(curves, dataset))
    except MedclError as error:
        return Section(f"Pictures: {data.name}", [Text(f"No pictures: {error}", "warning")])
    colours = {name: colour_of(index) for index, name in enumerate(dataset.classes) if index}
    legend = Legend({**colours, "outline of the reference": "#ffffff", "background stroke": BACKGROUND_COLOUR})
    return Section(f"Pictures: {data.name}", [*blocks, legend])


def _asked(label: str, curve: Curve, dataset: Dataset) -> Gallery:
    folder = round_folder(curve.folder, 1)
    cases = {case.id: case for case in dataset.cases("Tr")}
    pictures = []
    for asked in State.load(folder).asked[:SHOWN]:
        case = cases[asked["case"]]
        file = next((folder / STROKES).glob(f"{case.id}.*"))
        image, truth = dataset.read_image(case), dataset.read_label(case)
        strokes = dataset.labels.strokes.decode(read_map(file)[0], str(file))
        axis = drawing_axis(image.geometry.size, image.geometry.spacing_mm)
        view = _slice(image.array, truth, strokes, image.geometry.spacing_mm, axis, asked["slice"])
        words = f"{case.id}, slice {asked['slice'] + 1}: {asked['reason']}, {asked['seconds']:.0f} s"
        pictures.append(Picture(picture(view, show="strokes", crop=window(view)), words, words))
    return Gallery(
        pictures, f"{label}: asked for first", f"seed {curve.job.seed}, strokes of the first round", columns=4
    )


def _masks(curves: dict[str, Curve], dataset: Dataset) -> Gallery:
    first = next(iter(curves.values()))
    case = next(c for c in dataset.cases(first.job.entry.part) if c.id == first.cases[0])
    image, truth = dataset.read_image(case), dataset.read_label(case)
    index = int(np.argmax((truth > 0).sum(axis=(1, 2))))
    nothing = np.full_like(truth, UNLABELLED)
    view = _slice(image.array, truth, nothing, image.geometry.spacing_mm, 0, index)
    part = window(view)
    pictures = [Picture(picture(view, show="label", crop=part), "reference", "reference")]
    for label, curve in curves.items():
        mask, _ = read_map(round_folder(curve.folder, curve.job.spending.rounds) / MASKS / f"{case.id}.nii.gz")
        shown = Slice(
            label=view.label, image=view.image, scribble=None, spacing_mm=view.spacing_mm, prediction=mask[index]
        )
        pictures.append(Picture(picture(shown, show="prediction", crop=part), label, label))
    return Gallery(pictures, "After the last round", f"{case.id}, slice {index + 1}; seed {first.job.seed}", columns=4)


def _slice(
    image: np.ndarray,
    label: np.ndarray,
    strokes: np.ndarray,
    spacing: tuple[float, float, float],
    axis: int,
    index: int,
) -> Slice:
    across = tuple(mm for number, mm in enumerate(spacing) if number != axis)
    return Slice(
        label=label.take(index, axis),
        image=image.take(index, axis + 1),
        scribble=strokes.take(index, axis),
        spacing_mm=across,  # type: ignore[arg-type]
    )


def _jobs(results: SimulationResults) -> Table:
    rows = []
    for data in results.data:
        for found in data.curves.values():
            for curve in found.values():
                minutes = f"{curve.facts['seconds'] / 60:.1f}"
                rows.append([curve.job.name, f"{curve.mean[-1]:.3f}", minutes, curve.folder.name])
    rows += [[name, "not finished", "", ""] for name in results.unfinished]
    return Table("All curves", ["Job", "Dice", "Minutes", "Folder"], rows)
