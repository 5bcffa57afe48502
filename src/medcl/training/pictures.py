"""Sample pictures during training: the same slices each time, so that one sees the masks grow."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor

from medcl.data.labels import UNLABELLED
from medcl.data.plan import Plan
from medcl.data.store import PreparedCase, Store
from medcl.evaluation.pictures import Slice, picture
from medcl.files import atomic_write
from medcl.inference.sliding import mask_of, predict_slabs


class Painter:
    """Draws chosen slices with the current masks.

    Args:
        folder: Where pictures go, `step_<number>.png`.
        store: Prepared cases.
        ids: Cases to choose from.
        plan: Classes and grid.
        count: Number of slices.
    """

    def __init__(self, folder: Path, store: Store, ids: list[str], plan: Plan, count: int) -> None:
        self.folder, self.plan = folder, plan
        every = max(1, len(ids) // count)
        self.views = [_view(store[case_id], plan) for case_id in ids[::every][:count]]

    def draw(self, forward: Callable[[Tensor], Tensor], step: int) -> Path:
        """Write one picture: a column per case; above the image with strokes or label, below the mask.

        Args:
            forward: (N, channels, *S) -> logits.
            step: Steps done, for the file's name.

        Returns:
            The PNG.
        """
        from PIL import Image

        columns = []
        for image, z, known, dense in self.views:
            mask = mask_of(predict_slabs(forward, image, self.plan, flips=False))
            shown = Slice(
                label=known if dense else np.full(mask.shape[1:], UNLABELLED),
                prediction=mask[z],
                image=image[0, z] if image.shape[0] != 3 else image[:, z],
                scribble=known,
            )
            columns.append(
                [
                    Image.open(io.BytesIO(picture(shown, show=kind, crop=False)))
                    for kind in ("label" if dense else "strokes", "prediction")
                ]
            )
        width = sum(max(tile.width for tile in column) for column in columns)
        heights = [max(column[row].height for column in columns) for row in range(2)]
        sheet = Image.new("RGB", (width, sum(heights)))
        left = 0
        for column in columns:
            for row, tile in enumerate(column):
                sheet.paste(tile, (left, sum(heights[:row])))
            left += max(tile.width for tile in column)
        path = self.folder / f"step_{step:06d}.png"
        with atomic_write(path) as temporary:
            sheet.save(temporary, format="PNG")
        return path


def _view(case: PreparedCase, plan: Plan) -> tuple[np.ndarray, int, np.ndarray, bool]:
    """Return the part of a case to predict, the slice in it to show, what is known there, and whether densely."""
    dense = case.scribble is None and case.label is not None
    known = case.scribble if case.scribble is not None else case.label
    depth = case.image.shape[1]
    z = depth // 2 if known is None else int((known > 0).sum(axis=(1, 2)).argmax())
    drawn = (
        np.full(case.image.shape[2:], UNLABELLED, np.int16) if known is None else np.asarray(known[z], dtype=np.int16)
    )
    if plan.views != ("z",):
        return np.asarray(case.image, dtype=np.float32), z, drawn, dense
    if plan.ndim == 2:
        low, high = max(0, z - plan.context), z + plan.context + 1
    else:
        low = max(0, min(z - plan.patch[0] // 2, depth - plan.patch[0]))
        high = low + plan.patch[0]
    return np.asarray(case.image[:, low:high], dtype=np.float32), z - low, drawn, dense
