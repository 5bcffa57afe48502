"""Many images at once: every case is written or reported, none stops the others."""

from __future__ import annotations

import json
import logging
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medcl import __version__
from medcl.backbones.prompts import Prompts
from medcl.data.check.intensity import mask_values
from medcl.data.geometry import Image
from medcl.data.io import check_slices, read_image, write_image, write_map
from medcl.data.layout import probability_name
from medcl.data.plan import Plan
from medcl.data.prepare import prepare_image
from medcl.errors import DataError, MedclError, SettingsError, counted
from medcl.files import read_json, write_json
from medcl.inference.familiarity.watch import Watch, as_row
from medcl.inference.familiarity.watch import write_map as write_familiarity
from medcl.inference.files import InputCase, check_output, collect_cases
from medcl.inference.model import Model
from medcl.inference.postprocess import LargestComponent
from medcl.inference.segment import Prediction, check_image, segment
from medcl.inference.sliding import Network, predict_slabs
from medcl.inference.sources import Source, source_settings
from medcl.inference.vote import segment_together

if TYPE_CHECKING:
    from numpy.typing import NDArray

REPORT = "prediction.json"
"""Name of the report that `predict_files` leaves beside the masks."""

_FLOAT_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
_MAPS = ("probabilities", "uncertainty", "mutual_information", "familiarity")  # folders beside the masks
_log = logging.getLogger("medcl")


@dataclass(frozen=True)
class Written:
    """A case that was predicted.

    Attributes:
        case: Its id.
        files: What was written for it, the mask first.
        seconds: From reading to the last file.
        volumes_ml: Volume per class name in millilitres, background left out.
        estimates: Per class name what is to be expected: Dice of the mask, volume and its 95 % interval.
        familiarity: Whether the scan is like those of training (`familiarity.watch.as_row`); None: not judged.
    """

    case: str
    files: tuple[str, ...]
    seconds: float
    volumes_ml: dict[str, float]
    estimates: dict[str, dict[str, float | None]] = field(default_factory=dict)
    familiarity: dict[str, Any] | None = None

    @property
    def expected_dice(self) -> float:
        """Mean over the structures that were found; nan where none was."""
        found = [one["expected_dice"] for one in self.estimates.values()]
        there = [value for value in found if value is not None]
        return sum(there) / len(there) if there else float("nan")


@dataclass(frozen=True)
class Failed:
    """A case that was not predicted.

    Attributes:
        case: Its id.
        sources: Its files.
        reason: One sentence.
        trace: Where an unexpected error came from; empty for expected ones.
    """

    case: str
    sources: tuple[str, ...]
    reason: str
    trace: str = ""


@dataclass
class PredictReport:
    """What became of every case.

    Attributes:
        engine: What ran the network and why.
        written: Cases with a mask.
        failed: Cases without.
        notes: What else a user should know.
    """

    engine: str = ""
    written: list[Written] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def predict_probabilities(
    network: Network,
    array: NDArray[np.float32],
    plan: Plan,
    *,
    flips: bool = True,
    batch_size: int | None = None,
    overlap: float = 0.5,
) -> NDArray[np.float32]:
    """Return class probabilities of a prepared image, on the plan's grid.

    Args:
        network: Module in eval mode, engine, or any function from (N, C, *S) float32 to logits (N, classes, *S).
        array: Prepared image (C, Z, Y, X).
        plan: Its plan.
        flips: Average over in-plane mirror images.
        batch_size: Slices or windows per call; see `predict_slabs`.
        overlap: Overlap of sliding windows.

    Returns:
        (classes, Z, Y, X) float32, summing to 1 over classes.
    """
    result = np.empty((len(plan.classes), *array.shape[1:]), dtype=np.float32)
    z = 0
    for slab in predict_slabs(network, array, plan, flips=flips, batch_size=batch_size, overlap=overlap):
        result[:, z : z + slab.shape[1]] = slab.cpu().numpy()
        z += slab.shape[1]
    return result


