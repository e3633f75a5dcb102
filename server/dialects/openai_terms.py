"""What OpenAI's Realtime and REST share: mistakes, languages, keywords and log probabilities."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.events import Word
from earshot_asr.engine.model import ModelInfo

MOST_KEYWORD_WORDS = 4
"""Prompts are lists of keywords if none of their parts, between commas, has more words."""


class Mistake(Exception):
    """What a client asks for is not possible. `code` and `param` as OpenAI has them, the message is a sentence."""

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.param = param
        self.code = code


def language_of(asked: Sequence[str], info: ModelInfo, param: str) -> str | None:
    """The one to speak of several that it may be; None: the server's. Raises Mistake if the model has none of them."""
    named, why = [], ""
    for each in asked:
        try:
            named.append(info.named(each))
        except ConfigError as e:
            why = why or str(e)
    if not named:
        raise Mistake(why, param)
    return None if info.language in named else named[0]


def keywords_of(prompt: str, param: str) -> tuple[str, ...]:
    """The words and phrases of a prompt that lists them, with commas between. Raises Mistake for any other text."""
    parts = [part.strip(" .\t\r\n") for part in prompt.split(",")]
    if any(len(part.split()) > MOST_KEYWORD_WORDS for part in parts):
        raise Mistake(
            "this model can't follow a prompt in sentences: list names and terms that are expected, with commas "
            f"between them and at most {MOST_KEYWORD_WORDS} words each, or leave it out",
            param,
        )
    return tuple(part for part in parts if part)


def tokens_of(text: str, words: Sequence[Word]) -> Iterator[tuple[str, float, int]]:
    """The words of a text, each with what stands before it, its confidence, and where it ends in the text."""
    end = 0
    for word in words:
        at = text.find(word.text, end)
        if at < 0:  # the text was tidied up: "do n't" is "don't"
            continue
        first, end = end, at + len(word.text)
        yield text[first:end], word.confidence, end


def logprob(token: str, confidence: float) -> dict[str, Any]:
    """A token, as OpenAI describes it."""
    return {"token": token, "bytes": list(token.encode()), "logprob": round(math.log(max(confidence, 1e-30)), 4)}
