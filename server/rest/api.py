"""The requests of OpenAI's REST API that are answered here: transcriptions, and which model there is."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec
from aiohttp import web

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm
from earshot_asr.engine.casing import Casing
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.errors import AudioError, EarshotError
from earshot_asr.engine.events import Final
from earshot_asr.engine.model import ModelInfo
from earshot_asr.engine.sources.recording import Recording
from earshot_asr.server.accounts import Accounts
from earshot_asr.server.capacity import Full
from earshot_asr.server.dialects.openai_terms import Mistake
from earshot_asr.server.engine_loop import EngineLoop
from earshot_asr.server.gate import Gate
from earshot_asr.server.handshake import Handshake
from earshot_asr.server.http import NO_TOKEN, WRONG_TOKEN, Routes
from earshot_asr.server.logs import FieldLogger
from earshot_asr.server.refusals import Refused
from earshot_asr.server.rest import answers, asked, job, upload
from earshot_asr.server.rest.errors import SERVER, ApiError
from earshot_asr.server.rest.visitor import RestVisitor
from earshot_asr.server.settings import ServerConfig

TRANSCRIPTIONS = "/v1/audio/transcriptions"
MOST_WAITING = 64
"""So many recordings may wait for their turn."""
PATIENCE_SECONDS = 60.0
"""So long a recording waits for a place among the streams."""
RETRY_SECONDS = 10
LONGEST_SECONDS = 24 * 3600
"""Of a recording, where --longest-seconds says nothing: a small file may hold any amount of silence."""
_encoder = msgspec.json.Encoder()

log = FieldLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """All routes of the port.

    engine_loop    None while the model is loaded
    too_many       whether an address has more connections than it may have
    checks         the health checks
    """

    def __init__(
        self,
        config: ServerConfig,
        accounts: Accounts,
        engine_loop: Callable[[], EngineLoop | None],
        is_ready: Callable[[], bool],
        too_many: Callable[[str], bool],
        checks: Routes,
    ) -> None:
        self._config, self._accounts, self._checks = config, accounts, checks
        self._engine_loop, self._is_ready, self._too_many = engine_loop, is_ready, too_many
        self._gate = Gate(config.host, config.allow_host, config.origin)
        self._turns = asyncio.Semaphore(os.cpu_count() or 1)
        self._waiting = 0
        self.busy = 0
        """How many requests are being answered."""

    @property
    def application(self) -> web.Application:
        """What aiohttp serves."""
        app = web.Application(middlewares=[self._guard])
        app.on_response_prepare.append(_without_server)
        app.router.add_post(TRANSCRIPTIONS, self._transcribe)
        app.router.add_post("/v1/audio/translations", self._translate)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/v1/models/{id:.+}", self._model)
        return app

    # ---- every request

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Lets a request in, and says in OpenAI's way what is wrong with it."""
        if (check := self._checks.get(request.path)) and request.method in ("GET", "HEAD"):
            page = check()
            return web.Response(text=str(page.body), status=page.status)
        began, self.busy = time.monotonic(), self.busy + 1
        response: web.StreamResponse | None = None
        try:
            self._admit(request)
            response = await handler(request)
        except ApiError as e:
            response = e.response
        except Mistake as e:
            response = ApiError.of(e).response
        except web.HTTPException as e:
            sentence = f"{request.method[:20]} {request.path[:100]} is not here; recordings go to POST {TRANSCRIPTIONS}"
            response = ApiError(e.status, sentence, code="unknown_url").response
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as e:
            log.error("internal error", e, address=_visitor(request).address)
            response = ApiError(500, "something broke in the server; its log says what", kind=SERVER).response
        finally:
            self.busy -= 1
            log.info(
                "answered",
                address=_visitor(request).address,
                account=_visitor(request).account_name,
                path=request.path[:100],
                status=response.status if response else "gone",
                seconds=round(time.monotonic() - began, 3),
            )
        return response

    def _admit(self, request: web.Request) -> None:
        """Raises ApiError."""
        visitor = _visitor(request)
        forwarded = request.headers.getall("X-Forwarded-For", [])
        if not visitor.request_came(forwarded) or self._too_many(visitor.address):
            raise ApiError(429, f"{visitor.address} has too many connections", code="too_many_connections")
        named, origins = (request.headers.getall(name, []) for name in ("Host", "Origin"))
        local = request.transport.get_extra_info("sockname") if request.transport else None
        if why := self._gate.refusal(named, origins, str(local[0]) if local else ""):
            raise ApiError(403, why, code="forbidden")
        token = Handshake.of(request.path_qs, request.headers.items()).authorization
        if (account := self._accounts.find(token)) is None:
            raise ApiError(401, WRONG_TOKEN if token else NO_TOKEN, code="invalid_api_key")
        visitor.account = account
        if not self._is_ready():
            raise ApiError(503, "not ready, try again in a while", kind=SERVER, retry_seconds=RETRY_SECONDS)

    @property
    def _loop(self) -> EngineLoop:
        loop = self._engine_loop()
        assert loop
        return loop

    @property
    def _info(self) -> ModelInfo:
        return self._loop.recognizer.runner.info

    # ---- models

    async def _models(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"object": "list", "data": [self._described]})

    async def _model(self, request: web.Request) -> web.StreamResponse:
        if (name := request.match_info["id"]) != self._info.name:
            sentence = f"there is no model {name[:100]!r} here; the one that answers to any name is {self._info.name!r}"
            raise ApiError(404, sentence, code="model_not_found", param="model")
        return web.json_response(self._described)

    @property
    def _described(self) -> dict[str, Any]:
        return {"id": self._info.name, "object": "model", "created": 0, "owned_by": "earshot"}

    # ---- recordings

    async def _translate(self, request: web.Request) -> web.StreamResponse:
        raise ApiError(
            400, f"this server does not translate; it transcribes: POST {TRANSCRIPTIONS}", code="unsupported"
        )

    async def _transcribe(self, request: web.Request) -> web.StreamResponse:
        limits, account = self._config.limits, _visitor(request).account
        form = await upload.receive(request, limits.upload_bytes, limits.handshake_seconds)
        try:
            wanted = asked.read(form.fields, self._info, self._config.latency)
            assert form.file and account
            async with self._turn(), Recording(form.file) as decoder:
                spoken = await self._speaking(wanted.config.language)
                config = replace(wanted.config, language=spoken.language if wanted.config.language else None)
                recording = _Heard(decoder, limits.longest_seconds or LONGEST_SECONDS)
                self._accounts.enter(account)
                try:
                    async with aclosing(self._finals(config, recording)) as finals:
                        return await _Answer(request, wanted, recording, spoken).give(finals)
                finally:
                    self._accounts.leave(account)
                    self._loop.metrics.audio.inc(recording.seconds)
        except AudioError as e:
            raise ApiError(400, f"the recording can't be decoded: {e}", code="invalid_audio", param="file") from None
        except Full as e:
            raise ApiError(503, str(e), kind=SERVER, code="full", retry_seconds=RETRY_SECONDS) from None
        except Refused as e:
            raise ApiError(429, str(e), code=e.code, retry_seconds=RETRY_SECONDS) from None
        finally:
            form.close()

    def _finals(self, config: StreamConfig, recording: "_Heard") -> AsyncGenerator[Final, None]:
        return job.finals(
            self._loop,
            config,
            recording.audio(),
            live=StreamConfig.preset(self._config.latency),
            backlog=self._config.limits.backlog_seconds,
            patience=PATIENCE_SECONDS,
        )

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Waits for its turn among the recordings. Raises Full."""
        if self._waiting >= MOST_WAITING:
            raise Full(f"{MOST_WAITING} recordings wait already; try again later")
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turns.release()

    async def _speaking(self, language: str | None) -> ModelInfo:
        if language is None:
            return self._info
        try:
            return await asyncio.shield(self._loop.speaking(language))  # others may wait for it, too
        except EarshotError as e:
            sentence = f"the language can't be loaded: {e}"
            raise ApiError(503, sentence, kind=SERVER, code="language_unavailable", param="language") from None


class _Heard:
    """The audio of a recording, and how much of it has come."""

    def __init__(self, decoder: Recording, longest_seconds: float) -> None:
        self._decoder = decoder
        self._longest_samples = longest_seconds * SAMPLE_RATE
        self._samples = 0

    @property
    def seconds(self) -> float:
        """How long it is, as far as it is known."""
        return round(self._samples / SAMPLE_RATE, 3)

    @property
    def warnings(self) -> list[str]:
        """What a listener should know of it. Known at its end."""
        return [*self._decoder.notes, *filter(None, [self._decoder.damage])]

    async def audio(self) -> AsyncIterator[Pcm]:
        """Raises AudioError where it is too long."""
        async for pcm in self._decoder:
            self._samples += len(pcm)
            if self._samples > self._longest_samples:
                raise AudioError(
                    f"it is longer than {self._longest_samples / SAMPLE_RATE:,.0f} s, the most there may be"
                )
            yield pcm


class _Answer:
    """The answer to one request, at once or in pieces."""

    def __init__(self, request: web.Request, wanted: asked.Asked, recording: _Heard, spoken: ModelInfo) -> None:
        self._request, self._wanted = request, wanted
        self._recording, self._spoken = recording, spoken
        self._finals: list[Final] = []

    async def give(self, finals: AsyncIterator[Final]) -> web.StreamResponse:
        """Waits for the text, and answers. Raises what goes wrong before the first piece is sent."""
        if self._wanted.stream:
            return await self._stream(finals)
        self._finals = [final async for final in finals]
        duration, language = self._recording.seconds, self._spoken.language
        match self._wanted.format:
            case "json":
                body = answers.short(self._finals, duration, logprobs=self._wanted.logprobs)
            case "verbose_json":
                wanted = {"words": self._wanted.words, "segments": self._wanted.segments}
                body = answers.verbose(self._finals, duration, language, **wanted)
            case format:
                names = [each.text for each in self._wanted.config.decode.hotwords]
                return web.Response(text=answers.plain(format, self._finals, duration, Casing(language, names)))
        return web.json_response(body | self._warnings)

    @property
    def _warnings(self) -> dict[str, Any]:
        return {"warnings": self._recording.warnings} if self._recording.warnings else {}

    async def _stream(self, finals: AsyncIterator[Final]) -> web.StreamResponse:
        """Server-sent events: a delta for each utterance, then all of it."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        try:
            async for final in finals:
                self._finals.append(final)
                if not response.prepared:
                    await response.prepare(self._request)
                text, logprobs = answers.delta(self._finals, len(self._finals) - 1)
                more = {"logprobs": logprobs} if self._wanted.logprobs else {}
                await _send(response, "transcript.text.delta", delta=text, **more)
            if not response.prepared:
                await response.prepare(self._request)
            whole = answers.short(self._finals, self._recording.seconds, logprobs=self._wanted.logprobs)
            await _send(response, "transcript.text.done", **whole, **self._warnings)
        except (AudioError, RuntimeError) as e:
            if not response.prepared:
                raise
            sentence = str(e) if isinstance(e, AudioError) else "something broke in the server"
            await _send(response, "error", **ApiError(500, sentence, kind=SERVER).body)
        await response.write_eof()
        return response


async def _send(response: web.StreamResponse, kind: str, **fields: Any) -> None:
    data = _encoder.encode({"type": kind, **fields})
    await response.write(b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n")


async def _without_server(request: web.Request, response: web.StreamResponse) -> None:
    """Which versions of what run here is nobody's business."""
    response.headers.popall("Server", None)


def _visitor(request: web.Request) -> RestVisitor:
    assert isinstance(request.protocol, RestVisitor)
    return request.protocol
