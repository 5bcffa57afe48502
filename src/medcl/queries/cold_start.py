"""The first list, when there is no model at all."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from pydantic import Field

from medcl.queries import queries
from medcl.queries.choosing import Chooser, Choosing, Line, Needs, Spot
from medcl.queries.coverage import Coverage
from medcl.queries.k_means import KMeans
from medcl.queries.pool import Pool, Query, drawn_in_words


@queries.register("cold-start")
class ColdStart(Choosing):
    """Typical slices and untouched cases in turn, in the middle part of the volumes first; classes in turn.

    Turns: `k-means` (typical slices first pay most while next to nothing is drawn: Hacohen et al., ICML 2022), then
    `coverage` (untouched cases, then the widest gaps). Outer slices come last, because scans are laid
    around their structures, and no case comes twice before all have come once (derived).
    """

    description: ClassVar[str] = "For the first strokes, before there is a model: typical slices of untouched cases."
    needs_prediction: ClassVar[bool] = False
    needs_features: ClassVar[bool] = True

    middle: float = Field(0.7, gt=0, le=1, description="Share of a volume's depth that comes first.")
    clusters: int = Field(20, ge=1, description="Number of clusters of k-means.")

    def rank(self, pool: Pool, count: int, seed: int = 0) -> list[Query]:
        """Return the best places, best first; see `Strategy.rank`."""
        every = sum(case.slices for case in pool.cases)
        chooser, needs = Chooser(self), Needs(pool)
        typical = KMeans(clusters=self.clusters).rank(pool, every, seed)
        covering = Coverage().rank(pool, every, seed)
        lines = [Line(self._spread(pool, ranked), pool, chooser) for ranked in (typical, covering)]
        found: list[Query] = []
        while len(found) < count:
            turn = [lines[len(found) % 2], lines[1 - len(found) % 2]]
            query = next((q for drawn in (False, True) for line in turn if (q := line.next(drawn=drawn))), None)
            if query is None:
                break
            spot = Spot(pool.by_id[query.case], query.slice, query.box)
            chosen = needs.next(spot)
            how = "a typical slice" if turn[0] is lines[0] else "far from all strokes"
            why = f"{how}, {drawn_in_words(spot.case, spot.slice, chosen)}"
            found.append(spot.query(pool, chosen, 1.0 / (1 + len(found)), why))
        return found

    def _spread(self, pool: Pool, ranked: list[Query]) -> list[Query]:
        """Order by central first, then the best of each case, then the second of each, and so on."""
        seen: Counter[str] = Counter()
        turns = []
        for query in ranked:
            turns.append((not self._central(pool, query), seen[query.case]))
            seen[query.case] += 1
        return [query for _, query in sorted(zip(turns, ranked, strict=True), key=lambda pair: pair[0])]

    def _central(self, pool: Pool, query: Query) -> bool:
        slices = pool.by_id[query.case].slices
        return abs(query.slice - (slices - 1) / 2) <= self.middle * slices / 2
