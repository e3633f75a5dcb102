"""The protocol of WhisperLive: options first, then audio; each change of the text is told with the segments before it.

What its client makes of that decides what is said here. It keeps what it was told of a segment that is open, and writes
that into its captions unless it was the text of the last one that is complete: so a final is told as open, too, before.
It asks for no end before it writes them: so what is being said is made final when the audio has stopped.
"""

import json
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np
from msgspec import Meta, Struct

from earshot_asr.engine.casing import Casing
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.decoder import DecodeConfig, Hotword
from earshot_asr.engine.events import Final, Partial, Word
from earshot_asr.engine.sources import Encoding, RawFormat
from earshot_asr.server.admission import StreamRequest
from earshot_asr.server.conversation import STREAMING, TICK_SECONDS, WAITING, Conversation
from earshot_asr.server.dialects.dialect import Dialect, as_reason
from earshot_asr.server.handshake import Handshake
from earshot_asr.server.notices import Admitted, Notice, Refusal, Remark
from earshot_asr.server.refusals import Refused

BACKEND = "faster_whisper"
"""Of no other backend does the client keep what it is told."""
END = b"END_OF_AUDIO"
STOPPED_TICKS = 3 // TICK_SECONDS
"""Audio that has not come for so long, three seconds, has stopped."""
FULL = ("full", "too_many_connections", "too_many_streams")
WAIT_MINUTES = 1.0
GOODBYES = ("shutting_down", "stream_too_long")
ENCODINGS: Mapping[str, Encoding] = {"float32": "pcm_f32le", "int16": "pcm_s16le", "uint8": "pcm_s16le"}
UNHEEDED = {
    "enable_translation": "text is not translated here",
    "enable_diarization": "speakers are not told apart here",
    "initial_prompt": "initial_prompt is not heeded here; hotwords are",
    "vad_parameters": "vad_parameters are not heeded here",
}
"""Option -> the warning to a client that wants it. Those of how Whisper is run (model, use_vad, no_speech_thresh,
clip_audio, same_output_threshold) mean nothing here."""


class Options(Struct, frozen=True):
    """The first message. Fields that are not known are ignored."""

    uid: Annotated[str, Meta(max_length=200)]
    language: Annotated[str, Meta(max_length=100)] | None = None
    task: str | None = "transcribe"
    send_last_n_segments: Annotated[int, Meta(ge=1, le=1000)] = 10
    hotwords: str | list[str] | None = None
    word_timestamps: bool = False
    audio_format: str = "float32"
    enable_translation: bool | None = False
    enable_diarization: bool | None = False
    initial_prompt: str | None = None
    vad_parameters: dict[str, Any] | None = None

    @property
    def expected(self) -> tuple[Hotword, ...]:
        """The hotwords: a text with commas between them, or a list. Raises ConfigError."""
        wanted = self.hotwords.split(",") if isinstance(self.hotwords, str) else self.hotwords or []
        return tuple(Hotword(each.strip()) for each in wanted if each.strip())


