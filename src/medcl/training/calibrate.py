"""`calibrate`: make a model's probabilities mean what they say, from strokes, labels, or other runs.

Strokes that the model learned from cannot calibrate it: it is surer of them than of anything else, and they lie where
it is easy. On acdc and mscmr a temperature fitted on them came out below 1 where 1.5 was right (docs/trust.md). What
can be asked without dense labels is another training on the same strokes: where two trainings contradict each other,
about as often each is wrong (Jiang et al., Assessing Generalization of SGD via Disagreement, ICLR 2022). Two equally
good trainings share errors, though, and ask for too little; a shorter one made up for that in what was measured. So
whatever is not a label may make a model less sure near structures, never surer: with one temperature in no voxel, with
vector scaling in the mean over the voxels that it is fitted on (single voxels may then be surer).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from medcl import __version__
from medcl.data.dataset import Case, Dataset
from medcl.data.regions import BAND_VOXELS, plane_distance
from medcl.errors import DataError, ModelError, SettingsError, counted, unknown_name
from medcl.files import atomic_write, read_json
from medcl.inference.model import Model
from medcl.inference.scaling import LEAST, Scaling, load_scaling
from medcl.training.fit_scaling import Kind, Voxels, fit

On = Literal["auto", "labels", "strokes", "agreement"]

CASES = 30
"""Cases that are looked at unless told otherwise: a few numbers are fitted."""

NEAR, FAR = 8000, 2000
"""Voxels drawn per case, near structures and elsewhere."""

Progress = Callable[[int, int, str], None]
_HEADING = "## Calibration"


@dataclass(frozen=True)
class Target:
    """What to fit on.

    Attributes:
        on: "labels", "strokes" or "agreement".
        cases: The cases.
        words: The same, for humans.
    """

    on: Literal["labels", "strokes", "agreement"]
    cases: list[Case]
    words: str


def calibrate(
    model: Model | Path | str,
    dataset: Dataset | Path | str,
    *,
    on: On = "auto",
    kind: Kind = "temperature",
    others: Sequence[Model | Path | str] = (),
    cases: Sequence[str] | None = None,
    most: int = CASES,
    seed: int = 0,
    write: bool = True,
    progress: Progress | None = None,
) -> Scaling:
    """Fit a model's calibration and store it in the model folder, from where every prediction takes it.

    Unlabelled voxels are never counted.

    Args:
        model: A model, or the path of a model or run folder.
        dataset: A dataset folder, or an opened one.
        on: "labels": dense labels of the validation part, or of training cases that the run held back; "strokes": those
            of held-back cases; "agreement": what `others`, trained on the same strokes with other seeds, call each
            voxel, no labels at all. "auto": the first of agreement (where others are given), labels, strokes.
        kind: "temperature" for one number, "vector" for scale and bias per class. Without labels neither makes the
            model surer near structures: a temperature in no voxel, a vector in the mean over the fitted voxels.
        others: Further trainings, for agreement.
        cases: Names of the cases to use, whether they were learnt from or not; default: as `on` says.
        most: Number of cases at most, spread evenly.
        seed: Seed of the draw of voxels.
        write: Whether to store it; else it is returned only.
        progress: Called with cases done, cases in all, and the case.

    Returns:
        The scaling; `facts` holds log loss and calibration error before and after on the fitted voxels.

    Raises:
        DataError: Nothing to fit on.
        SettingsError: Options that contradict each other.
        ModelError: Models of different classes.
    """
    if on not in get_args(On):
        raise SettingsError(unknown_name("'on'", on, get_args(On)))
    if kind not in get_args(Kind):
        raise SettingsError(unknown_name("kind of scaling", kind, get_args(Kind)))
    own = copy.copy(model) if isinstance(model, Model) else Model.load(model, calibrated=False)
    own.scaling = None
    companions = [other if isinstance(other, Model) else Model.load(other, calibrated=False) for other in others]
    own.members(companions, None)  # refuses other classes
    if any(other.info.weights_sha256 == own.info.weights_sha256 for other in companions):
        raise SettingsError("others: expected other trainings, got the model itself; it always agrees with itself.")
    opened = dataset if isinstance(dataset, Dataset) else Dataset.open(Path(dataset))
    if tuple(opened.classes) != own.classes:
        raise DataError(f"expected a dataset of the classes {', '.join(own.classes)}, got {', '.join(opened.classes)}.")
    target = choose_target(own, opened, on, bool(companions), cases, most)
    random = np.random.default_rng(seed)
    near: list[Voxels] = []
    far: list[Voxels] = []
    for number, case in enumerate(target.cases):
        if progress is not None:
            progress(number, len(target.cases), case.id)
        one, beyond = voxels_of(own, opened, case, target.on, companions, random)
        near.append(one)
        far.append(beyond)
    if progress is not None:
        progress(len(target.cases), len(target.cases), "")
    joined = Voxels.joined(near)
    if not len(joined.logits):
        raise DataError(f"expected labelled voxels near structures in {target.words}, found none; name other cases.")
    fitted = fit(joined, Voxels.joined(far), kind, surer=target.on == "labels")
    names = [channel.name for channel in own.plan.channels]
    facts = {
        **fitted.facts,
        "cases": [case.id for case in target.cases],
        "seed": seed,
        "medcl": __version__,
        # adapted models keep the names of what they learned from first, so this is told and not refused
        "channels": None if names == list(opened.channels) else {"model": names, "dataset": list(opened.channels)},
        "replaced": _earlier(own),
    }
    changes = {"facts": facts, "fitted_on": target.words, "weights_sha256": own.info.weights_sha256}
    scaling = fitted.model_copy(update=changes)
    if write:
        scaling.save(own.folder)
        _tell_card(own.folder / "card.md", scaling)
    return scaling


def _earlier(model: Model) -> str | None:
    """Return in words the calibration that a model folder holds already."""
    try:
        found = load_scaling(model.folder, model.info.weights_sha256, len(model.classes))
    except ModelError:  # damaged, or of other weights: it is replaced
        return "one that could not be read"
    return None if found is None else found.words()


def voxels_of(
    model: Model,
    dataset: Dataset,
    case: Case,
    on: Literal["labels", "strokes", "agreement"],
    others: Sequence[Model],
    random: np.random.Generator,
) -> tuple[Voxels, Voxels]:
    """Return voxels of a case near what the model calls a structure, and voxels elsewhere."""
    image = dataset.read_image(case)
    answer = model.predict(image, probabilities=True, largest_component="none")
    assert answer.probabilities is not None
    classes = len(model.classes)
    if on == "agreement":
        votes = [other.predict(image, largest_component="none").mask for other in others]
        known = np.ones(answer.mask.shape, dtype=bool)
    else:
        votes = [dataset.read_label(case) if on == "labels" else dataset.read_scribble(case)]
        known = votes[0] >= 0
    distance = plane_distance(answer.mask)
    found = []
    # what lies between is corrected by both, and fitted by neither
    for place, most in ((known & (distance <= BAND_VOXELS), NEAR), (known & (distance > 2 * BAND_VOXELS), FAR)):
        chosen = np.flatnonzero(place)
        chosen = random.choice(chosen, min(most, chosen.size), replace=False)
        shares = answer.probabilities.reshape(classes, -1)[:, chosen].T.astype(np.float64)
        target = np.mean([np.eye(classes)[vote.ravel()[chosen]] for vote in votes], axis=0)
        found.append(Voxels(np.log(np.maximum(shares, LEAST)), target, np.ones(chosen.size)))
    return found[0], found[1]


def choose_target(
    model: Model, dataset: Dataset, on: On, has_others: bool, names: Sequence[str] | None, most: int
) -> Target:
    """Choose what to fit on, or say what lacks.

    Raises:
        DataError: There is nothing of the kind that was asked for.
        SettingsError: Agreement without others, or an unknown case.
    """
    if most < 1:
        raise SettingsError(f"most: expected at least 1 case, got {most}.")
    if on == "agreement" and not has_others:
        raise SettingsError("agreement: expected other trainings on the same strokes (--with RUN), got none.")
    if has_others and on in ("labels", "strokes"):
        raise SettingsError(f"{on}: takes no other trainings; leave out --with, or use agreement.")
    everything = [*dataset.cases("Tr"), *dataset.cases("Val")]
    learnt = _learnt(model.folder)
    if names is not None:
        by_name = {case.id: case for case in everything}
        for name in names:
            if name not in by_name:
                raise SettingsError(f"cases: {unknown_name('case', name, list(by_name))}")
        usable = [by_name[name] for name in names]
    else:
        held = [case for case in everything if learnt is not None and case.id not in learnt]
        usable = list(dataset.cases("Tr")) if on == "agreement" or (on == "auto" and has_others) else held
    if has_others:
        if not usable:
            raise DataError(f"{dataset.folder}: expected images in imagesTr to compare the trainings on, found none.")
        chosen = _spread(usable, most)
        return Target("agreement", chosen, f"the agreement with other trainings on {len(chosen)} images, no labels")
    labelled = [case for case in usable if case.label is not None]
    stroked = [case for case in usable if case.scribble is not None]
    if labelled and on in ("auto", "labels"):
        chosen = _spread(labelled, most)
        return Target("labels", chosen, f"dense labels of {counted(len(chosen), 'case')}")
    if stroked and on in ("auto", "strokes"):
        chosen = _spread(stroked, most)
        return Target("strokes", chosen, f"strokes of {counted(len(chosen), 'case')}")
    what = {"auto": "dense labels or strokes", "labels": "dense labels", "strokes": "strokes"}[on]
    raise DataError(
        f"{dataset.folder}: expected {what} in cases that the model did not learn from, found none "
        f"({_why(learnt, model.folder)}); give another training on the same strokes (--with RUN, best where nothing is "
        "labelled densely), train with --set holdout=0.1, or name cases (--cases)."
    )


def _learnt(model: Path) -> set[str] | None:
    """Return the cases that a run learnt annotation from, or None where nothing tells."""
    path = model.parent / "run.json"
    if not path.is_file():
        return None
    content = read_json(path)
    names = content.get("annotated_cases", content.get("training_cases")) if isinstance(content, dict) else None
    return set(names) if isinstance(names, list) else None


def _why(learnt: set[str] | None, model: Path) -> str:
    if learnt is None:
        return f"no run.json beside {model.name} tells what it learned from"
    return f"it learned from {counted(len(learnt), 'case')}"


def _spread(cases: Sequence[Case], most: int) -> list[Case]:
    places = np.unique(np.linspace(0, len(cases) - 1, min(most, len(cases))).round().astype(int))
    return [cases[int(place)] for place in places]


def _tell_card(card: Path, scaling: Scaling) -> None:
    """Put the calibration at the end of the card, in the place of an older one."""
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    text = text.partition(f"\n{_HEADING}\n")[0].rstrip("\n")
    before, after = (scaling.facts["ece"][when] for when in ("before", "after"))
    lines = (
        f"{text}\n\n{_HEADING}\n\nProbabilities are corrected: {scaling.words()}. Expected calibration error near "
        f"structures, on what it was fitted on: {before:.4f} before, {after:.4f} after.\n"
    )
    with atomic_write(card) as temporary:
        temporary.write_text(lines, encoding="utf-8")
