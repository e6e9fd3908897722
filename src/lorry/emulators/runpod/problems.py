"""Errors as RunPod's REST v2 tells them: `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from starlette.responses import JSONResponse, Response

NO_CAPACITY = (
    "There are no longer any instances available with the requested specifications. Please refresh and try again."
)


class Problem(Exception):  # noqa: N818 - what the RFC calls it
    """A request that is answered with an error."""

    def __init__(
        self, status: int, detail: str, *, errors: Sequence[str] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors, self.headers = status, detail, list(errors), dict(headers or {})

    def response(self) -> Response:
        """The answer."""
        body = {"title": HTTPStatus(self.status).phrase, "status": self.status, "detail": self.detail}
        if self.status == 422:
            body["title"] = "Unprocessable Entity"  # Python calls it otherwise since 3.13
        content = {**body, "errors": self.errors} if self.errors else body
        return JSONResponse(content, self.status, self.headers, media_type="application/problem+json")


def not_found(what: str = "resource") -> Problem:
    """There is no such thing, or it is somebody else's."""
    return Problem(404, f"{what} not found")
