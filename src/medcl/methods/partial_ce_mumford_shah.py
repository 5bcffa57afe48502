"""Partial cross-entropy and the Mumford-Shah energy."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from medcl.batch import Batch
from medcl.losses.region import mumford_shah, standardised
from medcl.methods import Losses, methods
from medcl.methods.regularised import Regularised


@methods.register("partial-ce-mumford-shah")
class PartialCEMumfordShah(Regularised):
    """Piecewise constant Mumford-Shah energy of the prediction (Kim and Ye, IEEE TIP 29, 2020)."""

    weight: float = Field(0.1, ge=0, description="Weight of the energy once it is fully grown.")
    length: float = Field(1.0, ge=0, description="Factor of the outline within the energy (lambda of the paper).")

    def terms(self, batch: Batch, logits: Tensor) -> Losses:
        """Return the energy on the image in units of its own standard deviation."""
        energy = mumford_shah(logits.softmax(dim=1), standardised(batch.image), length=self.length)
        return {"mumford_shah": energy}
