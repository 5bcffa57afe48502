"""Listening and answering: for the command line until Ctrl-C, and for scripts as long as a block lasts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from medcl.annotate.app import create_app
from medcl.annotate.client import Client
from medcl.errors import MedclError

PORT = 8765
"""Where the page is, unless that is taken."""

_GRACE_SECONDS = 5

_IDLE_SECONDS = 75
"""A connection is kept open so long without a call. Callers have to give up first (httpx does after 5 s; browsers send
again): where both close at the same moment, uvicorn's default being 5 s too, a stroke is sent into a closed one."""


class _Server(uvicorn.Server):
    """Ends open event streams when it is asked to end; they would keep it running."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._close_streams()
        super().handle_exit(sig, frame)

    def end(self) -> None:
        """Ask it to end, from another thread."""
        self._close_streams()
        self.should_exit = True

    def _close_streams(self) -> None:
        app: Any = self.config.app
        app.state.closing.set()


def listen(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens: callers who come before the server is ready wait.

    Args:
        host: Address or name of this machine.
        port: None: `PORT`, or a free one if that is taken.

    Raises:
        MedclError: The port is taken, or the host is not this machine.
    """
    reason = ""
    for wanted in (port,) if port is not None else (PORT, 0):
        try:
            family = socket.getaddrinfo(host, wanted, type=socket.SOCK_STREAM)[0][0]
            listening = socket.socket(family, socket.SOCK_STREAM)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, wanted))
            listening.listen(2048)
            return listening
        except OSError as error:
            reason = error.strerror or str(error)
    raise MedclError(f"cannot listen on {host}, port {port or PORT} ({reason}); choose another --port or --host.")


def run(app: FastAPI, listening: socket.socket, ready: Callable[[], Any] | None = None) -> None:
    """Answer calls until Ctrl-C or a signal to end; `ready` is called once it can."""
    if ready is not None:
        app.state.on_start.append(ready)
    _server(app).run(sockets=[listening])


@contextmanager
def serve(folder: str | Path, *, author: str = "", **settings: Any) -> Iterator[Client]:
    """Run the server for a folder in the background and give a client of it, for scripts and notebooks.

    Args:
        folder: As `create_app` takes it.
        author: Name that strokes are kept under.
        settings: More of `create_app`.

    Yields:
        A client; the server listens on loopback, on a free port, until the block ends.
    """
    app = create_app(folder, author=author, **settings)
    listening = listen("127.0.0.1", 0)
    server = _server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="medcl-annotate", daemon=True)
    thread.start()
    try:
        with Client(f"http://127.0.0.1:{listening.getsockname()[1]}/?token={app.state.token}", author=author) as client:
            yield client
    finally:
        server.end()
        thread.join(timeout=60)


def _server(app: FastAPI) -> _Server:
    # No access log: it would hold the token of the first address. No websockets here.
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_keep_alive=_IDLE_SECONDS,
        ws="none",
    )
    return _Server(config)
