"""`medcl calibrate`: make the probabilities of a model mean what they say."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class On(StrEnum):
    """What to fit on."""

    AUTO = "auto"
    LABELS = "labels"
    STROKES = "strokes"
    AGREEMENT = "agreement"


class Kind(StrEnum):
    """What to fit."""

    TEMPERATURE = "temperature"
    VECTOR = "vector"


def calibrate(
    model: Annotated[Path, typer.Argument(help="Run folder of a finished training, or model folder.")],
    dataset: Annotated[Path, typer.Argument(help="Dataset folder with images and strokes or labels.")],
    on: Annotated[
        On,
        typer.Option(
            help="Fit on dense labels or strokes of cases that were not learnt from, or on the agreement with other "
            "trainings; auto takes the first that there is of agreement, labels, strokes."
        ),
    ] = On.AUTO,
    others: Annotated[
        list[Path] | None,
        typer.Option(
            "--with", help="Another, shorter training on the same strokes, with another seed; may be repeated."
        ),
    ] = None,
    kind: Annotated[Kind, typer.Option(help="One temperature, or scale and bias per class.")] = Kind.TEMPERATURE,
    cases: Annotated[
        str | None, typer.Option(help="Names of the cases to fit on, with commas; default: those not learnt from.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Number of cases at most.")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw of voxels.")] = 0,
) -> None:
    """Make the probabilities of a model mean what they say.

    Fits a temperature (or scale and bias per class), stores it in the model folder and tells it in the card; medcl
    predict applies it from then on. Nothing is stored that is worse on what it was fitted on.
    """
    from rich.console import Console
    from rich.progress import Progress

    from medcl.training.calibrate import calibrate as run_calibrate

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Predicting", total=None)

        def show(done: int, total: int, case: str) -> None:
            bar.update(task, completed=done, total=total, description=case or "fitting")

        scaling = run_calibrate(
            model,
            dataset,
            on=on.value,
            kind=kind.value,
            others=others or (),
            cases=None if cases is None else [name.strip() for name in cases.split(",")],
            most=most,
            seed=seed,
            progress=show,
        )
    console = Console(highlight=False, markup=False, soft_wrap=True)
    if scaling.facts["kept_as_it_was"]:
        asked = scaling.facts["temperature_asked_for"]
        console.print(f"near structures probabilities stay as they are: a temperature of {asked:.2f} was asked for,")
        console.print("which is worse where it was fitted, or surer on the word of what is no label")
    console.print(f"calibrated: {scaling.words()}")
    if scaling.facts["replaced"]:
        console.print(f"in the place of: {scaling.facts['replaced']}")
    if channels := scaling.facts["channels"]:
        have, got = (", ".join(channels[key]) for key in ("model", "dataset"))
        console.print(f"warning: the model learned from {have}, this data set holds {got}; was it meant?")
    for name, key in (("expected calibration error", "ece"), ("log loss", "log_loss")):
        values = scaling.facts[key]
        console.print(f"{name} near structures, on what it was fitted on: {values['before']} -> {values['after']}")
