"""`medcl familiar`: let a model remember what its training scans look like, so that it can warn of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def familiar(
    model: Annotated[Path, typer.Argument(help="Model folder, or run folder of a finished training.")],
    dataset: Annotated[Path, typer.Argument(help="The data set that it learned from; only images are read.")],
    case: Annotated[
        list[str] | None, typer.Option("--case", help="Look at this training case only; may be repeated.")
    ] = None,
) -> None:
    """Let a model remember what its training scans look like.

    Writes familiarity.safetensors into the model folder. From then on medcl predict says of each scan whether it is
    like those of training, and warns where it is not.
    """
    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text

    from medcl.files import check_place
    from medcl.inference.familiarity.fit import fit_familiarity
    from medcl.inference.model import find_model

    check_place(find_model(model))  # before a pass over all scans whose result could not be written
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("look", total=None)

        def show(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=name or "done")

        fitted = fit_familiarity(
            model,
            dataset,
            cases=case,
            progress=show,
        )
    console = Console()
    console.print(Text(f"remembered: {len(fitted.scores)} training scans"))
    least = 1 / (len(fitted.scores) + 1)
    if least > 0.05:
        rate = f"about one in {round(1 / least)} new scans like them is marked as strange by chance"
        console.print(Text(f"note: with so few scans {rate}; more scans make that rarer.", style="cyan"))
