"""Active learning: where the next stroke should go. One strategy a file; each ranks the places of a pool.

A strategy is a class of settings with `rank(pool, count, seed)`; it holds no file, no network and no database. How to
add one: docs/queries.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Protocol

from medcl.queries.pool import CaseFacts, Place, Pool, Query
from medcl.registry import Registry

__all__ = ["CaseFacts", "Place", "Pool", "Query", "Strategy", "build_strategy", "needs", "queries", "ranks_boxes"]


class Strategy(Protocol):
    """Ranks places.

    Attributes:
        description: One sentence for people.
        needs_prediction: Whether it ranks only places that a prediction says something about.

    Optional, False where absent (see `needs` and `ranks_boxes`): `needs_samples`, it reads mutual information, so
    several predictions of each case; `needs_features`, it reads `Pool.features`; `boxes`, it asks for boxes where the
    places are boxes.
    """

    description: ClassVar[str]
    needs_prediction: ClassVar[bool]

    def rank(self, pool: Pool, count: int, seed: int = 0) -> list[Query]:
        """Return the best places, best first.

        Args:
            pool: Where a stroke could go, and what is known of it.
            count: How many; fewer come back where the pool has fewer slices.
            seed: For strategies that draw lots; the same pool and seed give the same ranking, and the first of a longer
                ranking are those of a shorter one.

        Returns:
            At most one query per slice, or per box where the places are boxes.

        Raises:
            SettingsError: The pool lacks samples or features that the strategy reads.
        """
        ...


queries: Registry[type[Strategy]] = Registry(
    "query",
    {
        "bald": "medcl.queries.bald",
        "clasp-pe": "medcl.queries.clasp_pe",
        "cold-start": "medcl.queries.cold_start",
        "core-set": "medcl.queries.core_set",
        "coverage": "medcl.queries.coverage",
        "doubt-per-second": "medcl.queries.doubt_per_second",
        "entropy": "medcl.queries.entropy",
        "entropy-rarity": "medcl.queries.entropy_rarity",
        "foreground-random": "medcl.queries.foreground_random",
        "k-means": "medcl.queries.k_means",
        "power-bald": "medcl.queries.power_bald",
        "power-entropy": "medcl.queries.power_entropy",
        "random": "medcl.queries.random_place",
    },
)
"""Strategies by name."""


def build_strategy(name: str, settings: Mapping[str, Any] | None = None) -> Strategy:
    """Return a strategy.

    Args:
        name: A registered one.
        settings: What differs from its defaults.

    Raises:
        SettingsError: The name or a setting is unknown; the message lists the known ones.
    """
    family: Any = queries.get(name)
    built: Strategy = family.parse(dict(settings), where=f"strategy '{name}'") if settings else family()
    return built


def needs(strategy: Strategy, what: Literal["samples", "features"]) -> bool:
    """Tell whether a strategy reads several predictions of each case, or features of the slices."""
    return bool(getattr(strategy, f"needs_{what}", False))


def ranks_boxes(strategy: Strategy | type[Strategy]) -> bool:
    """Tell whether a strategy asks for boxes where the places are boxes; others ask for whole slices always."""
    return bool(getattr(strategy, "boxes", False))
