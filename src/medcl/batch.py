"""What a method sees of the data: a batch of images with their strokes as per-class weights."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Images and strokes of N samples; S is (Y, X) or (Z, Y, X).

    Attributes:
        image: (N, channels, *S) float, normalised.
        target: (N, C, *S) float, weight of each class's annotation; all zero where nothing is annotated.
        known: (N, C) bool, classes that the annotator looked for in the case.
        present: (N, C) bool, classes that may exist in the image: drawn in this slice or patch, or never looked for.
        absent: (N, C, *S) float, 1 where a class is known not to be: too far from its own strokes. Zero where
            nothing is known, so that padding and warping with zeros is right.
        grown: (N, C, *S) float, 1 where nothing is drawn and the strokes, grown along the image, surely reach (see
            `medcl.training.growing`), zero elsewhere; None unless the method asks for it (`Method.walk`).
        raters: (N, R, C, *S) float, the annotation of each of several people like `target`, all zero for who annotated
            nothing here; None unless the method asks for it (`Method.wants_raters`) and several people annotated.
        views: How many augmented copies of each image follow one another: sample `i * views + v` is view v of image i.
    """

    image: Tensor
    target: Tensor
    known: Tensor
    present: Tensor
    absent: Tensor
    grown: Tensor | None = None
    raters: Tensor | None = None
    views: int = 1

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on another device."""
        moved = {name: value.to(device, non_blocking=True) for name, value in self._tensors().items()}
        return replace(self, **moved)

    def repeat(self, views: int) -> Batch:
        """Return each sample `views` times in a row."""
        tensors = {name: value.repeat_interleave(views, dim=0) for name, value in self._tensors().items()}
        return replace(self, views=self.views * views, **tensors)

    def _tensors(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}
