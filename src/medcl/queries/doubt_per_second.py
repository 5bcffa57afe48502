"""Most doubt for a second of drawing: slices pay by what they show and cost by what there is to draw."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from medcl.queries import queries
from medcl.queries.choosing import Choosing, Spot, spots_of
from medcl.queries.cost import stroke_seconds
from medcl.queries.pool import Place, Pool, Query, drawn_in_words
from medcl.scribbles.settings import StrokeCost


@queries.register("doubt-per-second")
class DoubtPerSecond(Choosing):
    """Doubt about all structures of a slice, divided by what drawing them is expected to take.

    score(s) = sum over structures c of (d(s, c) / D_c) * novelty(case) / seconds(s)
    seconds(s) = per_slice_s + sum over c with a predicted mask in s, and background, of the time of a stroke

    d = sum over the slice of p_c u, u the normalised entropy; D_c its mean over the slices in which the class is
    predicted, so that small structures count like large ones; novelty = 1 / (1 + slices drawn in the case), each choice
    counting for the next. Dividing what is gained by what it costs: Settles, Craven and Friedland, Active Learning with
    Real Annotation Costs, NIPS workshop on cost-sensitive learning, 2008; the rest: derived. For a person who draws all
    that a slice shows; no lots are drawn.
    """

    description: ClassVar[str] = "Most doubt per second of drawing, spread over the cases."
    needs_prediction: ClassVar[bool] = True
    boxes: ClassVar[bool] = True

    novelty: float = Field(1.0, ge=0, description="How strongly cases with drawn slices wait; 0: not at all.")
    price: float = Field(1.0, ge=0, description="How strongly the expected seconds count; 0: not at all.")
    cost: StrokeCost = Field(StrokeCost(), description="The cost model.")

    def rank(self, pool: Pool, count: int, seed: int = 0) -> list[Query]:
        """Return the best places, best first; see `Strategy.rank`."""
        spots = spots_of(pool, predicted=True)
        if self.drawn == "never":
            spots = [spot for spot in spots if not spot.drawn]
        usual = _usual(spots)
        seconds = {spot.key: self._seconds(spot) for spot in spots}
        worth = {
            spot.key: sum(p.doubt_mm2 / usual[p.class_index] for p in spot.places if p.class_index > 0)
            / seconds[spot.key] ** self.price
            for spot in spots
        }
        slices = {case.id: len(case.drawn) for case in pool.cases}
        chosen: dict[str, list[int]] = defaultdict(list)
        found: list[Query] = []
        while len(found) < count:
            fitting = [spot for spot in spots if self._fits(spot, chosen[spot.case.id])]
            if not fitting:
                break

            def score(spot: Spot) -> float:
                return worth[spot.key] / (1 + slices[spot.case.id]) ** self.novelty

            last = self.drawn == "last"
            best = max(fitting, key=lambda s: (not (last and s.drawn), score(s), s.case.id, -s.slice))
            what = max(
                best.places,
                key=lambda p: (p.class_index > 0, p.doubt_mm2 / usual[p.class_index], -p.class_index),
            ).class_index
            drawn = drawn_in_words(best.case, best.slice, what)
            price = seconds[best.key]
            why = f"much doubt for about {price:.0f} s for all that is here, {drawn}"
            # what it ranks by is what the list shows and is cut by, and not the price of one class
            found.append(replace(best.query(pool, what, score(best), why), cost_s=price))
            slices[best.case.id] += 1
            chosen[best.case.id].append(best.slice)
            spots = [spot for spot in spots if spot.key != best.key]
        return found

    def _fits(self, spot: Spot, chosen: list[int]) -> bool:
        if self.per_case is not None and len(chosen) >= self.per_case:
            return False
        # boxes of one slice do not overlap
        return all(abs(spot.slice - other) > self.apart or spot.slice == other for other in chosen)

    def _seconds(self, spot: Spot) -> float:
        model = self.cost
        shown = [place for place in spot.places if place.class_index > 0 and place.mask_mm2 > 0]
        total = stroke_seconds(sum(place.size_mm2 for place in shown), model, background=True)
        return total + sum(stroke_seconds(place.size_mm2, model) - model.per_slice_s for place in shown)


def _usual(spots: list[Spot]) -> dict[int, float]:
    """Return the mean doubt about each class over the places in which it is predicted; over all where it is nowhere."""
    kinds: dict[int, list[Place]] = defaultdict(list)
    for spot in spots:
        for place in spot.places:
            kinds[place.class_index].append(place)
    found = {}
    for c, places in kinds.items():
        doubts = [p.doubt_mm2 for p in places if p.mask_mm2 > 0] or [p.doubt_mm2 for p in places]
        found[c] = sum(doubts) / len(doubts) or 1.0
    return found
