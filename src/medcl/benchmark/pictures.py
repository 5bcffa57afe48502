"""Pictures side by side: one slice, its strokes and reference, and the mask of every method."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from medcl.benchmark.folders import training_folder
from medcl.benchmark.jobs import Job
from medcl.benchmark.results import Group, Outcome
from medcl.benchmark.work import example_case
from medcl.data.dataset import Dataset
from medcl.data.io import read_map
from medcl.data.labels import UNLABELLED
from medcl.data.layout import Case
from medcl.errors import MedclError
from medcl.evaluation.blocks import Block, Gallery, Legend, Picture, Text
from medcl.evaluation.comparison import case_mean
from medcl.evaluation.pictures import BACKGROUND_COLOUR, Slice, colour_of, picture, window

COLUMNS = 4


def galleries(group: Group, out: Path) -> list[Block]:
    """Draw a training case with its strokes, and the scored case whose Dice is the median one.

    Args:
        group: Finished jobs of one data set.
        out: The benchmark's folder.

    Returns:
        Galleries, or a sentence that says why there are none.
    """
    first = {method: jobs[0] for method, jobs in group.methods.items()}
    try:
        job = Job.load(group.first.folder)
        dataset = Dataset.open(training_folder(job, out), scribbles=job.entry.scribbles)
        blocks: list[Block] = []
        stroked = example_case(dataset)
        if stroked is not None:
            blocks.append(_gallery("Training case with its strokes", "example", stroked, dataset, first))
        scored = _median_case(group)
        cases = {case.id: case for case in dataset.cases(job.entry.part)}
        if scored in cases:
            blocks.append(_gallery("Scored case with the median Dice", "masks", cases[scored], dataset, first))
    except MedclError as error:
        return [Text(f"No pictures: {error}", "warning")]
    colours = {name: colour_of(index) for index, name in enumerate(dataset.classes) if index}
    return [*blocks, Legend({**colours, "outline of the reference": "#ffffff", "background stroke": BACKGROUND_COLOUR})]


def _median_case(group: Group) -> str:
    """Return the case whose mean Dice over all methods is the median."""
    means = np.stack([case_mean(group.scores(method, "dice")) for method in group.methods])
    average = case_mean(means)
    order = np.argsort(np.where(np.isnan(average), np.inf, average), kind="stable")
    known = int((~np.isnan(average)).sum())
    return group.cases[int(order[max(0, (known - 1) // 2)])]


def _gallery(title: str, folder: str, case: Case, dataset: Dataset, jobs: dict[str, Outcome]) -> Gallery:
    image = dataset.read_image(case)
    nothing = np.full(image.array.shape[1:], UNLABELLED, np.int16)
    label = dataset.read_label(case) if case.label is not None else nothing
    strokes = dataset.read_scribble(case) if case.scribble is not None else nothing
    index = _fullest(label if (label > 0).any() else strokes)
    view = Slice(
        label=label[index],
        image=image.array[:, index],
        scribble=strokes[index] if case.scribble is not None else None,
        spacing_mm=image.geometry.spacing_mm[1:],
    )
    part = window(view)  # the same for all: of what is known, not of what a method draws
    pictures = [_picture(view, "strokes", part, f"{case.id}: " + ("strokes" if case.scribble else "image"))]
    if case.label is not None:
        pictures.append(_picture(view, "label", part, "reference"))
    for method, job in jobs.items():
        mask, _ = read_map(job.folder / folder / f"{case.id}.nii.gz")
        pictures.append(_picture(replace(view, prediction=mask[index]), "prediction", part, method))
    where = f"{case.id}, slice {index + 1} of {label.shape[0]}" if label.shape[0] > 1 else case.id
    return Gallery(pictures, title, f"{where}; seed {next(iter(jobs.values())).seed}", columns=COLUMNS)


def _picture(view: Slice, show: str, part: tuple[slice, slice], name: str) -> Picture:
    return Picture(picture(view, show=show, crop=part), name, name)


def _fullest(values: np.ndarray) -> int:
    """Return the slice with the most structures, and among those the one with the largest."""
    kinds = np.array([len(np.unique(plane[plane > 0])) for plane in values])
    sizes = (values > 0).sum(axis=(1, 2))
    return int(np.lexsort((sizes, kinds))[-1])
