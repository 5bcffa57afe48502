"""Calibrated probabilities: a few numbers beside the weights, fitted once, applied by every prediction.

`calibration.json` in the model folder holds them; `medcl.training.calibrate` fits them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from medcl.data.regions import BAND_VOXELS, plane_distance
from medcl.errors import MedclError, ModelError
from medcl.files import read_json, write_json
from medcl.inference.sliding import most_likely
from medcl.settings import Settings

CALIBRATION = "calibration.json"
"""Name of the file in a model folder."""

LEAST = 1e-9  # probabilities below this are taken as this: their logarithm is the logit


class Scaling(Settings):
    """How probabilities of one model are corrected.

    Near structures, log p_c becomes `scale_c` log p_c + `bias_c` before the softmax: temperature scaling where all
    scales are 1 / T and all biases 0, else vector scaling (Guo et al., On Calibration of Modern Neural Networks, ICML
    2017, section 4.2; logits are log probabilities up to a number that the softmax cancels). Far from what is called a
    structure a temperature of its own holds, as background there is another task; between `BAND_VOXELS` and twice that
    the two blend (derived).
    """

    format: Literal[1] = Field(1, description="Version of this layout.")
    kind: Literal["temperature", "vector"] = Field("temperature", description="What was fitted.")
    scale: tuple[float, ...] = Field(description="Factor of the log probability per class, background first.")
    bias: tuple[float, ...] = Field(description="What is added to it per class.")
    far: float = Field(1.0, gt=0, description="Temperature far from structures.")
    weights_sha256: str = Field("", description="Digest of the weights that it was fitted for.")
    fitted_on: str = Field("", description="What it was fitted on, in words.")
    facts: dict[str, Any] = Field({}, description="Scores before and after on what it was fitted on, counts, versions.")

    @classmethod
    def of(cls, temperature: float, classes: int, **more: Any) -> Scaling:
        """Return the scaling of one temperature."""
        return cls(scale=(1 / temperature,) * classes, bias=(0.0,) * classes, **more)

    @property
    def temperature(self) -> float:
        """Mean temperature over classes."""
        return len(self.scale) / sum(self.scale)

    def words(self) -> str:
        """Return what it does in a few words."""
        near = f"temperature {self.temperature:.2f}"
        if self.kind == "vector":
            near = f"per class: scales {_list(self.scale)}, biases {_list(self.bias)}"
        far = f", temperature {self.far:.2f} far from structures" if self.far != 1 else ""
        return f"{near}{far}; fitted on {self.fitted_on}"

    def apply(self, probabilities: Tensor, distance: Tensor | None = None) -> Tensor:
        """Return corrected probabilities.

        Args:
            probabilities: (C, ..., Y, X) float32 on the image's grid, summing to 1 over C.
            distance: (..., Y, X), `plane_distance` of their most likely classes, where the caller has it already.
        """
        logits = probabilities.clamp_min(LEAST).log()
        shape = (-1, *(1,) * (logits.ndim - 1))
        scale, bias = (logits.new_tensor(values).reshape(shape) for values in (self.scale, self.bias))
        near = torch.log_softmax(logits * scale + bias, dim=0)
        if distance is None:
            distance = torch.from_numpy(plane_distance(most_likely(probabilities).cpu().numpy())).to(logits.device)
        share = (2 - distance / BAND_VOXELS).clamp(0, 1)
        far = torch.log_softmax(logits / self.far, dim=0)
        return torch.softmax(far + share * (near - far), dim=0)

    def save(self, model: Path) -> None:
        """Write it into a model folder, whole or not at all."""
        write_json(model / CALIBRATION, self.model_dump(mode="json"))


def load_scaling(model: Path, weights_sha256: str, classes: int) -> Scaling | None:
    """Return the scaling in a model folder, or None where it holds none.

    Raises:
        ModelError: Damaged, of another number of classes, or fitted for other weights.
    """
    path = model / CALIBRATION
    if not path.is_file():
        return None
    advice = "run 'medcl calibrate' again, or remove the file"
    try:
        values = read_json(path)
        scaling = Scaling.parse(values if isinstance(values, dict) else {}, where=str(path))
    except MedclError as error:
        raise ModelError(f"{error}; {advice}.") from None
    if {len(scaling.scale), len(scaling.bias)} != {classes}:
        raise ModelError(f"{path}: expected numbers for {classes} classes, got {len(scaling.scale)}; {advice}.")
    if scaling.weights_sha256 != weights_sha256:
        raise ModelError(f"{path}: was fitted for other weights than those beside it; {advice}.")
    return scaling


def _list(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)
