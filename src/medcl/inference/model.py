"""The model: what training hands on and prediction needs, as a folder that carries no code.

- `model.json`: what it is: backbone and settings, method, scores, versions, digest of the weights
- `plan.json`: classes, and how images are prepared
- `weights.safetensors`: the network's numbers
- `card.md`: the same for a human reader
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from pydantic import Field
from torch import nn

from medcl import __version__
from medcl.backbones.for_plan import build_for_plan
from medcl.backbones.prompts import Prompts
from medcl.backbones.weights import load_exactly, read_weights
from medcl.data.geometry import Image
from medcl.data.plan import Plan
from medcl.errors import DataError, ModelError, SettingsError
from medcl.files import atomic_folder, atomic_write, file_digest, read_json, write_json
from medcl.inference.arrays import array_to_image
from medcl.inference.card import model_card
from medcl.inference.engines import CheckedEngine, DeviceName, EngineName, Precision, choose_engine
from medcl.inference.postprocess import LargestComponent, unions_of
from medcl.inference.scaling import Scaling, load_scaling
from medcl.inference.segment import Prediction, check_image, segment
from medcl.inference.sliding import Network
from medcl.inference.sources import Source, members_from, source_settings
from medcl.inference.vote import Member, check_members, segment_together
from medcl.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medcl.data.prepare import Prepared
    from medcl.inference.familiarity.reference import Familiarity, Reference

FORMAT = 1
_INFO, _PLAN, _WEIGHTS, _CARD = "model.json", "plan.json", "weights.safetensors", "card.md"


class ModelInfo(Settings):
    """What `model.json` holds."""

    format: int = Field(description="Version of this layout.")
    backbone: str = Field(description="Name of the network family.")
    backbone_settings: dict[str, Any] = Field(description="Settings of the network family.")
    method: str = Field(description="How it was trained.")
    settings: dict[str, Any] = Field(description="Settings of the training.")
    metrics: dict[str, Any] = Field(description="Scores, as training or evaluation found them.")
    history: dict[str, Any] = Field({}, description="Facts of the training: steps, minutes, seed, cases.")
    one_piece: tuple[tuple[int, ...], ...] = Field(
        (), description="Unions of classes that are one connected piece, as the strokes of training say."
    )
    parameters: int = Field(description="Number of trained numbers.")
    weights_sha256: str = Field(description="Digest of weights.safetensors.")
    created: str = Field(description="When the folder was written, UTC.")
    versions: dict[str, str] = Field(description="Versions of medcl, torch and Python that wrote it.")


def save_model(
    folder: Path | str,
    *,
    network: nn.Module,
    backbone: str,
    backbone_settings: Mapping[str, Any],
    plan: Plan,
    method: str,
    settings: Mapping[str, Any],
    metrics: Mapping[str, Any],
    history: Mapping[str, Any] | None = None,
    one_piece: Sequence[tuple[int, ...]] = (),
) -> Path:
    """Write a model folder; it appears whole or not at all, and replaces an older one.

    Args:
        folder: Where to write.
        network: What `build_for_plan(plan, backbone, ...)` built, with trained weights; any device.
        backbone: Name of the network family.
        backbone_settings: Settings that built it; values that JSON can hold.
        plan: How images are prepared for it.
        method: Name of the way of learning.
        settings: Settings of the training.
        metrics: Scores; empty if there are none. NaN (undefined) is written as null.
        history: Facts of the training: steps, minutes, seed, cases.
        one_piece: Unions of classes that are one connected piece, see `find_one_piece`.

    Returns:
        The folder.

    Raises:
        DataError: A value that JSON cannot hold, or a place that cannot be written.
        ModelError: A weight is NaN or infinite.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    for name, value in weights.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ModelError(
                f"{folder}: weight '{name}' is NaN or infinite, the training diverged; nothing is written."
            )
    with atomic_folder(folder) as temporary:
        with atomic_write(temporary / _WEIGHTS) as file:
            save_file({name: value.clone() for name, value in weights.items()}, file)  # it refuses shared memory
        info = ModelInfo.parse(
            {
                "format": FORMAT,
                "backbone": backbone,
                # The file that training started from stays in `settings`; the model holds its own weights.
                "backbone_settings": {k: v for k, v in backbone_settings.items() if k != "weights"},
                "method": method,
                "settings": dict(settings),
                "metrics": dict(metrics),
                "history": dict(history or {}),
                "one_piece": [list(union) for union in one_piece],
                "parameters": sum(parameter.numel() for parameter in network.parameters()),
                "weights_sha256": file_digest(temporary / _WEIGHTS),
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "versions": {"medcl": __version__, "torch": torch.__version__, "python": platform.python_version()},
            },
            where="model",
        )
        try:
            values = info.model_dump(mode="json")
        except ValueError as error:  # what pydantic raises, too, when a value has no JSON form
            raise DataError(f"{folder}: expected settings and scores that JSON can hold ({error}).") from None
        write_json(temporary / _INFO, values)
        plan.save(temporary / _PLAN)
        (temporary / _CARD).write_text(model_card(values, plan), encoding="utf-8")
    return folder


