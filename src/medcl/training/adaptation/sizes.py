"""How large the structures are that a model learned: the class ratio that adaptation holds predictions to.

Kept as volumes in ml, not as shares of the image: a heart has the same volume in every field of view.
`class_sizes.json` in the model folder holds them; training writes it, and `measure_sizes` makes it for models of
before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from medcl.data.plan import Plan
from medcl.data.prepare import Prepared, plan_grid
from medcl.data.store import Store
from medcl.errors import ModelError, SettingsError, unknown_name
from medcl.files import read_json, write_json
from medcl.inference.sliding import mask_of, predict_slabs
from medcl.settings import Settings

SIZES_FILE = "class_sizes.json"

MOST_CASES = 10
"""Training cases that are measured, evenly spread over all: a mean needs no more, and training shall end."""


class ClassSizes(Settings):
    """Volumes of the structures per case.

    For single pictures (Z = 1) a volume is an area times the slice spacing of the file, 1 mm where it has none.
    """

    mean_ml: dict[str, float] = Field(description="Mean volume of each structure over cases, in ml.")
    sd_ml: dict[str, float] = Field(description="Standard deviation over cases, in ml; 0 where nobody measured it.")
    cases: int = Field(ge=0, description="Cases that were measured; 0 where somebody stated the volumes.")
    source: str = Field(description="Where the volumes come from.")

    def ratio(self, plan: Plan, image_ml: float) -> Tensor:
        """Return the expected share of each class in an image of a volume, (C,), sum 1.

        Structures that would fill more than 95 % of a small image are scaled down together.
        """
        shares = np.array([self.mean_ml[name] for name in plan.classes[1:]]) / image_ml
        shares *= min(1.0, 0.95 / max(shares.sum(), 1e-12))
        return torch.tensor([1 - shares.sum(), *shares], dtype=torch.float32)


def voxel_ml(prepared: Prepared) -> float:
    """Return the volume of a voxel on the plan's grid in ml."""
    return (
        prepared.geometry.voxel_volume_ml * float(np.prod(prepared.geometry.size)) / np.prod(prepared.array.shape[1:])
    )


def volumes_of(mask: np.ndarray, classes: int, voxel: float) -> np.ndarray:
    """Return the volume of each structure in ml, (classes - 1,)."""
    return np.bincount(mask.ravel(), minlength=classes)[1:classes] * voxel


def measure_sizes(
    forward: Callable[[Tensor], Tensor], plan: Plan, images: Iterable[Prepared], *, source: str
) -> ClassSizes:
    """Measure what a model predicts on images like those that it learned from.

    Args:
        forward: (N, channels, *S) -> logits.
        plan: The model's plan.
        images: Prepared images.
        source: Said in the file.
    """
    rows = []
    for prepared in images:
        mask = mask_of(predict_slabs(forward, prepared.array, plan, flips=False, overlap=0.25))
        rows.append(volumes_of(mask, len(plan.classes), voxel_ml(prepared)))
    return sizes_from(rows, plan, source=source)


def keep_sizes(
    folder: Path, forward: Callable[[Tensor], Tensor], plan: Plan, store: Store, case_ids: Sequence[str]
) -> None:
    """Measure class sizes at the end of a training, on some of its cases, and write them into the model folder.

    Args:
        folder: The model folder.
        forward: (N, channels, *S) -> logits.
        plan: The model's plan.
        store: Prepared cases.
        case_ids: The training cases.
    """
    cases = [store[case_id] for case_id in case_ids]
    chosen = cases[:: -(-len(cases) // MOST_CASES)]
    prepared = (Prepared(np.asarray(case.image, np.float32), plan_grid(case.geometry, plan)) for case in chosen)
    source = f"predictions on {len(chosen)} training images"
    write_sizes(folder, measure_sizes(forward, plan, prepared, source=source))


def sizes_from(rows: Sequence[np.ndarray], plan: Plan, *, source: str) -> ClassSizes:
    """Return mean and standard deviation of volumes (classes - 1,) in ml, one row a case."""
    table = np.array(rows, dtype=float).reshape(-1, len(plan.classes) - 1)
    names = plan.classes[1:]
    return ClassSizes(
        mean_ml=dict(zip(names, table.mean(axis=0).round(6).tolist(), strict=True)),
        sd_ml=dict(zip(names, table.std(axis=0).round(6).tolist(), strict=True)),
        cases=len(table),
        source=source,
    )


def stated_sizes(volumes: Mapping[str, float], plan: Plan) -> ClassSizes:
    """Return volumes that a person states.

    Raises:
        SettingsError: A structure is unknown or missing, or a volume is not positive.
    """
    names = plan.classes[1:]
    for name, volume in volumes.items():
        if name not in names:
            raise SettingsError(unknown_name("structure", name, names))
        if not 0 < volume < float("inf"):
            raise SettingsError(f"volume of {name}: expected ml above 0, got {volume}.")
    missing = [name for name in names if name not in volumes]
    if missing:
        raise SettingsError(f"volumes: expected one of every structure, {', '.join(missing)} is missing; add it.")
    return ClassSizes(mean_ml=dict(volumes), sd_ml=dict.fromkeys(names, 0.0), cases=0, source="stated")


def write_sizes(folder: Path, sizes: ClassSizes) -> None:
    """Write `class_sizes.json` into a model folder."""
    write_json(folder / SIZES_FILE, sizes.model_dump(mode="json"))


def read_sizes(folder: Path, plan: Plan) -> ClassSizes | None:
    """Read `class_sizes.json` of a model folder; None where there is none.

    Raises:
        ModelError: The file names other structures than the plan.
    """
    path = folder / SIZES_FILE
    if not path.is_file():
        return None
    values = read_json(path)
    if not isinstance(values, dict):
        raise ModelError(f"{path}: expected keys and values, got {type(values).__name__}.")
    sizes = ClassSizes.parse(values, where=str(path))
    if set(sizes.mean_ml) != set(plan.classes[1:]):
        raise ModelError(
            f"{path}: expected volumes of {', '.join(plan.classes[1:])}, got {', '.join(sizes.mean_ml)}; remove it."
        )
    return sizes
