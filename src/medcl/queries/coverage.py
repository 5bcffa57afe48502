"""Where nobody has drawn for the longest way: the cold start, without a network."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from medcl.queries import queries
from medcl.queries.pool import CaseFacts, Pool, Query
from medcl.settings import Settings


@queries.register("coverage")
class Coverage(Settings):
    """Untouched cases first, in their middle slice; then the slice farthest from any stroke of its case.

    score = 2 for untouched cases; else the distance to the nearest drawn slice divided by the depth of the volume,
    below 1 (farthest-first traversal: Gonzalez, Theoretical Computer Science 1985; here along one axis: derived). The
    class is the one with the fewest strokes, structures before background. Each choice counts as drawn for the next.
    """

    description: ClassVar[str] = "Cases and slices far from anything drawn so far; needs no prediction."
    needs_prediction: ClassVar[bool] = False

    def rank(self, pool: Pool, count: int, seed: int = 0) -> list[Query]:
        """Return the best places, best first; see `Strategy.rank`. No lots are drawn."""
        strokes = pool.stroke_counts
        drawn = {case.id: set(case.drawn) for case in pool.cases}
        farthest = {case.id: _farthest(case, drawn[case.id]) for case in pool.cases}
        found: list[Query] = []
        while len(found) < count:
            open_cases = [case for case in pool.cases if len(drawn[case.id]) < case.slices]
            if not open_cases:
                break
            # ties: the first case, so that people who know their list find what they expect
            best = max(open_cases, key=lambda case: farthest[case.id][0])
            score, index = farthest[best.id]
            chosen = min(range(len(strokes)), key=lambda c: (strokes[c], c == 0, c))
            name = pool.classes[chosen]
            why = "nothing drawn in this case yet" if score > 1 else "far from all strokes of this case"
            reason = f"{name}, fewest strokes so far, {why}"
            at = pool.look_at(best, index, chosen)
            found.append(Query(best.id, best.plane, index, chosen, at, score, reason))
            drawn[best.id].add(index)
            farthest[best.id] = _farthest(best, drawn[best.id])
            strokes[chosen] += 1
        return found


def _farthest(case: CaseFacts, drawn: set[int]) -> tuple[float, int]:
    """Return score and number of the slice farthest from the drawn ones; the middle one where nothing is drawn."""
    if not drawn:
        return 2.0, case.slices // 2
    rows = sorted(drawn)
    # The farthest slice lies at an end or in the middle of a gap.
    ends = [0, case.slices - 1, *((a + b) // 2 for a, b in pairwise(rows))]
    distance, index = max((min(abs(row - end) for row in rows), -end) for end in ends)
    return distance / (case.slices + 1), -index
