"""Mutual information (BALD): where several predictions disagree."""

from __future__ import annotations

from typing import ClassVar

from medcl.queries import queries
from medcl.queries.choosing import Spot, missing
from medcl.queries.pool import Pool
from medcl.queries.uncertain import Uncertain


@queries.register("bald")
class Bald(Uncertain):
    """Mutual information between prediction and network over the pixels of the place.

    score = sum (or mean) of I = H[mean_s p_s] - mean_s H[p_s] (Houlsby et al., Bayesian Active Learning for
    Classification and Preference Learning, arXiv 1112.5745, eq. 2; from sampled networks: Gal et al., ICML 2017). Doubt
    that all samples share, as along every blurred border, does not count. The class is the one with the largest p_c I.
    """

    description: ClassVar[str] = "Where several networks, dropout masks or mirrored views disagree."
    needs_samples: ClassVar[bool] = True
    word: ClassVar[str] = "disputed"

    def check(self, pool: Pool) -> None:
        """Refuse a pool of single predictions."""
        if pool.places and not any(place.information > 0 for place in pool.places):
            how = "give further models or sampled predictions, or take 'entropy', which needs one prediction only"
            raise missing("bald", "several predictions of each case that differ", how)

    def measure(self, spot: Spot) -> float:
        """Return the mutual information of a place: in mm2, or per pixel."""
        first = spot.places[0]
        return first.information * (first.area_mm2 if self.aggregate == "sum" else 1.0)

    def shares(self, spot: Spot) -> list[float]:
        """Return the mutual information by class."""
        return [place.information_mm2 for place in spot.places]
