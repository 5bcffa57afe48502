"""medcl turns images and a few strokes into a segmentation model, masks and a reason to trust them.

Everything listed in `__all__` is public; each name loads its module on first use, so that `import medcl` is quick.
Arrays: images `(C, Z, Y, X)`, maps `(Z, Y, X)`, spacing in mm as `(z, y, x)`; 2D images have Z = 1.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medcl.backbones.prompts import Box as Box
    from medcl.backbones.prompts import Point as Point
    from medcl.backbones.prompts import Prompts as Prompts
    from medcl.data.dataset import Dataset as Dataset
    from medcl.data.init import init_dataset as init_dataset
    from medcl.data.raters import RaterSet as RaterSet
    from medcl.evaluation import evaluate as evaluate
    from medcl.importers.run import import_dataset as import_dataset
    from medcl.inference.explain.run import explain as explain
    from medcl.inference.explain.run import explain_files as explain_files
    from medcl.inference.familiarity.fit import fit_familiarity as fit_familiarity
    from medcl.inference.model import Model as Model
    from medcl.inference.predict import predict_files as predict
    from medcl.phantom import make_phantom as make_phantom
    from medcl.scribbles.check import check as check
    from medcl.scribbles.fusion_write import fuse as fuse
    from medcl.scribbles.write import scribble as scribble
    from medcl.training import train as train
    from medcl.training.adaptation.run import adapt as adapt
    from medcl.training.calibrate import calibrate as calibrate
    from medcl.training.pretrain import pretrain as pretrain

__version__ = "0.1.0"

__all__ = [
    "init_dataset",
    "import_dataset",
    "check",
    "make_phantom",
    "scribble",
    "Dataset",
    "RaterSet",
    "fuse",
    "pretrain",
    "train",
    "Model",
    "Prompts",
    "Point",
    "Box",
    "calibrate",
    "fit_familiarity",
    "predict",
    "adapt",
    "explain",
    "explain_files",
    "evaluate",
    "__version__",
]

_HOMES = {
    "init_dataset": "medcl.data.init:init_dataset",
    "import_dataset": "medcl.importers.run:import_dataset",
    "check": "medcl.scribbles.check:check",
    "make_phantom": "medcl.phantom:make_phantom",
    "scribble": "medcl.scribbles.write:scribble",
    "Dataset": "medcl.data.dataset:Dataset",
    "RaterSet": "medcl.data.raters:RaterSet",
    "fuse": "medcl.scribbles.fusion_write:fuse",
    "pretrain": "medcl.training.pretrain:pretrain",
    "train": "medcl.training:train",
    "Model": "medcl.inference.model:Model",
    "Prompts": "medcl.backbones.prompts:Prompts",
    "Point": "medcl.backbones.prompts:Point",
    "Box": "medcl.backbones.prompts:Box",
    "calibrate": "medcl.training.calibrate:calibrate",
    "fit_familiarity": "medcl.inference.familiarity.fit:fit_familiarity",
    "predict": "medcl.inference.predict:predict_files",
    "adapt": "medcl.training.adaptation.run:adapt",
    "explain": "medcl.inference.explain.run:explain",
    "explain_files": "medcl.inference.explain.run:explain_files",
    "evaluate": "medcl.evaluation:evaluate",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'medcl' has no attribute '{name}'; public names: {', '.join(__all__)}")
    module, _, attribute = _HOMES[name].partition(":")
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
