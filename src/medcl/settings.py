"""Typed settings: the one definition behind command line, YAML and Python.

Every group is a frozen pydantic model; an unknown key or a value out of range is an error that lists what is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medcl.errors import SettingsError, unknown_name


class Settings(BaseModel):
    """Base of all groups of settings: frozen, unknown keys forbidden."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, values: dict[str, Any] | None = None, *, where: str = "settings") -> Self:
        """Build settings from a mapping.

        Args:
            values: Keys and values; nested groups are nested mappings.
            where: Where the values came from, for the error message.

        Raises:
            SettingsError: All problems at once; unknown keys list the known ones.
        """
        try:
            return cls.model_validate(values or {})
        except ValidationError as error:
            raise SettingsError(f"{where}: {_explain(cls, error)}") from None


def _explain(cls: type[BaseModel], error: ValidationError) -> str:
    sentences = []
    for item in error.errors():
        path = [str(part) for part in item["loc"]]
        if item["type"] == "extra_forbidden":
            known = _fields_at(cls, path[:-1])
            sentences.append(unknown_name("setting", path[-1] if len(path) == 1 else ".".join(path), known))
        else:
            message = item["msg"].removeprefix("Value error, ")
            message = message[:1].lower() + message[1:]
            # A check of several values together names them itself; printing all of them would bury the sentence.
            sentences.append(f"{'.'.join(path)}: {message}, got {item['input']!r}." if path else f"{message}.")
    return " ".join(sentences)


def _fields_at(cls: type[BaseModel], path: list[str]) -> list[str]:
    current: Any = cls
    for part in path:
        field = current.model_fields.get(part)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            break
        current = field.annotation
    return list(current.model_fields)


class BudgetSettings(Settings):
    """How long to train. Exactly one of the two counts; the schedule is stretched to it."""

    minutes: float | None = Field(None, gt=0, description="Wall-clock minutes of training.")
    steps: int | None = Field(None, gt=0, description="Optimiser steps; repeatable to the bit on one device.")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("budget: expected minutes or steps, one of the two")
        return self

    @classmethod
    def from_text(cls, text: str) -> BudgetSettings:
        """Read '60m', '2h', '90s' or '500steps' ('500' alone is refused: say which unit).

        Raises:
            SettingsError: The text has no known unit or no positive number.
        """
        units = {"steps": None, "step": None, "min": 1.0, "m": 1.0, "h": 60.0, "s": 1 / 60}
        for unit, minutes in units.items():
            number = text.strip().removesuffix(unit)
            if number == text.strip():
                continue
            try:
                value = float(number)
            except ValueError:
                continue
            if minutes is None and value == int(value):
                return cls.parse({"steps": int(value)}, where=f"budget '{text}'")
            if minutes is not None:
                return cls.parse({"minutes": value * minutes}, where=f"budget '{text}'")
        raise SettingsError(f"budget: expected minutes or steps such as 60m, 2h, 90s or 500steps, got '{text}'.")


class AugmentSettings(Settings):
    """Random changes of the training images. Areas that leave the image become unlabelled, never background."""

    rotation_degrees: float | None = Field(
        None,
        ge=0,
        le=180,
        description="Largest in-plane rotation, either way. Default: 30; 180 for colour pictures (no upright).",
    )
    scale: float = Field(0.25, ge=0, lt=1, description="Largest relative zoom: factors lie in 1/(1+s) .. 1+s.")
    shift: float = Field(0.08, ge=0, le=0.5, description="Largest shift as a share of the patch.")
    flip: bool | None = Field(
        None, description="Mirror axes at random. Default: off, as bodies have sides; on for colour pictures."
    )
    elastic: float = Field(0.04, ge=0, le=0.3, description="Largest elastic displacement as a share of the patch.")
    gamma: float = Field(0.3, ge=0, lt=1, description="Largest change of the gamma exponent (log scale).")
    brightness: float = Field(0.15, ge=0, description="Largest added offset, in standard deviations.")
    contrast: float = Field(0.25, ge=0, lt=1, description="Largest relative change of contrast.")
    noise: float = Field(0.1, ge=0, description="Largest standard deviation of added Gaussian noise.")
    blur: float = Field(0.7, ge=0, description="Largest Gaussian blur, in pixels of standard deviation.")
    bias_field: float = Field(0.3, ge=0, lt=1, description="Largest relative multiplicative smooth field.")
    probability: float = Field(0.5, ge=0, le=1, description="Chance of each intensity change per image.")

    def resolved(self, *, colour: bool) -> AugmentSettings:
        """Fill in what depends on the data.

        Args:
            colour: Whether the images are colour pictures.
        """
        rotation = self.rotation_degrees if self.rotation_degrees is not None else 180.0 if colour else 30.0
        return self.model_copy(
            update={
                "rotation_degrees": rotation,
                "flip": self.flip if self.flip is not None else colour,
            }
        )


