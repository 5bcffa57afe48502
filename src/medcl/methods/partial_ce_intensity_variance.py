"""Partial cross-entropy and classes of even intensity."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from medcl.batch import Batch
from medcl.losses.region import intensity_variance, standardised
from medcl.methods import Losses, methods
from medcl.methods.regularised import Regularised


@methods.register("partial-ce-intensity-variance")
class PartialCEIntensityVariance(Regularised):
    """Variance of the intensity in each predicted class (derived, after the WSL4MIS collection of Luo et al.)."""

    weight: float = Field(0.1, ge=0, description="Weight of the variance once it is fully grown.")

    def terms(self, batch: Batch, logits: Tensor) -> Losses:
        """Return the variance inside the predicted classes, in units of the image's own variance."""
        return {"intensity_variance": intensity_variance(logits.softmax(dim=1), standardised(batch.image))}
