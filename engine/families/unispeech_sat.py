"""UniSpeech-SAT with a CTC head (Chen et al. 2021), as transformers' UniSpeechSatForCTC.

It is wav2vec 2.0 under another prefix; what its pretraining adds to tell speakers apart is not used.
"""

from earshot_asr.engine.families.wav2vec2 import Wav2Vec2, relative


class UniSpeechSat(Wav2Vec2):
    """See Encoder."""

    PREFIX = "unispeech_sat."
    IGNORED = Wav2Vec2.IGNORED | {"speaker_proj", "label_embeddings_concat", "layer_norm_for_extract"}


FAMILY = relative(UniSpeechSat, "UniSpeechSatForCTC")