class OptimSettings(Settings):
    """Optimiser and schedule."""

    learning_rate: float = Field(4e-3, gt=0, description="Peak learning rate of AdamW; sam: 1e-3 unless given.")
    weight_decay: float = Field(1e-4, ge=0, description="Decoupled weight decay.")
    warm_up: float = Field(0.05, ge=0, lt=1, description="Share of the budget spent warming up.")
    decay: Literal["poly", "cosine", "constant"] = Field("poly", description="Shape of the fall after warm-up.")
    poly_power: float = Field(0.9, gt=0, description="Exponent of the poly decay.")
    gradient_clip: float = Field(5.0, ge=0, description="Largest gradient norm; 0 switches clipping off.")
    ema: float = Field(0.99, ge=0, lt=1, description="Decay of the averaged weights per step; 0 switches it off.")


class PlanSettings(Settings):
    """Wishes for the plan; what is not given follows from the data."""

    ndim: Literal["auto", 2, 3] = Field("auto", description="2: slice by slice; 3: volumes.")
    spacing_mm: tuple[float, ...] | float | None = Field(
        None, description="Target spacing, (y, x) or (z, y, x), in mm."
    )
    patch: tuple[int, ...] | None = Field(None, description="Training patch, (y, x) or (z, y, x).")
    context: int = Field(
        0, ge=0, le=8, description="2.5D: neighbouring slices on each side that a 2D network sees beside the slice."
    )
    neighbours: Literal["channels", "attention"] = Field(
        "channels", description="2.5D: neighbours as further channels, or weighed by attention."
    )
    views: tuple[Literal["z", "y", "x"], ...] = Field(
        ("z",), min_length=1, description="2D: axes across which volumes are sliced; [z, y, x] for three-view voting."
    )


