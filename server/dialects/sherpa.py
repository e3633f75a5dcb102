"""sherpa-onnx's streaming websocket, as its C++ server speaks it: floats in, a JSON object for each change of the text.

`segment` counts utterances; the last message of a segment is final. After `Done` comes the last one once more, as the
end, then `Done!`: its file client prints the message before that as the result.
"""

import json
import math
from collections.abc import Iterable
from typing import Any, ClassVar

from earshot_asr.engine.audio import seconds
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.events import Final, Partial, Word
from earshot_asr.engine.sources import RawFormat
from earshot_asr.server.admission import StreamRequest
from earshot_asr.server.conversation import STREAMING, Conversation
from earshot_asr.server.dialects.dialect import Dialect, as_reason
from earshot_asr.server.handshake import Handshake
from earshot_asr.server.notices import Finished, Notice, Refusal

FLOAT_BYTES = 4
END, ENDED = "Done", "Done!"
LEAST_CONFIDENCE = 1e-6
NOTHING = Partial(0, 0.0, 0.0, "", 0, ())


class Sherpa(Dialect):
    """Audio is mono, 16 kHz, in floats of 32 bits."""

    message_bytes: ClassVar[int | None] = 1 << 20  # as its Python server has it
    has_keepalive: ClassVar[bool] = False

    def __init__(self, conversation: Conversation, handshake: Handshake) -> None:
        super().__init__(conversation, handshake)
        self._finals = 0
        self._last: Final | None = None

    @classmethod
    def credential(cls, handshake: Handshake) -> str | None:
        """See Dialect. sherpa-onnx has no tokens, so most of its clients can be told a URL only."""
        return handshake.authorization or handshake.token_in_query

    def on_handshake(self) -> None:
        """Nothing is to be chosen."""
        config = StreamConfig.preset(self.conversation.latency, partial_words=True)
        self.conversation.open(StreamRequest(config=config, audio=RawFormat("pcm_f32le")))

    def on_text(self, text: str) -> None:
        """See Dialect. What is not `Done` is ignored."""
        if text == END and self.conversation.state is STREAMING:
            self.conversation.finish()

    def on_binary(self, data: bytes) -> None:
        """See Dialect. Bytes behind the last whole float are ignored."""
        if self.conversation.state is STREAMING:
            self.conversation.feed(data[: len(data) // FLOAT_BYTES * FLOAT_BYTES])

    def say(self, notice: Notice) -> Iterable[str | bytes]:
        """See Dialect."""
        match notice:
            case Partial():
                yield _message(notice, self._finals)
            case Final():
                self._last = notice
                self._finals += 1
                if not notice.flushed:  # else it is the last one, and the end tells it
                    yield _message(notice, self._finals - 1, is_final=True)
            case Finished():
                yield _message(self._last or NOTHING, max(0, self._finals - 1), is_final=True, is_eof=True)
                if "origin" not in self.handshake.headers:  # pages read everything as JSON
                    yield ENDED
            case Refusal() if self._last and self._last.flushed:
                yield _message(self._last, self._finals - 1, is_final=True)

    def close_frame(self, error: str | None) -> tuple[int, str]:
        """See Dialect. There is no message for an error: the reason is all that a client is told."""
        code, _ = super().close_frame(error)
        return code, as_reason(self.why)


def _message(told: Partial | Final, segment: int, *, is_final: bool = False, is_eof: bool = False) -> str:
    """As the C++ server writes it; times of words count from the start of the segment."""
    start, words = seconds(told.segment), told.words or ()
    message: dict[str, Any] = {
        "text": told.text,
        "tokens": tokens(told.text, words),
        "timestamps": [max(0.0, round(word.start - start, 2)) for word in words],
        "ys_probs": [round(math.log(max(word.confidence, LEAST_CONFIDENCE)), 6) for word in words],
        "lm_probs": [],
        "context_scores": [],
        "segment": segment,
        "words": [],
        "start_time": round(start, 2),
        "is_final": is_final,
        "is_eof": is_eof,
    }
    return json.dumps(message, ensure_ascii=False)


def tokens(text: str, words: Iterable[Word]) -> list[str]:
    """Words with the spaces before them, as the pieces of sherpa's models have them: joined they are the text."""
    found, at = [], 0
    for word in words:
        end = text.find(word.text, at) + len(word.text)
        found.append(text[at:end])
        at = end
    return found
