"""`medcl scribble`: draw strokes from dense labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from medcl.scribbles.settings import ScribbleSettings
    from medcl.scribbles.write import ScribbleResult

_SHOWN = 8
_SPLITS = ("Tr", "Val", "Ts")


def scribble(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder with dense labels, or one label file.")],
    out: Annotated[
        Path | None,
        typer.Option(help="New dataset folder (or file, for one label); default: into the dataset itself."),
    ] = None,
    style: Annotated[
        str | None, typer.Option(help="How structures are stroked: centreline, curve, zigzag, ...; default mix.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Settings fitted to real people: acdc-like, mscmr-like or quick.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Limits per case: 1% of pixels, 2strokes per class and slice, 5slices, 90s; with commas."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random draw.")] = 0,
    name: Annotated[
        str | None, typer.Option(help="Put the strokes into scribblesTr/NAME, as if an annotator of that name drew.")
    ] = None,
    split: Annotated[str, typer.Option(help="Part of the dataset: Tr, Val or Ts.")] = "Tr",
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting, e.g. thickness=3 or background.far=2; repeatable."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; the options go over it.")] = None,
    real: Annotated[
        str | None, typer.Option(help="Whose strokes of the dataset to compare with, where several people drew.")
    ] = None,
    ignore: Annotated[
        int | None, typer.Option(help="For one label: value of unlabelled; default: one above its highest value.")
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="With --out: copy images and labels, do not link.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace strokes that are there, real ones too.")
    ] = False,
) -> None:
    """Draw strokes from dense labels, as people draw them.

    The same seed gives the same strokes. A table says what they are like and what they would have cost a person; where
    the dataset has real strokes, also how far from those they are. strokes.png shows some.

    Example: medcl scribble hearts --preset acdc-like --budget 120s --out hearts-strokes
    """
    from rich.console import Console
    from rich.progress import Progress

    from medcl.errors import SettingsError, unknown_name
    from medcl.scribbles.write import scribble as draw_dataset
    from medcl.scribbles.write import scribble_file

    settings = resolve(style, preset, budget, assignments or [], config)
    if split not in _SPLITS:
        raise SettingsError(unknown_name("split", split, _SPLITS))
    if dataset.is_file():
        if out is None:
            raise SettingsError(f"{dataset}: is one label; say with --out which file to write.")
        result = scribble_file(dataset, out, settings=settings, seed=seed, ignore=ignore, overwrite=overwrite)
    else:
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("Drawing", total=None)

            def show(done: int, total: int, case: str) -> None:
                bar.update(task, completed=done, total=total)

            result = draw_dataset(
                dataset,
                out,
                settings=settings,
                seed=seed,
                name=name,
                split=split,  # type: ignore[arg-type] # checked above
                real=real,
                overwrite=overwrite,
                copy=copy,
                progress=show,
            )
    _render(result)
    if not dataset.is_file():
        typer.echo(f"picture: {_picture(result, name, split)}")
    typer.echo(f"strokes: {result.cases[0].file if dataset.is_file() else result.scribbles}")


def resolve(
    style: str | None, preset: str | None, budget: str | None, assignments: list[str], config: Path | None
) -> ScribbleSettings:
    """Put settings together: the preset, over it the file, over it the options, over them `--set`.

    Raises:
        SettingsError: Unknown names or unusable values.
    """
    from medcl.scribbles.presets import merged, preset_values
    from medcl.scribbles.settings import ScribbleSettings, StrokeBudget
    from medcl.settings import read_config, set_by_path

    values: dict[str, Any] = preset_values(preset) if preset else {}
    values = merged(values, read_config(config)) if config else values
    if style:
        values = merged(values, {"style": style})
    if budget:
        limits = StrokeBudget.from_text(budget).model_dump(exclude_none=True)
        values = merged(values, {"budget": limits})
    return ScribbleSettings.parse(set_by_path(values, assignments), where="stroke settings")


def _render(result: ScribbleResult) -> None:
    from statistics import median

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from medcl.scribbles.compare import KINDS, summarise
    from medcl.scribbles.measure import QUANTITIES

    console = Console(highlight=False, soft_wrap=True)
    cases = result.cases
    console.print(
        f"{len(cases)} case{'' if len(cases) == 1 else 's'}, in the median {median(c.strokes for c in cases):g} "
        f"strokes in {median(c.slices for c in cases):g} slices, {median(c.length_mm for c in cases):.0f} mm, "
        f"{median(c.share for c in cases):.2%} of all pixels, {median(c.seconds for c in cases):.0f} s of a person."
    )
    if result.skipped:
        console.print(f"{len(result.skipped)} cases without a dense label are left out.")
    table = Table(title="Strokes per class and slice: median", title_justify="left", box=SIMPLE_HEAD)
    columns = ("quantity", *KINDS, *(("real structures", "real background") if result.against else ()))
    for column in columns:
        table.add_column(column, justify="left" if column == "quantity" else "right")
    summary = summarise(result.measured)
    apart = {(entry.kind, entry.quantity): entry.real[1] for entry in result.against}
    for quantity in QUANTITIES:
        cells = [_number(summary.get(kind, {}).get(quantity, [None] * 3)[2]) for kind in KINDS]
        if result.against:
            cells += [_number(apart.get((kind, quantity))) for kind in KINDS]
        if any(cell != "-" for cell in cells):
            table.add_row(quantity, *cells)
    console.print(table)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _picture(result: ScribbleResult, name: str | None, split: str) -> Path:
    """Draw some cases into one picture beside the strokes."""
    from medcl.data.dataset import Dataset
    from medcl.evaluation.stroke_sheet import stroke_view, write_stroke_sheet

    dataset = Dataset.open(result.folder, scribbles=name)
    drawn = {entry.case for entry in result.cases}
    cases = [case for case in dataset.cases(split) if case.id in drawn]  # type: ignore[arg-type] # checked before
    some = cases[:: max(1, len(cases) // _SHOWN)][:_SHOWN]
    views = []
    for case in some:
        image = dataset.read_image(case)
        views.append(stroke_view(dataset.read_scribble(case), image.geometry.spacing_mm, image))
    parts = ["strokes", *([] if split == "Tr" else [split]), *([name] if name else [])]
    return write_stroke_sheet(result.folder / ("-".join(parts) + ".png"), views)
