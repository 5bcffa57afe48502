"""What a simulated annotation is made of: data, strategies, what a person may spend, as typed settings read from YAML.

name: hearts
data:
acdc: {folder: acdc, part: Ts}
strategies: [foreground-random, entropy-rarity]
reference: foreground-random
spending: {start: 120s, round: 120s, rounds: 4}
training: {first: 400steps, then: 300steps}
seeds: [0, 1, 2, 3, 4]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from medcl.benchmark.recipe import Flat, Simulation
from medcl.errors import SettingsError, unknown_name
from medcl.inference.postprocess import LargestComponent
from medcl.queries import build_strategy, queries
from medcl.settings import BudgetSettings, Settings, read_config


def _in_steps(text: str) -> str:
    try:
        budget = BudgetSettings.from_text(str(text))
    except SettingsError as error:
        raise ValueError(str(error)) from None
    if budget.steps is None:
        raise ValueError(f"expected a budget in steps such as 300steps, so that results repeat; got '{text}'")
    return str(text)


class Spending(Settings):
    """What the person may spend, in seconds of drawing by the cost model of the strokes."""

    start: float = Field(120.0, gt=0, description="Seconds for the first strokes, the same for all strategies.")
    round: float = Field(120.0, gt=0, description="Seconds for the strokes of each round.")
    rounds: int = Field(4, ge=1, le=50, description="Rounds of asking, drawing and training after the start.")

    @field_validator("start", "round", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> Any:
        """Read 90s, 2m or a number of seconds."""
        if not isinstance(value, str):
            return value
        from medcl.scribbles import StrokeBudget

        try:
            seconds = StrokeBudget.from_text(value).seconds
        except SettingsError as error:
            raise ValueError(str(error)) from None
        if seconds is None:
            raise ValueError(f"expected seconds of drawing such as 90s or 2m, got '{value}'")
        return seconds

    @property
    def total(self) -> float:
        """Seconds at the end."""
        return self.start + self.round * self.rounds


class Drawing(Simulation):
    """How the person draws. `budget` limits one visit of a slice, such as 1strokes (per class)."""

    what: Literal["slice", "class"] = Field(
        "slice",
        description="What is drawn at a place: every class in the slice, as somebody who is there anyway would, or "
        "only the class that was asked for (background where it is not in the slice).",
    )
    start: Literal["slice", "class"] = Field("slice", description="The same for the first strokes.")


class Pool(Settings):
    """A data set as the simulation uses it."""

    folder: str = Field(description="Dataset folder with dense labels, below --data or absolute.")
    part: Literal["Tr", "Val", "Ts"] = Field("Ts", description="Part whose dense labels are scored.")
    cases: int | None = Field(
        None, ge=1, description="Training cases that may be drawn on, by lot per seed; default: all."
    )
    test: int | None = Field(None, ge=1, description="Scored cases, evenly spaced; default: all.")
    spending: Spending | None = Field(None, description="In place of the recipe's.")
    draw: Drawing | None = Field(None, description="In place of the recipe's.")
    settings: Flat = Field({}, description="Settings of all trainings on this data set.")


class Asking(Settings):
    """A strategy with settings of its own, under a name of its own."""

    strategy: str | None = Field(None, description="Registered strategy; default: the name of the entry.")
    settings: dict[str, Any] = Field({}, description="Settings of the strategy.")
    informed: bool | None = Field(
        None,
        description="Whether it is told which structures each slice truly shows, as a person knows who looked. "
        "Default: foreground-random only, as in nnActive.",
    )

    def named(self, name: str) -> Self:
        """Fill in what follows from the name of the entry."""
        strategy = self.strategy or name
        informed = strategy == "foreground-random" if self.informed is None else self.informed
        return self.model_copy(update={"strategy": strategy, "informed": informed})


class Training(Settings):
    """What is trained after the start and after each round. Budgets in steps, so that results repeat."""

    first: str = Field("400steps", description="Training after the start.")
    then: str = Field("300steps", description="Training after each round.")
    warm: bool = Field(True, description="Go on from the model of the last round; off: from nothing every time.")
    settings: Flat = Field({}, description="Settings of all trainings, as of `medcl train --set`.")
    later: Flat = Field({}, description="Settings of the trainings after the first round, over `settings`.")

    @field_validator("first", "then")
    @classmethod
    def _steps(cls, text: str) -> str:
        return _in_steps(text)


class Full(Settings):
    """The reference that has all dense labels of the training part: what more strokes lead to at best."""

    budget: str = Field("1500steps", description="Its training.")
    settings: Flat = Field({}, description="Settings of its training.")

    @field_validator("budget")
    @classmethod
    def _steps(cls, text: str) -> str:
        return _in_steps(text)


class AnnotationRecipe(Settings):
    """All of a simulated annotation."""

    name: str = Field(description="Name of the results; default: the file's name.")
    title: str = Field("", description="Heading of the report.")
    description: str = Field("", description="What it is about, for the report.")
    data: dict[str, Pool] = Field(min_length=1, description="Data sets by name.")
    strategies: dict[str, Asking] = Field(
        min_length=1, description="Strategies by name; a list of names is enough for strategies as they are."
    )
    reference: str = Field("foreground-random", description="Strategy that all others are tested against.")
    start: Asking = Field(Asking(strategy="coverage"), description="Strategy of the first strokes.")
    spending: Spending = Field(Spending(), description="Seconds of drawing.")
    draw: Drawing = Field(Drawing(preset="acdc-like"), description="How the person draws.")
    training: Training = Field(Training(), description="What is trained after each round.")
    full: Full | None = Field(None, description="Also train with all dense labels once per data set.")
    pieces: LargestComponent = Field("auto", description="Which pieces of scored masks are kept.")
    seeds: tuple[int, ...] = Field((0, 1, 2, 3, 4), min_length=1, description="Seeds of lots, strokes and trainings.")

    @field_validator("strategies", mode="before")
    @classmethod
    def _names_are_enough(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return {str(name): {} for name in value}
        return {k: v or {} for k, v in value.items()} if isinstance(value, Mapping) else value

    @field_validator("seeds", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return value if isinstance(value, list | tuple) else (value,)

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        for name in (self.name, *self.data, *self.strategies):
            if not re.fullmatch(r"[\w.+-]+", name):
                raise ValueError(
                    f"name '{name}': expected letters, digits and . + - _ (it becomes the name of a folder)"
                )
        seen: dict[str, str] = {}
        for data in self.data:  # jobs are named after data set and strategy, and every data set has a start
            whose = [("start", f"the start of data set {data}")]
            whose += [(label, f"strategy {label} on data set {data}") for label in self.strategies]
            for label, words in whose:
                job = f"{data}-{label}"
                if job in seen:
                    raise ValueError(
                        f"strategies: expected a name of its own for each job, got '{job}' for {seen[job]} and for "
                        f"{words}; rename the strategy"
                    )
                seen[job] = words
        if self.reference not in self.strategies:
            raise ValueError("reference: " + unknown_name("strategy of the recipe", self.reference, self.strategies))
        asked = {name: entry.named(name) for name, entry in self.strategies.items()}
        for name, entry in {**asked, "start": self.start.named("coverage")}.items():
            known = entry.strategy or ""
            if known not in queries:
                raise ValueError(f"strategy '{name}': " + unknown_name("query", known, list(queries)))
            try:
                build_strategy(known, entry.settings)
            except SettingsError as error:
                raise ValueError(f"strategy '{name}': {error}") from None
        if getattr(queries.get(self.start.named("coverage").strategy or ""), "needs_prediction", False):
            raise ValueError(
                f"start: expected a strategy that needs no prediction, got '{self.start.strategy}', as there is no "
                "model yet; choose coverage or cold-start"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: expected each seed once, got {', '.join(map(str, self.seeds))}")
        return self


def load_annotation_recipe(path: Path | str) -> AnnotationRecipe:
    """Read a recipe from YAML.

    Raises:
        SettingsError: Not readable, or what is wrong with it, all at once.
    """
    path = Path(path)
    return AnnotationRecipe.parse({"name": path.stem, **read_config(path)}, where=f"recipe {path.name}")
