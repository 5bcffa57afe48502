"""Active learning: where the next stroke should go. One strategy a file; each ranks the places of a pool.

A strategy is a class of settings with `rank(pool, count, seed)`; it holds no file, no network and no database. How to
add one: docs/queries.md.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from medcl.queries.pool import CaseFacts, Place, Pool, Query
from medcl.registry import Registry

__all__ = ["CaseFacts", "Place", "Pool", "Query", "Strategy", "build_strategy", "queries"]


class Strategy(Protocol):
    """Ranks places.

    Attributes:
        description: One sentence for people.
        needs_prediction: Whether it ranks only places that a prediction says something about.
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
            At most one query per slice.
        """
        ...


queries: Registry[type[Strategy]] = Registry(
    "query",
    {
        "coverage": "medcl.queries.coverage",
        "entropy-rarity": "medcl.queries.entropy_rarity",
        "random": "medcl.queries.random_place",
    },
)
"""Strategies by name."""


def build_strategy(name: str) -> Strategy:
    """Return a strategy with its default settings.

    Raises:
        SettingsError: The name is unknown; the message lists the known ones.
    """
    return queries.get(name)()
