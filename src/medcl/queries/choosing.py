"""What all strategies share: which places there are, which of them may come together, and which class to draw."""

from __future__ import annotations

import zlib
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from medcl.errors import SettingsError
from medcl.queries.pool import Box, CaseFacts, Place, Pool, Query
from medcl.settings import Settings

SpotKey = tuple[str, int, Box | None]
"""Case, slice, box: where, whatever the class."""


class Choosing(Settings):
    """Which places may stand in one list; every strategy has these settings."""

    per_case: int | None = Field(None, ge=1, description="Most places of one case in a list; default: any number.")
    apart: int = Field(0, ge=0, description="Slices that are left out between two places of a case in one list.")
    drawn: Literal["last", "never", "equal"] = Field(
        "last", description="Slices with strokes: after all others, never, or like any other."
    )


@dataclass(frozen=True)
class Spot:
    """A slice, or a box of it, with what predictions say about the classes in it.

    Attributes:
        case: Whose.
        slice: Number of the slice.
        box: Part of the slice; None: all of it.
        places: One per class that a prediction says something about.
    """

    case: CaseFacts
    slice: int
    box: Box | None
    places: tuple[Place, ...] = ()

    @property
    def key(self) -> SpotKey:
        """Case, slice, box."""
        return self.case.id, self.slice, self.box

    @property
    def middle(self) -> tuple[int, int, int]:
        """Middle voxel (i, j, k)."""
        if self.box is None:
            return self.case.place(self.slice)
        i, j, k = ((low + high - 1) // 2 for low, high in self.box)
        return i, j, k

    @property
    def drawn(self) -> bool:
        """Whether the slice has strokes."""
        return self.slice in self.case.drawn

    def of(self, class_index: int) -> Place | None:
        """Return what is said about one class."""
        return next((place for place in self.places if place.class_index == class_index), None)

    def query(self, pool: Pool, class_index: int, score: float, why: str) -> Query:
        """Return the query for one class here; `why` follows the name of the class in its reason."""
        place = self.of(class_index) or pool.seen(self.case.id, self.slice, class_index, self.box)
        at = self.middle if place is None else place.peak
        reason = f"{pool.classes[class_index]}, {why}"
        return Query(self.case.id, self.case.plane, self.slice, class_index, at, score, reason, self.box)


def spots_of(pool: Pool, *, predicted: bool) -> list[Spot]:
    """Return the places of a pool without regard to class, in order of case, slice and box.

    Args:
        pool: Where from.
        predicted: Only those that a prediction says something about; else all slices too, or all boxes where the
            predictions come by box.
    """
    known = pool.by_id
    grouped: dict[SpotKey, list[Place]] = defaultdict(list)
    for place in pool.places:
        if place.case in known and place.slice < known[place.case].slices:
            grouped[place.case, place.slice, place.box].append(place)
    if not predicted:
        boxed = {place.case for place in pool.places if place.box is not None}
        for case, index in pool.slices():
            if case.id not in boxed:
                grouped[case.id, index, None] = grouped.get((case.id, index, None), [])
    order = {case.id: number for number, case in enumerate(pool.cases)}
    keys = sorted(grouped, key=lambda key: (order[key[0]], key[1], key[2] or ()))
    return [Spot(known[case], index, box, tuple(grouped[case, index, box])) for case, index, box in keys]


class Chooser:
    """Remembers what is chosen and says what may still come.

    What does not fit once never fits again, so that lists can be worked off from their heads.

    Args:
        settings: The limits.
    """

    def __init__(self, settings: Choosing) -> None:
        self.settings = settings
        self._chosen: dict[str, list[Query]] = defaultdict(list)

    def fits(self, query: Query) -> bool:
        """Tell whether a place overlaps nothing chosen, keeps the distance and does not exceed its case's number."""
        chosen = self._chosen[query.case]
        if self.settings.per_case is not None and len(chosen) >= self.settings.per_case:
            return False
        for other in chosen:
            if other.slice == query.slice:
                if query.box is None or other.box is None or overlap(query.box, other.box):
                    return False
            elif abs(other.slice - query.slice) <= self.settings.apart:
                return False
        return True

    def take(self, query: Query) -> None:
        """Note a choice."""
        self._chosen[query.case].append(query)


def overlap(one: Box, other: Box) -> bool:
    """Tell whether two boxes share a voxel."""
    return all(a < d and c < b for (a, b), (c, d) in zip(one, other, strict=True))


class Line:
    """Candidates, best first, of which the first that fits is handed out.

    Args:
        candidates: In the order of the strategy.
        pool: Says which slices are drawn.
        chooser: Says what fits; several lines may share one.
    """

    def __init__(self, candidates: Iterable[Query], pool: Pool, chooser: Chooser) -> None:
        self._chooser = chooser
        how = chooser.settings.drawn
        first: deque[Query] = deque()
        later: deque[Query] = deque()
        for query in candidates:
            if how == "equal" or query.slice not in pool.by_id[query.case].drawn:
                first.append(query)
            elif how == "last":
                later.append(query)
        self._queues = (first, later)

    def next(self, *, drawn: bool = True) -> Query | None:
        """Hand out and note the best candidate that fits, or None.

        Args:
            drawn: Whether those with strokes may come, once the others are at their end.
        """
        for queue in self._queues if drawn else self._queues[:1]:
            while queue:
                query = queue.popleft()
                if self._chooser.fits(query):
                    self._chooser.take(query)
                    return query
        return None


def best_of(candidates: Iterable[Query], pool: Pool, settings: Choosing, count: int) -> list[Query]:
    """Return the first `count` candidates that go together; see `Choosing`."""
    line = Line(candidates, pool, Chooser(settings))
    found: list[Query] = []
    while len(found) < count and (query := line.next()) is not None:
        found.append(query)
    return found


def sorted_queries(queries: Iterable[Query]) -> list[Query]:
    """Return queries by falling score; ties by case, slice and box, so that no order of the pool matters."""
    return sorted(queries, key=lambda q: (-q.score, q.case, q.slice, q.box or (), q.class_index))


def most_doubtful(spot: Spot, value: Sequence[float] | None = None) -> int:
    """Return the structure with most doubt in a spot; background only where nothing is said about a structure.

    Args:
        spot: Where.
        value: What to compare in place of the doubt, one number per place of the spot.
    """
    amounts = [place.doubt_mm2 for place in spot.places] if value is None else value
    ranked = [(p.class_index > 0, amount, -p.class_index) for p, amount in zip(spot.places, amounts, strict=True)]
    return -max(ranked)[2]


class Needs:
    """Which class to ask for where doubt does not say: the one with fewest strokes, structures before background.

    Args:
        pool: How many strokes there are; each answer counts as one more.
    """

    def __init__(self, pool: Pool) -> None:
        self._strokes = pool.stroke_counts

    def next(self, spot: Spot) -> int:
        """Return the class that a spot shortly needs: among those that are seen in it, else among all."""
        seen = [c for c in range(1, len(self._strokes)) if shows(spot, c)] or range(len(self._strokes))
        chosen = min(seen, key=lambda c: (self._strokes[c], c == 0, c))
        self._strokes[chosen] += 1
        return chosen


def shows(spot: Spot, class_index: int) -> bool:
    """Tell whether a class is in a spot: as somebody knows (`CaseFacts.shows`), else as the prediction says.

    Without an area (rows of earlier versions say nothing of the mask), a class with doubt counts as shown.
    """
    if spot.case.shows and spot.box is None:
        return class_index in spot.case.shows.get(spot.slice, frozenset())
    place = spot.of(class_index)
    return place is not None and (place.mask_mm2 > 0 or place.area_mm2 == 0)


def power(scores: np.ndarray, beta: float, keys: Sequence[object], seed: int) -> np.ndarray:
    """Return log scores with Gumbel noise: the largest n of them are n draws without replacement, p ~ score ** beta.

    log s + e, e ~ Gumbel(0, 1 / beta) (Kirsch et al., Stochastic Batch Acquisition, TMLR 2023, section 3, "power").

    Args:
        scores: (N,) not negative; 0 comes after all others.
        beta: Inverse strength of the noise; large: the order of the scores.
        keys: Names of the N places; the noise of a place depends on its name and the seed alone, so that further
            places change no other's.
        seed: Whose lots.
    """
    codes = [zlib.crc32(repr(key).encode()) for key in keys]
    noise = np.array([np.random.default_rng([seed, code]).gumbel() for code in codes])
    return np.asarray(np.log(np.maximum(scores, 1e-12)) + noise / beta)


def missing(name: str, what: str, how: str) -> SettingsError:
    """Return the error for a pool that lacks what a strategy reads."""
    return SettingsError(f"strategy '{name}': expected {what}, got none; {how}.")
