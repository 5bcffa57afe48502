"""From a prepared image to mask, probabilities and uncertainty on the grid of the image, with bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medcl.data.geometry import Geometry, Image
from medcl.data.plan import Plan
from medcl.errors import DataError
from medcl.inference.engines import torch_threads
from medcl.inference.postprocess import keep_largest
from medcl.inference.quality import Estimate, Tally, estimates
from medcl.inference.restore import restore_slabs
from medcl.inference.scaling import Scaling
from medcl.inference.sliding import Network, most_likely, predict_slabs
from medcl.inference.uncertainty import normalised_entropy

if TYPE_CHECKING:
    from medcl.data.prepare import Prepared


@dataclass
class Prediction:
    """What a model says about one image, voxel for voxel on the image's own grid.

    Attributes:
        mask: Class indices (Z, Y, X), uint8 (uint16 above 256 classes).
        probabilities: (classes, Z, Y, X) float32, or None where not asked for. Not post-processed.
        uncertainty: Normalised entropy (Z, Y, X) float32 in [0, 1], or None where not asked for.
        geometry: The geometry of the image.
        classes: Class names by index.
        mutual_information: How far several maps contradict each other (Z, Y, X) float32 in [0, 1]; None with one map
            or where uncertainty was not asked for.
        estimates: Expected Dice and volume per structure, background left out.
        tally: What the estimates come from.
    """

    mask: np.ndarray
    probabilities: np.ndarray | None
    uncertainty: np.ndarray | None
    geometry: Geometry
    classes: tuple[str, ...]
    mutual_information: np.ndarray | None = None
    estimates: tuple[Estimate, ...] = ()
    tally: Tally | None = None


def check_image(image: Image, plan: Plan, name: str) -> None:
    """Refuse an image that the plan's network cannot read.

    Args:
        image: The image as read.
        plan: The model's plan.
        name: File or case for the message.

    Raises:
        DataError: Another number of channels, no voxels, or NaN or infinity.
    """
    channels, expected = image.array.shape[0], len(plan.channels)
    if channels != expected:
        names = ", ".join(channel.name for channel in plan.channels)
        how = "give one file per channel, named <case>_0000, <case>_0001, ..." if channels < expected else "remove some"
        raise DataError(f"{name}: expected {expected} channel(s) ({names}), got {channels}; {how}.")
    if image.array.size == 0:
        raise DataError(f"{name}: expected voxels, got an array of shape {image.array.shape}.")
    if np.issubdtype(image.array.dtype, np.complexfloating) or not np.issubdtype(image.array.dtype, np.number):
        raise DataError(f"{name}: expected real numbers, got {image.array.dtype}.")
    if np.issubdtype(image.array.dtype, np.floating):
        # one slice at a time: a mask of a whole large volume would cost a byte per voxel
        bad = sum(int((~np.isfinite(image.array[:, z])).sum()) for z in range(image.array.shape[1]))
        if bad:
            raise DataError(f"{name}: expected finite values, got NaN or infinity in {bad} voxel(s); repair the image.")


def segment(
    network: Network,
    plan: Plan,
    prepared: Prepared,
    *,
    flips: bool = True,
    unions: Sequence[tuple[int, ...]] = (),
    probabilities: bool = False,
    uncertainty: bool = False,
    batch_size: int | None = None,
    overlap: float = 0.5,
    scratch: Path | None = None,
    progress: Callable[[float], None] | None = None,
    scaling: Scaling | None = None,
) -> Prediction:
    """Segment one prepared image.

    Probabilities are resampled to the image's grid before the class is chosen, so edges are as fine as its voxels. Only
    a few slices of them exist at a time unless they are asked for.

    Args:
        network: Module in eval mode or engine.
        plan: The model's plan.
        prepared: The image on the plan's grid.
        flips: Average over in-plane mirror images.
        unions: Unions of classes of which only the largest piece stays, see `keep_largest`. Applies to the mask only.
        probabilities: Also return class probabilities.
        uncertainty: Also return normalised entropy.
        batch_size: Slices or windows per call of the network; default: see `predict_slabs`.
        overlap: Overlap of sliding windows.
        scratch: Folder for a file that holds the probabilities in the place of memory.
        progress: Called with the share of the network's work that is done, up to 1.
        scaling: Corrects the probabilities, before the class is chosen.

    Returns:
        The prediction in the geometry of the image.
    """
    grid = prepared.grid
    turned = grid.turned_size
    count = len(plan.classes)
    mask = np.empty(turned, dtype=np.uint8 if count <= 256 else np.uint16)
    unsure = np.empty(turned, dtype=np.float32) if uncertainty else None
    tally = Tally()
    shares: np.ndarray | None = None
    if probabilities:
        shape = (count, *turned)
        if scratch is None:
            shares = np.empty(shape, dtype=np.float32)
        else:
            shares = np.lib.format.open_memmap(scratch / "probabilities.npy", "w+", np.dtype(np.float32), shape)
    slabs = predict_slabs(
        network, prepared.array, plan, flips=flips, batch_size=batch_size, overlap=overlap, progress=progress
    )
    # Engines bring their own threads. The many small steps around them are fast on one thread, and on a busy machine
    # a second one makes them many times slower, because each step waits for it.
    with torch_threads(1):
        for z, slab in enumerate(restore_slabs(slabs, grid)):
            if scaling is not None:
                slab = scaling.apply(slab)
            mask[z] = most_likely(slab)[0].cpu().numpy()
            tally.add(z, slab[:, 0], mask[z])
            if unsure is not None:
                unsure[z] = normalised_entropy(slab)[0].cpu().numpy()
            if shares is not None:
                shares[:, z] = slab[:, 0].cpu().numpy()
    mask = np.ascontiguousarray(grid.turn_back(mask))
    if unions:
        mask = keep_largest(mask, unions)
    tally.keep(grid.turn(mask))
    return Prediction(
        mask=mask,
        probabilities=None if shares is None else _in_order(grid.turn_back(shares), copy=scratch is None),
        uncertainty=None if unsure is None else np.ascontiguousarray(grid.turn_back(unsure)),
        geometry=grid.geometry,
        classes=plan.classes,
        estimates=estimates(tally, plan.classes, grid.geometry.voxel_volume_ml),
        tally=tally,
    )


def _in_order(array: np.ndarray, *, copy: bool) -> np.ndarray:
    """A view of a file stays a view: whoever reads it class by class never holds it whole."""
    return np.ascontiguousarray(array) if copy else array
