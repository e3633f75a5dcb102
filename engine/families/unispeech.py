"""UniSpeech with a CTC head (Wang et al. 2021), as transformers' UniSpeechForCTC: wav2vec 2.0 under another prefix."""

from earshot_asr.engine.families.wav2vec2 import Wav2Vec2, relative


class UniSpeech(Wav2Vec2):
    """See Encoder."""

    PREFIX = "unispeech."
    IGNORED = Wav2Vec2.IGNORED | {"ctc_proj"}


FAMILY = relative(UniSpeech, "UniSpeechForCTC")
