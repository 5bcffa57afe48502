"""Most doubt about the class that was drawn least, where nobody has drawn yet."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from medcl.queries import queries
from medcl.queries.pool import CaseFacts, Place, Pool, Query, drawn_in_words
from medcl.settings import Settings


@queries.register("entropy-rarity")
class EntropyRarity(Settings):
    """Entropy times class rarity times novelty of the place.

    score(s, c) = d(s, c) / max_s' d(s', c)  *  ((1 + mean n) / (1 + n_c)) ** rarity  *  novelty(s)

    d is the undecided area of the class, sum over the slice of p_c u with u the normalised entropy (uncertainty
    sampling by entropy: Settles, Active Learning Literature Survey, 2009, section 3.1; weighted by p_c so that doubt
    belongs to a class: derived). Dividing by the largest lets small classes count like large ones. n_c: strokes of the
    class so far. novelty = 1 / (1 + slices drawn in the case), times `drawn` for a slice with strokes. Rarity and
    novelty: derived. The ranking is greedy: each choice counts as drawn for the next, and no slice comes twice.
    """

    description: ClassVar[str] = "Where the network is unsure about a class that was seldom drawn."
    needs_prediction: ClassVar[bool] = True

    rarity: float = Field(0.5, ge=0, description="How strongly classes with few strokes are preferred; 0: not at all.")
    drawn: float = Field(0.1, ge=0, le=1, description="Factor for slices that have strokes.")
    smallest_mm2: float = Field(4.0, ge=0, description="Places with less undecided area than this are left out.")

    def rank(self, pool: Pool, count: int, seed: int = 0) -> list[Query]:
        """Return the best places, best first; see `Strategy.rank`. No lots are drawn."""
        known = pool.by_id
        places = [p for p in pool.places if p.case in known and p.slice < known[p.case].slices]
        # In small or sharp images every place may be below the limit: then the limit says nothing.
        places = [p for p in places if p.doubt_mm2 >= self.smallest_mm2] or places
        largest: dict[int, float] = {}
        for place in places:
            largest[place.class_index] = max(largest.get(place.class_index, 0.0), place.doubt_mm2)
        strokes = pool.stroke_counts
        slices = {case.id: len(case.drawn) for case in pool.cases}
        found: list[Query] = []
        while places and len(found) < count:
            mean = sum(strokes) / len(strokes)
            rare = [((1 + mean) / (1 + n)) ** self.rarity for n in strokes]

            def score(place: Place, rare: list[float] = rare) -> float:
                case = known[place.case]
                novelty = (self.drawn if place.slice in case.drawn else 1.0) / (1 + slices[place.case])
                unsure = place.doubt_mm2 / largest[place.class_index] if largest[place.class_index] else 0.0
                return unsure * rare[place.class_index] * novelty

            best = max(places, key=lambda p: (score(p), p.case, -p.slice, -p.class_index))
            relative = best.doubt_mm2 / (largest[best.class_index] or 1.0)
            found.append(self._query(pool, known[best.case], best, score(best), relative))
            strokes[best.class_index] += 1
            slices[best.case] += 1
            places = [p for p in places if (p.case, p.slice) != (best.case, best.slice)]
        return found

    @staticmethod
    def _query(pool: Pool, case: CaseFacts, place: Place, score: float, relative: float) -> Query:
        degree = "most uncertain" if relative > 0.999 else "very uncertain" if relative > 0.5 else "uncertain"
        drawn = drawn_in_words(case, place.slice, place.class_index)
        reason = f"{pool.classes[place.class_index]}, {degree}, {drawn}"
        return Query(case.id, case.plane, place.slice, place.class_index, place.peak, score, reason)
