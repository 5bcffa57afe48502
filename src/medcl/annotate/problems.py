"""Refusals: what a handler raises and what the caller reads."""

from __future__ import annotations

from typing import Any


class Refused(Exception):  # noqa: N818  # an answer, not an error of ours
    """A call that cannot be done; answered with `status` and a `Problem` body.

    Args:
        status: HTTP status, 4xx.
        message: One sentence: expected, got, do this.
        details: Anything JSON that helps a program.
        body: A whole body in place of `Problem`, such as a `Conflict` as JSON.
    """

    def __init__(self, status: int, message: str, details: Any = None, *, body: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.details = details
        self.body = body if body is not None else {"message": message, "details": details}
