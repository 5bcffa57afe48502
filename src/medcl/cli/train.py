"""`medcl train`: parse, call the API, show progress."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def train(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder with dataset.json.")],
    out: Annotated[Path, typer.Option("--out", help="Run folder to write.")],
    method: Annotated[str | None, typer.Option("--method", help="Way of learning; default medcl.")] = None,
    backbone: Annotated[str | None, typer.Option("--backbone", help="Network family; default unet.")] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights", help="Weights to start from: .safetensors, .pth or a model folder (backbone.weights)."
        ),
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", help="Minutes or steps: 60m, 2h, 90s, 500steps; default 20m.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting, e.g. optim.learning_rate=1e-3 or method.weights.dice=0; repeatable."),
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="YAML file of settings; --set goes over it.")] = None,
    plan: Annotated[
        Path | None, typer.Option("--plan", help="Plan to use instead of the one made from the data.")
    ] = None,
    devices: Annotated[int | None, typer.Option("--devices", min=1, help="Number of GPUs.")] = None,
    store: Annotated[
        Path | None, typer.Option("--store", help="Folder for prepared arrays; default: medcl-store beside the run.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> None:
    """Train a segmentation model from strokes.

    Writes a run folder with the model, a log (log.csv), pictures and a report (report.html). Ctrl-C saves first.
    """
    import medcl
    from medcl.cli.training_progress import TrainingProgress
    from medcl.errors import MedclError
    from medcl.settings import read_config, set_by_path

    values: dict[str, Any] = read_config(config) if config else {}
    for key in ("method", "backbone"):  # a bare name and a mapping mean the same
        if isinstance(values.get(key), str):
            values[key] = {"name": values[key]}
    chosen: dict[str, Any] = {"method.name": method, "backbone.name": backbone, "devices": devices}
    options = [f"{key}={value}" for key, value in chosen.items() if value is not None]
    values = set_by_path(values, [*options, *(assignments or [])])
    if weights is not None:
        values.setdefault("backbone", {})["weights"] = weights
    with TrainingProgress() as progress:
        result = medcl.train(
            dataset, out, budget=budget, settings=values, plan=plan, resume=resume, store=store, show=progress
        )
    if not result.finished:
        raise typer.Exit(130)
    scores = ", ".join(f"{name} {value:.3f}" for name, value in result.scores.items())
    typer.echo(f"{result.steps} steps in {result.minutes:.1f} minutes. {scores}".rstrip())
    if not result.model.is_dir():
        raise MedclError(f"{result.model}: the model was not written; see the messages above.")
    typer.echo(f"model:  {result.model}\nreport: {result.folder / 'report.html'}")
