"""From a recipe to jobs: the start of each seed, one curve for each strategy and seed, one reference per data set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from medcl.benchmark.simulation.recipe import AnnotationRecipe, Asking, Drawing, Full, Pool, Spending, Training
from medcl.files import read_json, write_json
from medcl.inference.postprocess import LargestComponent
from medcl.settings import BudgetSettings, nested

FORMAT = 1
"""Raise when a finished job of before cannot be read any more; it is then done again."""

BASIC: dict[str, Any] = {
    "optim": {"ema": 0.97},
    "checkpoint_minutes": 2.0,
    "holdout": 0.0,
    "sample_pictures": 0,
    "validate_every": 1.0,
}
"""Settings of all trainings."""

LATER: dict[str, Any] = {"optim": {"ema": 0.98, "learning_rate": 2e-3, "warm_up": 0.1}}
"""Settings of trainings that go on from a model: a lower rate, so that what it knows is not thrown away."""


@dataclass(frozen=True)
class AnnotationJob:
    """A start, a curve or a reference.

    Attributes:
        name: Readable name, unique within a recipe.
        what: `start`: first strokes and first model of a seed; `curve`: the rounds of one strategy from there on;
            `full`: a training on all dense labels.
        data: Name of the data set.
        entry: What that name stands for, with the folder resolved.
        draw: How the person draws.
        spending: Seconds of drawing.
        training: What is trained.
        full: The training of the reference; None for the others.
        asking: Strategy of the start or of the rounds; None for the reference.
        label: Name of the strategy in the recipe.
        pieces: Which pieces of scored masks are kept.
        seed: Seed.
        fingerprint: Digest of the data set's files.
    """

    name: str
    what: Literal["start", "curve", "full"]
    data: str
    entry: Pool
    draw: Drawing
    spending: Spending
    training: Training
    full: Full | None
    asking: Asking | None
    start: Asking
    label: str
    pieces: LargestComponent
    seed: int
    fingerprint: str = ""
    kind: str = "annotation"

    @property
    def minutes(self) -> None:
        """Minutes of training: not known, as budgets are in steps."""
        return None

    @property
    def like(self) -> str:
        """Jobs of which others take about as long."""
        return f"{self.data} {self.what}"

    @staticmethod
    def summary(result: Mapping[str, Any]) -> str:
        """Say in a few words what came of it."""
        spent = f" after {result['points'][-1]['seconds']:.0f} s of drawing" if "points" in result else ""
        return f"Dice {result['mean_dice']:.3f}{spent}, {result['seconds'] / 60:.1f} min"

    @property
    def key(self) -> str:
        """Eight hexadecimal digits of everything that the result depends on; names are not part of it."""
        # Rounds are left out: a longer budget goes on with what is there. Where files lie does not matter either.
        plain = {
            "format": FORMAT,
            "what": self.what,
            "entry": self.entry.model_dump(mode="json", exclude={"folder", "spending", "draw"}, exclude_defaults=True),
            **{name: _changed(getattr(self, name)) for name in ("draw", "training", "full", "asking", "start")},
            "spending": {"start": self.spending.start, "round": self.spending.round},
            "pieces": self.pieces,
            "seed": self.seed,
            "data": self.fingerprint,
        }
        if self.what == "curve":
            plain["spending"]["rounds"] = self.spending.rounds  # schedules of strategies depend on it
        else:
            plain["spending"].pop("round")
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def plan_key(self) -> str:
        """The same for the plan of all trainings on this data set."""
        text = json.dumps([self.plan_wishes, self.fingerprint], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def folder(self, out: Path) -> Path:
        """Return the job's folder below the simulation's."""
        return out / "jobs" / f"{self.name}-{self.key}"

    def beginning(self) -> AnnotationJob:
        """Return the start that a curve goes on from."""
        return AnnotationJob(
            **{
                **_fields(self),
                "name": f"{self.data}-start-s{self.seed}",
                "what": "start",
                "asking": self.start,
                "label": "",
            }
        )

    @property
    def after(self) -> str | None:
        """Name of the job that must be finished first."""
        return self.beginning().name if self.what == "curve" else None

    @property
    def plan_wishes(self) -> dict[str, Any]:
        """Keys of `PlanSettings` that the recipe sets."""
        return dict(nested(self.training.settings, self.entry.settings).get("plan", {}))

    def settings(self, number: int, weights: Path | None) -> dict[str, Any]:
        """Return the settings of a round's training.

        Args:
            number: The round; 0 is the start.
            weights: Model to go on from; None: from nothing.
        """
        # In a slice where everything was drawn, what is not drawn is not there; where only one class was, nothing
        # is known of the others.
        whole = self.draw.what == "slice" and self.draw.start == "slice"
        layers: list[dict[str, Any]] = [BASIC, {"presence": "slice" if whole else "never"}]
        method = nested(self.training.settings, self.entry.settings).get("method", "medcl")
        name = method if isinstance(method, str) else method.get("name", "medcl")
        if weights is not None:
            layers.append(LATER)
            layers.append({"backbone.weights": str(weights)})
            if name == "medcl":
                layers.append({"method.start": 0.0, "method.ramp": 0.1})  # it knows enough for all terms at once
        layers += [_named(self.training.settings), _named(self.entry.settings)]
        if number:
            layers.append(_named(self.training.later))
        merged = nested(*layers)
        merged["method"] = {"name": name, **merged.get("method", {})}
        steps = BudgetSettings.from_text(self.training.then if number else self.training.first)
        return {**merged, "budget": steps.model_dump(exclude_none=True), "seed": 1000 * self.seed + number}

    def full_settings(self) -> dict[str, Any]:
        """Return the settings of the reference's training."""
        assert self.full is not None  # only the reference asks
        merged = nested(BASIC, _named(self.training.settings), _named(self.entry.settings), _named(self.full.settings))
        budget = BudgetSettings.from_text(self.full.budget).model_dump(exclude_none=True)
        return {**merged, "method": {"name": "dense"}, "budget": budget, "seed": self.seed}

    def save(self, folder: Path) -> None:
        """Write `job.json`, which a process of its own reads."""
        write_json(folder / "job.json", asdict(self) | {key: _plain(getattr(self, key)) for key in _TYPES})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        content = read_json(folder / "job.json")
        for key, kind in _TYPES.items():
            content[key] = None if content[key] is None else kind.parse(content[key])
        return cls(**content)


