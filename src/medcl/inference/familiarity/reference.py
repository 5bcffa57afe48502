"""What a model remembers of its training scans, as one file beside the weights, and how it judges a new scan by it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from medcl.errors import DataError, ModelError
from medcl.files import atomic_write, check_readable
from medcl.inference.familiarity.clouds import Array, Cloud, Places
from medcl.inference.familiarity.pieces import Pieces
from medcl.inference.familiarity.seen import Seen, parts_of, see, strange_map

if TYPE_CHECKING:
    from torch import nn

    from medcl.data.plan import Plan
    from medcl.data.prepare import Prepared

FILE = "familiarity.safetensors"
"""Name of the file in the model folder."""

FORMAT = "1"

RARE = 0.02
"""A scan is called strange when at most this share of training-like scans looks stranger, or none of them does."""

SCORED = ("deep slice", "image scan", "answer mean", "places slice", "pieces change", "queries slice")
"""Parts that make the score, one of each kind: several that say the same would outvote the one that sees a lesion."""

_REASONS = {
    "image": "its brightness, noise or texture",
    "answer": "the shapes that are predicted on it",
    "fine": "fine structures that the network sees",
    "middle": "structures that the network sees",
    "deep": "the whole picture that the network sees",
    "places": "single places in or near the structures",
    "pieces": "a piece of it near the structures that is unlike any of training",
    "queries": "places that no query answers",
}


@dataclass(frozen=True)
class Familiarity:
    """How much a scan is like those of training.

    Attributes:
        share: Share of training-like scans that look at least as strange, in (0, 1]: estimated on training scans that
            were left out of the reference.
        score: The number behind it; 0 and more.
        scans: Training scans that it was compared with.
        strange: Whether that is too few to trust the prediction unseen.
        parts: How many standard deviations each part lies beyond what is usual.
        map: (Z, Y, X) float32 in [0, 1] on the plan's grid: share of training places that are less strange; or None.
    """

    share: float
    score: float
    scans: int
    strange: bool
    parts: dict[str, float]
    map: NDArray[np.float32] | None = None

    @property
    def reason(self) -> str:
        """What is strangest, in words."""
        scored = [name for name in SCORED if name in self.parts]
        return _REASONS[max(scored, key=lambda name: self.parts[name]).split()[0]]

    @property
    def sentence(self) -> str:
        """One sentence for a person."""
        if not self.strange:
            share = f"{self.share:.1%}" if self.share < 0.1 else f"{self.share:.0%}"  # the limit is a few per cent
            return f"{share} of scans like those of training look at least as strange."
        few = "none" if self.share <= 1 / (self.scans + 1) else f"only {self.share:.1%}"
        return (
            f"looks unlike the {self.scans} scans of training ({few} of them looks as strange), most of all by "
            f"{self.reason}; check the result before use."
        )


@dataclass(frozen=True)
class Reference:
    """Statistics of the training scans.

    Attributes:
        clouds: Description of slices or windows -> where those of training lie.
        scans: The same for means over whole scans.
        pixels: The same for single places.
        quantiles: Distances of training places at evenly spaced shares 0..1.
        usual: Part -> mean and standard deviation of its logarithm, over scans that were left out.
        scores: Sorted scores of scans that were left out.
        weights: Digest of the weights that it belongs to.
        pieces: What pieces of the image may look like; None in files of before this was kept.
    """

    clouds: dict[str, Cloud]
    scans: dict[str, Cloud]
    pixels: Places
    quantiles: Array
    usual: dict[str, tuple[float, float]]
    scores: Array
    weights: str
    pieces: Pieces | None = None

    def judge(self, network: nn.Module, prepared: Prepared, plan: Plan, *, with_map: bool = False) -> Familiarity:
        """Compare a prepared image with the training scans; one more pass of the network.

        Args:
            network: The model's network, in eval mode.
            prepared: The image on the plan's grid.
            plan: The model's plan.
            with_map: Also return the map per voxel.
        """
        return self.judge_seen(see(network, prepared.array, plan), prepared.array.shape[1:] if with_map else None)

    def judge_seen(self, seen: Seen, size: tuple[int, ...] | None = None) -> Familiarity:
        """Judge what was seen of a scan; `size` (Z, Y, X) on the plan's grid asks for the map."""
        parts = standardised(parts_of(seen, self.clouds, self.scans, self.pixels, self.pieces), self.usual)
        score = combined(parts)
        count = len(self.scores)
        share = (1 + int((self.scores >= score).sum())) / (count + 1)
        places = None
        if size is not None:
            places = self.less_strange(strange_map(seen, self.pixels, cast("tuple[int, int, int]", size)))
        return Familiarity(share, score, count, share <= max(RARE, 1 / (count + 1)), parts, places)

    def less_strange(self, distances: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return which share of training places is less strange, for distances of any shape."""
        shares = np.linspace(0, 1, len(self.quantiles))
        return np.interp(distances, self.quantiles, shares).astype(np.float32)

    def save(self, folder: Path | str) -> Path:
        """Write the file into a model folder, whole or not at all."""
        from safetensors.numpy import save_file

        tensors: dict[str, NDArray[Any]] = {
            "places/means": self.pixels.means,
            "places/roots": self.pixels.roots,
            "quantiles": self.quantiles,
            "scores": self.scores,
        }
        if self.pieces is not None:
            tensors |= {f"pieces/{key}": np.atleast_1d(getattr(self.pieces, key)) for key in _PIECES}
        for kind, clouds in (("unit", self.clouds), ("scan", self.scans)):
            for name, cloud in clouds.items():
                tensors |= {f"{kind}/{name}/{key}": getattr(cloud, key) for key in ("mean", "scale", "points")}
                tensors[f"{kind}/{name}/precision"] = cloud.precision.astype(np.float32)
        header = {"format": FORMAT, "weights_sha256": self.weights, "usual": json.dumps(self.usual)}
        path = Path(folder) / FILE
        with atomic_write(path) as temporary:
            save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, temporary, header)
        return path

    @classmethod
    def load(cls, folder: Path | str, *, weights: str) -> Reference | None:
        """Read the file of a model folder; None where there is none.

        Args:
            folder: Model folder.
            weights: Digest of the model's weights.

        Raises:
            ModelError: Not such a file, or it belongs to other weights.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(folder) / FILE
        if not path.is_file():
            return None
        again = f"write it again with: {how_to_add(folder)}"
        try:
            check_readable(path)
        except DataError as error:
            raise ModelError(str(error)) from None
        try:
            with safe_open(path, framework="numpy") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if header.get("format") != FORMAT:
                raise ModelError(f"{path}: expected format {FORMAT}, got {header.get('format')}; {again}")
            if header.get("weights_sha256") != weights:
                raise ModelError(f"{path}: belongs to other weights than those of this model; {again}")
            usual = {name: (float(m), float(s)) for name, (m, s) in json.loads(header["usual"]).items()}
            return cls(
                _clouds(tensors, "unit"),
                _clouds(tensors, "scan"),
                Places(tensors["places/means"], tensors["places/roots"]),
                tensors["quantiles"],
                usual,
                tensors["scores"],
                weights,
                _pieces(tensors),
            )
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise ModelError(f"{path}: expected what medcl wrote, but it is damaged ({error}); {again}") from None


def how_to_add(folder: Path | str) -> str:
    """Return the command that gives a model its memory of the training scans."""
    return f"medcl familiar {folder} DATASET"


_PIECES = ("mean", "basis", "side")


def _pieces(tensors: Mapping[str, NDArray[Any]]) -> Pieces | None:
    if "pieces/mean" not in tensors:
        return None
    mean, basis, side = (tensors[f"pieces/{key}"] for key in _PIECES)
    return Pieces(mean, basis, float(side[0]))


def _clouds(tensors: Mapping[str, NDArray[Any]], kind: str) -> dict[str, Cloud]:
    names = sorted({key.split("/")[1] for key in tensors if key.startswith(f"{kind}/")})
    return {
        name: Cloud(**{key: tensors[f"{kind}/{name}/{key}"] for key in ("mean", "scale", "precision", "points")})
        for name in names
    }


def standardised(parts: Mapping[str, float], usual: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Return how many standard deviations each part lies above its mean over scans that were left out."""
    return {name: (parts[name] - mean) / spread for name, (mean, spread) in usual.items() if name in parts}


def combined(parts: Mapping[str, float]) -> float:
    """Return one score of standardised parts: root of the sum of squares of what lies above 0, over `SCORED`.

    A scan may be strange in one way only, so parts that are more usual than the mean must not make up for it. Derived.
    """
    return float(np.sqrt(sum(max(parts[name], 0.0) ** 2 for name in SCORED if name in parts)))
