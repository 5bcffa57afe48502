"""What a caller may see of a training while it runs: the averaged network of this moment, and a way to end it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor, nn

from medcl.data.plan import Plan
from medcl.data.store import Store

FEW_CASES = 4
"""Cases that a snapshot looks at to tell what is one piece: it shall not hold the training up."""


@dataclass(frozen=True)
class Snapshot:
    """A training after one of its steps. What is not asked for is not computed; training is the same either way.

    Attributes:
        step: Steps done.
        share: Share of the budget, 0..1.
        plan: Classes and grid.
        store: Prepared cases.
        copy: Copies the averaged network (the last one where averaging is off).
        measure: Measures its batch normalisation on training images; returns (N, channels, *S) -> logits.
        join: Tells which unions of classes are one piece, from this many training cases.
        write: Writes it as a model folder, with these.
    """

    step: int
    share: float
    plan: Plan
    store: Store
    copy: Callable[[], nn.Module]
    measure: Callable[[nn.Module], Callable[[Tensor], Tensor]]
    join: Callable[[Callable[[Tensor], Tensor], int], list[tuple[int, ...]]]
    write: Callable[[nn.Module, Path, list[tuple[int, ...]]], None]

    @cached_property
    def _ready(self) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
        network = self.copy()
        return network, self.measure(network)

    @property
    def forward(self) -> Callable[[Tensor], Tensor]:
        """The averaged network as a function (N, channels, *S) -> logits, without gradient."""
        return self._ready[1]

    @cached_property
    def one_piece(self) -> list[tuple[int, ...]]:
        """Unions of classes that are one piece, as the strokes of a few cases say; see `medcl.training.pieces`."""
        return self.join(self.forward, FEW_CASES)

    def save(self, folder: Path) -> None:
        """Write the averaged network as a model folder, atomically."""
        self.write(self._ready[0], folder, self.one_piece)


Watch = Callable[[Snapshot], bool | None]
"""Called after every step in the first process; True ends the training there, with a checkpoint and a model."""