_TYPES: dict[str, Any] = {
    "entry": Pool, "draw": Drawing, "spending": Spending, "training": Training, "full": Full, "asking": Asking,
    "start": Asking,
}  # fmt: skip


def expand(recipe: AnnotationRecipe, data: Path = Path()) -> list[AnnotationJob]:
    """Return the jobs of a recipe, first seeds first, starts before curves; fingerprints are not filled in.

    Args:
        recipe: The recipe.
        data: Folder below which the folders of data sets lie.
    """
    return list(_jobs(recipe, data))


def _jobs(recipe: AnnotationRecipe, data: Path) -> Iterator[AnnotationJob]:
    start = recipe.start.named("coverage")

    def job(data_name: str, entry: Pool, /, **more: Any) -> AnnotationJob:
        placed = entry.model_copy(update={"folder": str(data / entry.folder)})
        common = {
            "data": data_name,
            "entry": placed,
            "draw": entry.draw or recipe.draw,
            "spending": entry.spending or recipe.spending,
            "training": recipe.training,
            "start": start,
            "pieces": recipe.pieces,
        }
        return AnnotationJob(**{**common, "full": None, "asking": None, "label": "", **more})

    for seed in recipe.seeds:
        for name, entry in recipe.data.items():
            yield job(name, entry, name=f"{name}-start-s{seed}", what="start", asking=start, seed=seed)
        for name, entry in recipe.data.items():
            for label, asking in recipe.strategies.items():
                named = asking.named(label)
                yield job(
                    name, entry, name=f"{name}-{label}-s{seed}", what="curve", asking=named, label=label, seed=seed
                )
    if recipe.full is not None:
        for name, entry in recipe.data.items():
            yield job(name, entry, name=f"{name}-full", what="full", full=recipe.full, seed=recipe.seeds[0])


def _plain(value: Any) -> Any:
    return None if value is None else value.model_dump(mode="json")


def _changed(value: Any) -> Any:
    """Return what differs from the defaults, so that settings which are added later leave keys as they are."""
    return None if value is None else value.model_dump(mode="json", exclude_defaults=True)


def _named(settings: dict[str, Any]) -> dict[str, Any]:
    """Write `method: medcl` as `method.name`, so that it merges with settings of the method; plans go elsewhere."""
    found = {key: value for key, value in settings.items() if key != "plan" and not key.startswith("plan.")}
    return {(f"{k}.name" if k in ("method", "backbone") and isinstance(v, str) else k): v for k, v in found.items()}


def _fields(job: AnnotationJob) -> dict[str, Any]:
    return {name: getattr(job, name) for name in job.__dataclass_fields__}
