"""`medcl import`: write a public data set, as it was downloaded, as a dataset folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medcl.importers.run import ImportResult


def import_(
    name: Annotated[str | None, typer.Argument(help="Data set, such as acdc; --list shows all.")] = None,
    source: Annotated[Path | None, typer.Argument(help="The unpacked download, or any folder above it.")] = None,
    out: Annotated[Path | None, typer.Argument(help="Dataset folder to write; must be new or empty.")] = None,
    show: Annotated[
        bool, typer.Option("--list", help="Show all data sets with licence, source and options; with NAME, that one.")
    ] = False,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="A part of the data set's cases is enough.")
    ] = False,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="An option of the data set, e.g. organs=8; repeatable.")
    ] = None,
) -> None:
    """Write a public data set, as you downloaded and unpacked it, as a dataset folder.

    Checks names, counts, label values and geometry first; where something is wrong, everything is told and nothing is
    written. Licence and citation go into the folder. Nothing is downloaded.

    Example: medcl import btcv Abdomen/RawData btcv --set organs=8
    """
    from rich.console import Console
    from rich.progress import Progress

    from medcl.errors import DataError, SettingsError
    from medcl.importers.run import ImportFindingsError, import_dataset
    from medcl.settings import set_by_path

    if show:
        _list(name)
        return
    if name is None or source is None or out is None:
        raise SettingsError("expected a data set, its folder and the folder to write, or --list; see --help.")
    options = set_by_path({}, assignments or [])
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Importing", total=None)

        def step(done: int, total: int, case: str) -> None:
            bar.update(task, completed=done, total=total, description=case)

        try:
            result = import_dataset(name, source, out, allow_partial=allow_partial, progress=step, **options)
        except ImportFindingsError as refused:
            if len(refused.findings) == 1:
                raise
            bar.stop()
            for finding in refused.findings:
                typer.echo(f"- {finding}", err=True)
            raise DataError(f"{source}: {len(refused.findings)} findings, see above; nothing was written.") from None
    _tell(result)


def _tell(result: ImportResult) -> None:
    for split, number in result.cases.items():
        if number:
            kinds = [f"{result.labelled[split]} with dense labels", f"{result.drawn[split]} with strokes"]
            typer.echo(f"{split}: {number} cases, {', '.join(kinds)}")
    for note in result.notes:
        typer.echo(f"note: {note}")
    typer.echo(f"licence: {result.facts.licence}")
    typer.echo(f"please cite: {result.facts.citation}")
    typer.echo(f"dataset: {result.folder}")


def _list(only: str | None) -> None:
    from medcl.importers import importers
    from medcl.importers.run import options_of

    for name in [only] if only else importers:
        importer = importers.get(name)
        facts = importer.facts
        typer.secho(name, bold=True)
        for title, text in (
            ("shows", facts.title),
            ("licence", facts.licence),
            ("from", facts.where),
            ("looks for", facts.layout),
            *((("not verified", facts.unverified),) if facts.unverified else ()),
            *((f"--set {option}", text) for option, text in options_of(importer).items()),
        ):
            typer.echo(f"  {title}: {text}")
