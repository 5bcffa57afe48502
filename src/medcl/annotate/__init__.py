"""The annotation page: draw, train, correct, and where to draw next.

Needs the extra `annotate`. `Client` does from a script what people do on the page; `create_app` makes the server,
`serve` runs it as long as a block lasts.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from medcl.errors import MissingExtraError

if TYPE_CHECKING:
    from medcl.annotate.app import create_app as create_app
    from medcl.annotate.client import Client as Client
    from medcl.annotate.server import serve as serve

__all__ = ["Client", "create_app", "serve"]

_HOMES = {"Client": "medcl.annotate.client", "create_app": "medcl.annotate.app", "serve": "medcl.annotate.server"}
EXTRA = ("fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic", "httpx", "python_multipart", "multipart")
"""What the extra `annotate` brings."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in EXTRA:
            raise
        raise MissingExtraError(package, "annotate", "medcl annotate") from None
