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


class SourceName(StrEnum):
    """Where several probability maps come from."""

    SOFTMAX = "softmax"
    TTA = "tta"
    MC_DROPOUT = "mc-dropout"
    CHECKPOINTS = "checkpoints"
    LATENT = "latent"
    RUNS = "runs"


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
    uncertainty_from: Annotated[
        SourceName,
        typer.Option(
            help="Average several probability maps and tell how far they differ: of changed images (tta), with dropout "
            "on, of the snapshots of the training (checkpoints), or of the models given with --with (runs)."
        ),
    ] = SourceName.SOFTMAX,
    samples: Annotated[int, typer.Option(min=2, max=200, help="Maps for tta, mc-dropout and latent.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Seed of tta, mc-dropout and latent.")] = 0,
    calibrated: Annotated[
        bool,
        typer.Option("--calibrated/--not-calibrated", help="Apply what 'medcl calibrate' fitted, where it was run."),
    ] = True,
    list_below: Annotated[
        float, typer.Option(min=0, max=1, help="List cases whose expected Dice is below this.")
    ] = 0.7,
    familiarity: Annotated[
        bool | None,
        typer.Option(
            "--familiarity/--no-familiarity",
            help="Judge whether each scan is like those of training; default: if the model remembers them.",
            show_default=False,
        ),
    ] = None,
    familiarity_map: Annotated[
        bool, typer.Option("--familiarity-map", help="Also write where a scan is unlike those of training (0 to 1).")
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
    from medcl.inference.sources import SourceSettings

    asked = None if prompts is None else read_prompts(prompts)
    console = Console(stderr=True)
    loaded, *further = (
        Model.load(folder, device=device.value, engine=engine.value, threads=threads, calibrated=calibrated)
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
            familiarity=familiarity,
            familiarity_map=familiarity_map,
            ending=ending,
            series=series,
            batch_size=batch_size,
            overlap=overlap,
            prompts=asked,
            others=further,
            uncertainty_from=SourceSettings(name=uncertainty_from.value, samples=samples, seed=seed),
            progress=next_case,
            within=lambda share: bar.update(task, completed=done + share),
        )
    if loaded.scaling is not None:
        Console().print(f"calibrated: {loaded.scaling.words()}", markup=False)
    _show(report, out)
    _show_doubtful(report, list_below)
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
    strange = [(one.case, one.familiarity) for one in report.written if one.familiarity and one.familiarity["strange"]]
    for case, judged in strange:
        console.print(Text(f"warning: {case} {judged['sentence']}", style="yellow"))
    for note in report.notes:
        console.print(Text(f"note: {note}", style="cyan"))
    if not report.failed:
        return
    table = Table("case", "why", title=f"{len(report.failed)} failed", title_style="bold red", show_lines=True)
    for failed in report.failed:
        table.add_row(Text(failed.case), Text(failed.reason, overflow="fold"))
    console.print(table)


def _show_doubtful(report: PredictReport, below: float) -> None:
    """List the cases to look at first: worst expected Dice on top."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not report.written:
        return

    def number(value: float | None) -> str:
        return "not found" if value is None or value != value else f"{value:.2f}"

    def is_doubtful(found: float | None) -> bool:
        return found is None or found < below

    doubtful = [one for one in report.written if any(is_doubtful(e["expected_dice"]) for e in one.estimates.values())]
    console = Console()
    means = [one.expected_dice for one in report.written if one.expected_dice == one.expected_dice]
    mean = f"{sum(means) / len(means):.2f}" if means else "undefined"
    console.print(
        Text(
            f"expected Dice (without labels): mean {mean}; {len(doubtful)} case(s) with a structure below "
            f"{below:g} or not found"
        )
    )
    if not doubtful:
        return
    doubtful.sort(key=lambda one: (one.expected_dice == one.expected_dice, one.expected_dice))
    table = Table("case", "expected Dice", *doubtful[0].estimates, title="Look at these first", title_justify="left")
    for one in doubtful[:20]:
        table.add_row(
            Text(one.case),
            number(one.expected_dice),
            *(number(e["expected_dice"]) for e in one.estimates.values()),
        )
    console.print(table)
    if len(doubtful) > 20:
        console.print(f"... and {len(doubtful) - 20} more in prediction.json")
