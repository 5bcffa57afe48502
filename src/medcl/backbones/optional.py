"""Libraries that come with an extra, imported when a network of theirs is built."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from medcl.errors import MissingExtraError


def need(package: str, *, extra: str, backbone: str) -> ModuleType:
    """Import a package of an extra.

    Args:
        package: Module name.
        extra: The extra of medcl that brings it.
        backbone: Who needs it.

    Raises:
        MissingExtraError: It is not installed; says with which command it is.
    """
    top = package.partition(".")[0]
    try:
        import_module(top)
    except ModuleNotFoundError as error:
        if error.name != top:  # it is there, but something that it needs is not
            raise
        raise MissingExtraError(top, extra, f"backbone '{backbone}'") from None
    return import_module(package)


@cache
def let_torchvision_import() -> None:
    """Declare two operators of torchvision where its build does not fit torch's, as PyPI's beside a CPU torch.

    Importing it attaches shapes to operators that only its compiled part declares. Nothing here needs them, but without
    them neither Lightning, which imports torchvision where it is installed, nor segmentation_models_pytorch can be had.
    """
    if find_spec("torchvision") is None:
        return
    import torch

    try:
        import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]  # half imported
        _declared.append(torch.library.Library("torchvision", "DEF"))
        for operator in _BOXES:
            _declared[0].define(operator)
        import_module("torchvision")


_BOXES = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[Any] = []  # what they declare lasts as long as they do
