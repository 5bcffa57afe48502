"""Checkpoints: everything that a run needs to go on exactly, written atomically, read without unpickling code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medcl.errors import RunError
from medcl.files import atomic_write
from medcl.training.module import TrainingModule

FORMAT = 1


def save_checkpoint(path: Path, module: TrainingModule, extra: dict[str, Any]) -> None:
    """Write weights, averaged weights, method state, optimiser state and step.

    Args:
        path: The file; replaced in one move.
        module: The training state.
        extra: Further plain values (seconds so far, best score).
    """
    optimiser = module.optimizers(use_pl_optimizer=False)
    state = {
        "format": FORMAT,
        "step": module.done_steps,
        "network": module.network.state_dict(),
        **{name: None if part is None else part.state_dict() for name, part in _parts(module).items()},
        "optimiser": optimiser.state_dict(),  # type: ignore[union-attr]
        **extra,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        torch.save(state, temporary)


def _parts(module: TrainingModule) -> dict[str, nn.Module | None]:
    """Return what a run may hold beside the network, by its name in the checkpoint."""
    return {
        "averaged": module.averaged,
        "extra": module.extra,
        "branch": module.branch,
        "own_teacher": module.own_teacher,
    }


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; only tensors and plain values are accepted.

    Raises:
        RunError: The file is not a checkpoint of this format.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise RunError(
            f"checkpoint {path.name}: cannot be read ({type(error).__name__}); "
            "start again in a new folder, or remove the file to start this run over."
        ) from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise RunError(
            f"checkpoint {path.name}: expected format {FORMAT}, got {_format_of(state)}; "
            "it was written by another version of medcl."
        )
    return state


def _format_of(state: object) -> object:
    return state.get("format") if isinstance(state, dict) else type(state).__name__


def restore(module: TrainingModule, state: dict[str, Any]) -> None:
    """Put a checkpoint's state into a freshly built module; the optimiser takes its part when Lightning builds it."""
    module.network.load_state_dict(state["network"])
    for name, part in _parts(module).items():
        if part is not None and state.get(name) is not None:
            part.load_state_dict(state[name])
    module.optimiser_state = state["optimiser"]
    module.done_steps = int(state["step"])
