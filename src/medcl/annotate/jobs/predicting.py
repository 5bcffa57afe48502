"""One case predicted: mask and uncertainty as files in its own grid, a row that says where, and what `next` reads."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import select

from medcl.annotate.state.tables import PredictionRow, now
from medcl.data.io import write_map
from medcl.files import atomic_folder
from medcl.inference.segment import Prediction, check_image, segment
from medcl.queries.places import drawing_axis, places_of, to_rows

if TYPE_CHECKING:
    from torch import Tensor

    from medcl.annotate.context import Context
    from medcl.data.layout import Case
    from medcl.data.plan import Plan
    from medcl.data.prepare import Prepared
    from medcl.data.store import Store

KEPT = 2
"""Predictions of a case that stay: the newest, and the one that a page may still show."""

UNSURE = 0.25
"""Entropy from which on a voxel of background counts for the mean uncertainty of a case."""

_MOST_IN_MEMORY = 2**28
"""Class probabilities up to this many bytes stay in memory; more lie in a temporary file."""


class Predictor:
    """Predicts cases with one network.

    Args:
        context: Whose cases.
        plan: The network's plan.
        forward: (N, channels, *S) -> logits.
        unions: Unions of classes of which the largest piece stays.
        store: Prepared cases; others are prepared when they come.
    """

    def __init__(
        self,
        context: Context,
        plan: Plan,
        forward: Callable[[Tensor], Tensor],
        unions: Sequence[tuple[int, ...]],
        store: Store | None = None,
    ) -> None:
        self.context, self.plan, self.forward, self.unions, self.store = context, plan, forward, unions, store

    def predict(self, case: Case, model: int, job: int | None = None) -> np.ndarray:
        """Predict a case and keep the result.

        Args:
            case: Which.
            model: Number of the row of the model.
            job: Number of the job, for the event.

        Returns:
            Mask (Z, Y, X) in the file's grid.

        Raises:
            DataError: The image cannot be read or does not fit the plan; the sentence names the case.
        """
        prepared = self._prepared(case)
        size = prepared.grid.geometry.size
        large = 4 * len(self.plan.classes) * int(np.prod(size)) > _MOST_IN_MEMORY
        with tempfile.TemporaryDirectory(prefix="medcl-") as scratch:
            result = segment(
                self.forward,
                self.plan,
                prepared,
                flips=False,
                unions=self.unions,
                probabilities=True,
                uncertainty=True,
                scratch=Path(scratch) if large else None,
            )
            return self._keep(case, result, model, job)

    def _prepared(self, case: Case) -> Prepared:
        from medcl.data.prepare import Prepared, prepare_image

        if self.store is not None and case.split == "Tr" and case.id in self.store:
            known = self.store[case.id]
            return Prepared(np.asarray(known.image, dtype=np.float32), known.grid)
        image = self.context.dataset().read_image(case)
        check_image(image, self.plan, f"case {case.id}")
        return prepare_image(image, self.plan)

    def _keep(self, case: Case, result: Prediction, model: int, job: int | None) -> np.ndarray:
        view = self.context.view(case)
        assert result.probabilities is not None  # asked for
        assert result.uncertainty is not None
        x, y, z = view.spacing_mm
        axis = drawing_axis(view.shape, (z, y, x))
        places = places_of(case.id, view.to_view(result.probabilities), (z, y, x), axis)
        folder = Path("predictions") / uuid.uuid4().hex
        with atomic_folder(self.context.state / folder) as temporary:
            write_map(temporary / "mask.nii.gz", result.mask, result.geometry)
            unsure = np.rint(result.uncertainty * 255).astype(np.uint8)
            write_map(temporary / "uncertainty.nii.gz", unsure, result.geometry)
        voxel_ml = float(np.prod(result.geometry.spacing_mm)) / 1000
        counts = np.bincount(result.mask.ravel(), minlength=len(result.classes))
        counted = (result.mask > 0) | (result.uncertainty >= UNSURE)
        row = PredictionRow(
            case=case.id,
            model=model,
            at=now(),
            folder=folder.as_posix(),
            uncertainty=float(result.uncertainty[counted].mean()) if counted.any() else 0.0,
            volumes_ml={name: round(int(counts[c]) * voxel_ml, 4) for c, name in enumerate(result.classes) if c},
            places=to_rows(places),
        )
        with self.context.database.session() as session:
            session.add(row)
            session.flush()
            query = select(PredictionRow).where(PredictionRow.case == case.id).order_by(PredictionRow.id.desc())
            old = list(session.scalars(query.offset(KEPT)))
            for gone in old:
                session.delete(gone)
            self.context.tell(session, "prediction", "ready", case=case.id, job=job)
        for gone in old:
            shutil.rmtree(self.context.state / gone.folder, ignore_errors=True)
        return result.mask