def find_model(path: Path | str) -> Path:
    """Return the model folder that `path` is, or that a run folder holds.

    Raises:
        ModelError: There is none.
    """
    path = Path(path)
    for folder in (path, path / "model"):
        if (folder / _INFO).is_file():
            return folder
    if not path.exists():
        raise ModelError(f"{path}: no such folder; give a model folder or the folder of a finished training run.")
    raise ModelError(f"{path}: expected a model folder or a run with one, found no {_INFO}; has training finished?")


def read_info(path: Path | str) -> tuple[ModelInfo, Plan, Path]:
    """Read what a model is, without its weights.

    Returns:
        Contents of model.json, the plan and the model folder.

    Raises:
        ModelError: Not a model folder, or one of another layout.
    """
    folder = find_model(path)
    try:
        values = read_json(folder / _INFO)
        if not isinstance(values, dict):
            raise ModelError(f"{folder / _INFO}: expected keys and values, got {type(values).__name__}.")
        if values.get("format") != FORMAT:
            raise ModelError(
                f"{folder}: expected model format {FORMAT}, got {values.get('format')!r}; use the version of medcl "
                "that wrote it, or save it again."
            )
        info = ModelInfo.parse(values, where=str(folder / _INFO))
        return info, Plan.load(folder / _PLAN), folder
    except DataError as error:
        raise ModelError(str(error)) from None


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a safetensors file into a network, all of it or nothing.

    Raises:
        ModelError: Not a safetensors file, or names or shapes differ; lists which.
    """
    load_exactly(network, read_weights(path).tensors, path)


class Model:
    """A trained network with everything that turns an image into a mask; see `Model.load`.

    Attributes:
        info: What the model is.
        plan: How images are prepared for it.
        network: The module, in eval mode.
        engine: What runs it.
        folder: Where it was loaded from.
        scaling: What `medcl calibrate` fitted, applied to every prediction; None: probabilities as the network says.
    """

    def __init__(
        self,
        info: ModelInfo,
        plan: Plan,
        network: nn.Module,
        engine: CheckedEngine,
        folder: Path,
        scaling: Scaling | None = None,
    ) -> None:
        self.scaling = scaling
        self.info = info
        self.plan = plan
        self.network = network
        self.engine = engine
        self.folder = folder

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        device: DeviceName = "auto",
        engine: EngineName = "auto",
        precision: Precision = "auto",
        threads: int | None = None,
        calibrated: bool = True,
    ) -> Self:
        """Load a model folder, or the model of a run folder. Nothing is unpickled.

        Args:
            path: Model or run folder.
            device: "auto", "cpu", "cuda" or "mps".
            engine: "auto", "torch" or "openvino"; see `medcl.inference.engines.choose_engine`.
            precision: "auto", "bf16" or "fp32".
            threads: CPU threads; default: torch's own number.
            calibrated: Apply the calibration in the folder, where there is one.

        Raises:
            ModelError: Not a model, damaged, or weights that do not fit the network; lists what differs.
            SettingsError: Device or engine cannot be had here.
        """
        info, plan, folder = read_info(path)
        weights = folder / _WEIGHTS
        if not weights.is_file():
            raise ModelError(f"{weights}: the weights are missing; copy the whole model folder.")
        network = build_for_plan(plan, info.backbone, **info.backbone_settings)
        load_weights(network, weights)
        if file_digest(weights) != info.weights_sha256:
            raise ModelError(f"{weights}: not the file that {_INFO} describes (digest differs); copy the model again.")
        network.eval().requires_grad_(False)
        chosen = choose_engine(network, device=device, engine=engine, precision=precision, threads=threads)
        scaling = load_scaling(folder, info.weights_sha256, len(plan.classes)) if calibrated else None
        return cls(info, plan, network, chosen, folder, scaling)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by index; 0 is background."""
        return self.plan.classes

    @property
    def trained_with_flips(self) -> bool:
        """Whether training drew mirror images (setting `augment.flip`)."""
        augment = self.info.settings.get("augment")
        return bool(isinstance(augment, Mapping) and augment.get("flip"))

    @cached_property
    def familiarity(self) -> Reference | None:
        """What the model remembers of its training scans (familiarity.safetensors); None where nobody fitted it.

        Raises:
            ModelError: The file is damaged, or belongs to other weights.
        """
        from medcl.inference.familiarity.reference import Reference

        return Reference.load(self.folder, weights=self.info.weights_sha256)

    def judge(
        self,
        source: np.ndarray | Image | Path | str | Sequence[Path | str],
        *,
        spacing_mm: Sequence[float] | None = None,
        series: str | None = None,
    ) -> Familiarity:
        """Say whether a scan is like those of training; arguments as for `predict`.

        Raises:
            DataError: The source cannot be read or does not fit the model.
            ModelError: The model does not remember its training scans; says how to add it.
        """
        from medcl.inference.familiarity.watch import Watch

        image, name = self._read(source, spacing_mm, series)
        check_image(image, self.plan, name)
        judged, _ = Watch.of(self, wanted=True, with_map=False).look_at(image)
        assert judged is not None
        return judged

    @property
    def engine_reason(self) -> str:
        """Which engine runs and why; grows by the measured agreement after the first prediction."""
        return f"{self.engine.name} ({self.engine.reason})"

    def predict(
        self,
        source: np.ndarray | Image | Path | str | Sequence[Path | str],
        *,
        spacing_mm: Sequence[float] | None = None,
        flips: bool | None = None,
        largest_component: LargestComponent = "auto",
        probabilities: bool = False,
        uncertainty: bool = False,
        batch_size: int | None = None,
        overlap: float = 0.5,
        series: str | None = None,
        others: Sequence[Model] = (),
        progress: Callable[[float], None] | None = None,
        prompts: Prompts | None = None,
        uncertainty_from: Source = "softmax",
    ) -> Prediction:
        """Segment one image; the result lies voxel for voxel on it.

        Args:
            source: A file, a DICOM folder or zip, files of one channel each, an `Image`, or an array: (C, Z, Y, X), or
                (Z, Y, X) or (Y, X) for a model of one channel. nibabel's `dataobj` is (X, Y, Z): pass its transpose.
            spacing_mm: Of an array, in the order of its axes without channels: (z, y, x) or (y, x); refused for others.
            flips: Average over in-plane mirror images, four times the work. Default: where training drew them too.
            largest_component: Keep the largest piece of what training found to be one piece ("auto"), of each
                "class" or "group", or keep everything ("none").
            probabilities: Also return class probabilities (C, Z, Y, X).
            uncertainty: Also return the normalised entropy (Z, Y, X); with several maps also their mutual information.
            batch_size: Slices or windows at a time; fewer need less memory.
            overlap: Overlap of sliding windows, where the image is larger than one.
            series: Series UID of a DICOM source that holds several.
            others: Further models of the same classes, such as one per view, to average with; each has its own flips.
            progress: Called with the share of the network's work that is done, up to 1.
            prompts: What is pointed at in the image, for models that can be asked; torch answers in fp32, no flips.
            uncertainty_from: Where several probability maps come from: a name or `sources.SourceSettings`. Mask and
                probabilities are those of their mean.

        Returns:
            Mask (Z, Y, X) of class indices and what else was asked for; a 2D input has Z = 1.

        Raises:
            DataError: The source cannot be read or does not fit the model; never guessed around.
            SettingsError: Prompts for a model that reads none, or together with flips.
        """
        from medcl.data.prepare import prepare_image

        unions = self.unions(largest_component)
        image, name = self._read(source, spacing_mm, series)
        check_image(image, self.plan, name)
        asked: dict[str, Any] = {
            "unions": unions,
            "probabilities": probabilities,
            "uncertainty": uncertainty,
            "batch_size": batch_size,
            "overlap": overlap,
            "progress": progress,
        }
        members = self.members(others, flips, prompts, uncertainty_from)
        if len(members) > 1:
            with tempfile.TemporaryDirectory(prefix="medcl-") as scratch:
                together = segment_together(members, image, scratch=Path(scratch), **asked)
                if together.probabilities is None:
                    return together
                return replace(together, probabilities=np.array(together.probabilities))  # in memory: the folder goes
        prepared = prepare_image(image, self.plan)
        del image
        network = self.network_for(prepared, prompts)
        return segment(
            network, self.plan, prepared, flips=self.flips_for(flips, prompts), scaling=self.scaling, **asked
        )

    def samples(
        self,
        source: np.ndarray | Image | Path | str | Sequence[Path | str],
        uncertainty_from: Source = "tta",
        *,
        spacing_mm: Sequence[float] | None = None,
        flips: bool | None = None,
        batch_size: int | None = None,
        overlap: float = 0.5,
        series: str | None = None,
        others: Sequence[Model] = (),
    ) -> Iterator[NDArray[np.float32]]:
        """Yield several probability maps of one image, one after the other, so that only one need be held.

        Args:
            source: As for `predict`.
            uncertainty_from: Where they come from; a name or `medcl.inference.sources.SourceSettings`.
            spacing_mm: As for `predict`, as are the others.
            flips: Average each map over in-plane mirror images.
            batch_size: Slices or windows at a time.
            overlap: Overlap of sliding windows.
            series: Series UID.
            others: Further models of the same classes.

        Yields:
            Class probabilities (C, Z, Y, X) float32 in the geometry of the image.

        Raises:
            DataError: The source cannot be read or does not fit the model.
            SettingsError: The model has nothing of the kind: no dropout, no snapshots, no others.
        """
        from medcl.data.prepare import prepare_image

        check_members([model.plan for model in (self, *others)])
        members = members_from(uncertainty_from, [self, *others], flips)
        image, name = self._read(source, spacing_mm, series)
        check_image(image, self.plan, name)
        for member in members:
            one = segment(
                member.network,
                member.plan,
                prepare_image(image, member.plan),
                flips=member.flips,
                probabilities=True,
                batch_size=batch_size,
                overlap=overlap,
                scaling=member.scaling,
            ).probabilities
            assert one is not None
            yield one

    def members(
        self, others: Sequence[Model], flips: bool | None, prompts: Prompts | None = None, source: Source = "softmax"
    ) -> list[Member]:
        """Return what answers for an image, as `segment_together` takes it; one member where nothing is averaged.

        Raises:
            ModelError: Classes or channels differ.
            SettingsError: Prompts are given together with others, or the source cannot be had.
        """
        if prompts is not None and others:
            raise SettingsError("prompts: expected one model to answer them, got others; leave one of the two out.")
        if prompts is not None and source_settings(source).name != "softmax":
            raise SettingsError(
                "prompts: expected uncertainty from softmax; leave the other source or the prompts out."
            )
        check_members([model.plan for model in (self, *others)])
        return members_from(source, [self, *others], flips)

    def flips_for(self, flips: bool | None, prompts: Prompts | None) -> bool:
        """Return whether mirror images are averaged: as asked, else where training drew them and nothing is prompted.

        Raises:
            SettingsError: Asked for together with prompts.
        """
        if prompts is not None and flips:
            raise SettingsError("prompts: expected flips off, as prompts are not mirrored; leave one of the two out.")
        return self.trained_with_flips and prompts is None if flips is None else flips

    def network_for(self, prepared: Prepared, prompts: Prompts | None) -> Network:
        """Return what answers for one prepared image: the engine, or with prompts the network itself in fp32.

        Raises:
            SettingsError: The model reads no prompts, or the image is too large for them.
            DataError: A prompt lies outside the image or names an unknown class.
        """
        from medcl.inference.prompting import ask

        if prompts is None:
            return self.engine
        return ask(self.network, self.info.backbone, self.plan, prepared, prompts)

    def unions(self, largest_component: LargestComponent) -> list[tuple[int, ...]]:
        """Return the unions of classes of which the largest piece is kept.

        Raises:
            SettingsError: Unknown mode, or "group" where the plan has no groups.
        """
        return unions_of(
            largest_component, classes=len(self.classes), groups=self.plan.groups, one_piece=self.info.one_piece
        )

    def _read(
        self,
        source: np.ndarray | Image | Path | str | Sequence[Path | str],
        spacing_mm: Sequence[float] | None,
        series: str | None,
    ) -> tuple[Image, str]:
        from medcl.data.io import read_image

        if isinstance(source, np.ndarray):
            if series is not None:
                raise DataError("series= picks one of several DICOM series, but the source is an array; leave it out.")
            return array_to_image(source, spacing_mm, channels=len(self.plan.channels)), "array"
        if spacing_mm is not None:
            raise DataError("spacing_mm goes with arrays only; files and images carry their own spacing.")
        if isinstance(source, Image):
            return source, "image"
        name = str(source) if isinstance(source, str | Path) else ", ".join(str(path) for path in source)
        return read_image(source, series=series), name
