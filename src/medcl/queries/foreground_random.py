"""Foreground-aware random: the baseline that is hard to beat."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field

from medcl.queries import queries
from medcl.queries.choosing import Chooser, Choosing, Line, Spot, shows, spots_of
from medcl.queries.pool import Pool, Query, drawn_in_words


@queries.register("foreground-random")
class ForegroundRandom(Choosing):
    """A share of the places by lot among those that show a structure drawn by lot; the rest by lot among all.

    Foreground-aware random sampling (Luth et al., nnActive, arXiv 2511.19183; "Random 66 % FG"): random places in which
    people find something to draw. Where structures are is known from `CaseFacts.shows` (a person, or a simulated one,
    looked), else taken from the predicted masks (derived: a person who has a prediction looks there).
    """

    description: ClassVar[str] = "By lot, two of three among the slices that show a structure: hard to beat."
    needs_prediction: ClassVar[bool] = True
    boxes: ClassVar[bool] = True

    share: float = Field(0.66, ge=0, le=1, description="Share of the places that show a structure for certain.")

    def rank(self, pool: Pool, count: int, seed: int = 0) -> list[Query]:
        """Return places in a random order; see `Strategy.rank`."""
        if not pool.places and not any(case.shows for case in pool.cases):
            return []
        rng = np.random.default_rng(seed)
        spots = spots_of(pool, predicted=False)
        spots = [spots[n] for n in rng.permutation(len(spots))]
        classes = rng.integers(0, len(pool.classes), len(spots)).tolist()
        chooser = Chooser(self)
        lines: dict[int, Line] = {}
        for c in range(1, len(pool.classes)):
            showing = [spot for spot in spots if shows(spot, c)]
            why = "shown here, by lot"
            lines[c] = Line((s.query(pool, c, 0.0, self._why(s, c, why)) for s in showing), pool, chooser)
        among_all = (s.query(pool, c, 0.0, self._why(s, c, "by lot")) for s, c in zip(spots, classes, strict=True))
        everything = Line(among_all, pool, chooser)
        found: list[Query] = []
        while len(found) < count:
            certain = bool(rng.random() < self.share)
            order = [lines[c] for c in (1 + rng.permutation(len(pool.classes) - 1)).tolist()]
            choices = [*order, everything] if certain else [everything, *order]
            query = next((q for drawn in (False, True) for line in choices if (q := line.next(drawn=drawn))), None)
            if query is None:
                break
            found.append(query)
        return [replace(query, score=1.0 / (1 + number)) for number, query in enumerate(found)]

    @staticmethod
    def _why(spot: Spot, class_index: int, how: str) -> str:
        return f"{how}, {drawn_in_words(spot.case, spot.slice, class_index)}"