class TrainSettings(Settings):
    """Everything a training run may vary besides method and backbone."""

    seed: int = Field(0, ge=0, description="Seed of every random draw.")
    batch_size: int = Field(4, ge=1, description="Images (2D) or patches (3D) per step, views included.")
    plan: PlanSettings = Field(PlanSettings(), description="Wishes for the plan, where it is not given as a file.")
    budget: BudgetSettings = Field(BudgetSettings(minutes=20.0), description="How long to train.")
    augment: AugmentSettings = Field(AugmentSettings(), description="Random changes of images.")
    optim: OptimSettings = Field(OptimSettings(), description="Optimiser and schedule.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="Where to train.")
    devices: int = Field(1, ge=1, description="Number of GPUs (distributed data parallel above 1).")
    precision: Literal["auto", "bf16", "fp32"] = Field("auto", description="Arithmetic of the forward pass.")
    channels_last: bool | None = Field(None, description="Memory layout; default: on where it is faster.")
    threads: int | None = Field(None, ge=1, description="CPU threads; default: all cores unless the machine is busy.")
    workers: int = Field(0, ge=0, description="Data loading processes; 0 loads in the training process.")
    oversample: float = Field(
        0.5, ge=0, le=1, description="Share of patches drawn around strokes; the rest lie anywhere in the case."
    )
    checkpoint_minutes: float = Field(2.0, gt=0, description="Minutes between checkpoints.")
    validate_every: float = Field(0.1, gt=0, le=1, description="Share of the budget between validations.")
    scribbles: str | None = Field(
        None, description="Which folder of strokes to use where there are several, such as scribblesTr/annotator0."
    )
    labels: str | None = Field(
        None, description="Which folder of dense labels to use where there are several, such as labelsTr/quality."
    )
    raters: Literal["sampled", "soft"] | None = Field(
        None,
        description="Where several people annotated. sampled: each draw learns from one person's map; soft: from the "
        "shares of all votes. Default: from the one that labels or scribbles names.",
    )
    soft: str | None = Field(
        None, description="Learn from shares of the classes that medcl fuse wrote under this name (softTr/NAME)."
    )
    validation_cases: int | None = Field(
        None, ge=1, description="How many validation cases to score during training; default: all, at most 20."
    )
    cases: (
        Annotated[int, Field(ge=1)]
        | Annotated[float, Field(gt=0, le=1)]
        | Annotated[tuple[str, ...], Field(min_length=1)]
        | None
    ) = Field(
        None,
        description="Training cases that keep their strokes and labels: a number, a share below 1 or names; a number "
        "is drawn with the seed, and a smaller one is part of a larger one. Default: all.",
    )
    unannotated: bool = Field(
        True,
        description="Whether images of cases without strokes or labels take part in training, as images alone, "
        "in at most a quarter of the draws.",
    )
    holdout: float | None = Field(
        None,
        ge=0,
        le=0.5,
        description="Share of annotated training cases held back for validation. Default: none if the validation part "
        "has dense labels, else a tenth, and none below 5 cases.",
    )
    presence: Literal["slice", "case", "never"] = Field(
        "slice",
        description="When a class that was looked for counts as absent: not drawn in the slice, nowhere in the case, "
        "or never, as where strokes come one at a time.",
    )
    reach: float | None = Field(
        None,
        ge=0,
        description="A class counts as absent from places farther from its own strokes than this multiple of their "
        "extent, and than a tenth of the longer image side; 0: never. Default: 1 for volumes, 0 for single pictures.",
    )
    enclosed: bool | None = Field(
        None,
        description="A class counts as absent from what background strokes close off from its own strokes in the "
        "slice. Default: on for volumes, off for single pictures.",
    )
    dense: bool = Field(False, description="Learn from dense labels where a case has both labels and strokes.")
    snapshots: int = Field(
        0,
        ge=0,
        le=20,
        description="Averaged weights kept on the way through the second half of the budget, for medcl predict "
        "--uncertainty-from checkpoints.",
    )
    sample_pictures: int = Field(4, ge=0, description="Slices shown in each picture during training; 0 for none.")
    cached_batches: int | None = Field(
        None,
        ge=1,
        description="Learn from this many batches, drawn and augmented once, over and over, and keep the features of a "
        "frozen encoder on disk (sam with backbone.tune=decoder). Default: new batches at every step, nothing kept.",
    )
    tensorboard: bool = Field(False, description="Also log to TensorBoard.")
    mlflow: str | None = Field(None, description="Also log to this MLflow tracking URI.")


def nested(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge settings with dotted keys or nested mappings; later layers win key by key.

    Raises:
        SettingsError: A key is a single value in one place and a group in another.
    """
    result: dict[str, Any] = {}
    for layer in layers:
        _merge(result, layer, "")
    return result


def _merge(into: dict[str, Any], layer: Mapping[str, Any], where: str) -> None:
    for dotted, value in layer.items():
        *path, last = str(dotted).split(".")
        target, name = into, where
        for part in path:
            name = f"{name}{part}."
            target = _group(target, part, name)
        if isinstance(value, Mapping):
            _merge(_group(target, last, f"{name}{last}."), value, f"{name}{last}.")
        elif isinstance(target.get(last), dict):
            raise SettingsError(f"{name}{last}: expected keys and values as elsewhere, got {value!r}.")
        else:
            target[last] = list(value) if isinstance(value, tuple) else value


def _group(target: dict[str, Any], part: str, name: str) -> dict[str, Any]:
    inner = target.setdefault(part, {})
    if not isinstance(inner, dict):
        raise SettingsError(f"{name[:-1]}: expected a single value as elsewhere, got a group of settings.")
    return inner


def set_by_path(values: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Apply `key.sub=value` assignments to a nested mapping; values are read as YAML.

    Args:
        values: The mapping to start from; it is not changed.
        assignments: Strings such as 'optim.learning_rate=1e-3'.

    Returns:
        A new mapping.

    Raises:
        SettingsError: An assignment has no '=', or its value is not YAML.
    """
    import copy

    result = copy.deepcopy(values)
    for assignment in assignments:
        key, sign, text = assignment.partition("=")
        if not sign or not key.strip():
            raise SettingsError(f"--set: expected key=value, got '{assignment}'.")
        *path, last = key.strip().split(".")
        target = result
        for part in path:
            nested = target.setdefault(part, {})
            if not isinstance(nested, dict):
                raise SettingsError(f"--set {key}: '{part}' is a single value, not a group of settings.")
            target = nested
        target[last] = _yaml_value(text, assignment)
    return result


def _yaml_value(text: str, assignment: str) -> Any:
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise SettingsError(
            f"--set: expected a value such as 3, true, text or [0.7, 1], got '{assignment}'; check brackets and quotes."
        ) from None
    if isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
        try:
            return float(value)
        except ValueError:
            return value
    return value


def read_config(path: Path) -> dict[str, Any]:
    """Read a YAML (or JSON) file of settings.

    Raises:
        SettingsError: The file is missing, is not YAML or does not hold a mapping.
    """
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings file {path}: cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise SettingsError(f"settings file {path}: expected YAML in UTF-8, got other bytes.") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"settings file {path}: not valid YAML ({error}).".replace("\n", " ")) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError(f"settings file {path}: expected keys and values, got {type(values).__name__}.")
    return values
