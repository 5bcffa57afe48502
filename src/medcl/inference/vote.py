"""Several models on one image: their probabilities are averaged before the class is chosen."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from medcl.data.geometry import Image
from medcl.data.plan import Plan
from medcl.data.prepare import prepare_image
from medcl.errors import ModelError
from medcl.inference.postprocess import keep_largest
from medcl.inference.quality import Tally, estimates
from medcl.inference.scaling import Scaling
from medcl.inference.segment import Prediction, segment
from medcl.inference.sliding import Network, most_likely
from medcl.inference.uncertainty import normalised_entropy


@dataclass(frozen=True)
class Member:
    """One of the models.

    Attributes:
        network: Module in eval mode or engine.
        plan: How images are prepared for it.
        flips: Average over in-plane mirror images.
        scaling: Corrects its probabilities.
    """

    network: Network
    plan: Plan
    flips: bool
    scaling: Scaling | None = None


def check_members(plans: Sequence[Plan]) -> None:
    """Refuse models that do not answer the same question.

    Raises:
        ModelError: Classes or channels differ.
    """
    first = plans[0]
    for number, plan in enumerate(plans[1:], start=2):
        for what, one, other in (
            ("classes", first.classes, plan.classes),
            ("channels", [c.name for c in first.channels], [c.name for c in plan.channels]),
        ):
            if list(one) != list(other):
                raise ModelError(
                    f"model {number}: expected the {what} of the first model ({', '.join(one)}), "
                    f"got {', '.join(other)}; average models of the same data set only."
                )


def segment_together(
    members: Sequence[Member],
    image: Image,
    *,
    scratch: Path,
    unions: Sequence[tuple[int, ...]] = (),
    probabilities: bool = False,
    uncertainty: bool = False,
    batch_size: int | None = None,
    overlap: float = 0.5,
    progress: Callable[[float], None] | None = None,
) -> Prediction:
    """Segment one image with several models, such as one per view, and average their probabilities.

    Every model prepares the image as its own plan says; they meet on the voxels of the image. Probabilities of all
    voxels lie in files, two at a time.

    Args:
        members: Networks with their plans, of the same classes and channels (see `check_members`).
        image: The image as read.
        scratch: Folder for those files; to be removed after the result is used.
        unions: Unions of classes of which only the largest piece stays.
        probabilities: Also return the mean class probabilities.
        uncertainty: Also return the normalised entropy of the mean, and the mutual information of the maps.
        batch_size: Slices or windows per call of a network.
        overlap: Overlap of sliding windows.
        progress: Called with the share of the networks' work that is done, up to 1.

    Returns:
        The prediction in the geometry of the image.
    """
    plan = members[0].plan
    size = image.geometry.size
    total = np.lib.format.open_memmap(
        scratch / "mean.npy", "w+", np.dtype(np.float32), (len(plan.classes), size[0], size[1], size[2])
    )
    tallies: list[Tally] = []
    spread = np.zeros(size, dtype=np.float32) if uncertainty and len(members) > 1 else None
    for number, member in enumerate(members):

        def tell(share: float, before: int = number) -> None:
            if progress is not None:
                progress((before + share) / len(members))

        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            answer = segment(
                member.network,
                member.plan,
                prepare_image(image, member.plan),
                flips=member.flips,
                probabilities=True,
                batch_size=batch_size,
                overlap=overlap,
                scratch=Path(folder),
                progress=tell,
                scaling=member.scaling,
                uncertainty=uncertainty,
                unions=unions,
            )
            one = answer.probabilities
            assert one is not None
            assert answer.tally is not None
            tallies.append(answer.tally)
            if spread is not None and answer.uncertainty is not None:
                spread -= answer.uncertainty / len(members)
            for z in range(size[0]):
                total[:, z] += one[:, z] / len(members)
            del one, answer  # releases the file before its folder goes
    mask = np.empty(size, dtype=np.uint8 if len(plan.classes) <= 256 else np.uint16)
    unsure = np.empty(size, dtype=np.float32) if uncertainty else None
    tally = Tally()
    for z in range(size[0]):
        plane = torch.from_numpy(np.array(total[:, z]))
        mask[z] = most_likely(plane).numpy()
        tally.add(z, plane, mask[z])
        if unsure is not None:
            unsure[z] = normalised_entropy(plane).numpy()
    if spread is not None and unsure is not None:
        spread = np.clip(spread + unsure, 0, 1)
    mask = keep_largest(mask, unions) if unions else mask
    tally.keep(mask)
    return Prediction(
        mask=mask,
        probabilities=total if probabilities else None,
        uncertainty=unsure,
        geometry=image.geometry,
        classes=plan.classes,
        mutual_information=spread,
        estimates=estimates(tally, plan.classes, image.geometry.voxel_volume_ml, tallies),
        tally=tally,
    )
