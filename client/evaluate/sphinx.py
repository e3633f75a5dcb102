"""PocketSphinx with the English model of its package, to compare with."""

from collections.abc import Callable, Sequence

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.errors import ConfigError


def pocketsphinx() -> Callable[[Sequence[Pcm]], str]:
    """Returns a function that transcribes recordings (S,), each as a whole, in three passes with a trigram model.

    The text of a recording does not depend on those before it: the model takes cepstral means over each recording.
    Raises ConfigError if the package is not installed.
    """
    try:
        from pocketsphinx import Decoder
    except ImportError:
        raise ConfigError("--against pocketsphinx needs the package: pip install pocketsphinx==5.1.1") from None
    decoder = Decoder(loglevel="FATAL")

    def heard(pcm: Pcm) -> str:
        if not len(pcm):
            return ""
        decoder.start_utt()
        decoder.process_raw(pcm.astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        return found.hypstr if found else ""

    return lambda recordings: " ".join(filter(None, map(heard, recordings)))
