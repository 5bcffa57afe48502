"""What is compared: data sets, methods, seeds and budgets, as typed settings read from YAML.

    name: mscmr
    data:
      mscmr: {folder: mscmr, part: Val}
    methods: [medcl, partial-ce]
    protocols:
      fast: {budget: 5m, settings: {backbone.base: 8}}
      full: {budget: 60m}
    seeds: [0, 1, 2]

Every combination is a job. `jobs` names blocks of their own where not every combination is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from medcl.errors import unknown_name
from medcl.inference.postprocess import LargestComponent
from medcl.methods import methods
from medcl.settings import BudgetSettings, Settings, read_config

Flat = dict[str, Any]
"""Settings of a training, with dotted keys such as `optim.learning_rate`; nested mappings mean the same."""

Amount = int | float | tuple[str, ...] | None
"""Training cases that keep their strokes, as the setting `cases` of the training."""


class Simulation(Settings):
    """Strokes made from the dense labels of the training part, see `medcl.scribbles`."""

    preset: str | None = Field(None, description="Name of a preset, such as acdc-like; default: the simulator's own.")
    budget: str | None = Field(None, description="What a case may cost: 1%, 2strokes, 5slices, 90s, or several.")
    seed: int = Field(0, ge=0, description="Seed of the strokes; the same for all jobs.")
    settings: dict[str, Any] = Field({}, description="Settings of the simulator, over those of the preset.")


class DataEntry(Settings):
    """A data set as the recipe uses it."""

    folder: str = Field(description="Dataset folder, below --data or absolute.")
    part: Literal["Tr", "Val", "Ts"] = Field(description="Part whose dense labels are scored.")
    scribbles: str | None = Field(None, description="Which folder of strokes, where there are several.")
    annotators: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Put the strokes of these people together; where they disagree nothing is drawn.",
    )
    leave_out: dict[str, tuple[str, ...]] = Field(
        {}, description="Annotator -> cases whose strokes are not used (wrong files of the source, for instance)."
    )
    simulate: Simulation | None = Field(None, description="Simulated strokes in place of drawn ones.")
    left_out_strokes: str | None = Field(
        None, description="Annotator whose strokes are scored too, as 'NAME/strokes'; only stroked voxels count."
    )
    settings: Flat = Field({}, description="Settings of all trainings on this data set.")

    @model_validator(mode="after")
    def _one_kind_of_strokes(self) -> Self:
        given = [name for name in ("scribbles", "annotators", "simulate") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"expected one kind of strokes, got {' and '.join(given)}; leave one out")
        return self


class Variant(Settings):
    """A method with settings of its own, under a name of its own."""

    method: str | None = Field(None, description="Registered method; default: the variant's name.")
    backbone: str | None = Field(None, description="Registered backbone; default: that of the recipe.")
    settings: Flat = Field({}, description="Settings of this variant's trainings.")


class Protocol(Settings):
    """How much is spent on a job."""

    budget: str = Field(description="Minutes or steps of training: 5m, 600steps.")
    seeds: tuple[int, ...] | None = Field(None, min_length=1, description="Seeds in place of the recipe's.")
    settings: Flat = Field({}, description="Settings of all trainings under this protocol.")

    @field_validator("budget", mode="before")
    @classmethod
    def _readable(cls, text: Any) -> str:
        BudgetSettings.from_text(str(text))
        return str(text)


class Scoring(Settings):
    """How trained models are scored."""

    pieces: tuple[LargestComponent, ...] = Field(
        ("auto", "none"),
        min_length=1,
        description="Which pieces of a mask are kept (as --largest-component of predict); the first is what tables "
        "compare, the others stand beside it.",
    )
    best: bool = Field(False, description="Also score the best validation checkpoint, for orientation.")
    tolerance_mm: float = Field(2.0, gt=0, description="Tolerance of the surface Dice in mm.")


class Block(Settings):
    """Jobs that are part of a recipe: every combination of its lists. What it leaves out is the recipe's."""

    data: tuple[str, ...] | None = Field(None, min_length=1, description="Names of data sets.")
    methods: tuple[str, ...] | None = Field(None, min_length=1, description="Names of methods or variants.")
    backbones: tuple[str, ...] | None = Field(None, min_length=1, description="Names of backbones.")
    cases: tuple[Amount, ...] | None = Field(None, min_length=1, description="Numbers of stroke cases; null: all.")
    protocols: tuple[str, ...] | None = Field(None, min_length=1, description="Under which protocols; default: any.")
    seeds: tuple[int, ...] | None = Field(None, min_length=1, description="Seeds.")
    settings: Flat = Field({}, description="Settings of these trainings, over all others.")

    @field_validator("data", "methods", "backbones", "cases", "protocols", "seeds", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return value if value is None or isinstance(value, list | tuple) else (value,)


class Recipe(Settings):
    """All of a benchmark."""

    name: str = Field(description="Name of the results; default: the file's name.")
    title: str = Field("", description="Heading of the report.")
    description: str = Field("", description="What it is about, for the report.")
    data: dict[str, DataEntry] = Field(min_length=1, description="Data sets by name.")
    methods: dict[str, Variant] = Field(
        min_length=1,
        description="Methods or variants by name; a list of names is enough for methods as they are, `strokes` "
        "is every registered one that learns from strokes, `all` adds those that learn from dense labels.",
    )
    backbones: tuple[str, ...] = Field(("unet",), min_length=1, description="Network families.")
    cases: tuple[Amount, ...] = Field(
        (None,), min_length=1, description="Numbers or shares of stroke cases; null: all."
    )
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="Seeds of the trainings.")
    protocols: dict[str, Protocol] = Field(min_length=1, description="Protocols by name; the first one is the default.")
    settings: Flat = Field({}, description="Settings of all trainings.")
    scoring: Scoring = Field(Scoring(), description="How trained models are scored.")
    reference: str | None = Field(
        None, description="Method that all others are tested against; default: every pair is tested."
    )
    jobs: dict[str, Block] | None = Field(
        None, min_length=1, description="Blocks of jobs in place of every combination of the lists above."
    )

    @field_validator("methods", mode="before")
    @classmethod
    def _names_are_enough(cls, value: Any) -> Any:
        if value in ("all", "strokes"):
            value = registered(value)
        if isinstance(value, list | tuple):
            return {str(name): {} for name in value}
        return {k: v or {} for k, v in value.items()} if isinstance(value, Mapping) else value

    @field_validator("jobs", mode="before")
    @classmethod
    def _empty_blocks(cls, value: Any) -> Any:
        return {k: v or {} for k, v in value.items()} if isinstance(value, Mapping) else value

    @field_validator("backbones", "cases", "seeds", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return value if isinstance(value, list | tuple) else (value,)

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        names = [self.name, *self.data, *self.methods, *self.protocols, *(self.jobs or {})]
        for name in names:
            if not re.fullmatch(r"[\w.+-]+", name):
                raise ValueError(
                    f"name '{name}': expected letters, digits and . + - _ (it becomes the name of a folder)"
                )
        if self.reference is not None and self.reference not in self.methods:
            raise ValueError("reference: " + unknown_name("method of the recipe", self.reference, self.methods))
        for title, block in (self.jobs or {}).items():
            for key, known in (("data", self.data), ("methods", self.methods), ("protocols", self.protocols)):
                for name in getattr(block, key) or ():
                    if name not in known:
                        raise ValueError(f"jobs.{title}.{key}: " + unknown_name(key, name, known))
        return self


def registered(which: Literal["all", "strokes"]) -> list[str]:
    """Return the names of all registered methods, or of those that learn from strokes.

    Methods that need a backbone of their own are left out: in a comparison all learn with the same one.
    """
    found = {name: methods.get(name) for name in methods}
    found = {name: method for name, method in found.items() if not getattr(method, "needs_latent", False)}
    return [name for name, method in found.items() if which == "all" or not getattr(method, "from_labels", False)]


def load_recipe(path: Path | str) -> Recipe:
    """Read a recipe from YAML.

    Raises:
        SettingsError: Not readable, or what is wrong with it, all at once.
    """
    path = Path(path)
    return Recipe.parse({"name": path.stem, **read_config(path)}, where=f"recipe {path.name}")
