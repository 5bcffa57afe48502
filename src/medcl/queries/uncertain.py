"""Base of the strategies that rank places by one number of uncertainty, with or without noise."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from medcl.queries.choosing import Choosing, Spot, best_of, most_doubtful, power, sorted_queries, spots_of
from medcl.queries.pool import Pool, Query, drawn_in_words


class Uncertain(Choosing):
    """Ranks slices or boxes by a measure over their pixels; asks for the structure that most of it belongs to."""

    needs_prediction: ClassVar[bool] = True
    boxes: ClassVar[bool] = True
    word: ClassVar[str] = "uncertain"

    aggregate: Literal["sum", "mean"] = Field(
        "sum", description="Over the pixels of a place: sum in mm2, which favours large images, or mean."
    )

    @abstractmethod
    def measure(self, spot: Spot) -> float:
        """Return the uncertainty of a place, not negative."""

    def shares(self, spot: Spot) -> list[float]:
        """Return how much of it belongs to each class of `spot.places`."""
        return [place.doubt_mm2 for place in spot.places]

    def check(self, pool: Pool) -> None:
        """Refuse a pool that lacks what is measured.

        Raises:
            SettingsError: Says what lacks.
        """

    def scores(self, values: np.ndarray, spots: list[Spot], seed: int) -> np.ndarray:
        """Return what is ranked by; the measured values as they are."""
        return values

    def rank(self, pool: Pool, count: int, seed: int = 0) -> list[Query]:
        """Return the best places, best first; see `Strategy.rank`."""
        self.check(pool)
        spots = spots_of(pool, predicted=True)
        values = np.array([self.measure(spot) for spot in spots])
        largest = float(values.max()) if len(values) else 0.0
        scored = zip(spots, values, self.scores(values, spots, seed), strict=True)
        return best_of(
            sorted_queries(self._query(pool, spot, value, largest, score) for spot, value, score in scored),
            pool,
            self,
            count,
        )

    def _query(self, pool: Pool, spot: Spot, value: float, largest: float, score: float) -> Query:
        chosen = most_doubtful(spot, self.shares(spot))
        relative = value / largest if largest else 0.0
        degree = "most " if relative > 0.999 else "very " if relative > 0.5 else "" if relative > 0.1 else "a little "
        unit = f"{value:.0f} mm2 {self.word}" if self.aggregate == "sum" else f"mean {value:.3f}"
        why = f"{degree}{self.word} ({unit}), {drawn_in_words(spot.case, spot.slice, chosen)}"
        return spot.query(pool, chosen, float(score), why)


class Powered(Uncertain):
    """The same with power noise, so that places that are alike do not come all at once."""

    beta: float = Field(1.0, gt=0, description="Inverse strength of the noise; large: no noise.")

    def scores(self, values: np.ndarray, spots: list[Spot], seed: int) -> np.ndarray:
        """Return log values with Gumbel noise; see `medcl.queries.choosing.power`."""
        return power(values, self.beta, [spot.key for spot in spots], seed)
