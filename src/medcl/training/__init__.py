"""The one loop: settings -> run."""

from __future__ import annotations

from medcl.backbones.optional import let_torchvision_import

let_torchvision_import()  # before Lightning tries to

from medcl.training.run import RunResult, train  # noqa: E402

__all__ = ["RunResult", "train"]
