"""What is one piece in the body should be one piece in the mask: decided from strokes when a training ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from torch import Tensor

from medcl.data.plan import Plan
from medcl.inference.postprocess import find_one_piece
from medcl.inference.sliding import mask_of, predict_slabs
from medcl.training.sampling import Sampler

MOST_CASES = 20
"""Training cases that are looked at, evenly spread over all: enough to meet a structure of two pieces."""


def one_piece(
    forward: Callable[[Tensor], Tensor], sampler: Sampler, plan: Plan, *, most: int = MOST_CASES
) -> list[tuple[int, ...]]:
    """Predict annotated training cases and tell which groups and classes are one piece, see `find_one_piece`.

    Args:
        forward: (N, channels, *S) -> logits.
        sampler: Holds the training cases and what was drawn in them.
        plan: Classes, groups and grid.
        most: Cases that are looked at.
    """
    sources = [source for source in sampler.sources[:: len(plan.views)] if source.annotation is not None]
    chosen = sources[:: -(-len(sources) // most)]

    def answers() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for source in chosen:
            image = np.asarray(source.case.image, dtype=np.float32)
            slabs = predict_slabs(forward, image, plan, flips=False, overlap=0.25)
            yield mask_of(slabs).astype(np.int16), np.moveaxis(np.asarray(source.annotation), 0, source.axis)

    return find_one_piece(answers(), classes=len(plan.classes), groups=plan.groups)
