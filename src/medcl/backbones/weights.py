"""Weights that a user gives: read without running code, compared name by name, loaded or transferred, told in words.

A family takes them by deriving its settings from `WithWeights`; `build_backbone` then loads them. Nothing is loaded by
halves in silence: whatever the file does not hold, or holds beyond the network, is an error that lists it.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor, nn

from medcl.errors import DataError, ModelError
from medcl.files import atomic_write, check_readable
from medcl.settings import Settings

_LISTED = 8
"""Names of one kind that an error spells out; the rest are counted."""

_IN_FOLDER = ("weights.safetensors", "model/weights.safetensors", "model.safetensors", "pytorch_model.bin")
"""Where the weights of a model folder, a run folder and a Hugging Face folder lie."""

_NESTS = ("state_dict", "model_state_dict", "model", "network", "network_weights")
"""Keys under which training programs put the state dict in a checkpoint."""

_COVERS = "medcl_covers"
"""Key in a safetensors header: JSON list of the name prefixes that a file of a part of a network claims to hold."""


class WithWeights(Settings):
    """Base for the settings of families whose network may start from a file of weights."""

    weights: Path | None = Field(
        None,
        description="Weights to start from: .safetensors, .pth or model folder; channels and classes may differ.",
    )

    def load(self, network: nn.Module, *, in_channels: int, classes: int) -> list[str]:
        """Put the weights of `weights` into a network of this family; families with other layouts override it.

        Args:
            network: What `build` returned.
            in_channels: Channels of the image.
            classes: Channels of the logits.

        Returns:
            What was done, in words.

        Raises:
            ModelError: The file cannot be read or does not fit; lists what differs.
        """
        assert self.weights is not None
        return transfer(network, read_weights(self.weights), in_channels=in_channels, classes=classes)


@dataclass(frozen=True)
class Weights:
    """A state dict and where it came from.

    Attributes:
        tensors: Name -> tensor, on the CPU.
        source: The file.
        covers: Prefixes of the names of the part of a network that the file holds; None: a whole network.
    """

    tensors: dict[str, Tensor]
    source: Path
    covers: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Differences:
    """How a state dict differs from that of a network.

    Attributes:
        missing: Names of the network that the file lacks.
        unexpected: Names of the file that the network lacks.
        shapes: Name -> (shape in the file, shape in the network), where they differ.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes)

    def __str__(self) -> str:
        """Return all differences in one sentence part; long lists end in a count."""
        shapes = [f"{name} {given} instead of {own}" for name, (given, own) in self.shapes.items()]
        kinds = (("missing", self.missing), ("not in the network", self.unexpected), ("other shape", shapes))
        return "; ".join(
            f"{what}: {', '.join(names[:_LISTED])}"
            + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
            for what, names in kinds
            if names
        )


def read_weights(path: Path | str) -> Weights:
    """Read a state dict; nothing is unpickled but tensors and plain values.

    Args:
        path: A .safetensors file; a file of `torch.save` (.pth, .pt, .bin, .ckpt), whose state dict may lie under a
            usual key; or a folder: medcl model, medcl run or Hugging Face.

    Raises:
        ModelError: No such file, another format, or no state dict in it.
    """
    path = _file_of(Path(path))
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"{path}: expected tensors saved by torch.save or a .safetensors file, but it cannot be read without "
            f"running code from it ({_first_line(error)}); save its state_dict() alone."
        ) from None
    return Weights(_without_wrapper(_state_dict_in(content, path)), path)


def write_weights(path: Path | str, tensors: Mapping[str, Tensor], *, covers: tuple[str, ...] | None = None) -> Path:
    """Write a .safetensors file that `read_weights` reads, atomically.

    Args:
        path: The file.
        tensors: Name -> tensor.
        covers: Prefixes of the names of the part of a network that these are; None: a whole network.
    """
    from safetensors.torch import save_file

    path = Path(path)
    metadata = {"format": "pt"} | ({} if covers is None else {_COVERS: json.dumps(list(covers))})
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        # clones: safetensors refuses tensors that share memory
        plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        save_file(plain, temporary, metadata=metadata)
    return path


def compare(network: nn.Module, tensors: Mapping[str, Tensor]) -> Differences:
    """Return how a state dict differs from that of a network, in names and shapes."""
    own = network.state_dict()
    return Differences(
        tuple(name for name in own if name not in tensors),
        tuple(name for name in tensors if name not in own),
        {
            name: (tuple(tensors[name].shape), tuple(own[name].shape))
            for name in own
            if name in tensors and tensors[name].shape != own[name].shape
        },
    )


def load_exactly(network: nn.Module, tensors: Mapping[str, Tensor], source: Path | str) -> None:
    """Load a state dict into a network, all of it or nothing.

    Raises:
        ModelError: Names or shapes differ; lists which.
    """
    differences = compare(network, tensors)
    if differences:
        raise ModelError(f"{source}: expected the weights of this network, but they differ: {differences}.")
    network.load_state_dict(dict(tensors))


