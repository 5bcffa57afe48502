"""`medcl predict`: masks for images, in the geometry of each image."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from medcl.inference.predict import PredictReport


class Component(StrEnum):
    """What the largest piece is kept of."""

    AUTO = "auto"
    NONE = "none"
    CLASS = "class"
    GROUP = "group"


class Device(StrEnum):
    """Where to run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class Engine(StrEnum):
    """What runs the network."""

    AUTO = "auto"
    TORCH = "torch"
    OPENVINO = "openvino"


def predict(
    model: Annotated[Path, typer.Argument(help="Model folder, or run folder of a finished training.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, folders of them, DICOM folders or zips.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")],
    flips: Annotated[
        bool | None,
        typer.Option(
            "--flips/--no-flips",
            help="Average over in-plane mirror images, four times the work; default: if training drew them too.",
            show_default=False,
        ),
    ] = None,
    largest_component: Annotated[
        Component,
        typer.Option(
            help="Keep the largest connected piece of what training found to be one piece (auto), of each class or "
            "group, or of nothing."
        ),
    ] = Component.AUTO,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write one float image per class.")
    ] = False,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Also write the normalised entropy (0 to 1).")
    ] = False,
    ending: Annotated[str, typer.Option(help="Format of the masks by file ending.")] = ".nii.gz",
    series: Annotated[str | None, typer.Option(help="Series UID, where a DICOM source holds several.")] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="JSON file of points and boxes in the one image given, for models that can be asked (sam)."),
    ] = None,
    engine: Annotated[Engine, typer.Option(help="What runs the network.")] = Engine.AUTO,
    device: Annotated[Device, typer.Option(help="Where to run.")] = Device.AUTO,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: what torch takes.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Slices or windows at a time; fewer need less memory.")
    ] = None,
    overlap: Annotated[float, typer.Option(min=0.0, max=0.9, help="Overlap of sliding windows in large images.")] = 0.5,
    others: Annotated[
        list[Path] | None,
        typer.Option("--with", help="Further model, such as of another view, to average with; may be repeated."),
    ] = None,
) -> None:
    """Write masks for images, in the geometry of each image.

    A case that fails is reported and the others go on; the exit code is 1 if any failed. What became of each case is
    kept in prediction.json beside the masks.
    """
    from rich.console import Console

    from medcl.inference.model import Model
    from medcl.inference.predict import predict_files
    from medcl.inference.prompting import read_prompts

    asked = None if prompts is None else read_prompts(prompts)
    console = Console(stderr=True)
    loaded, *further = (
        Model.load(folder, device=device.value, engine=engine.value, threads=threads)
        for folder in (model, *(others or ()))
    )
    with _progress(console) as bar:
        task, done = bar.add_task("predict", total=None), 0

        def next_case(number: int, total: int, case: str) -> None:
            nonlocal done
            done = number
            bar.update(task, completed=number, total=total, description=case or "done")

        report = predict_files(
            loaded,
            images,
            out,
            flips=flips,
            largest_component=largest_component.value,
            probabilities=probabilities,
            uncertainty=uncertainty,
            ending=ending,
            series=series,
            batch_size=batch_size,
            overlap=overlap,
            prompts=asked,
            others=further,
            progress=next_case,
            within=lambda share: bar.update(task, completed=done + share),
        )
    _show(report, out)
    if report.failed:
        raise typer.Exit(1)


def _progress(console: Console) -> Progress:
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


def _show(report: PredictReport, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console.print(Text(f"engine: {report.engine}"))
    seconds = sum(written.seconds for written in report.written)
    console.print(Text(f"written: {len(report.written)} case(s) to {out} in {seconds:.1f} s"))
    if not report.failed:
        return
    table = Table("case", "why", title=f"{len(report.failed)} failed", title_style="bold red", show_lines=True)
    for failed in report.failed:
        table.add_row(Text(failed.case), Text(failed.reason, overflow="fold"))
    console.print(table)
