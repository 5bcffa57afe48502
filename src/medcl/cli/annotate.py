"""`medcl annotate`: parse, start the server, say where it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import socket

    from medcl.queries.listing import PlaceList


def annotate(
    folder: Annotated[Path, typer.Argument(help="Dataset folder, or any folder of scans.")],
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="Port; default 8765, or a free one if that is taken.")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; others than loopback reach you.")] = (
        "127.0.0.1"
    ),
    name: Annotated[
        list[str] | None, typer.Option("--name", help="Further host name under which browsers reach it; repeatable.")
    ] = None,
    token: Annotated[
        str | None, typer.Option("--token", help="Token of callers, at least 16 characters; default: a random one.")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option("--database", help="postgresql://USER@HOST/NAME for a team; default: SQLite in FOLDER."),
    ] = None,
    author: Annotated[
        str | None, typer.Option("--author", help="Name that strokes are kept under; default: your login.")
    ] = None,
    scribbles: Annotated[
        str | None, typer.Option("--scribbles", help="Annotator's folder, where scribblesTr holds several.")
    ] = None,
    links: Annotated[
        list[Path] | None, typer.Option("--links", help="Folder outside FOLDER that links may lead into; repeatable.")
    ] = None,
    suggestions: Annotated[
        Path | None, typer.Option("--suggestions", help="List of medcl suggest to go through: its file or folder.")
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the browser.")] = False,
) -> None:
    """Open the annotation page: draw, train while you look, correct, and see where to draw next.

    Prints an address with a token and opens it. What you draw lies in scribblesTr, ready for medcl train.
    Ctrl-C ends the server; nothing is lost.

    Example: medcl annotate hearts
    """
    from medcl.annotate import create_app  # says which extra is missing
    from medcl.annotate.server import listen
    from medcl.queries.listing import read_list

    home = str(folder)
    places = None if suggestions is None else read_list(suggestions)
    names = [*(name or []), *_own_names(host)]
    app = create_app(
        home,
        database=database,
        token=token,
        author=_login() if author is None else author,
        hosts=names,
        links=links or [],
        scribbles=scribbles,
    )
    if places is not None:
        _load(app, places)
    listening = listen(host, port)
    number = listening.getsockname()[1]
    address = f"http://{_shown(host)}:{number}/?token={app.state.token}"
    typer.echo(f"medcl annotate {home}\n\n  {address}\n\nCtrl-C ends it; no stroke is lost.")
    if not _is_loopback(host):
        typer.secho(
            f"Warning: with --host {host} everybody in the network who has this address can see and change the data, "
            "and it is sent unencrypted. An ssh tunnel, or a proxy with TLS in front, is safer; see docs/annotate.md.",
            fg=typer.colors.YELLOW,
            err=True,
        )
    _serve(app, listening, None if no_browser else address)


def _load(app: Any, places: PlaceList) -> None:
    """Keep a list with the project."""
    from medcl.annotate.problems import Refused
    from medcl.annotate.suggested import keep
    from medcl.errors import DataError

    context = app.state.context
    if context.needs_setup:
        raise DataError(
            f"{context.folder}: a list of places needs a data set, found no dataset.json; medcl init first."
        )
    try:
        keep(context, places)
    except Refused as refusal:
        raise DataError(refusal.message) from None


def _serve(app: Any, listening: socket.socket, open_address: str | None) -> None:
    """Answer calls until Ctrl-C."""
    import webbrowser

    from medcl.annotate.server import run

    try:
        run(app, listening, None if open_address is None else lambda: webbrowser.open(open_address))
    except KeyboardInterrupt:  # the server has ended in order and passes the signal on
        _say_what_goes_on(app)
        raise typer.Exit(0) from None


def _say_what_goes_on(app: Any) -> None:
    """Jobs outlive the server: whoever ends it should know."""
    from medcl.annotate.jobs import queue
    from medcl.annotate.jobs.processes import worker_runs
    from medcl.errors import counted

    context = app.state.context
    if context.needs_setup or not worker_runs(context):
        return
    kinds = [job.kind for job in queue.jobs(context) if job.state in ("queued", "running")]
    context.close()
    if kinds:
        typer.echo(
            f"{counted(len(kinds), 'job')} ({', '.join(kinds)}) will go on without the server; start it again to see "
            "what becomes of it, or to cancel it."
        )


def _is_loopback(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _own_names(host: str) -> list[str]:
    """Names under which others reach this machine; none on loopback."""
    if _is_loopback(host):
        return []
    import socket

    return [host, socket.gethostname(), socket.getfqdn()]


def _shown(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # all addresses: named by the machine's name
        import socket

        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _login() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