def transfer(network: nn.Module, weights: Weights, *, in_channels: int, classes: int) -> list[str]:
    """Load weights that may come from a network of other input channels or classes.

    - A tensor whose axis 1 has `in_channels` here and another length in the file reads the image: see `fit_channels`.
    - A tensor whose axis 0 has `classes` here and another length in the file writes logits: it keeps its fresh start.
    - What a file of a part does not cover (`Weights.covers`) keeps its fresh start.

    Anything else that differs is an error. Source: derived; the reading side after the rule of timm, with a split of
    repeated channels that leaves the response to a grey picture as it was.

    Args:
        network: Built for the task at hand, freshly initialised.
        weights: What the file holds.
        in_channels: Channels of the image here.
        classes: Channels of the logits here.

    Returns:
        What was done, in words: one line, and one for each thing that was adapted or left fresh.

    Raises:
        ModelError: Something else differs; lists what.
    """
    own = network.state_dict()
    found = compare(network, weights.tensors)
    stems = [n for n, (given, mine) in found.shapes.items() if _differs_at(1, given, mine) and mine[1] == in_channels]
    heads = [
        n
        for n, (given, mine) in found.shapes.items()
        if n not in stems and _differs_at(0, given, mine) and mine[0] == classes
    ]
    fresh = [n for n in found.missing if weights.covers is not None and not n.startswith(weights.covers)]
    left = Differences(
        tuple(n for n in found.missing if n not in fresh),
        found.unexpected,
        {n: shapes for n, shapes in found.shapes.items() if n not in stems and n not in heads},
    )
    if left:
        raise ModelError(f"{weights.source}: expected the weights of this network, but they differ: {left}.")
    adapted = {n: fit_channels(weights.tensors[n], in_channels) for n in stems}
    kept = {n: own[n] for n in (*heads, *fresh)}
    network.load_state_dict({**weights.tensors, **adapted, **kept})
    words = [f"weights: {weights.source}, {len(own) - len(kept)} of {len(own)} tensors"]
    if stems:
        given = found.shapes[stems[0]][0][1]
        words.append(f"weights: {given} input channels fitted to {in_channels} in {', '.join(stems)}")
    if heads:
        given = found.shapes[heads[0]][0][0]
        words.append(f"weights: for {given} classes, here {classes}: {', '.join(heads)} start fresh")
    if fresh:
        parts = sorted({n.partition(".")[0] for n in fresh})
        words.append(f"weights: not in the file, start fresh: {', '.join(parts)}")
    return words


def fit_channels(weight: Tensor, in_channels: int) -> Tensor:
    """Give a weight that reads an image another number of input channels.

    With more channels than before they are repeated in order, each divided by how often it appears; with fewer, each
    takes the mean of all, times given / wanted. Either way the sum over the input channels stays, so a picture with
    equal channels gets the same response as before. Source: derived (timm keeps that sum for one channel only).

    Args:
        weight: (out, given, *kernel).
        in_channels: Wanted number.

    Returns:
        (out, in_channels, *kernel).
    """
    given = weight.shape[1]
    if in_channels < given:
        mean = weight.mean(dim=1, keepdim=True) * (given / in_channels)
        return mean.repeat_interleave(in_channels, dim=1)
    index = torch.arange(in_channels) % given
    times = torch.bincount(index, minlength=given).to(weight.dtype)
    return (weight / times.reshape(1, -1, *(1,) * (weight.ndim - 2)))[:, index]


def _differs_at(axis: int, given: tuple[int, ...], own: tuple[int, ...]) -> bool:
    """Return whether two shapes are equal but for one axis."""
    if len(given) != len(own) or len(own) <= axis:
        return False
    return all((a == b) != (i == axis) for i, (a, b) in enumerate(zip(given, own, strict=True)))


def _file_of(path: Path) -> Path:
    if path.is_dir():
        for name in _IN_FOLDER:
            if (path / name).is_file():
                return path / name
        raise ModelError(f"{path}: expected a folder with one of {', '.join(_IN_FOLDER)}; give the file of weights.")
    if not path.is_file():
        raise ModelError(f"{path}: no such file; give a file of weights (.safetensors, .pth) or a model folder.")
    return path


def _read_safetensors(path: Path) -> Weights:
    from safetensors import SafetensorError, safe_open

    try:
        check_readable(path)
        with safe_open(path, framework="pt") as file:
            covers = (file.metadata() or {}).get(_COVERS)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        return Weights(tensors, path, None if covers is None else tuple(json.loads(covers)))
    except DataError as error:
        raise ModelError(str(error)) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{path}: expected a safetensors file, but it cannot be read ({_first_line(error)}); copy it again."
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _state_dict_in(content: object, path: Path) -> dict[str, Tensor]:
    """Return the state dict that a checkpoint is, or holds under a usual key."""
    if isinstance(content, Mapping):
        for nested in [content.get(key) for key in _NESTS]:
            if isinstance(nested, Mapping) and nested and all(isinstance(v, Tensor) for v in nested.values()):
                return {str(name): value for name, value in nested.items()}
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return {str(name): value for name, value in content.items()}
    what = ", ".join(map(str, list(content)[:_LISTED])) if isinstance(content, Mapping) else type(content).__name__
    raise ModelError(
        f"{path}: expected a state dict (names and tensors), alone or under {', '.join(_NESTS)}; "
        f"got {what or 'nothing'}; save the network's state_dict() alone."
    )


def _without_wrapper(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off the `module.` that data-parallel training puts before every name."""
    if all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors
