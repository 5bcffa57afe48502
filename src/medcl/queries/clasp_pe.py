"""ClaSP PE: class-stratified, scheduled power predictive entropy."""

from __future__ import annotations

from math import ceil
from typing import ClassVar

import numpy as np
from pydantic import Field

from medcl.queries import queries
from medcl.queries.choosing import Chooser, Choosing, Line, Spot, most_doubtful, power, sorted_queries, spots_of
from medcl.queries.pool import Place, Pool, Query, drawn_in_words


@queries.register("clasp-pe")
class ClaspPe(Choosing):
    """Two thirds of the places by class, the rest by entropy alone, with noise that fades as the budget is spent.

    Turn t takes from a structure's own line while ceil((t + 1) a) > ceil(t a), a = `stratified`, else from the line of
    all; structures take their turns in an order drawn by lot. Lines are ranked by

        log(sum over the place of p_c u) + e   for structure c,
        log(sum over the place of u) + e       for all,     e ~ Gumbel(0, 1 / beta)
        beta = first_beta * (last_beta / first_beta) ** stage

    u: normalised entropy; stage: share of the budget that is spent, 0..1 (`Pool.stage`). Class stratification,
    the thirds, p_c times entropy and the log-scale decay of the noise: ClaSP PE (Luth et al., Finally Outshining the
    Random Baseline, arXiv 2601.13677); turns in place of quotas, so that a list may be cut at any budget: derived;
    beta from 1 (PowerPE) to 100 (next to no noise): chosen here.
    """

    description: ClassVar[str] = "Every structure's uncertain places in turn, spread by lot at first, later the worst."
    needs_prediction: ClassVar[bool] = True
    boxes: ClassVar[bool] = True

    stratified: float = Field(2 / 3, ge=0, le=1, description="Share of the places that is split over the structures.")
    first_beta: float = Field(1.0, gt=0, description="Inverse strength of the noise at the start of the budget.")
    last_beta: float = Field(100.0, gt=0, description="Inverse strength of the noise at its end.")

    def beta(self, stage: float) -> float:
        """Return the inverse strength of the noise when a share `stage` of the budget is spent."""
        return float(self.first_beta * (self.last_beta / self.first_beta) ** stage)

    def rank(self, pool: Pool, count: int, seed: int = 0) -> list[Query]:
        """Return the best places, best first; see `Strategy.rank`."""
        spots = spots_of(pool, predicted=True)
        chooser, beta = Chooser(self), self.beta(pool.stage)
        structures = sorted({p.class_index for spot in spots for p in spot.places if p.class_index > 0})
        lines = {c: Line(self._of_class(pool, spots, c, beta, seed), pool, chooser) for c in structures}
        everything = Line(self._of_all(pool, spots, beta, seed), pool, chooser)
        order = np.random.default_rng([seed, 7]).permutation(structures).tolist() if structures else []
        found: list[Query] = []
        turn = 0
        while len(found) < count:
            by_class = ceil((len(found) + 1) * self.stratified) > ceil(len(found) * self.stratified)
            ahead = [lines[order[(turn + n) % len(order)]] for n in range(len(order))]
            choices = [*ahead, everything] if by_class else [everything, *ahead]
            turn += by_class
            # slices with strokes wait until no line has another
            query = next((q for drawn in (False, True) for line in choices if (q := line.next(drawn=drawn))), None)
            if query is None:
                break
            found.append(query)
        return found

    def _of_class(self, pool: Pool, spots: list[Spot], class_index: int, beta: float, seed: int) -> list[Query]:
        named = [(spot, place) for spot in spots if (place := spot.of(class_index)) is not None]
        doubts = np.array([place.doubt_mm2 for _, place in named])
        scores = power(doubts, beta, [(*spot.key, class_index) for spot, _ in named], seed)
        return sorted_queries(
            spot.query(pool, class_index, float(score), self._why(spot, place, "its turn"))
            for (spot, place), score in zip(named, scores, strict=True)
        )

    def _of_all(self, pool: Pool, spots: list[Spot], beta: float, seed: int) -> list[Query]:
        entropies = np.array([sum(place.doubt_mm2 for place in spot.places) for spot in spots])
        scores = power(entropies, beta, [spot.key for spot in spots], seed)
        found = []
        for spot, score in zip(spots, scores, strict=True):
            chosen = most_doubtful(spot)
            place = spot.of(chosen)
            assert place is not None  # chosen among them
            found.append(spot.query(pool, chosen, float(score), self._why(spot, place, "whatever the class")))
        return sorted_queries(found)

    @staticmethod
    def _why(spot: Spot, place: Place, how: str) -> str:
        drawn = drawn_in_words(spot.case, spot.slice, place.class_index)
        return f"{place.doubt_mm2:.0f} mm2 uncertain, {how}, {drawn}"
