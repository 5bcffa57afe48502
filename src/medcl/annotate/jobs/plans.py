"""The plan of a project: made once, kept, and made anew where the data no longer fit it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from medcl.data.dataset import Dataset
from medcl.data.io import read_geometry
from medcl.data.plan import Plan, make_plan
from medcl.data.planning import choose_patch, choose_pooling
from medcl.errors import DataError, SettingsError
from medcl.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medcl.annotate.context import Context

SIDE = 96
"""Pixels along the median field of view: coarse, so that there is something to see while people still look."""


def plan_for(context: Context, dataset: Dataset, wishes: Mapping[str, Any]) -> Plan:
    """Return the kept plan, or make one where there is none or classes, groups, channels, spacing or wishes changed.

    Args:
        context: Where it is kept.
        dataset: What is trained on.
        wishes: Keys of `PlanSettings`; without a spacing, images are coarsened to `SIDE` pixels.
    """
    path = context.state / "plan.json"
    facts = _facts(dataset)
    made_from = {"facts": facts, "wishes": json.loads(json.dumps(dict(wishes)))}
    try:
        if read_json(context.state / "plan-from.json") == made_from:
            return Plan.load(path)
    except (DataError, SettingsError):
        pass  # none yet, or damaged: it is made anew
    plan = make_plan(dataset, **dict(wishes))
    if "spacing_mm" not in wishes:
        plan = _coarser(plan, wishes.get("patch"))
    plan.save(path)
    write_json(context.state / "plan-from.json", made_from)
    return plan


def _facts(dataset: Dataset) -> dict[str, Any]:
    """Return what a plan must fit. The median spacing is rounded: one more case of the same kind changes nothing."""
    spacings = [read_geometry(case.images[0]).spacing_mm for case in dataset.cases("Tr")]
    median = np.median(np.array(spacings), axis=0) if spacings else np.zeros(3)
    return {
        "classes": list(dataset.classes),
        "groups": {name: list(members) for name, members in dataset.groups.items()},
        "channels": list(dataset.channels),
        "spacing_mm": [float(f"{mm:.1g}") for mm in median],
    }


def _coarser(plan: Plan, patch: Any) -> Plan:
    """Coarsen the pixels of a plan until a typical image has at most `SIDE` of them along a side."""
    longest = max(plan.size[1:] if plan.ndim == 2 else plan.size)
    if longest <= SIDE:
        return plan
    factor = longest / SIDE
    z, y, x = plan.spacing_mm
    finest = min(y, x) * factor
    # thick slices stay as they are: they are few
    spacing = (None if z is None else _rounded(max(z, finest)), _rounded(y * factor), _rounded(x * factor))
    size = tuple(
        n if new is None or old is None else max(1, round(n * old / new))
        for n, old, new in zip(plan.size, plan.spacing_mm, spacing, strict=True)
    )
    chosen = patch or choose_patch(size, spacing, plan.ndim, plan.views)  # type: ignore[arg-type]  # three of each
    strides, kernels = choose_pooling(spacing, chosen)
    changed = {"spacing_mm": spacing, "size": size, "patch": chosen, "strides": strides, "kernels": kernels}
    return Plan.parse({**plan.model_dump(), **changed}, where="plan")


def _rounded(mm: float) -> float:
    return float(f"{mm:.4g}")