class WhisperLive(Dialect):
    """Audio is mono, 16 kHz."""

    message_bytes: ClassVar[int | None] = 1 << 20
    has_keepalive: ClassVar[bool] = False

    def __init__(self, conversation: Conversation, handshake: Handshake) -> None:
        super().__init__(conversation, handshake)
        self._options = Options(uid="")
        self._casing = Casing()
        self._completed: deque[dict[str, Any]] = deque()
        self._ticks = STOPPED_TICKS  # since the last audio

    @classmethod
    def credential(cls, handshake: Handshake) -> str | None:
        """See Dialect."""
        return handshake.authorization or handshake.token_in_query

    def on_handshake(self) -> None:
        """Nothing: the first message says all."""

    def on_text(self, text: str) -> None:
        """See Dialect. Text behind the first message is ignored."""
        if self.conversation.state is not WAITING:
            return
        try:
            self._options = options = msgspec.json.decode(text, type=Options)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as e:
            raise Refused("invalid_message", f"the first message must be a JSON object of options: {e}") from None
        if options.task == "translate":
            raise Refused("invalid_message", "task is translate; only transcribe can be had here")
        if options.audio_format not in ENCODINGS:
            raise Refused("invalid_message", f"audio_format must be one of {', '.join(ENCODINGS)}")
        self._completed = deque(maxlen=options.send_last_n_segments)
        self._open(options)

    def on_binary(self, data: bytes) -> None:
        """See Dialect. Nothing counts behind the end."""
        if self.conversation.state is WAITING:
            raise Refused("start_expected", "audio came before the options")
        if self.conversation.state is not STREAMING:
            return
        if data == END:
            self.conversation.finish()
            return
        self._ticks = 0
        self.conversation.feed(_widened(data) if self._options.audio_format == "uint8" else data)

    def tick(self) -> None:
        """See Dialect."""
        super().tick()
        self.conversation.attempt(self._complete_if_stopped)

    def say(self, notice: Notice) -> Iterable[str | bytes]:
        """See Dialect."""
        return [json.dumps({"uid": self._options.uid, **message}) for message in self._messages(notice)]

    def close_frame(self, error: str | None) -> tuple[int, str]:
        """See Dialect."""
        code, _ = super().close_frame(error)
        return code, as_reason(self.why)

    # ---- what the client wants

    def _open(self, options: Options) -> None:
        config = StreamConfig.preset(
            self.conversation.latency, language=options.language, decode=DecodeConfig(hotwords=options.expected)
        )
        self.conversation.open(StreamRequest(config=config, audio=RawFormat(ENCODINGS[options.audio_format])))

    def _complete_if_stopped(self) -> None:
        """Makes final what is being said, once no audio has come for a while."""
        if self.conversation.state is not STREAMING:
            return
        self._ticks = 0 if self.conversation.blocked else self._ticks + 1  # what comes is not taken in while blocked
        if self._ticks == STOPPED_TICKS:
            self.conversation.flush()
            self.conversation.update()

    # ---- what it is told

    def _messages(self, notice: Notice) -> Iterable[dict[str, Any]]:
        match notice:
            case Admitted():
                self._casing = Casing(notice.language, [hotword.text for hotword in self._options.expected])
                yield {"message": "SERVER_READY", "backend": BACKEND}
                if self._options.language is None:
                    yield {"language": notice.language, "language_prob": 1.0}
                for name, warning in UNHEEDED.items():
                    if getattr(self._options, name):
                        yield {"status": "WARNING", "message": warning}
            case Partial():
                yield self._segments(self._segment(notice))
            case Final():
                final = self._casing.final(notice)
                yield self._segments(self._segment(final))
                self._completed.append({**self._segment(final), "completed": True, **self._words(final.words)})
                yield self._segments()
            case Remark():
                yield {"status": "WARNING", "message": notice.sentence}
            case Refusal():
                yield _goodbye(notice)

    def _segments(self, *still_open: dict[str, Any]) -> dict[str, Any]:
        return {"segments": [*self._completed, *still_open]}

    def _segment(self, said: Partial | Final) -> dict[str, Any]:
        """Whisper begins texts with a space: clients join them as they are, and drop what equals the one before."""
        text = f" {self._casing.text(said.text)}" if said.text else ""
        return {"start": f"{said.start:.3f}", "end": f"{said.end:.3f}", "text": text, "completed": False}

    def _words(self, words: Iterable[Word]) -> dict[str, Any]:
        if not self._options.word_timestamps:
            return {}
        times = [(f" {word.text}", f"{word.start:.3f}", f"{word.end:.3f}", word.confidence) for word in words]
        return {"words": [dict(zip(("word", "start", "end", "probability"), each, strict=True)) for each in times]}


def _goodbye(refusal: Refusal) -> dict[str, Any]:
    if refusal.code in FULL:
        return {"status": "WAIT", "message": WAIT_MINUTES}
    if refusal.code in GOODBYES:
        return {"message": "DISCONNECT"}
    return {"status": "ERROR", "message": refusal.sentence}


def _widened(data: bytes) -> bytes:
    """Samples of 8 bits without a sign -> of 16 bits with one."""
    samples = np.frombuffer(data, np.uint8).astype("<i2") - 128 << 8
    return samples.astype("<i2").tobytes()
