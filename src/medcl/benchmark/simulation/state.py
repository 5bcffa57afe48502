"""What is drawn so far: maps of strokes as files, counts and seconds as JSON, one folder a round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from medcl.files import read_json, write_json

ROUND = "round.json"


@dataclass
class State:
    """What the person did until the end of a round.

    Attributes:
        round: Number of the round; 0 is the start.
        seconds: Seconds of drawing so far.
        strokes: Strokes per class so far.
        drawn: Case -> slice -> classes drawn in it.
        visits: Case -> slice -> how often it was visited.
        voxels: Stroked voxels of structures so far.
        asked: Places of this round: case, slice, class asked for, seconds, reason.
        dice: Case -> structure -> Dice of the scored cases; None where it is not defined.
        train_seconds: Seconds that the training took.
        steps: Steps of the training.
        exhausted: Whether the strategy had no further place before the seconds of the round were spent.
    """

    round: int = 0
    seconds: float = 0.0
    strokes: list[int] = field(default_factory=list)
    drawn: dict[str, dict[int, list[int]]] = field(default_factory=dict)
    visits: dict[str, dict[int, int]] = field(default_factory=dict)
    voxels: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list)
    dice: dict[str, dict[str, float | None]] = field(default_factory=dict)
    train_seconds: float = 0.0
    steps: int = 0
    exhausted: bool = False

    def next(self) -> State:
        """Return the state at the beginning of the next round."""
        return State(
            self.round + 1,
            self.seconds,
            list(self.strokes),
            {case: {z: list(classes) for z, classes in slices.items()} for case, slices in self.drawn.items()},
            {case: dict(slices) for case, slices in self.visits.items()},
            self.voxels,
        )

    def save(self, folder: Path) -> None:
        """Write `round.json`; a round that has it is finished."""
        write_json(folder / ROUND, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        content = read_json(folder / ROUND)
        for key in ("drawn", "visits"):
            content[key] = {case: _by_number(slices) for case, slices in content[key].items()}
        return cls(**content)


def round_folder(job: Path, number: int) -> Path:
    """Return the folder of a round."""
    return job / f"round-{number}"


def _by_number(slices: Mapping[str, Any]) -> dict[int, Any]:
    return {int(index): value for index, value in slices.items()}
