"""Where several probability maps of one image come from: what their spread says, one map cannot.

- `softmax`: one pass of each model; nothing is varied
- `tta`: the image turned, zoomed and changed in grey values as training did, less far (`test_time`)
- `mc-dropout`: dropout stays on (`mc_dropout`), where the network has any
- `checkpoints`: the snapshots that training kept on its way (setting `snapshots`)
- `runs`: several trainings
- `latent`: points of the latent space (`latent`), where the network has one; each is a way people may label
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from pydantic import Field

from medcl.errors import SettingsError, unknown_name
from medcl.inference.latent import with_latent
from medcl.inference.mc_dropout import with_dropout
from medcl.inference.test_time import varied
from medcl.inference.vote import Member
from medcl.settings import AugmentSettings, Settings

if TYPE_CHECKING:
    from medcl.inference.model import Model

SourceName = Literal["softmax", "tta", "mc-dropout", "checkpoints", "runs", "latent"]

SNAPSHOTS = "snapshots"
"""Folder of a run, beside its model, that holds one model folder per snapshot."""


class SourceSettings(Settings):
    """Where the probability maps of one image come from."""

    name: SourceName = Field(
        "softmax",
        description="softmax: one map; tta: changed images; mc-dropout: dropout on; checkpoints: snapshots of the "
        "training; runs: the models given with --with; latent: points of a latent space.",
    )
    samples: int = Field(8, ge=2, le=200, description="Maps per model, for tta, mc-dropout and latent.")
    seed: int = Field(0, ge=0, description="Seed of tta, mc-dropout and latent.")


Source = SourceName | SourceSettings
"""A name, or settings."""


def source_settings(source: Source) -> SourceSettings:
    """Return settings for a name or for settings.

    Raises:
        SettingsError: An unknown name; lists the known ones.
    """
    if isinstance(source, SourceSettings):
        return source
    if source not in get_args(SourceName):
        raise SettingsError(unknown_name("source of uncertainty", source, get_args(SourceName)))
    return SourceSettings(name=source)


def members_from(source: Source, models: Sequence[Model], flips: bool | None = None) -> list[Member]:
    """Return what gives one probability map each.

    Args:
        source: Name or settings.
        models: The model, and others to average with.
        flips: Average each map over in-plane mirror images; default: where training drew them.

    Returns:
        Members for `medcl.inference.vote.segment_together`; one, where nothing is varied.

    Raises:
        SettingsError: The source cannot be had: no dropout, no snapshots, or a single run; says what to do.
    """
    settings = source_settings(source)
    if settings.name == "runs" and len(models) < 2:
        raise SettingsError("runs: expected at least two models, got one; name the others (--with RUN, others=).")
    return [member for model in models for member in _of_model[settings.name](model, settings, flips)]


def _plain(model: Model, settings: SourceSettings, flips: bool | None) -> list[Member]:
    turned = model.trained_with_flips if flips is None else flips
    return [Member(model.engine, model.plan, turned, model.scaling)]


def _test_time(model: Model, settings: SourceSettings, flips: bool | None) -> list[Member]:
    augment = model.info.settings.get("augment")
    known = dict(augment) if isinstance(augment, Mapping) else {}
    drawn = AugmentSettings.parse(
        {k: v for k, v in known.items() if k in AugmentSettings.model_fields}, where="augment"
    )
    (plain,) = _plain(model, settings, flips)
    networks = varied(model.engine, drawn, count=settings.samples, seed=settings.seed)
    return [replace(plain, network=network) for network in networks]


def _dropout(model: Model, settings: SourceSettings, flips: bool | None) -> list[Member]:
    (plain,) = _plain(model, settings, flips)
    networks = with_dropout(
        model.network, model.engine.device, count=settings.samples, seed=settings.seed, name=model.info.backbone
    )
    return [replace(plain, network=network) for network in networks]


def _latent(model: Model, settings: SourceSettings, flips: bool | None) -> list[Member]:
    (plain,) = _plain(model, settings, flips)
    networks = with_latent(
        model.network, model.engine.device, count=settings.samples, seed=settings.seed, name=model.info.backbone
    )
    return [replace(plain, network=network) for network in networks]


def _checkpoints(model: Model, settings: SourceSettings, flips: bool | None) -> list[Member]:
    folders = snapshots_of(model.folder)
    if not folders:
        raise SettingsError(
            f"checkpoints: expected snapshots of the training in {model.folder.parent / SNAPSHOTS}, found none; train "
            "with --set snapshots=5, or use tta, or runs with several trainings."
        )
    load = type(model).load
    kept = [load(folder, device=model.engine.device.type) for folder in folders]  # type: ignore[arg-type]
    (plain,) = _plain(model, settings, flips)  # the snapshots share its calibration: they are points of one way
    return [plain, *(replace(plain, network=one.engine) for one in kept)]


def snapshots_of(model: Path) -> list[Path]:
    """Return the snapshots beside a run's model, oldest first."""
    folder = model.parent / SNAPSHOTS
    if model.name != "model" or not folder.is_dir():
        return []
    return sorted(path.parent for path in folder.glob("*/model.json"))


_of_model: dict[str, Callable[[Model, SourceSettings, bool | None], list[Member]]] = {
    "softmax": _plain,
    "tta": _test_time,
    "mc-dropout": _dropout,
    "checkpoints": _checkpoints,
    "runs": _plain,
    "latent": _latent,
}
