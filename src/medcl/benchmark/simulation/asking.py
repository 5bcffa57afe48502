"""What a strategy is told: the pool's cases, what is drawn in them, and what the newest predictions say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from medcl.benchmark.simulation.state import State
from medcl.data.io import read_geometry
from medcl.queries import CaseFacts, Place, Pool, Strategy, needs
from medcl.queries.features import as_rows, image_features
from medcl.queries.places import PLANES

if TYPE_CHECKING:
    from medcl.benchmark.simulation.stage import Stage


def pool_of(
    stage: Stage,
    state: State,
    strategy: Strategy,
    places: Sequence[Place] = (),
    *,
    shows: Mapping[str, Mapping[int, frozenset[int]]] | None = None,
    progress: float = 0.0,
) -> Pool:
    """Return what a strategy may read. Voxels (i, j, k) are those of the files: x, y, z.

    Args:
        stage: The data.
        state: What is drawn.
        strategy: Who asks; features are made where it reads them.
        places: What the newest predictions say.
        shows: Case -> slice -> structures that are truly there, for those who are told.
        progress: Share of the seconds that are spent.
    """
    facts: list[CaseFacts] = []
    features: dict[tuple[str, int], tuple[float, ...]] = {}
    for case in stage.pool:
        geometry = read_geometry(case.images[0])
        axis = stage.axis(case)
        z, y, x = geometry.size
        mm = geometry.spacing_mm
        facts.append(
            CaseFacts(
                case.id,
                PLANES[axis],
                geometry.size[axis],
                mm[axis],
                (x // 2, y // 2, z // 2),
                {index: frozenset(classes) for index, classes in state.drawn.get(case.id, {}).items()},
                dict((shows or {}).get(case.id, {})),
                (mm[2], mm[1], mm[0]),
            )
        )
        if needs(strategy, "features"):
            features |= as_rows(case.id, image_features(stage.dataset.read_image(case).array, axis))
    return Pool(stage.dataset.classes, tuple(facts), tuple(places), tuple(state.strokes), features, progress)


def truly_shown(stage: Stage) -> dict[str, dict[int, frozenset[int]]]:
    """Return case -> slice -> structures that its dense label has there; for `foreground-random` as in nnActive."""
    found = {}
    for case in stage.pool:
        slices = np.moveaxis(stage.label(case), stage.axis(case), 0)
        found[case.id] = {
            index: frozenset(int(value) for value in np.unique(plane) if value > 0)
            for index, plane in enumerate(slices)
        }
    return found
