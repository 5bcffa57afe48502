"""`medcl annotate`: parse, start the server, say where it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import socket

_PORT = 8765


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
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the browser.")] = False,
) -> None:
    """Open the annotation page: draw, train while you look, correct, and see where to draw next.

    Prints an address with a token and opens it. What you draw lies in scribblesTr, ready for medcl train.
    Ctrl-C ends the server; nothing is lost.

    Example: medcl annotate hearts
    """
    from medcl.annotate import create_app  # says which extra is missing

    home = str(folder)
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
    listening = _listen(host, port)
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


def _serve(app: Any, listening: socket.socket, open_address: str | None) -> None:
    """Answer calls until Ctrl-C."""
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            app.state.closing.set()  # else open event streams would keep it from ending
            super().handle_exit(sig, frame)

    # No access log: it would hold the token of the first address.
    config = uvicorn.Config(
        app, access_log=False, log_level="warning", server_header=False, timeout_graceful_shutdown=5, ws="none"
    )
    if open_address is not None:
        import webbrowser

        app.state.on_start.append(lambda: webbrowser.open(open_address))
    try:
        Server(config).run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn has ended in order and passes the signal on
        raise typer.Exit(0) from None


def _listen(host: str, port: int | None) -> socket.socket:
    import socket

    from medcl.errors import MedclError

    reason = ""
    for wanted in (port,) if port is not None else (_PORT, 0):
        try:
            family = socket.getaddrinfo(host, wanted, type=socket.SOCK_STREAM)[0][0]
            listening = socket.socket(family, socket.SOCK_STREAM)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, wanted))
            listening.listen(2048)  # who is quicker than the start of the server waits
            return listening
        except OSError as error:
            reason = error.strerror or str(error)
    raise MedclError(f"cannot listen on {host}, port {port or _PORT} ({reason}); choose another --port or --host.")


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
