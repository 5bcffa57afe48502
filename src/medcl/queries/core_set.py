"""Core-set: slices unlike all that are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from medcl.queries import queries
from medcl.queries.choosing import Chooser, Choosing, Needs, Spot, missing, spots_of
from medcl.queries.features import matrix_of
from medcl.queries.pool import Pool, Query, drawn_in_words


@dataclass
class Described:
    """The slices of a pool that have features.

    Attributes:
        spots: Slices.
        matrix: (slices, F).
        done: Boolean (slices,): which are of cases that are done; they are compared with, and never asked for.
    """

    spots: list[Spot]
    matrix: np.ndarray
    done: np.ndarray

    @property
    def drawn(self) -> np.ndarray:
        """Boolean (slices,): which have strokes."""
        return np.array([spot.drawn for spot in self.spots], bool)


def described(pool: Pool, name: str) -> Described:
    """Return the slices of a pool with their features, and the drawn ones of its cases that are done.

    Raises:
        SettingsError: The pool has slices and no features.
    """
    spots = {(s.case.id, s.slice): s for s in spots_of(pool, predicted=False) if s.box is None}
    for spot in spots_of(pool, predicted=False):  # where predictions come by box, variety is that of whole slices
        spots.setdefault((spot.case.id, spot.slice), Spot(spot.case, spot.slice, None))
    kept = [key for key in sorted(spots) if key in pool.features]
    if spots and not kept:
        raise missing(name, "features of the slices", "make them with medcl.queries.features.image_features")
    if not kept:
        return Described([], np.zeros((0, 1)), np.zeros(0, bool))
    done = {(c.id, z): Spot(c, z, None) for c in pool.done for z in sorted(c.drawn) if (c.id, z) in pool.features}
    keys = [*kept, *done]
    return Described(
        [*(spots[key] for key in kept), *done.values()],
        matrix_of(dict(pool.features), keys),
        np.arange(len(keys)) >= len(kept),
    )


@queries.register("core-set")
class CoreSet(Choosing):
    """The slice that is farthest, by features, from everything drawn or chosen; again and again.

    Greedy k-centre (Sener and Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR
    2018, algorithm 1). Where nothing is drawn it begins with the slice nearest to the mean. The class is the
    one with the fewest strokes among those that the prediction sees there (derived).
    """

    description: ClassVar[str] = "Slices that look unlike all that are drawn; needs no prediction."
    needs_prediction: ClassVar[bool] = False
    needs_features: ClassVar[bool] = True

    def rank(self, pool: Pool, count: int, seed: int = 0) -> list[Query]:
        """Return the best places, best first; see `Strategy.rank`. No lots are drawn."""
        slices = described(pool, "core-set")
        chooser, needs = Chooser(self), Needs(pool)
        drawn = slices.drawn
        nearest = np.full(len(slices.spots), np.inf)
        typical = np.linalg.norm(slices.matrix, axis=1)  # features have mean 0
        for number in np.flatnonzero(drawn).tolist():
            nearest = np.minimum(nearest, _distances(slices.matrix, number))
        open_to = ~slices.done if self.drawn == "equal" else ~drawn
        late = drawn & ~slices.done if self.drawn == "last" else np.zeros_like(drawn)
        found: list[Query] = []
        for allowed in (open_to, late):
            waiting = allowed.copy()
            while waiting.any() and len(found) < count:
                # before anything is drawn all are infinitely far, and the nearest to the mean comes first
                value = np.where(np.isfinite(nearest), nearest, 1e9 - typical)
                number = int(np.where(waiting, value, -np.inf).argmax())
                waiting[number] = False
                spot = slices.spots[number]
                chosen = needs.next(spot)
                away = float(nearest[number])
                why = "a typical slice to begin with" if np.isinf(away) else f"unlike all drawn ({away:.2f})"
                score = 1e6 if np.isinf(away) else away
                query = spot.query(pool, chosen, score, f"{why}, {drawn_in_words(spot.case, spot.slice, chosen)}")
                if not chooser.fits(query):
                    continue
                chooser.take(query)
                found.append(query)
                nearest = np.minimum(nearest, _distances(slices.matrix, number))
        return found


def _distances(matrix: np.ndarray, number: int) -> np.ndarray:
    return np.asarray(np.linalg.norm(matrix - matrix[number], axis=1))