def predict_files(
    model: Model | Path | str,
    inputs: Sequence[Path | str] | Path | str,
    out: Path | str,
    *,
    flips: bool | None = None,
    largest_component: LargestComponent = "auto",
    probabilities: bool = False,
    uncertainty: bool = False,
    ending: str = ".nii.gz",
    series: str | None = None,
    batch_size: int | None = None,
    overlap: float = 0.5,
    others: Sequence[Model | Path | str] = (),
    prompts: Prompts | None = None,
    uncertainty_from: Source = "softmax",
    familiarity: bool | None = None,
    familiarity_map: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
    within: Callable[[float], None] | None = None,
) -> PredictReport:
    """Predict files and folders and write masks in the geometry of each image.

    Writes `out/<case><ending>` (class indices), on request `out/probabilities/<case>_<index>_<class><ending>` and
    `out/uncertainty/<case><ending>` (with several maps `out/mutual_information/<case><ending>` too), and
    `out/prediction.json` with what became of every case. Files appear whole
    or not at all. Results of an earlier call are replaced; inputs never are. Maps of a case that `out/prediction.json`
    lists and this call does not write are removed: they belong to a mask that is no longer there. Other cases listed
    there stay listed if model and options are the same; else a note tells that their masks are there too.

    Args:
        model: A model, or the path of a model or run folder.
        inputs: Files and folders; see `collect_cases`.
        out: Folder for the results.
        flips: Average over in-plane mirror images; default: where training drew them too.
        largest_component: Keep the largest piece of what training found to be one piece ("auto"), of each "class" or
            "group", or keep everything ("none").
        probabilities: Also write one float image per class.
        uncertainty: Also write the normalised entropy, and the mutual information of several maps.
        ending: Ending, and so the format, of the masks; float images take it where it can hold them, else .nii.gz.
        series: Series UID for DICOM sources that hold several.
        batch_size: Slices or windows at a time.
        overlap: Overlap of sliding windows.
        others: Further models of the same classes, such as one per view, whose probabilities are averaged.
        prompts: What is pointed at in the one image that is given; see `Model.predict`.
        uncertainty_from: Where several probability maps come from; see `Model.predict`.
        familiarity: Judge whether each scan is like those of training; default: where the model remembers them.
        familiarity_map: Also write `out/familiarity/<case><ending>`: the share of training places less strange.
        progress: Called with cases done, cases in all, and the case that comes next ("" at the end).
        within: Called with the share of the current case that went through the network, up to 1.

    Returns:
        What was written and what failed. Any error in one case is kept in the report and the next case goes on.

    Raises:
        DataError: Nothing to predict, or a place for results that could harm inputs: before anything is written.
        ModelError: Models do not go together.
        SettingsError: An option does not fit the model.
    """
    if not isinstance(model, Model):
        model = Model.load(model)
    companions = [other if isinstance(other, Model) else Model.load(other) for other in others]
    members = model.members(companions, flips, prompts, uncertainty_from)
    cases = collect_cases([inputs] if isinstance(inputs, str | Path) else inputs)
    out = Path(out)
    check_output(cases, out, ending)
    unions = model.unions(largest_component)
    flips = model.flips_for(flips, prompts)
    if prompts is not None and len(cases) != 1:
        raise SettingsError(
            f"prompts: expected one image, as they point into it, got {len(cases)}; give them one by one."
        )
    before = _earlier(out)
    earlier = _listed(before, out)
    watch = Watch.of(model, familiarity, familiarity_map)
    report = PredictReport(notes=[watch.note] if watch.note else [])
    options = {
        "flips": flips,
        "largest_component": largest_component,
        "largest_piece_of": [[model.classes[index] for index in union] for union in unions],
        "overlap": overlap,
        "batch_size": batch_size,
        "series": series,
        "averaged_with": [str(other.folder) for other in companions],
        "uncertainty_from": source_settings(uncertainty_from).model_dump(mode="json"),
        "calibration": None if model.scaling is None else model.scaling.words(),
        "prompts": None if prompts is None else {"points": len(prompts.points), "boxes": len(prompts.boxes)},
    }
    try:
        for number, case in enumerate(cases):
            if progress is not None:
                progress(number, len(cases), case.id)
            started = time.perf_counter()
            try:
                with tempfile.TemporaryDirectory(prefix="medcl-") as scratch:
                    asked: dict[str, Any] = {
                        "unions": unions,
                        "probabilities": probabilities,
                        "uncertainty": uncertainty,
                        "batch_size": batch_size,
                        "overlap": overlap,
                        "progress": within,
                    }
                    image = _read(case, model.plan, series)
                    report.notes += _like_mask(case, image)
                    check_slices(out / f"{case.id}{ending}", image.geometry)
                    if len(members) > 1:
                        judged, looked_at = watch.look_at(image)
                        prediction = segment_together(members, image, scratch=Path(scratch), **asked)
                    else:
                        prepared = prepare_image(image, model.plan)
                        del image  # released before the network runs
                        judged, looked_at = watch.look(prepared), prepared
                        network = model.network_for(prepared, prompts)
                        kept = Path(scratch) if probabilities else None
                        prediction = segment(
                            network, model.plan, prepared, flips=flips, scratch=kept, scaling=model.scaling, **asked
                        )
                        del prepared
                    place = out / "familiarity" / f"{case.id}{_float_ending(ending)}"
                    maps = write_familiarity(judged, looked_at, place)
                    del looked_at
                    files = _write(prediction, case.id, out, ending, maps, earlier.get(case.id, ()))
                    volumes, expected = _volumes_ml(prediction), _estimates(prediction)
                    del prediction  # releases the file of probabilities before its folder goes
                seconds = time.perf_counter() - started
                report.written.append(Written(case.id, files, seconds, volumes, expected, as_row(judged)))
            except Exception as error:  # one case, whatever is wrong with it, must not cost the others
                report.failed.append(_failure(case, error))
        if progress is not None:
            progress(len(cases), len(cases), "")
    finally:
        device = model.engine.device.type
        report.engine = model.engine_reason if prompts is None else f"torch fp32 on {device} (it reads the prompts)"
        _write_report(report, model, options, out, before)
    return report


