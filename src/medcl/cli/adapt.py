"""`medcl adapt`: parse, call the API, show what the guard says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from medcl.training.adaptation.guard import Vitals
    from medcl.training.adaptation.run import AdaptResult


def adapt(
    model: Annotated[Path, typer.Argument(help="Model folder, or run folder of a finished training; not changed.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, folders of them, DICOM folders or zips.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the adapted model.")],
    budget: Annotated[
        str | None, typer.Option("--budget", help="Steps or minutes: 120steps, 5m; default 120 steps.")
    ] = None,
    volumes: Annotated[
        list[str] | None,
        typer.Option(
            "--volume", metavar="NAME=ML", help="Mean volume of a structure in ml in the new patients; one for each."
        ),
    ] = None,
    sizes_from: Annotated[
        list[Path] | None,
        typer.Option(help="Images like those of training, to measure class sizes on; for models that hold none."),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting, e.g. ratio=0 or guard.consistency=0.05; repeatable."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write the model although the guard refuses it.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model that is at --out.")] = False,
) -> None:
    """Adapt a model to images of another scanner, without labels and without its training images.

    A guard compares held-out images before and after. Where adapting would harm, nothing is written, the reasons are
    told, and the exit code is 3. Ctrl-C ends early: the best state so far counts.
    """
    from medcl.cli.training_progress import TrainingProgress
    from medcl.errors import DataError, SettingsError
    from medcl.settings import set_by_path
    from medcl.training.adaptation.run import adapt as run

    values: dict[str, Any] = set_by_path({}, list(assignments or []))
    guard = values.pop("guard", {})
    if not isinstance(guard, dict):
        raise SettingsError(f"--set guard: expected one of its settings such as guard.consistency=0.05, got {guard!r}.")
    if out.exists() and not overwrite:
        raise DataError(f"{out}: is there already; choose another folder or say --overwrite.")
    with TrainingProgress() as progress:
        result = run(
            model,
            images,
            out,
            budget=budget,
            settings=values,
            guard=guard,
            volumes_ml=_volumes(volumes),
            sizes_from=sizes_from,
            force=force,
            show=progress,
        )
    _show(result)
    if result.model is None:
        raise typer.Exit(3)


def _volumes(texts: list[str] | None) -> dict[str, float] | None:
    from medcl.errors import SettingsError

    if not texts:
        return None
    found: dict[str, float] = {}
    for text in texts:
        name, sign, number = text.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            sign = ""
        if not sign or not name:
            raise SettingsError(f"--volume: expected NAME=ML such as LV=120, got '{text}'.")
    return found


def _show(result: AdaptResult) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table("held-out images", "before", "after")
    for (name, before), (_, after) in zip(_rows(result.before), _rows(result.after), strict=True):
        table.add_row(Text(name), before, after)
    console.print(table)
    for reason in result.reasons:
        console.print(Text(f"- {reason}"))
    if result.model is None:
        console.print(Text("refused: the old model is the better one; nothing is written (--force writes it anyway)"))
        return
    if result.reasons:
        console.print(Text("written against the guard's advice (--force)"))
    when = f"after {result.steps} steps" if result.steps else "with new statistics alone"
    console.print(Text(f"model: {result.model} (state {when}, {result.minutes:.1f} minutes)"))


def _rows(seen: Vitals) -> list[tuple[str, str]]:
    import math

    rows = [
        ("agreement between changed copies (Dice)", f"{seen.consistency:.3f}"),
        ("cut off as stray pieces", f"{seen.stray:.1%}"),
        ("volumes off by a factor of", "unknown" if seen.misfit is None else f"{math.exp(seen.misfit):.2f}"),
        ("entropy where a structure is", f"{seen.entropy:.3f}"),
    ]
    rows += [(f"{name}, mean volume", f"{volume:.3g} ml") for name, volume in seen.volumes_ml.items()]
    rows += [(f"{name}, found in", f"{share:.0%}") for name, share in seen.found.items()]
    return [*rows, ("score", f"{seen.score:.3f}")]
