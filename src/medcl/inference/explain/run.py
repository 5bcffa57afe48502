"""`explain`: saliency of a structure in an image, with scores that say how far to believe it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from medcl.data.geometry import Geometry, Image
from medcl.data.io import read_image, write_image
from medcl.data.prepare import prepare_image
from medcl.errors import DataError, SettingsError
from medcl.files import atomic_write, check_place, write_json
from medcl.inference.explain.build import (
    NotPredictedError,
    class_index,
    find_mask,
    members_of,
    on_plan_grid,
    places,
    to_image,
)
from medcl.inference.explain.grad_cam import grad_cam
from medcl.inference.explain.occlusion import occlusion
from medcl.inference.explain.rise import rise
from medcl.inference.explain.scene import Scene
from medcl.inference.explain.scores import Faithfulness, faithfulness
from medcl.inference.explain.settings import ExplainSettings
from medcl.inference.files import collect_cases
from medcl.inference.model import Model
from medcl.inference.segment import check_image

EXPLAINERS: dict[str, Callable[[Scene, ExplainSettings], Tensor]] = {
    "occlusion": occlusion,
    "rise": rise,
    "grad-cam": grad_cam,
}

REPORT = "explanation.json"


@dataclass(frozen=True)
class ExplainedPlace:
    """One slice (2D) or window (3D).

    Attributes:
        name: Which, in words, on the model's grid.
        score: Mean probability of the class over its own pixels, nothing covered.
        seconds: Time of the saliency, without its scores.
        cpu_seconds: Time of the processors for it, which a busy machine does not change.
        passes: Images that went through the network for it.
        region_share: Share of the image that the region takes.
        deletion: See `Faithfulness`; None where it was not asked for.
        insertion: See `Faithfulness`.
    """

    name: str
    score: float
    seconds: float
    cpu_seconds: float
    passes: int
    region_share: float
    deletion: float | None
    insertion: float | None


@dataclass(frozen=True)
class Explanation:
    """Saliency of one structure in one image.

    Attributes:
        saliency: (Z, Y, X) float32 on the image's grid; higher: the answer rests more on it; 0 where nothing was tried.
        mask: (Z, Y, X) bool, where the structure is predicted, on the image's grid.
        geometry: Of the image.
        structure: Name of the class.
        method: Name of the method.
        places: What was explained.
        curves: Insertion and deletion curves by place.
    """

    saliency: np.ndarray
    mask: np.ndarray
    geometry: Geometry
    structure: str
    method: str
    places: tuple[ExplainedPlace, ...]
    curves: tuple[Faithfulness, ...] = field(repr=False, default=())

    @property
    def seconds(self) -> float:
        """Time of all places, without their scores."""
        return sum(place.seconds for place in self.places)

    def mean(self, name: str) -> float | None:
        """Return the mean of a number of `ExplainedPlace` over the places; None where it was not asked for."""
        values = [getattr(place, name) for place in self.places]
        return None if None in values else float(np.mean(values))


def explain(
    model: Model,
    image: Image | Path | str | Sequence[Path | str],
    structure: str,
    *,
    settings: Mapping[str, Any] | ExplainSettings | None = None,
    slices: Sequence[int] | None = None,
    name: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> Explanation:
    """Tell which parts of an image a predicted structure rests on.

    Covers are tried in the region alone: around the predicted structure, or around another one that is named (after
    XAI-CLIP, Alzubaidi et al., arXiv 2602.07017, 2026, where the region comes from a vision-language model).

    Args:
        model: The model.
        image: An image as read, a file, or one file per channel.
        structure: Name of the class.
        settings: Keys of `ExplainSettings`.
        slices: 2D models: slices on the model's grid; default: all that have the structure.
        name: Of the image, for errors; default: its files.
        progress: Called with the share of places that is done.

    Raises:
        DataError: The image does not fit the model, or the structure is not predicted in it (`NotPredictedError`).
        SettingsError: A name or setting is unknown.
    """
    config = settings if isinstance(settings, ExplainSettings) else ExplainSettings.parse(dict(settings or {}))
    index = class_index(model.plan, structure)
    members_of(model.plan, config.region, index)
    if not isinstance(image, Image):
        files = [image] if isinstance(image, str | Path) else image
        name, image = name or ", ".join(map(str, files)), read_image(image)
    check_image(image, model.plan, name or "image")
    prepared = prepare_image(image, model.plan)
    mask = find_mask(model, prepared)
    todo = list(places(model, prepared, mask, index, config, slices))
    found, told, curves = [], [], []
    for number, place in enumerate(todo):
        scene = place.scene
        score = float(scene.score(scene.image[None])[0])
        before, started, started_cpu = scene.passes, time.perf_counter(), time.process_time()
        saliency = EXPLAINERS[config.method](scene, config)
        seconds, cpu = time.perf_counter() - started, time.process_time() - started_cpu
        passes = scene.passes - before
        found.append((place, saliency))
        judged = faithfulness(scene, saliency, steps=config.steps) if config.scores else None
        curves += [] if judged is None else [judged]
        covered = np.prod([high - low for low, high in scene.region]) / np.prod([s.stop for s in place.inside])
        told.append(
            ExplainedPlace(
                place.name,
                score,
                seconds,
                cpu,
                passes,
                float(covered),
                None if judged is None else judged.deletion,
                None if judged is None else judged.insertion,
            )
        )
        if progress is not None:
            progress((number + 1) / len(todo))
    axis = "zyx".index(model.plan.views[0])
    maps = on_plan_grid(found, prepared.array.shape[1:], axis)
    return Explanation(
        to_image(maps, prepared),
        to_image((mask == index).astype(np.float32), prepared) > 0.5,
        image.geometry,
        structure,
        config.method,
        tuple(told),
        tuple(curves),
    )


def explain_files(
    model: Model | Path | str,
    inputs: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    structures: Sequence[str] | None = None,
    methods: Sequence[str] = ("occlusion",),
    settings: Mapping[str, Any] | None = None,
    slices: Sequence[int] | None = None,
    progress: Callable[[str, float], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> list[Explanation]:
    """Explain images and write maps (NIfTI, in the image's geometry), pictures and `explanation.json`.

    Args:
        model: A loaded model, a model folder or a run folder.
        inputs: Image files, folders of them, DICOM folders or zips.
        out: Folder for the results.
        structures: Names of classes, each predicted in every image; default: all that are predicted.
        methods: Any of "occlusion", "rise" and "grad-cam".
        settings: Keys of `ExplainSettings`, the method aside.
        slices: See `explain`.
        progress: Called with what is explained and the share of it that is done.
        tell: Called with a sentence where a structure is left out because it is not predicted, and where files of an
            earlier call were replaced.

    Returns:
        One explanation per image, structure and method.

    Raises:
        DataError: An image cannot be read, lacks a channel or does not fit the model, a structure that was asked for is
            not predicted in it, or no structure is predicted in any.
        SettingsError: A name or setting is unknown, or `method` is among the settings.
    """
    from medcl.inference.explain.pictures import overview

    out = Path(out)
    check_place(out)
    if "method" in (settings or {}):
        raise SettingsError("method: is no setting here; choose methods by methods=[...] (--method NAME).")
    configs = [ExplainSettings.parse({**dict(settings or {}), "method": method}) for method in methods]
    loaded = model if isinstance(model, Model) else Model.load(model)
    names = tuple(structures or loaded.classes[1:])
    for name in names:
        class_index(loaded.plan, name)
    cases = collect_cases([inputs] if isinstance(inputs, str | Path) else inputs)
    for case in cases:
        if case.problem is not None:
            raise DataError(case.problem)
    earlier = {path.name for path in out.iterdir()} if out.is_dir() else set()
    explained: list[Explanation] = []
    rows: list[dict[str, Any]] = []

    def report(row: dict[str, Any]) -> None:
        rows.append(row)
        found = {
            "model": loaded.folder.name,
            "weights_sha256": loaded.info.weights_sha256,
            "engine": loaded.engine_reason,
            "explanations": rows,
        }
        write_json(out / REPORT, found)

    for case in cases:
        image = read_image(case.source)
        for structure in names:
            for config in configs:
                what = f"{case.id} {structure} {config.method}"

                def show(share: float, what: str = what) -> None:
                    if progress is not None:
                        progress(what, share)

                try:
                    result = explain(
                        loaded, image, structure, settings=config, slices=slices, name=case.id, progress=show
                    )
                except NotPredictedError as error:
                    if structures:
                        raise
                    report({"case": case.id, "structure": structure, "left_out": str(error)})
                    if tell is not None:
                        tell(f"{case.id}: {structure} is left out: {error}")
                    break  # whatever the method
                explained.append(result)
                stem = f"{case.id}_{structure}_{config.method}".replace(" ", "-").replace("/", "-")
                write_image(out / f"{stem}.nii.gz", Image(result.saliency[None], result.geometry))
                with atomic_write(out / f"{stem}.png") as temporary:
                    temporary.write_bytes(overview(result, image))
                report(
                    {
                        "case": case.id,
                        "structure": structure,
                        "files": [f"{stem}.nii.gz", f"{stem}.png"],
                        "settings": config.model_dump(mode="json"),
                        "seconds": result.seconds,
                        "deletion": result.mean("deletion"),
                        "insertion": result.mean("insertion"),
                        "places": [asdict(place) for place in result.places],
                    }
                )
    if not explained:
        raise DataError(
            f"expected {', '.join(names)} in at least one prediction of {len(cases)} image(s), found none; "
            "there is nothing to explain."
        )
    if tell is not None and REPORT in earlier:
        replaced = [file for row in rows for file in row.get("files", ()) if file in earlier]
        which = f" ({', '.join(replaced[:4])}{' and so on' if len(replaced) > 4 else ''})" if replaced else ""
        tell(f"{out}: {REPORT} of an earlier call and {len(replaced)} of its files{which} were replaced.")
    return explained
