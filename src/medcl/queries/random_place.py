"""Any slice, any class: what every other strategy has to beat."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from medcl.queries import queries
from medcl.queries.pool import Pool, Query, drawn_in_words
from medcl.settings import Settings


@queries.register("random")
class RandomPlace(Settings):
    """All slices of all cases in a random order, each with a class drawn by lot; both uniform."""

    description: ClassVar[str] = "Any slice and any class, by lot."
    needs_prediction: ClassVar[bool] = False

    def rank(self, pool: Pool, count: int, seed: int = 0) -> list[Query]:
        """Return places in a random order; see `Strategy.rank`."""
        slices = list(pool.slices())
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(slices))
        classes = rng.integers(0, len(pool.classes), len(slices))
        found = []
        for rank, number in enumerate(order[:count].tolist()):
            case, index = slices[number]
            chosen = int(classes[number])
            reason = f"{pool.classes[chosen]}, by lot, {drawn_in_words(case, index, chosen)}"
            at = pool.look_at(case, index, chosen)
            found.append(Query(case.id, case.plane, index, chosen, at, 1.0 / (1 + rank), reason))
        return found