def _read(case: InputCase, plan: Plan, series: str | None) -> Image:
    if case.problem is not None:
        raise MedclError(case.problem)
    image = read_image(case.source, series=series)
    check_image(image, plan, ", ".join(str(source) for source in case.sources))
    return image


def _like_mask(case: InputCase, image: Image) -> list[str]:
    """Say where an image holds a few whole numbers only."""
    values = mask_values(image.array)
    if not values:
        return []
    return [
        f"case {case.id}: its image holds no more than the {len(values)} values "
        f"{', '.join(f'{value:g}' for value in values)}, as masks do; look whether it is one."
    ]


def _earlier(out: Path) -> dict[str, Any]:
    """Return what an earlier call noted in this folder, with such rows of `written` alone as are understood."""
    try:
        content = read_json(out / REPORT)
    except DataError:  # none, or not ours: then nothing here is known to be ours
        return {}
    if not isinstance(content, dict) or "medcl" not in content:
        return {}
    rows = content.get("written")
    rows = [row for row in rows if isinstance(row, dict) and row.get("files")] if isinstance(rows, list) else []
    return content | {"written": [row for row in rows if isinstance(row["files"], list)]}


def _listed(before: Mapping[str, Any], out: Path) -> dict[str, list[Path]]:
    """Return, by case, the maps that an earlier call wrote into this folder and noted there."""
    found: dict[str, list[Path]] = {}
    for row in before.get("written", ()):
        for file in row["files"]:
            parts = Path(str(file)).parts
            if len(parts) == 2 and parts[0] in _MAPS:  # nothing outside these folders, whatever the file says
                found.setdefault(str(row.get("case")), []).append(out / parts[0] / parts[1])
    return found


