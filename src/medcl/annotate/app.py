"""The application: routers of all parts, errors as `Problem`, security, and the page."""

from __future__ import annotations

import logging
import os
import pkgutil
import secrets
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from medcl import __version__
from medcl.annotate import routes
from medcl.annotate.context import Context
from medcl.annotate.keeper import Keeper
from medcl.annotate.problems import Refused
from medcl.annotate.routes.jobs import look_after
from medcl.annotate.schemas import Problem
from medcl.annotate.security import Guard
from medcl.annotate.setting_up import dataset_folder, named_home, not_taken
from medcl.errors import DataError, MedclError

PAGE = Path(__file__).parent / "page"
"""The built page; `make web` writes it."""

_NO_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>medcl annotate</title>
<h1>The page is not built</h1><p>The server runs, but this copy of medcl has no page: run <code>make web</code> in its
source folder (needs Node), or install a released wheel.</p>"""

_log = logging.getLogger(__name__)


def create_app(
    folder: str | Path,
    *,
    database: str | None = None,
    token: str | None = None,
    author: str = "",
    hosts: Iterable[str] = (),
    links: Iterable[str | Path] = (),
    scribbles: str | None = None,
    page: Path = PAGE,
) -> FastAPI:
    """Make the application for a folder.

    `app.state` holds `context`, `token` and `closing` (an event that ends open streams).

    Args:
        folder: Dataset folder, or a folder of scans: then the first call is to set it up.
        database: Address of the database; None: SQLite in the folder.
        token: What callers must know; None: a random one.
        author: Name of callers that give none.
        hosts: Names besides loopback and IP addresses under which this server is reached.
        links: Folders outside that links in the data set may lead into.
        scribbles: Which annotator's folder of scribbles, where there are several.
        page: Folder of the built page.

    Raises:
        DataError: The folder, its links or the database cannot be used.
    """
    home = named_home(Path(folder).resolve())
    token = _usable(token)
    context = Context(
        dataset_folder(home),
        database=database,
        home=home,
        links=tuple(Path(link) for link in links),
        scribbles=scribbles,
        author=author,
    )
    if not context.needs_setup:  # what is wrong is said now, not to the first caller
        context.dataset()
        context.notices += filter(None, [not_taken(context)])
        _ = context.database
    app = FastAPI(
        title="medcl annotate",
        version=__version__,
        summary="Draw, train, correct, and where to draw next.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        lifespan=_lifespan,
        responses={status: {"model": Problem} for status in (401, 403, 404, 409, 413, 422)},
    )
    app.state.context = context
    app.state.token = token
    app.state.closing = threading.Event()
    app.state.on_start = [partial(look_after, context)]  # jobs that waited or died meanwhile
    app.state.on_stop = []
    for module in pkgutil.iter_modules(routes.__path__):
        app.include_router(import_module(f"{routes.__name__}.{module.name}").router)
    _answer_errors(app)
    _serve_page(app, page)
    app.add_middleware(Guard, token=app.state.token, hosts=tuple(hosts))
    return app


def _usable(token: str | None) -> str:
    """Return a token that fits into addresses and cookies and cannot be guessed."""
    if token is None:
        return secrets.token_urlsafe(32)
    if len(token) < 16 or not all(sign.isascii() and (sign.isalnum() or sign in "-._~") for sign in token):
        raise DataError(
            "--token: expected at least 16 characters, letters, digits and -._~ only; leave it out for one."
        )
    return token


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep the stroke files while the server runs, and whatever other parts put on `on_start` and `on_stop`."""
    keeper = Keeper(app.state.context)
    keeper.start()
    for start in app.state.on_start:
        start()
    try:
        yield
    finally:
        app.state.closing.set()
        for stop in app.state.on_stop:
            stop()
        keeper.stop()
        app.state.context.close()


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    def _refused(_: Request, error: Refused) -> JSONResponse:
        return JSONResponse(error.body, error.status)

    @app.exception_handler(MedclError)
    def _expected(_: Request, error: MedclError) -> JSONResponse:
        # where the folder lies on this machine is nobody's business
        context: Context = app.state.context
        message = str(error)
        for folder in (context.folder, context.home):
            message = message.replace(f"{folder}{os.sep}", "").replace(str(folder), folder.name)
        return _problem(422, message)

    @app.exception_handler(RequestValidationError)
    def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        found = [
            {"where": ".".join(map(str, one["loc"])), "message": one["msg"], "kind": one["type"]}
            for one in error.errors()[:20]
        ]
        first = found[0] if found else {"where": "body", "message": "cannot be read"}
        return _problem(422, f"{first['where']}: {first['message']}.", found)

    @app.exception_handler(HTTPException)
    def _http(_: Request, error: HTTPException) -> JSONResponse:
        message = str(error.detail)
        if message == "Not Found":
            message = "nothing at this address; /api/openapi.json lists what there is."
        return _problem(error.status_code, message, headers=error.headers)

    @app.exception_handler(OperationalError)
    def _database(_: Request, error: OperationalError) -> JSONResponse:
        _log.error("the database: %s", error.orig)
        return _problem(503, "the database does not answer; nothing was changed, try again.")


def _problem(status: int, message: str, details: Any = None, headers: Any = None) -> JSONResponse:
    return JSONResponse(Problem(message=message, details=details).model_dump(), status, headers=headers)


def _serve_page(app: FastAPI, page: Path) -> None:
    if (page / "index.html").is_file():
        app.mount("/", _Page(directory=page, html=True))
        return

    @app.get("/", include_in_schema=False)
    def _missing() -> HTMLResponse:
        return HTMLResponse(_NO_PAGE, 503)


class _Page(StaticFiles):
    """Files of the page; those whose name holds their digest never change."""

    async def get_response(self, path: str, scope: Any) -> Response:
        response = await super().get_response(path, scope)
        kept = "private, max-age=31536000, immutable" if path.startswith("assets/") else "no-cache"
        response.headers["Cache-Control"] = kept
        return response
