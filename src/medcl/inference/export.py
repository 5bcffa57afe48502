"""Write a model's network as ONNX, and prove that it gives torch's numbers."""

from __future__ import annotations

import copy
import json
import logging
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from medcl.data.plan import Plan
from medcl.errors import MissingExtraError, ModelError
from medcl.files import atomic_write, write_json
from medcl.inference.engines import OpenVinoEngine, TorchEngine, agreement, openvino_capabilities
from medcl.inference.model import Model

LARGEST_DIFFERENCE = 1e-3
"""Largest difference of logits between ONNX Runtime and torch fp32 that an export may show."""

_OPSET = 17
_AXES = ("z", "y", "x")
_log = logging.getLogger("medcl")


@dataclass(frozen=True)
class ExportReport:
    """What was exported and how well it agrees with torch fp32.

    Attributes:
        path: The ONNX file.
        input: Shape of the input `image`; a name where any length will do.
        output: Shape of the output `logits`.
        multiple: Spatial lengths must be multiples of these, (y, x) or (z, y, x).
        largest_difference: Largest absolute difference of logits, over all sizes tried.
        same_class: Share of pixels in which ONNX Runtime chooses torch's class.
        openvino: The same share for OpenVINO as prediction would use it here, and its arithmetic; None where it is not
            installed.
        notes: What did not go as hoped.
    """

    path: str
    input: tuple[str | int, ...]
    output: tuple[str | int, ...]
    multiple: tuple[int, ...]
    largest_difference: float
    same_class: float
    openvino: dict[str, str | float] | None
    notes: tuple[str, ...]


def export_onnx(model: Model | Path | str, out: Path | str | None = None) -> ExportReport:
    """Export the network: `image` (N, C, *S) float32, prepared as the plan says, to `logits` (N, classes, *S).

    In 2.5D the channels are those of the slices from the lowest neighbour to the highest, slice by slice. The batch is
    free, and so is the size where the network allows it; else it is the plan's patch. The plan travels in the file as
    metadata `medcl_plan`; what was checked lies beside it as `<name>.onnx.json`.

    Args:
        model: A model, or the path of a model or run folder.
        out: Where to write; default: model.onnx in the model folder.

    Returns:
        Where it lies and how well it agrees.

    Raises:
        MissingExtraError: onnx or onnxruntime is not installed.
        ModelError: The network cannot be exported, or the export differs from torch; then nothing is written.
    """
    for package in ("onnx", "onnxruntime"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "onnx", "ONNX export")
    if not isinstance(model, Model):
        model = Model.load(model, device="cpu", engine="torch", precision="fp32")
    path = Path(out) if out is not None else model.folder / "model.onnx"
    if path.suffix.lower() != ".onnx":
        raise ModelError(f"{path}: expected a name ending in .onnx; name it so.")
    # a copy: the caller's model stays on its device
    network, plan = copy.deepcopy(model.network).to("cpu").eval(), model.plan
    patch = tuple(plan.patch)
    multiple = tuple(min(32, length & -length) for length in patch)
    other = tuple(length + step for length, step in zip(patch, multiple, strict=True))
    samples = [_sample(plan, patch, batch=1), _sample(plan, other, batch=2)]
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="medcl-") as scratch:
        file = Path(scratch) / "model.onnx"
        dynamic = True
        try:
            difference, share = _export_and_compare(network, plan, file, samples, dynamic=True)
        except ModelError as error:
            notes.append(f"the size is fixed to the patch, because a free one failed: {error}")
            _log.warning("export: %s", notes[-1])
            dynamic = False
            samples = [_sample(plan, patch, batch=1), _sample(plan, patch, batch=2)]
            difference, share = _export_and_compare(network, plan, file, samples, dynamic=False)
        with atomic_write(path) as temporary:
            temporary.write_bytes(file.read_bytes())
    names = tuple(_AXES[3 - plan.ndim :]) if dynamic else patch
    report = ExportReport(
        path=str(path),
        input=("n", plan.input_channels, *names),
        output=("n", len(plan.classes), *names),
        multiple=multiple if dynamic else patch,
        largest_difference=difference,
        same_class=share,
        openvino=_openvino_agreement(network, samples[0]),
        notes=tuple(notes),
    )
    # The ending stays in the name: beside the weights, model.json and plan.json belong to the model itself.
    write_json(path.with_name(path.name + ".json"), {**asdict(report), "path": path.name})
    return report


def _export_and_compare(
    network: nn.Module, plan: Plan, file: Path, samples: Sequence[Tensor], *, dynamic: bool
) -> tuple[float, float]:
    """Write the file; return the largest difference of logits and the smallest share of equal classes.

    Raises:
        ModelError: It fails, or differs by more than allowed.
    """
    import numpy as np
    import onnx
    import onnxruntime

    try:
        _write(network, samples[0], file, plan.ndim if dynamic else 0)
        onnx.checker.check_model(str(file))
        graph = onnx.load(str(file))
        onnx.helper.set_model_props(graph, {"medcl_plan": json.dumps(plan.model_dump(mode="json"))})
        onnx.save(graph, str(file))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        largest, share = 0.0, 1.0
        for sample in samples:
            expected = _reference(network, sample)
            found = torch.from_numpy(np.asarray(session.run(["logits"], {"image": sample.numpy()})[0]))
            largest = max(largest, float((found - expected).abs().max()))
            share = min(share, agreement(found, expected))
    except Exception as error:  # exporter and runtime raise many kinds; all mean that there is no usable export
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"the network cannot be exported to ONNX ({words[0][:200]}).") from error
    if not largest <= LARGEST_DIFFERENCE:
        raise ModelError(
            f"expected the ONNX export to give torch's logits within {LARGEST_DIFFERENCE:g}, got a difference of "
            f"{largest:.3g}; nothing was written."
        )
    return largest, share


def _write(network: nn.Module, sample: Tensor, file: Path, free_axes: int) -> None:
    names = {0: "n", **{2 + k: name for k, name in enumerate(_AXES[3 - free_axes :])}} if free_axes else {0: "n"}
    with warnings.catch_warnings(), torch.no_grad():
        # The tracer warns of sizes that become constants: two sizes are compared below. The newer exporter needs
        # more packages, and minutes for what takes this one a second.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (sample,),
            str(file),
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": names, "logits": names},
            opset_version=_OPSET,
            dynamo=False,
        )


def _reference(network: nn.Module, sample: Tensor) -> Tensor:
    return TorchEngine(network, torch.device("cpu"), "fp32")(sample)


def _sample(plan: Plan, size: Sequence[int], *, batch: int) -> Tensor:
    """Return smooth made-up images (N, C, *size) with mean 0 and deviation 1: more like tissue than plain noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn((batch, plan.input_channels, *[max(2, length // 8) for length in size]), generator=generator)
    mode = "bilinear" if len(size) == 2 else "trilinear"
    smooth = functional.interpolate(coarse, size=tuple(size), mode=mode, align_corners=False)
    image = smooth + 0.1 * torch.randn(smooth.shape, generator=generator)
    return (image - image.mean()) / image.std()


def _openvino_agreement(network: nn.Module, sample: Tensor) -> dict[str, str | float] | None:
    capabilities = openvino_capabilities()
    if capabilities is None:
        return None
    engine = OpenVinoEngine(network, "bf16" if "BF16" in capabilities else "fp32", torch.get_num_threads())
    return {"engine": engine.name, "same_class": agreement(engine(sample), _reference(network, sample))}
