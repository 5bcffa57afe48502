"""Sending files of the cache: known versions are not sent again, parts on demand, packed only over a network."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path

from fastapi import Request
from fastapi.responses import FileResponse, Response

from medcl.annotate.context import Context
from medcl.annotate.volumes import zipped

NIFTI = "application/octet-stream"
"""Media type of .nii: NIfTI has none that is registered."""


class _File(FileResponse):
    chunk_size = 1 << 20  # 64 KiB, Starlette's, takes a 100 MB scan through 1600 turns of the event loop


def send_file(
    context: Context, request: Request, tag: str, make: Callable[[], Path], media_type: str, *, gzip: bool = True
) -> Response:
    """Answer with a file, or 304 where the caller has it.

    Args:
        context: Where the cache is.
        request: `If-None-Match`, `Range`, `If-Range` and `Accept-Encoding` of it count.
        tag: Changes with the content.
        make: Makes the file, if it is not there, and returns its path.
        media_type: Of the file.
        gzip: Whether packing is worth it.
    """
    packed = gzip and _wants_gzip(request)
    etag = f'"{tag}{"-gz" if packed else ""}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding"}
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    if etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    path = make()
    if packed:
        path = zipped(context, path)
        headers["Content-Encoding"] = "gzip"
    return _File(path, media_type=media_type, headers=headers)


def _wants_gzip(request: Request) -> bool:
    """Whether packing helps: not on the same machine, and not for a part of a file."""
    if "range" in request.headers or "gzip" not in request.headers.get("accept-encoding", ""):
        return False
    try:
        return not ipaddress.ip_address(request.client.host if request.client else "").is_loopback
    except ValueError:
        return False
