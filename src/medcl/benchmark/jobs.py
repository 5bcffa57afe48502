"""From a recipe to jobs: one training each, with a key that changes when its definition or its data change."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from medcl.benchmark.recipe import Amount, Block, DataEntry, Recipe, Scoring
from medcl.errors import SettingsError, unknown_name
from medcl.files import read_json, write_json
from medcl.settings import BudgetSettings, nested

FORMAT = 1
"""Raise when a finished job of before cannot be read any more; it is then done again."""


class HasName(Protocol):
    """Anything that is called something."""

    @property
    def name(self) -> str:
        """Its name."""


Named = TypeVar("Named", bound=HasName)


@dataclass(frozen=True)
class Job:
    """One training and its scores.

    Attributes:
        name: Readable name, unique within a recipe.
        data: Name of the data set in the recipe.
        entry: What that name stands for, with the folder resolved.
        method: Name of the variant, with its backbone where the recipe compares several.
        cases: Training cases that keep their strokes; None: all.
        protocol: Name of the protocol.
        seed: Seed of the training.
        settings: Settings of the training, method and backbone included.
        scoring: How it is scored.
        fingerprint: Digest of the data set's files.
    """

    name: str
    data: str
    entry: DataEntry
    method: str
    cases: Amount
    protocol: str
    seed: int
    settings: dict[str, Any]
    scoring: Scoring
    fingerprint: str = ""

    @property
    def key(self) -> str:
        """Eight hexadecimal digits of everything that the trained model depends on; names are not part of it."""
        # Where files lie does not matter, what is in them does; a field that is added later leaves keys as they are.
        entry = self.entry.model_dump(
            mode="json", exclude={"folder", "settings", "part", "left_out_strokes"}, exclude_defaults=True
        )
        return _digest({"format": FORMAT, "entry": entry, "settings": self.settings, "data": self.fingerprint})

    @property
    def scoring_key(self) -> str:
        """The same for the scores: where it alone changes, the model is scored again without training."""
        entry = self.entry.model_dump(mode="json", include={"part", "left_out_strokes"})
        return _digest({"key": self.key, "entry": entry, "scoring": self.scoring.model_dump(mode="json")})

    def folder(self, out: Path) -> Path:
        """Return the job's folder below the benchmark's."""
        return out / "jobs" / f"{self.name}-{self.key}"

    @property
    def minutes(self) -> float | None:
        """Minutes of training, None for a budget in steps."""
        minutes = self.settings["budget"].get("minutes")
        return None if minutes is None else float(minutes)

    @property
    def like(self) -> str:
        """Jobs of one method on one data set take about as long."""
        return f"{self.data} {self.method} {self.settings['budget']}"

    @property
    def after(self) -> None:
        """Name of a job that must be finished first: none."""
        return None

    @staticmethod
    def summary(result: Mapping[str, Any]) -> str:
        """Say in a few words what came of it."""
        dice = "no score" if result["dice"] is None else f"Dice {result['dice']:.4f}"
        return f"{dice}, {result['steps']} steps, {result['train_minutes']:.1f} min"

    def save(self, folder: Path) -> None:
        """Write `job.json`, which a process of its own reads."""
        plain = asdict(self) | {"entry": self.entry.model_dump(), "scoring": self.scoring.model_dump()}
        write_json(folder / "job.json", plain)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        content = read_json(folder / "job.json")
        entry, scoring = DataEntry.parse(content.pop("entry")), Scoring.parse(content.pop("scoring"))
        return cls(**content, entry=entry, scoring=scoring)


def expand(recipe: Recipe, protocols: Sequence[str] | None = None, *, data: Path = Path()) -> list[Job]:
    """Return the jobs of a recipe, first seeds first; fingerprints are not filled in.

    Args:
        recipe: The recipe.
        protocols: Names of protocols; default: the recipe's first one, and those that blocks of jobs ask for.
        data: Folder below which the folders of data sets lie.

    Raises:
        SettingsError: An unknown protocol, two jobs of one name, or settings that contradict each other.
    """
    for name in protocols or ():
        if name not in recipe.protocols:
            raise SettingsError(f"recipe {recipe.name}: " + unknown_name("protocol", name, recipe.protocols))
    blocks = recipe.jobs if recipe.jobs is not None else {"": Block()}
    found = [job for title, block in blocks.items() for job in _block(recipe, title, block, protocols, data)]
    found = [job for place, job in enumerate(found) if job not in found[:place]]  # blocks may overlap
    names = [job.name for job in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(f"recipe {recipe.name}: two jobs are called {', '.join(twice)}; rename a variant or block.")
    if not found:
        raise SettingsError(
            f"recipe {recipe.name}: no job under protocol {', '.join(protocols or ())}; "
            f"known: {', '.join(recipe.protocols)}."
        )
    seeds = list(dict.fromkeys(job.seed for job in found))
    return sorted(found, key=lambda job: seeds.index(job.seed))  # all methods once before any of them twice


def choose(jobs: Sequence[Named], only: Iterable[str]) -> list[Named]:
    """Return the jobs whose names match one of the patterns (`*` and `?`), all of them without a pattern.

    Raises:
        SettingsError: A pattern matches no job.
    """
    patterns = list(only)
    for pattern in patterns:
        if not any(fnmatchcase(job.name, pattern) for job in jobs):
            raise SettingsError("--only: " + unknown_name("job", pattern, (job.name for job in jobs)))
    return [job for job in jobs if not patterns or any(fnmatchcase(job.name, pattern) for pattern in patterns)]


def _block(recipe: Recipe, title: str, block: Block, wanted: Sequence[str] | None, data: Path) -> Iterator[Job]:
    first = next(iter(recipe.protocols))
    protocols = [p for p in (block.protocols or tuple(wanted or (first,))) if wanted is None or p in wanted]
    backbones = block.backbones or recipe.backbones
    combinations = itertools.product(
        block.data or tuple(recipe.data),
        block.cases or recipe.cases,
        protocols,
        block.methods or tuple(recipe.methods),
        backbones,
    )
    for data_name, cases, protocol_name, variant_name, backbone in combinations:
        protocol, variant, entry = recipe.protocols[protocol_name], recipe.methods[variant_name], recipe.data[data_name]
        method = variant_name if len(backbones) == 1 else f"{variant_name}+{backbone}"
        for seed in block.seeds or protocol.seeds or recipe.seeds:
            settings = nested(
                {"method.name": variant.method or variant_name, "backbone.name": variant.backbone or backbone},
                recipe.settings,
                entry.settings,
                protocol.settings,
                variant.settings,
                block.settings,
                {"seed": seed} | ({} if cases is None else {"cases": cases}),
                {"scribbles": entry.scribbles} if entry.scribbles else {},
            )
            settings["budget"] = BudgetSettings.from_text(protocol.budget).model_dump(exclude_none=True)
            parts = [f"{data_name}-{method}", *_amount(cases), protocol_name, f"s{seed}"]
            if block.settings:  # what else would tell it from the same job of another block?
                parts.insert(0, title)
            yield Job(
                name="-".join(parts),
                data=data_name,
                entry=entry.model_copy(update={"folder": str(data / entry.folder)}),
                method=method,
                cases=cases,
                protocol=protocol_name,
                seed=seed,
                settings=settings,
                scoring=recipe.scoring,
            )


def _digest(definition: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()[:8]


def _amount(cases: Amount) -> list[str]:
    if cases is None:
        return []
    if isinstance(cases, tuple):
        digest = hashlib.sha256("\n".join(cases).encode()).hexdigest()[:4]
        return [f"n{len(cases)}.{digest}"]
    return [f"n{cases:g}"]


def amount_in_words(cases: Amount) -> str:
    """Return how many cases keep their strokes, for tables."""
    if cases is None:
        return "all"
    if isinstance(cases, tuple | list):
        return f"{len(cases)} named"
    return f"{cases:.0%}" if isinstance(cases, float) else str(cases)
