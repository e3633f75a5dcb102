"""OpenAI's Realtime API, for transcription: `/v1/realtime?intent=transcription`. JSON alone; audio is in base64.

The stream is opened by the first audio, with the settings that the session has by then. An *item* is what was said
between two turns: with turn detection an utterance, without it all that was said until a commit. The text of an item
grows by deltas while somebody speaks, and `completed` repeats all of it, to the letter.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec
from msgspec import Struct

from earshot_asr.engine.audio import SAMPLE_RATE, seconds
from earshot_asr.engine.events import Final, Partial, Word
from earshot_asr.engine.scripts import join
from earshot_asr.server.conversation import WAITING, Conversation
from earshot_asr.server.dialects.dialect import Dialect
from earshot_asr.server.dialects.openai_session import Settings, Wish
from earshot_asr.server.dialects.openai_terms import Mistake, logprob, tokens_of
from earshot_asr.server.handshake import Handshake
from earshot_asr.server.notices import FlushAnswered, Notice, Progress, Refusal
from earshot_asr.server.refusals import CLOSE_CODES, Refused

SUBPROTOCOL = "realtime"
KEY_SUBPROTOCOL = "openai-insecure-api-key."
MOST_AUDIO_BYTES = 15 * 1024 * 1024
LEAST_COMMIT_MS = 100
BETA = "openai-beta"
"""The header by which clients of the beta say so; browsers have a sub-protocol for it that begins with it, too."""
_TRANSCRIPTION = "conversation.item.input_audio_transcription"

# ---- what a client sends


class Append(Struct, tag_field="type", tag="input_audio_buffer.append", frozen=True):
    """More audio; msgspec reads bytes from base64."""

    audio: bytes
    event_id: str | None = None


class Commit(Struct, tag_field="type", tag="input_audio_buffer.commit", frozen=True):
    """The item ends here."""

    event_id: str | None = None


class Clear(Struct, tag_field="type", tag="input_audio_buffer.clear", frozen=True):
    """The audio of the open item is not wanted."""

    event_id: str | None = None


class Update(Struct, tag_field="type", tag="session.update", frozen=True):
    """Other settings."""

    session: Wish
    event_id: str | None = None


class BetaUpdate(Struct, tag_field="type", tag="transcription_session.update", frozen=True):
    """Other settings, as the beta asks for them."""

    session: Wish
    event_id: str | None = None


class Named(Struct, frozen=True):
    """What can be known of a message that is none of the others."""

    type: str | None = None
    event_id: str | None = None
    model: str | None = None


_messages = msgspec.json.Decoder(Append | Commit | Clear | Update | BetaUpdate)
_named = msgspec.json.Decoder(Named)
_encoder = msgspec.json.Encoder()
Message: TypeAlias = Append | Commit | Clear | Update | BetaUpdate


@dataclass(slots=True)
class Item:
    """What is being said. `told`: its text so far; `of_segment`: characters of its last segment that are in that."""

    name: str
    start: int
    segment: int = -1
    told: str = ""
    of_segment: int = 0
    started: bool = False
    logprobs: list[dict[str, Any]] = field(default_factory=list)


class Realtime(Dialect):
    """The session of one client, and the item that is open in it."""

    message_bytes: ClassVar[int | None] = 4 * MOST_AUDIO_BYTES // 3 + 4096
    has_keepalive: ClassVar[bool] = False

    def __init__(self, conversation: Conversation, handshake: Handshake) -> None:
        super().__init__(conversation, handshake)
        self._settings = Settings()
        self._beta = BETA in handshake.headers or any(each.startswith(BETA) for each in handshake.subprotocols)
        self._numbers = itertools.count(1)
        self._item: Item | None = None
        self._previous: str | None = None  # the name of the item before it
        self._end = 0  # the sample at which that ended
        self._asked: deque[Literal["commit", "clear"]] = deque()  # what the engine has not answered yet
        self._buffered_ms = 0.0  # audio since the last commit, or the last turn that the engine has found

    # ---- the handshake

    @classmethod
    def credential(cls, handshake: Handshake) -> str | None:
        """See Dialect. Browsers can't set headers: they offer the key as a sub-protocol."""
        offered = (each for each in handshake.subprotocols if each.startswith(KEY_SUBPROTOCOL))
        return handshake.authorization or next((each.removeprefix(KEY_SUBPROTOCOL) for each in offered), None)

    @classmethod
    def subprotocol(cls, handshake: Handshake) -> str | None:
        """See Dialect."""
        return SUBPROTOCOL if SUBPROTOCOL in handshake.subprotocols else None

    def on_handshake(self) -> None:
        """Greets. No stream yet: its settings may come first."""
        self._tell_session("created")

    # ---- messages of the client

    def on_text(self, text: str) -> None:
        """See Dialect. A mistake is answered, and the session goes on."""
        event_id = None
        try:
            message = _decode(text)
            event_id = message.event_id
            self._obey(message)
        except Mistake as e:
            self.reply(self._error("invalid_request_error", e.code, str(e), e.param, event_id or _event_id(text)))

    def on_binary(self, data: bytes) -> None:
        """See Dialect."""
        sentence = "binary messages mean nothing here: send audio in base64, as input_audio_buffer.append"
        self.reply(self._error("invalid_request_error", "invalid_message", sentence))

    def _obey(self, message: Message) -> None:
        match message:
            case Append():
                self._append(message.audio)
            case Commit():
                self._commit()
            case Clear():
                self._clear()
            case Update():
                self._update(message.session)
            case BetaUpdate():
                self._beta = True
                self._update(message.session)

    def _append(self, audio: bytes) -> None:
        if len(audio) > MOST_AUDIO_BYTES:
            raise Mistake(f"{len(audio):,} bytes of audio; {MOST_AUDIO_BYTES:,} may be appended at a time", "audio")
        if not self._open:
            self.conversation.open(self._settings.request(self.conversation.latency))
        self.conversation.feed(audio)
        format = self._settings.audio
        self._buffered_ms += len(audio) / format.frame_bytes / format.sample_rate * 1000

    def _commit(self) -> None:
        if self._buffered_ms < LEAST_COMMIT_MS:
            raise Mistake(
                f"nothing to commit: the buffer has {self._buffered_ms:.2f} ms of audio, at least {LEAST_COMMIT_MS} ms "
                "are needed",
                code="input_audio_buffer_commit_empty",
            )
        self._ask("commit")

    def _clear(self) -> None:
        if self._open:
            self._ask("clear")
        else:
            self.reply(self._event("input_audio_buffer.cleared"))

    def _ask(self, what: Literal["commit", "clear"]) -> None:
        self._asked.append(what)
        self._buffered_ms = 0.0
        self.conversation.flush()

    def _update(self, wish: Wish) -> None:
        new = self._settings.updated(wish, self.conversation.info)
        request = new.request(self.conversation.latency)
        if self._open and request != self._settings.request(self.conversation.latency):
            raise Mistake(
                "format, language, keywords and the silence that ends a turn can't be changed once audio was appended; "
                "open another session",
                "session",
                "session_not_updatable",
            )
        self._settings = new
        self._tell_session("updated")

    @property
    def _open(self) -> bool:
        """Whether the stream was opened."""
        return self.conversation.state is not WAITING or self.conversation.awaits_language

    # ---- what the engine says

    def say(self, notice: Notice) -> Iterable[str | bytes]:
        """See Dialect."""
        match notice:
            case Partial():
                if notice.text or self._item:
                    yield from self._hear(notice.segment, notice.text, notice.words or (), notice.stable)
            case Final():
                yield from self._hear(notice.segment, notice.text, notice.words, len(notice.text))
                if self._settings.turns and not notice.flushed:
                    yield from self._end_turn(notice.cut)
            case Progress():  # what seemed to be speech was none
                if self._settings.turns and self._item and not self._asked and notice.cut > self._item.segment:
                    yield from self._end_turn(notice.cut)
            case FlushAnswered():
                yield from self._answer(notice.cut)
            case Refusal():
                kind = "server_error" if CLOSE_CODES[notice.code] >= 1011 else "invalid_request_error"
                yield self._error(kind, notice.code, notice.sentence)

    def _answer(self, cut: int) -> Iterator[str]:
        """What was asked of the engine first is done, or the audio has ended."""
        asked = self._asked.popleft() if self._asked else None
        if asked == "clear":
            self._item, self._end = None, cut
            yield self._event("input_audio_buffer.cleared")
        elif asked == "commit" or self._item:
            yield from self._complete(self._item or self._begin(self._end), cut)

    def _hear(self, segment: int, text: str, words: Sequence[Word], stable: int) -> Iterator[str]:
        """The first `stable` characters of a segment's text will not change."""
        item = self._item or self._begin(segment if self._settings.turns else self._end)
        if segment != item.segment:
            item.segment, item.of_segment = segment, 0
        if self._settings.turns and not item.started:
            item.started = True
            ms = segment * 1000 // SAMPLE_RATE
            yield self._event("input_audio_buffer.speech_started", audio_start_ms=ms, item_id=item.name)
        new = text[item.of_segment : stable]
        unwanted = self._asked and self._asked[0] == "clear" and not self._settings.turns
        if not new or unwanted:
            return
        delta = new if item.of_segment else join([item.told, new])[len(item.told) :]
        tokens = [(token, sure) for token, sure, end in tokens_of(text, words) if item.of_segment < end <= stable]
        if tokens and len(delta) > len(new):  # a space between two utterances
            tokens[0] = (delta[: len(delta) - len(new)] + tokens[0][0], tokens[0][1])
        item.told += delta
        item.of_segment = stable
        more = {}
        if self._settings.logprobs:
            more["logprobs"] = [logprob(*token) for token in tokens]
            item.logprobs += more["logprobs"]
        yield self._event(f"{_TRANSCRIPTION}.delta", item_id=item.name, content_index=0, delta=delta, **more)

    def _end_turn(self, cut: int) -> Iterator[str]:
        """A pause has ended the item."""
        assert self._item
        if self._item.started:
            ms = cut * 1000 // SAMPLE_RATE
            yield self._event("input_audio_buffer.speech_stopped", audio_end_ms=ms, item_id=self._item.name)
        if self.conversation.stream:
            self._buffered_ms = min(self._buffered_ms, (self.conversation.stream.received - cut) * 1000 / SAMPLE_RATE)
        yield from self._complete(self._item, cut)

    def _complete(self, item: Item, cut: int) -> Iterator[str]:
        link = {"previous_item_id": self._previous}
        yield self._event("input_audio_buffer.committed", item_id=item.name, **link)
        content = [{"type": "input_audio", "transcript": None}]
        whole = {"id": item.name, "object": "realtime.item", "type": "message", "status": "completed", "role": "user"}
        for name in ("created",) if self._beta else ("added", "done"):
            yield self._event(f"conversation.item.{name}", item=whole | {"content": content}, **link)
        usage = {"type": "duration", "seconds": max(0.0, seconds(cut - item.start))}
        more = {"logprobs": item.logprobs} if self._settings.logprobs else {}
        yield self._event(
            f"{_TRANSCRIPTION}.completed",
            item_id=item.name,
            content_index=0,
            transcript=item.told,
            usage=usage,
            **more,
        )
        self._item, self._previous, self._end = None, item.name, cut

    def _begin(self, sample: int) -> Item:
        self._item = Item(f"item_{self.conversation.session}_{next(self._numbers)}", sample)
        return self._item

    # ---- events

    def _tell_session(self, what: str) -> None:
        told = self._settings.told_in_beta if self._beta else self._settings.told
        kind = "transcription_session" if self._beta else "session"
        session = told(self.conversation.session, self.conversation.info, self.conversation.latency)
        self.reply(self._event(f"{kind}.{what}", session=session))

    def _error(self, kind: str, code: str, sentence: str, param: str | None = None, event_id: str | None = None) -> str:
        error = {"type": kind, "code": code, "message": sentence, "param": param, "event_id": event_id}
        return self._event("error", error=error)

    def _event(self, kind: str, **fields: Any) -> str:
        name = f"event_{self.conversation.session}_{next(self._numbers)}"
        return _encoder.encode({"type": kind, "event_id": name, **fields}).decode()


def _decode(text: str) -> Message:
    """A message. Raises Mistake for what is none, and Refused for a client that speaks something else."""
    try:
        message: Message = _messages.decode(text)
        return message
    except msgspec.ValidationError as e:
        named = _name(text)
        if named.type == "session.update" and named.model is not None:
            raise Refused(
                "invalid_message",
                "this is how vLLM's realtime endpoint is spoken to, whose audio has another rate; here settings are in "
                '"session", as OpenAI has them',
            ) from None
        sentence, _, path = str(e).partition(" - at `$.")
        if path == "type`":
            sentence = f"{(named.type or '')[:100]!r} is no event of a transcription session"
        raise Mistake(sentence[:300], path.removesuffix("`")[:100] or None) from None
    except (msgspec.DecodeError, UnicodeError) as e:
        raise Mistake(f"not a JSON object: {e}", code="invalid_json") from None
    except RecursionError:
        raise Mistake("not a JSON object: too deeply nested", code="invalid_json") from None


def _name(text: str) -> Named:
    """What can be known of a message, whatever it is."""
    try:
        return _named.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return Named()


def _event_id(text: str) -> str | None:
    return _name(text).event_id
