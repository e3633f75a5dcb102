"""What a form asks for: fields of every kind, and what is wrong with them."""

import pytest

from earshot_asr.engine.decoder import Hotword
from earshot_asr.server.dialects.openai_terms import Mistake
from earshot_asr.server.rest.asked import read
from tests.helpers import POLYGLOT


def test_nothing_is_needed() -> None:
    asked = read({}, POLYGLOT, "balanced")
    assert (asked.format, asked.stream, asked.logprobs, asked.words, asked.segments) == (
        "json",
        False,
        False,
        False,
        True,
    )
    assert not asked.config.partials
    assert asked.config.language is None
    assert asked.config.commit == "utterance"


def test_all_that_is_honoured() -> None:
    fields = {
        "model": ["whisper-1"],
        "response_format": ["verbose_json"],
        "timestamp_granularities": ["word"],
        "language": ["de"],
        "prompt": ["Ada Lovelace, Jira."],
        "keywords": ["Babbage"],
        "temperature": ["0.2"],
        "stream": ["False"],
        "chunking_strategy": ["auto"],
        "something": ["new"],
    }
    asked = read(fields, POLYGLOT, "low")
    assert (asked.format, asked.words, asked.segments) == ("verbose_json", True, False)
    assert asked.config.language == "deu"
    assert asked.config.decode.hotwords == (Hotword("Ada Lovelace"), Hotword("Jira"), Hotword("Babbage"))


@pytest.mark.parametrize("empty", ["language", "prompt", "response_format", "temperature", "stream"])
def test_an_empty_field_is_as_none(empty: str) -> None:
    assert read({empty: [""]}, POLYGLOT, "balanced") == read({}, POLYGLOT, "balanced")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": ["docx"]}, "response_format"),
        ({"response_format": ["diarized_json"]}, "response_format"),
        ({"known_speaker_names": ["Ada"]}, "known_speaker_names"),
        ({"temperature": ["hot"]}, "temperature"),
        ({"temperature": ["nan"]}, "temperature"),
        ({"temperature": ["1.5"]}, "temperature"),
        ({"stream": ["maybe"]}, "stream"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities"),
        ({"timestamp_granularities": ["letter"], "response_format": ["verbose_json"]}, "timestamp_granularities"),
        ({"include": ["logprobs"], "response_format": ["text"]}, "include"),
        ({"include": ["everything"]}, "include"),
        ({"language": ["klingon"]}, "language"),
        ({"prompt": ["This is a talk about the weather at sea."]}, "prompt"),
        ({"prompt": ["x" * 101]}, "prompt"),
        ({"keywords": [""]}, "keywords"),
        ({"keywords": ["a"] * 1001}, "keywords"),
    ],
)
def test_what_is_not_possible_is_said(fields: dict[str, list[str]], param: str) -> None:
    with pytest.raises(Mistake) as caught:
        read(fields, POLYGLOT, "balanced")
    assert caught.value.param == param
    assert 10 < len(str(caught.value)) < 300
