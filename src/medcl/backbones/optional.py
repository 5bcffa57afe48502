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
    top = package.partition(".")[0]
    try:
        import_module(top)
    except ModuleNotFoundError as error:
        if error.name != top:  # it is there, but something that it needs is not
            raise
        raise MissingExtraError(top, extra, f"backbone '{backbone}'") from None
    return import_module(package)
