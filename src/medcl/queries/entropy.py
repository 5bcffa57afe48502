"""Predictive entropy: where the prediction is least decided."""

from __future__ import annotations

from typing import ClassVar

from medcl.queries import queries
from medcl.queries.choosing import Spot
from medcl.queries.uncertain import Uncertain


@queries.register("entropy")
class Entropy(Uncertain):
    """Predictive entropy of the mean prediction, H[p], over the pixels of the place.

    score = sum (or mean) of u = -sum_c p_c log p_c / log C (Shannon 1948; as a query: Settles, Active Learning
    Literature Survey, 2009, section 3.1). With several predictions per case p is their mean (PE of Luth et al.,
    nnActive, arXiv 2511.19183).
    """

    description: ClassVar[str] = "Where the network is least decided, whatever the class."

    def measure(self, spot: Spot) -> float:
        """Return the entropy of a place: in mm2, or per pixel."""
        first = spot.places[0]
        if self.aggregate == "mean":
            return first.entropy
        # the doubts of all classes sum up to the entropy; rows of earlier versions hold nothing else
        return first.entropy * first.area_mm2 or sum(place.doubt_mm2 for place in spot.places)
