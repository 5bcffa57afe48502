"""`medcl explain`: parse, call the API, show scores."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class Method(StrEnum):
    """Ways of explaining."""

    OCCLUSION = "occlusion"
    RISE = "rise"
    GRAD_CAM = "grad-cam"


def explain(
    model: Annotated[Path, typer.Argument(help="Model folder, or run folder of a finished training.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, folders of them, DICOM folders or zips.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for maps and pictures.")],
    structures: Annotated[
        list[str] | None,
        typer.Option("--class", help="Structure to explain; may be repeated; default: all that are predicted."),
    ] = None,
    methods: Annotated[
        list[Method] | None, typer.Option("--method", help="May be repeated; default: occlusion.")
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(help="Where covers are tried: predicted (default), whole, or the name of a class or group."),
    ] = None,
    slices: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="2D models: slices on the model's grid; default: all with it.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, e.g. cell_mm=8 or masks_per_cell=8; repeatable.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: what torch takes.")] = None,
) -> None:
    """Show what in an image a predicted structure rests on.

    Writes a saliency map in the image's geometry and a picture per structure and method, and explanation.json with
    insertion (high is good) and deletion (low is good).
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.table import Table
    from rich.text import Text

    from medcl.inference.explain.run import explain_files
    from medcl.inference.model import Model
    from medcl.settings import set_by_path

    values: dict[str, Any] = set_by_path({}, list(assignments or []))
    if region is not None:
        values["region"] = region
    chosen = [method.value for method in methods or [Method.OCCLUSION]]
    loaded = Model.load(model, threads=threads)
    numbers = None if slices is None else _numbers(slices)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("explain", total=1.0)
        found = explain_files(
            loaded,
            images,
            out,
            structures=structures,
            methods=chosen,
            settings=values,
            slices=numbers,
            progress=lambda what, share: bar.update(task, description=what, completed=share),
            tell=lambda words: bar.console.print(Text(words)),
        )
    table = Table("structure", "method", "places", "passes", "seconds", "insertion", "deletion")
    for one in found:
        scores = (one.mean("insertion"), one.mean("deletion"))
        table.add_row(
            Text(one.structure),
            one.method,
            str(len(one.places)),
            str(sum(place.passes for place in one.places)),
            f"{one.seconds:.1f}",
            *("" if value is None else f"{value:.3f}" for value in scores),
        )
    Console().print(table)
    typer.echo(f"maps and pictures: {out}")


def _numbers(text: str) -> list[int]:
    from medcl.errors import SettingsError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise SettingsError(f"--slices: expected whole numbers such as 3,4,5, got '{text}'.") from None
