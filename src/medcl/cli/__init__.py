"""The command line: a table of commands whose modules load only when they are called.

Expected errors (`MedclError`) become one red line on stderr and exit code 1; anything else keeps its trace.
Wrong usage exits with 2, Ctrl-C with 130.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from medcl import __version__
from medcl.errors import MedclError


class CommandEntry(NamedTuple):
    """Where a command lives (`module:function`) and the first line of its help."""

    home: str
    summary: str


COMMANDS = {
    "init": CommandEntry("medcl.cli.init:init", "Write dataset.json for images and scribbles."),
    "check": CommandEntry("medcl.cli.check:check", "List what is wrong with data and where strokes lack."),
    "import": CommandEntry("medcl.cli.import_:import_", "Make a dataset folder of a downloaded public set."),
    "phantom": CommandEntry("medcl.cli.phantom:phantom", "Write a made-up dataset with dense labels and strokes."),
    "scribble": CommandEntry("medcl.cli.scribble:scribble", "Draw strokes from dense labels, as people draw them."),
    "suggest": CommandEntry("medcl.cli.suggest:suggest", "Say where the next strokes help most, and their cost."),
    "fuse": CommandEntry("medcl.cli.fuse:fuse", "Make one map of those of several people."),
    "annotate": CommandEntry("medcl.cli.annotate:annotate", "Draw, train and correct on a web page."),
    "train": CommandEntry("medcl.cli.train:train", "Train a segmentation model from strokes."),
    "predict": CommandEntry("medcl.cli.predict:predict", "Write masks for images, in the geometry of each image."),
    "calibrate": CommandEntry("medcl.cli.calibrate:calibrate", "Make a model's probabilities mean what they say."),
    "familiar": CommandEntry("medcl.cli.familiar:familiar", "Let a model remember how its training scans look."),
    "compare-sets": CommandEntry("medcl.cli.compare_sets:compare_sets", "Say whether two sets of scans look alike."),
    "evaluate": CommandEntry("medcl.cli.evaluate:evaluate", "Score predictions against labels and write a report."),
    "info": CommandEntry("medcl.cli.info:info", "Show what a model is, learned from and scored."),
    "export": CommandEntry("medcl.cli.export:export", "Write a model as ONNX and check that it agrees."),
    "adapt": CommandEntry("medcl.cli.adapt:adapt", "Adapt a model to another scanner, without labels."),
    "explain": CommandEntry("medcl.cli.explain:explain", "Show what in an image a predicted structure rests on."),
    "pretrain": CommandEntry("medcl.cli.pretrain:pretrain", "Train an encoder on images alone, without strokes."),
    "backbones": CommandEntry("medcl.cli.backbones:backbones", "Show the networks, what each costs here, and advise."),
    "benchmark": CommandEntry("medcl.cli.benchmark:benchmark", "Compare methods on data sets, with statistics."),
    "simulate-annotation": CommandEntry(
        "medcl.cli.simulate_annotation:simulate_annotation",
        "Compare where to draw next, in seconds of drawing.",
    ),
    "demo": CommandEntry("medcl.cli.demo:demo", "Run the whole loop on made-up hearts, with a report."),
}


def load_command(name: str) -> TyperCommand:
    """Import the module of a command and return the command with its options and full help.

    Args:
        name: A key of `COMMANDS`.
    """
    module, _, function = COMMANDS[name].home.partition(":")
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name=name)(getattr(import_module(module), function))
    command = typer.main.get_command(single)
    assert isinstance(command, TyperCommand)
    return command


class CommandGroup(TyperGroup):
    """Lists the commands from the table; loads one when it is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, entry in COMMANDS.items():
            self.add_command(TyperCommand(name, help=entry.summary), name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Put the real command in place of its line in the table."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, load_command(str(name)), rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an expected error is shown in one line."""
        try:
            return super().invoke(ctx)
        except MedclError as error:
            typer.secho(f"Error: {' '.join(str(error).split())}", fg=typer.colors.RED, err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=CommandGroup,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medcl {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """From a few strokes to segmentation masks.

    A first look: medcl demo. With your own images: medcl init, check, train, predict, evaluate.
    """


def main() -> None:
    """Run the command line; the entry point of `medcl` and `python -m medcl`."""
    for stream in (sys.stdout, sys.stderr):  # names of files and classes are Unicode, a terminal may not be
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app(prog_name="medcl")
