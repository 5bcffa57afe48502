"""Partial cross-entropy and the gated CRF energy."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from medcl.batch import Batch
from medcl.losses.gated_crf import gated_crf
from medcl.losses.region import standardised
from medcl.methods import Losses, methods
from medcl.methods.regularised import Regularised


@methods.register("partial-ce-gated-crf")
class PartialCEGatedCRF(Regularised):
    """Gated CRF on pixels without annotation (Obukhov et al., arXiv 1906.04651, 2019)."""

    weight: float = Field(0.05, ge=0, description="Weight of the energy once it is fully grown.")
    radius: int = Field(5, ge=1, description="Half-width of the window in pixels.")
    depth_radius: int = Field(1, ge=0, description="Half-width of the window across slices, for volumes.")
    sigma_distance: float = Field(6.0, gt=0, description="Width of the kernel in pixels.")
    sigma_intensity: float = Field(0.5, gt=0, description="Width of the kernel in the image's standard deviations.")

    def terms(self, batch: Batch, logits: Tensor) -> Losses:
        """Return the energy; annotated pixels send but do not receive."""
        in_depth = (self.depth_radius,) if logits.ndim == 5 else ()
        energy = gated_crf(
            logits.softmax(dim=1),
            standardised(batch.image),
            radius=(*in_depth, self.radius, self.radius),
            sigma_distance=self.sigma_distance,
            sigma_intensity=self.sigma_intensity,
            destination=(1 - batch.target.sum(dim=1, keepdim=True)).clamp(0, 1),
        )
        return {"gated_crf": energy}
