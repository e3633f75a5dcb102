"""Whether anything was said at all: words that hardly outweigh silence are noise that the model heard a letter in."""

from collections.abc import Sequence
from functools import partial

from earshot_asr.engine.audio import LogProbs
from earshot_asr.engine.decoder import DecodeConfig, DecodedWord, Decoder, Hypothesis, NewDecoder, decoder_factory
from earshot_asr.engine.model import ModelInfo


class OddsGate:
    """A decoder that keeps the words of another one to itself until, together, they outweigh silence by so much.

    They have done so for good once its settled words have. Until then nothing is settled.

    least    the sum of the words' log_odds
    """

    def __init__(self, decoder: Decoder, least: float) -> None:
        self._decoder = decoder
        self._least = least

    @property
    def boundary(self) -> int:
        """See Decoder: where the first word begins, as long as what is settled may be noise."""
        words = self._decoder.settled()
        return words[0].start if self._noise(words) else self._decoder.boundary

    def feed(self, log_probs: LogProbs) -> None:
        """Appends frames (T, V)."""
        self._decoder.feed(log_probs)

    def peek(self, log_probs: LogProbs) -> "OddsGate":
        """A decoder that was also fed `log_probs`; this one stays as it is."""
        return OddsGate(self._decoder.peek(log_probs), self._least)

    def words(self) -> list[DecodedWord]:
        """All words so far, the open one too."""
        return self._said(self._decoder.words())

    def settled(self) -> list[DecodedWord]:
        """The words that no later frame can change."""
        return self._said(self._decoder.settled())

    def alternatives(self) -> list[Hypothesis]:
        """See Decoder: nothing but silence if the best reading is noise."""
        readings = self._decoder.alternatives()
        return [Hypothesis([], 0.0)] if self._noise(readings[0].words) else readings

    def _said(self, words: list[DecodedWord]) -> list[DecodedWord]:
        return [] if self._noise(words) else words

    def _noise(self, words: Sequence[DecodedWord]) -> bool:
        return bool(words) and sum(max(0.0, word.log_odds) for word in words) < self._least


def new_decoders(info: ModelInfo, config: DecodeConfig) -> NewDecoder:
    """What makes the decoders of a stream of this model."""
    new_decoder = decoder_factory(config, info.vocabulary, info.lexicon)
    return partial(_gated, new_decoder, info.least_log_odds) if info.least_log_odds else new_decoder


def _gated(new_decoder: NewDecoder, least: float) -> Decoder:
    return OddsGate(new_decoder(), least)
