"""Who may call: token, cookie, same page only, known host names, limited bodies, headers that make browsers strict.

Written as ASGI middleware, so that streams pass through it untouched. Guards against: other programs and pages in the
same browser (token, SameSite cookie, own header and Origin: OWASP 'Cross-Site Request Forgery Prevention'), names that
attackers point at this machine (Host check against DNS rebinding), and injected scripts (content security policy).
"""

from __future__ import annotations

import ipaddress
import json
import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "medcl"
LOOPBACK = ("localhost", "127.0.0.1", "::1")

POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; "
    "connect-src 'self' blob: data:; img-src 'self' data: blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Content security policy of the page; an answer with one of its own keeps it."""

BODY_BYTES = 16 << 20
"""Largest body of a request."""

LARGE_BODIES: dict[str, int] = {"/monai/": 2 << 30}
"""Paths that start so take larger bodies."""

OPEN = (("GET", "/monai/auth/"), ("POST", "/monai/auth/token"))
"""Calls without a token: MONAI Label's clients ask here whether they need one, and bring it as a password."""

_UNCHANGING = ("GET", "HEAD", "OPTIONS")
_LOCKED = """<!doctype html><html lang="en"><meta charset="utf-8"><title>medcl annotate</title>
<h1>This page needs its key</h1>
<p>Open the whole address that <code>medcl annotate</code> printed; it ends in <code>?token=...</code></p>
"""


class Guard:
    """Lets calls through that may be answered, and adds headers to every answer.

    Args:
        app: What is guarded.
        token: What callers must know.
        hosts: Names besides loopback and IP addresses under which this server is reached.
    """

    def __init__(self, app: ASGIApp, *, token: str, hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = {name.lower() for name in (*LOOPBACK, *hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or pass on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no websockets here
        send = _with_headers(scope, send)
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._known(host):
            await _refuse(send, 421, "unknown host name; open the address that medcl annotate printed.")
            return
        if scope["method"] == "GET" and scope["path"] == "/" and b"token=" in scope["query_string"]:
            await self._enter(scope, send, host)
            return
        if (scope["method"], scope["path"]) in OPEN:
            await self._limited(scope, receive, send, headers, 1 << 14)
            return
        by_cookie = self._is_token(_cookie(headers, cookie_name(host)))
        if not by_cookie and not self._is_token(_bearer(headers)):
            await self._lock(scope, send)
            return
        if by_cookie and scope["method"] not in _UNCHANGING:
            if headers.get("x-medcl") != "1":
                await _refuse(send, 403, "calls that change something need the header X-Medcl: 1.")
                return
            if (origin := headers.get("origin")) and urlsplit(origin).netloc.lower() != host.lower():
                await _refuse(send, 403, "this call comes from another page; it is refused.")
                return
        limit = next((size for start, size in LARGE_BODIES.items() if scope["path"].startswith(start)), BODY_BYTES)
        await self._limited(scope, receive, send, headers, limit)

    def _known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._hosts:
            return True
        try:  # a page of an attacker has a name; an address cannot be pointed elsewhere
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _is_token(self, given: str) -> bool:
        return bool(given) and secrets.compare_digest(given.encode("utf-8", "replace"), self._token)

    async def _enter(self, scope: Scope, send: Send, host: str) -> None:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if not self._is_token(given):
            await self._lock(scope, send)
            return
        flags = "HttpOnly; SameSite=Strict; Path=/" + ("; Secure" if scope.get("scheme") == "https" else "")
        cookie = f"{cookie_name(host)}={self._token.decode()}; {flags}"
        await _answer(send, 303, b"", [(b"location", b"/"), (b"set-cookie", cookie.encode("latin-1"))])

    async def _lock(self, scope: Scope, send: Send) -> None:
        if scope["path"] == "/":
            await _answer(send, 401, _LOCKED.encode(), [(b"content-type", b"text/html; charset=utf-8")])
        else:
            await _refuse(send, 401, "no token, or not the one that medcl annotate printed; send it as a Bearer.")

    async def _limited(self, scope: Scope, receive: Receive, send: Send, headers: Headers, limit: int) -> None:
        message = f"expected a body of at most {limit} bytes; send less at a time."
        length = headers.get("content-length", "")
        if length and (not length.isdigit() or int(length) > limit):
            await _refuse(send, 413, message)
            return
        received, started, refused = 0, False, False

        async def counted() -> Message:
            nonlocal received, refused
            part = await receive()
            received += len(part.get("body", b""))
            if received > limit:
                refused = True
                return {"type": "http.disconnect"}
            return part

        async def watched(part: Message) -> None:
            nonlocal started
            if refused and not started:
                return
            started = True
            await send(part)

        try:
            await self._app(scope, counted, watched)
        except Exception:
            if not refused:
                raise
        if refused and not started:
            await _refuse(send, 413, message)


def cookie_name(host: str) -> str:
    """Return the name of the cookie: browsers share cookies between the ports of a host, servers must not."""
    try:
        port = urlsplit(f"//{host}").port
    except ValueError:
        port = None
    return f"{COOKIE}-{port or 80}"


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


def _bearer(headers: Headers) -> str:
    kind, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else ""


def _with_headers(scope: Scope, send: Send) -> Send:
    async def sending(part: Message) -> None:
        if part["type"] == "http.response.start":
            headers = MutableHeaders(scope=part)
            headers.setdefault("Content-Security-Policy", POLICY)
            headers.setdefault("Cache-Control", "no-store")
            headers["X-Content-Type-Options"] = "nosniff"
            headers["Referrer-Policy"] = "no-referrer"
            headers["X-Frame-Options"] = "DENY"
            headers["Cross-Origin-Opener-Policy"] = "same-origin"
            headers["Cross-Origin-Resource-Policy"] = "same-origin"
        await send(part)

    return sending


async def _refuse(send: Send, status: int, message: str) -> None:
    body: dict[str, Any] = {"message": message, "details": None}
    await _answer(send, status, json.dumps(body).encode(), [(b"content-type", b"application/json")])


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
