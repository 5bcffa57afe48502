"""What happens, as it happens: server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import func, select
from starlette.concurrency import run_in_threadpool

from medcl.annotate.context import Context, Here
from medcl.annotate.schemas import Event
from medcl.annotate.state.tables import EventRow

router = APIRouter(prefix="/api", tags=["events"])

LOOK_SECONDS = 0.4
"""How often the table is looked at: the worker, another process, writes there too."""

_SIGN_SECONDS = 15.0
_MOST_AT_ONCE = 500


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "`Event` as JSON in `data`, its id in `id`."}
    },
)
def follow_events(
    context: Here,
    request: Request,
    after: Annotated[
        int | None, Query(ge=0, lt=2**63, description="Number of the last event known; none: only what is new.")
    ] = None,
) -> StreamingResponse:
    """Events after one that the caller knows. A `Last-Event-ID` header, as browsers send it again, goes first."""
    last = request.headers.get("last-event-id", "")
    start = min(int(last), 2**63 - 1) if last.isascii() and last.isdigit() else after
    if start is None:
        with context.database.session(write=False) as session:
            start = session.scalar(select(func.max(EventRow.id))) or 0
    return StreamingResponse(_stream(context, request, start), media_type="text/event-stream")


async def _stream(context: Context, request: Request, last: int) -> AsyncIterator[str]:
    yield "retry: 1000\n\n"
    signed = time.monotonic()
    closing = request.app.state.closing
    while not closing.is_set() and not await request.is_disconnected():
        for event in await run_in_threadpool(_newer, context, last):
            last = event.id
            signed = time.monotonic()
            yield f"id: {event.id}\ndata: {event.model_dump_json()}\n\n"
        if time.monotonic() - signed > _SIGN_SECONDS:
            signed = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(LOOK_SECONDS)


def _newer(context: Context, last: int) -> list[Event]:
    with context.database.session(write=False) as session:
        rows = session.scalars(select(EventRow).where(EventRow.id > last).order_by(EventRow.id).limit(_MOST_AT_ONCE))
        return [Event.model_validate(row, from_attributes=True) for row in rows]
