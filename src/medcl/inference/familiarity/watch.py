"""What `medcl predict` does with a model that remembers its training scans: judge each scan, warn, write the map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcl.errors import ModelError, SettingsError
from medcl.inference.familiarity.reference import Familiarity, Reference, how_to_add

if TYPE_CHECKING:
    from medcl.data.geometry import Image
    from medcl.data.prepare import Prepared
    from medcl.inference.model import Model


@dataclass(frozen=True)
class Watch:
    """Judges the scans of one prediction.

    Attributes:
        model: The model, whose network looks at each scan once more.
        reference: What it remembers; None: nothing is judged.
        with_map: Whether maps are written.
        note: What a user should know where nothing is judged; empty otherwise.
    """

    model: Model
    reference: Reference | None
    with_map: bool
    note: str = ""

    @classmethod
    def of(cls, model: Model, wanted: bool | None, with_map: bool) -> Watch:
        """Return what watches over a model's predictions.

        Args:
            model: The model.
            wanted: Judge scans; None: where the model remembers its training scans.
            with_map: Also write maps; wants judging.

        Raises:
            ModelError: Wanted, but the model remembers nothing; says how to add it.
            SettingsError: A map is asked for, and no judging.
        """
        if wanted is False and with_map:
            raise SettingsError(
                "familiarity: a map (--familiarity-map) wants scans judged, which is turned off (--no-familiarity); "
                "leave out one of both."
            )
        if wanted is False:
            return cls(model, None, False)
        reference = model.familiarity
        if reference is not None:
            return cls(model, reference, with_map)
        if wanted or with_map:
            raise ModelError(
                f"{model.folder}: expected a model that remembers its training scans, this one does not yet; "
                f"add it with: {how_to_add(model.folder)}"
            )
        note = f"not judged whether scans are like those of training; add it with: {how_to_add(model.folder)}"
        return cls(model, None, False, note)

    def look(self, prepared: Prepared) -> Familiarity | None:
        """Judge a prepared image; None where nothing is judged."""
        if self.reference is None:
            return None
        return self.reference.judge(self.model.network, prepared, self.model.plan, with_map=self.with_map)

    def look_at(self, image: Image) -> tuple[Familiarity | None, Prepared | None]:
        """Judge an image as read, and return it prepared too; None twice where nothing is judged."""
        from medcl.data.prepare import prepare_image

        if self.reference is None:
            return None, None
        prepared = prepare_image(image, self.model.plan)
        return self.look(prepared), prepared


def write_map(judged: Familiarity | None, prepared: Prepared | None, path: Path) -> list[Path]:
    """Write the map of a judged scan in the geometry of its image; return what was written."""
    from medcl.data.geometry import Image
    from medcl.data.io import write_image
    from medcl.data.prepare import restore_probabilities

    if judged is None or judged.map is None or prepared is None:
        return []
    write_image(path, Image(restore_probabilities(judged.map[None], prepared), prepared.geometry))
    return [path]


def as_row(judged: Familiarity | None) -> dict[str, Any] | None:
    """Return what `prediction.json` holds of a judged scan."""
    if judged is None:
        return None
    return {
        "strange": judged.strange,
        "share_of_training_like_scans_as_strange": round(judged.share, 4),
        "training_scans": judged.scans,
        "sentence": judged.sentence,
        "parts": {name: round(value, 2) for name, value in judged.parts.items()},
    }
