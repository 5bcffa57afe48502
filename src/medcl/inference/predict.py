"""Many images at once: every case is written or reported, none stops the others."""

from __future__ import annotations

import logging
import re
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
from medcl.data.geometry import Image
from medcl.data.io import read_image, write_image, write_map
from medcl.data.plan import Plan
from medcl.data.prepare import prepare_image
from medcl.errors import MedclError, SettingsError
from medcl.files import write_json
from medcl.inference.files import InputCase, check_output, collect_cases
from medcl.inference.model import Model
from medcl.inference.postprocess import LargestComponent
from medcl.inference.segment import Prediction, check_image, segment
from medcl.inference.sliding import Network, predict_slabs
from medcl.inference.vote import segment_together

if TYPE_CHECKING:
    from numpy.typing import NDArray

REPORT = "prediction.json"
"""Name of the report that `predict_files` leaves beside the masks."""

_FLOAT_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
_log = logging.getLogger("medcl")


@dataclass(frozen=True)
class Written:
    """A case that was predicted.

    Attributes:
        case: Its id.
        files: What was written for it, the mask first.
        seconds: From reading to the last file.
        volumes_ml: Volume per class name in millilitres, background left out.
    """

    case: str
    files: tuple[str, ...]
    seconds: float
    volumes_ml: dict[str, float]


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
    """

    engine: str = ""
    written: list[Written] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)


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
    progress: Callable[[int, int, str], None] | None = None,
    within: Callable[[float], None] | None = None,
) -> PredictReport:
    """Predict files and folders and write masks in the geometry of each image.

    Writes `out/<case><ending>` (class indices), on request `out/probabilities/<case>_<index>_<class><ending>` and
    `out/uncertainty/<case><ending>`, and `out/prediction.json` with what became of every case. Files appear whole
    or not at all. Results of an earlier call are replaced; inputs never are.

    Args:
        model: A model, or the path of a model or run folder.
        inputs: Files and folders; see `collect_cases`.
        out: Folder for the results.
        flips: Average over in-plane mirror images; default: where training drew them too.
        largest_component: Keep the largest piece of what training found to be one piece ("auto"), of each "class" or
            "group", or keep everything ("none").
        probabilities: Also write one float image per class.
        uncertainty: Also write the normalised entropy.
        ending: Ending, and so the format, of the masks; float images take it where it can hold them, else .nii.gz.
        series: Series UID for DICOM sources that hold several.
        batch_size: Slices or windows at a time.
        overlap: Overlap of sliding windows.
        others: Further models of the same classes, such as one per view, whose probabilities are averaged.
        prompts: What is pointed at in the one image that is given; see `Model.predict`.
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
    members = model.members(companions, flips, prompts) if companions else []
    cases = collect_cases([inputs] if isinstance(inputs, str | Path) else inputs)
    out = Path(out)
    check_output(cases, out, ending)
    unions = model.unions(largest_component)
    flips = model.flips_for(flips, prompts)
    if prompts is not None and len(cases) != 1:
        raise SettingsError(
            f"prompts: expected one image, as they point into it, got {len(cases)}; give them one by one."
        )
    report = PredictReport()
    options = {
        "flips": flips,
        "largest_component": largest_component,
        "largest_piece_of": [[model.classes[index] for index in union] for union in unions],
        "overlap": overlap,
        "batch_size": batch_size,
        "series": series,
        "averaged_with": [str(other.folder) for other in companions],
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
                    if companions:
                        prediction = segment_together(members, image, scratch=Path(scratch), **asked)
                    else:
                        prepared = prepare_image(image, model.plan)
                        del image  # released before the network runs
                        network = model.network_for(prepared, prompts)
                        kept = Path(scratch) if probabilities else None
                        prediction = segment(network, model.plan, prepared, flips=flips, scratch=kept, **asked)
                        del prepared
                    files = _write(prediction, case.id, out, ending)
                    volumes = _volumes_ml(prediction)
                    del prediction  # releases the file of probabilities before its folder goes
                report.written.append(Written(case.id, files, time.perf_counter() - started, volumes))
            except Exception as error:  # one case, whatever is wrong with it, must not cost the others
                report.failed.append(_failure(case, error))
        if progress is not None:
            progress(len(cases), len(cases), "")
    finally:
        device = model.engine.device.type
        report.engine = model.engine_reason if prompts is None else f"torch fp32 on {device} (it reads the prompts)"
        _write_report(report, model, options, out)
    return report


def _read(case: InputCase, plan: Plan, series: str | None) -> Image:
    if case.problem is not None:
        raise MedclError(case.problem)
    image = read_image(case.source, series=series)
    check_image(image, plan, ", ".join(str(source) for source in case.sources))
    return image


def _write(prediction: Prediction, case: str, out: Path, ending: str) -> tuple[str, ...]:
    float_ending = ending if ending in _FLOAT_ENDINGS else ".nii.gz"
    # the mask comes last: a case whose mask is there is complete
    files: list[Path] = []
    if prediction.probabilities is not None:
        for index, (name, values) in enumerate(zip(prediction.classes, prediction.probabilities, strict=True)):
            label = re.sub(r"[^\w.-]+", "-", name)
            files.append(out / "probabilities" / f"{case}_{index}_{label}{float_ending}")
            write_image(files[-1], Image(np.ascontiguousarray(values)[None], prediction.geometry))
    if prediction.uncertainty is not None:
        files.append(out / "uncertainty" / f"{case}{float_ending}")
        write_image(files[-1], Image(prediction.uncertainty[None], prediction.geometry))
    mask = out / f"{case}{ending}"
    write_map(mask, prediction.mask, prediction.geometry)
    return tuple(path.relative_to(out).as_posix() for path in (mask, *files))


def _volumes_ml(prediction: Prediction) -> dict[str, float]:
    counts = np.zeros(len(prediction.classes), dtype=np.int64)
    for plane in prediction.mask:  # one slice at a time: bincount would widen a whole volume to 64 bits
        counts += np.bincount(plane.ravel(), minlength=len(counts))
    voxel = prediction.geometry.voxel_volume_ml
    return {name: float(count) * voxel for name, count in zip(prediction.classes[1:], counts[1:], strict=True)}


def _failure(case: InputCase, error: Exception) -> Failed:
    sources = tuple(str(source) for source in case.sources)
    if isinstance(error, MedclError):
        return Failed(case.id, sources, str(error))
    _log.error("case %s: unexpected %s", case.id, type(error).__name__, exc_info=error)
    words = str(error).strip().splitlines() or [""]
    trace = "".join(traceback.format_exception(error))
    return Failed(case.id, sources, f"unexpected {type(error).__name__}: {words[0]}", trace)


def _write_report(report: PredictReport, model: Model, options: Mapping[str, object], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    values = {
        "medcl": __version__,
        "model": str(model.folder),
        "weights_sha256": model.info.weights_sha256,
        "classes": list(model.plan.classes),
        "options": dict(options),
        **asdict(report),
    }
    write_json(out / REPORT, values)
