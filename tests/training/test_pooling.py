"""Which strides and kernels a run's backbone gets: its own, the plan's, or those of plans of earlier versions."""

from __future__ import annotations

from typing import Any

from medcl.data.plan import Plan
from medcl.training.configure import configure, resolve


def plan(**changes: Any) -> Plan:
    values = {
        "dataset": "made up",
        "classes": ("background", "a"),
        "groups": {},
        "channels": [{"name": "MR", "normalisation": "zscore"}],
        "ndim": 3,
        "spacing_mm": (4.0, 1.0, 1.0),
        "size": (16, 64, 64),
        "patch": (16, 64, 64),
        "orientation": "as-stored",
        "fingerprint": "none",
        "strides": ((1, 2, 2), (2, 2, 2)),
        "kernels": ((1, 3, 3), (1, 3, 3), (3, 3, 3)),
    }
    return Plan.parse({**values, **changes})


def chosen(backbone: Any, of: Plan) -> tuple[Any, Any]:
    settings: Any = resolve(configure({"backbone": backbone}), of).backbone
    return settings.strides, settings.kernels


def test_the_plan_decides_unless_the_backbone_says_otherwise() -> None:
    assert chosen("unet", plan()) == (plan().strides, plan().kernels)
    assert chosen({"name": "unet", "strides": [[2, 2, 2]]}, plan()) == (((2, 2, 2),), None)
    assert chosen({"name": "unet", "levels": 3}, plan()) == (
        ((1, 2, 2), (1, 2, 2)),
        ((1, 3, 3), (1, 3, 3), (3, 3, 3)),
    )
    edited = plan(strides=((2, 2, 2),), kernels=None)
    assert chosen("unet", edited) == (((2, 2, 2),), None)


def test_plans_and_runs_of_earlier_versions_go_on_as_before() -> None:
    old = plan(strides=None, kernels=None)
    assert chosen("unet", old)[0] == ((1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2))
    flat = plan(strides=None, kernels=None, ndim=2, patch=(64, 64), spacing_mm=(None, 1.0, 1.0))
    assert chosen("unet", flat) == (None, None)
    # what run.json of such a run holds
    stored = {"name": "unet", "levels": 5, "strides": [[1, 2, 2], [2, 2, 2]]}
    assert chosen(stored, plan()) == (((1, 2, 2), (2, 2, 2)), None)


def test_a_resolved_run_reads_back_equal() -> None:
    config = resolve(configure({"backbone": "unet"}), plan())
    assert resolve(configure(config.as_dict()), plan(strides=None, kernels=None)).as_dict() == config.as_dict()
