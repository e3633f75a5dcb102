"""A transcription in the formats that a client may ask for. No I/O."""

import math
import zlib
from collections.abc import Sequence
from typing import Any

from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.captions import writer
from earshot_asr.engine.casing import Casing
from earshot_asr.engine.events import Final
from earshot_asr.engine.languages import name
from earshot_asr.engine.scripts import join
from earshot_asr.server.dialects.openai_terms import logprob, tokens_of


def text_of(finals: Sequence[Final]) -> str:
    """The whole text."""
    return join(final.text for final in finals)


def plain(format: str, finals: Sequence[Final], duration: Seconds, casing: Casing) -> str:
    """As text, SRT or WebVTT; captions get their case."""
    if format == "text":
        return text_of(finals) + "\n"
    captions = writer(format)
    return "".join([*map(captions.feed, map(casing.final, finals)), captions.finish(duration)])


def short(finals: Sequence[Final], duration: Seconds, *, logprobs: bool) -> dict[str, Any]:
    """The text, and the log probabilities of its words if they are wanted."""
    more = {"logprobs": [each for n in range(len(finals)) for each in delta(finals, n)[1]]} if logprobs else {}
    return {"text": text_of(finals), **more, "usage": _usage(duration)}


def delta(finals: Sequence[Final], at: int) -> tuple[str, list[dict[str, Any]]]:
    """What the utterance `at` adds to the text of those before it, and the log probabilities of its words."""
    final, before = finals[at], text_of(finals[:at][-1:])
    added = join([before, final.text])[len(before) :]
    tokens = [(token, sure) for token, sure, _ in tokens_of(final.text, final.words)]
    if tokens:
        tokens[0] = (added[: len(added) - len(final.text)] + tokens[0][0], tokens[0][1])
    return added, [logprob(*token) for token in tokens]


def verbose(
    finals: Sequence[Final], duration: Seconds, language: str | None, *, words: bool, segments: bool
) -> dict[str, Any]:
    """The text with its words, its utterances, or both. What this engine does not have is 0, or empty."""
    parts: dict[str, Any] = {}
    if words:
        listed = [word for final in finals for word in final.words]
        parts["words"] = [{"word": word.text, "start": word.start, "end": word.end} for word in listed]
    if segments:
        parts["segments"] = [_segment(number, final) for number, final in enumerate(finals)]
    spoken = name(language).lower() if language else "unknown"
    whole = {"task": "transcribe", "language": spoken, "duration": duration, "text": text_of(finals)}
    return {**whole, **parts, "usage": _usage(duration)}


def _segment(number: int, final: Final) -> dict[str, Any]:
    sure = [math.log(max(word.confidence, 1e-30)) for word in final.words]
    data = final.text.encode()
    return {
        "id": number,
        "seek": 0,
        "start": final.start,
        "end": final.end,
        "text": final.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(sum(sure) / len(sure), 4) if sure else 0.0,
        "compression_ratio": round(len(data) / len(zlib.compress(data)), 4) if data else 0.0,
        "no_speech_prob": 0.0,
    }


def _usage(duration: Seconds) -> dict[str, Any]:
    return {"type": "duration", "seconds": math.ceil(duration)}
