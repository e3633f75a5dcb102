"""The decoder's seam: another decoder is a class and a line in the table, and the engine takes what it says."""

from copy import copy
from typing import Self
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine import decoder
from earshot_asr.engine.audio import LogProbs, Pcm
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.decoder import DecodeConfig, DecodedWord, Hypothesis, decoder_factory
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.greedy import GreedyDecoder
from earshot_asr.engine.lm import Lexicon
from earshot_asr.engine.session import Session
from earshot_asr.engine.vocabulary import Vocabulary
from tests.helpers import (
    INFO,
    VOCABULARY,
    configs,
    drain,
    fake_log_probs,
    finals,
    run_session,
    silence,
    speak,
    utterances,
)


class Shouting:
    """A decoder of the test's own, around the greedy one."""

    def __init__(self, vocabulary: Vocabulary, config: DecodeConfig, lexicon: Lexicon | None) -> None:
        self.greedy = GreedyDecoder(vocabulary, config, None)

    @property
    def boundary(self) -> int:
        return self.greedy.boundary

    def feed(self, log_probs: LogProbs) -> None:
        self.greedy.feed(log_probs)

    def peek(self, log_probs: LogProbs) -> Self:
        ahead = copy(self)
        ahead.greedy = self.greedy.peek(log_probs)
        return ahead

    def words(self) -> list[DecodedWord]:
        return [shout(word) for word in self.greedy.words()]

    def settled(self) -> list[DecodedWord]:
        return [shout(word) for word in self.greedy.settled()]

    def alternatives(self) -> list[Hypothesis]:
        return [Hypothesis(self.words(), 0.0)]


def shout(word: DecodedWord) -> DecodedWord:
    return DecodedWord(word.text + "!", word.start, word.end, word.confidence)


def test_another_decoder_is_a_line_in_the_table() -> None:
    with patch.dict(decoder.DECODERS, {"shouting": f"{__name__}.Shouting"}):
        config = StreamConfig(decode=DecodeConfig(decoder="shouting"))
        assert isinstance(decoder_factory(config.decode, VOCABULARY)(), Shouting)
        session = Session(INFO, config)
        session.feed(np.concatenate([silence(1), speak("HELLO YOU"), silence(2)]))
        session.finish()
        (final,) = finals(drain(session))
    assert final.text == "HELLO! YOU!"


def test_a_decoder_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="decoder is 'viterbi'; it must be one of auto, greedy, beam"):
        DecodeConfig(decoder="viterbi")


@given(pcm=utterances(), config=configs(), data=st.data())
def test_an_utterance_decoded_where_it_was_computed_is_the_same(
    pcm: Pcm, config: StreamConfig, data: st.DataObject
) -> None:
    """decoding() is a function of the log-probabilities alone, so it may be called at any time, in any thread."""
    session = Session(INFO, config)
    at, events = 0, []
    while at < len(pcm) or not session.finished:
        at += session.feed(pcm[at : at + 8000])
        if at == len(pcm):
            session.finish()
        while (window := session.next_window()) is not None:
            log_probs = fake_log_probs(session.samples(window))
            decode = session.decoding(window)
            session.accept(window, log_probs, decode(log_probs) if decode else None)
        events += session.events()
    assert finals(events) == finals(run_session(pcm, config))