def _write(
    prediction: Prediction, case: str, out: Path, ending: str, maps: Sequence[Path], earlier: Sequence[Path]
) -> tuple[str, ...]:
    """Write mask and maps; remove the case's earlier maps that have no successor.

    Args:
        prediction: What to write.
        case: Id of the case.
        out: Folder for the results.
        ending: Of the mask.
        maps: Maps of the case that are written already.
        earlier: Maps that an earlier call wrote for the case.

    Returns:
        What there is of the case now, the mask first, relative to `out`.
    """
    float_ending = _float_ending(ending)
    # the mask comes last: a case whose mask is there is complete
    files: list[Path] = []
    if prediction.probabilities is not None:
        for index, (name, values) in enumerate(zip(prediction.classes, prediction.probabilities, strict=True)):
            files.append(out / "probabilities" / f"{probability_name(case, index, name)}{float_ending}")
            write_image(files[-1], Image(np.ascontiguousarray(values)[None], prediction.geometry))
    if prediction.uncertainty is not None:
        files.append(out / "uncertainty" / f"{case}{float_ending}")
        write_image(files[-1], Image(prediction.uncertainty[None], prediction.geometry))
    if prediction.mutual_information is not None:
        files.append(out / "mutual_information" / f"{case}{float_ending}")
        write_image(files[-1], Image(prediction.mutual_information[None], prediction.geometry))
    files += maps
    # before the mask: a call that is killed here leaves the old mask without maps, not the new one with old maps
    for path in set(earlier) - set(files):
        path.unlink(missing_ok=True)
    mask = out / f"{case}{ending}"
    write_map(mask, prediction.mask, prediction.geometry)
    return tuple(path.relative_to(out).as_posix() for path in (mask, *files))


def _float_ending(ending: str) -> str:
    return ending if ending in _FLOAT_ENDINGS else ".nii.gz"


def _volumes_ml(prediction: Prediction) -> dict[str, float]:
    counts = np.zeros(len(prediction.classes), dtype=np.int64)
    for plane in prediction.mask:  # one slice at a time: bincount would widen a whole volume to 64 bits
        counts += np.bincount(plane.ravel(), minlength=len(counts))
    voxel = prediction.geometry.voxel_volume_ml
    return {name: float(count) * voxel for name, count in zip(prediction.classes[1:], counts[1:], strict=True)}


def _estimates(prediction: Prediction) -> dict[str, dict[str, float | None]]:
    """Return the estimates as JSON holds them: an undefined Dice is null."""
    found: dict[str, dict[str, float | None]] = {}
    for one in prediction.estimates:
        values = {key: value for key, value in asdict(one).items() if key != "structure"}
        found[one.structure] = {key: None if value != value else round(value, 4) for key, value in values.items()}
    return found


def _failure(case: InputCase, error: Exception) -> Failed:
    sources = tuple(str(source) for source in case.sources)
    if isinstance(error, MedclError):
        return Failed(case.id, sources, str(error))
    _log.error("case %s: unexpected %s", case.id, type(error).__name__, exc_info=error)
    words = str(error).strip().splitlines() or [""]
    trace = "".join(traceback.format_exception(error))
    return Failed(case.id, sources, f"unexpected {type(error).__name__}: {words[0]}", trace)


def _write_report(
    report: PredictReport, model: Model, options: Mapping[str, object], out: Path, before: Mapping[str, Any]
) -> None:
    """Write what became of the cases; earlier ones stay in it where they are still true of the masks there."""
    out.mkdir(parents=True, exist_ok=True)
    now = {one.case for one in report.written}
    rows = [row for row in before.get("written", ()) if row.get("case") not in now]
    rows = [
        row for row in rows if Path(str(row["files"][0])).name == row["files"][0] and (out / row["files"][0]).is_file()
    ]
    failed = {one.case for one in report.failed}
    same = {"weights_sha256": model.info.weights_sha256, "options": json.loads(json.dumps(options))}
    alike = all(before.get(key) == value for key, value in same.items())
    kept = [row for row in rows if alike and row.get("case") not in failed]
    if kept:
        report.notes.append(
            f"{REPORT} goes on listing {counted(len(kept), 'case')} of an earlier call with the same model and options."
        )
    if len(rows) > len(kept):
        report.notes.append(
            f"beside these {out} holds {counted(len(rows) - len(kept), 'mask')} of an earlier call, which {REPORT} no "
            "longer tells of."
        )
    values: dict[str, Any] = {
        "medcl": __version__,
        "model": str(model.folder),
        "weights_sha256": model.info.weights_sha256,
        "classes": list(model.plan.classes),
        "options": dict(options),
        **asdict(report),
    }
    values["written"] += kept
    write_json(out / REPORT, values)
