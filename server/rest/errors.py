"""What a request is refused with, as OpenAI says it."""

from typing import Any

from aiohttp import web

from earshot_asr.server.dialects.openai_terms import Mistake

INVALID, SERVER = "invalid_request_error", "server_error"


class ApiError(Exception):
    """A request that is not answered as it wished. `code` and `param` as OpenAI has them.

    retry_seconds    after how long it may come again
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = INVALID,
        code: str | None = None,
        param: str | None = None,
        retry_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.code, self.param = status, kind, code, param
        self.retry_seconds = retry_seconds

    @classmethod
    def of(cls, mistake: Mistake) -> "ApiError":
        """For what the client has asked for."""
        return cls(400, str(mistake), code=mistake.code, param=mistake.param)

    @property
    def body(self) -> dict[str, Any]:
        """What the client is told."""
        return {"error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}}

    @property
    def response(self) -> web.Response:
        """The answer to the request."""
        headers = {} if self.retry_seconds is None else {"Retry-After": str(self.retry_seconds)}
        if self.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="earshot"'
        return web.json_response(self.body, status=self.status, headers=headers)
