"""`medcl compare-sets`: does this new scanner look like my training set?"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medcl.evaluation.compare_sets import SetComparison

_SHOWN = 8


class Features(StrEnum):
    """What computes the features."""

    AUTO = "auto"
    PYRADIOMICS = "pyradiomics"
    SIMPLEITK = "simpleitk"


class Split(StrEnum):
    """Which images of data sets."""

    TR = "Tr"
    VAL = "Val"
    TS = "Ts"


def compare_sets(
    a: Annotated[Path, typer.Argument(help="What is known: a data set, or a folder of images.")],
    b: Annotated[Path, typer.Argument(help="What is new: the same.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for compare.html and compare.json.")] = None,
    split: Annotated[Split, typer.Option(help="Which images of data sets.")] = Split.TR,
    features: Annotated[
        Features, typer.Option(help="What computes the features; auto: pyradiomics where it is installed.")
    ] = Features.AUTO,
    raw: Annotated[bool, typer.Option("--raw", help="Keep intensities as they are; right for CT.")] = False,
    draws: Annotated[int, typer.Option(min=20, help="Random splits of A that say what is usual.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the splits.")] = 0,
) -> None:
    """Say whether two sets of scans look alike, and what differs most.

    Compares features of brightness, texture and voxels by their Frechet distance, beside the distance that is usual
    between parts of A. Strokes, labels and models are not needed.
    """
    from rich.console import Console
    from rich.progress import Progress

    from medcl.evaluation.compare_sets import compare_sets as run

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("measure", total=None)

        def show(done: int, total: int, case: str) -> None:
            bar.update(task, completed=done, total=total, description=case or "done")

        result = run(
            a,
            b,
            out,
            split=split.value,
            features=features.value,
            raw=raw,
            draws=draws,
            seed=seed,
            progress=show,
        )
    _show(result, out)


def _show(result: SetComparison, out: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console.print(Text(result.sentence, style="yellow" if result.unlike else ""))
    table = Table("feature", "mean of A", "mean of B", "shift (SD of A)", title="differ most", title_justify="left")
    for one in result.differences[:_SHOWN]:
        table.add_row(Text(one.name), f"{one.mean_a:.4g}", f"{one.mean_b:.4g}", f"{one.shift:+.2f}")
    console.print(table)
    by = "PyRadiomics (IBSI)" if result.library == "pyradiomics" else "SimpleITK and scikit-image; not the IBSI set"
    console.print(Text(f"{len(result.cases[0])} scans in A, {len(result.cases[1])} in B; features by {by}"))
    for line in result.skipped:
        console.print(Text(f"left out: {line}", style="yellow"))
    if out is not None:
        console.print(Text(f"Report: {out / 'compare.html'}"))
