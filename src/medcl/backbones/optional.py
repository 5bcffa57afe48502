"""Libraries that come with an extra, imported when a network of theirs is built."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

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
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name == package.partition(".")[0]:
            raise MissingExtraError(package.partition(".")[0], extra, f"backbone '{backbone}'") from None
        raise
