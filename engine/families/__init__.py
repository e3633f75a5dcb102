"""What the engine and training need to know of a family of models before one of its encoders exists. No torch.

A family is one file of this folder, which defines FAMILY, and one line in FAMILIES. What an encoder can
answer by itself, its class does (see layers.Encoder), and the rest is in the record. Outside the families' files, only
training's built-in shapes, and wav2vec 2.0's pretraining, name one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from earshot_asr.engine.errors import UnsupportedModel, shown

if TYPE_CHECKING:
    from earshot_asr.engine.families.layers import Encoder

Config = Mapping[str, Any]
"""The content of a config.json, or of a preprocessor_config.json."""

FAMILIES: dict[str, str] = {
    "wav2vec2": "earshot_asr.engine.families.wav2vec2",
    "hubert": "earshot_asr.engine.families.hubert",
    "unispeech": "earshot_asr.engine.families.unispeech",
    "unispeech-sat": "earshot_asr.engine.families.unispeech_sat",
    "wavlm": "earshot_asr.engine.families.wavlm",
    "data2vec-audio": "earshot_asr.engine.families.data2vec",
    "sew": "earshot_asr.engine.families.sew",
    "wav2vec2-conformer": "earshot_asr.engine.families.wav2vec2_conformer",
    "wav2vec2-bert": "earshot_asr.engine.families.wav2vec2_bert",
    "omniasr_ctc": "earshot_asr.engine.families.omniasr_ctc",
    "parakeet_ctc": "earshot_asr.engine.families.parakeet_ctc",
    "whisper": "earshot_asr.engine.families.whisper",
}
"""The registry: model_type in config.json -> the module that defines FAMILY. It is imported when it is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A family of models.

    To run one:
        build           makes the encoder that config.json and preprocessor_config.json describe, with weights that are
                        torch's defaults. Raises UnsupportedModel, and CheckpointError for an entry that makes no sense
        head            name of the class with a CTC head, as `architectures` in config.json has it
        prefix          what the names of all tensors but the head's begin with in a checkpoint that has a head
        assumed_ctc     whether a config.json without `architectures` is taken for that of a model with a CTC head

    To train one:
        preprocessor    makes the usual preprocessor_config.json for a config.json that comes without one
        with_new_head   changes config.json where a checkpoint gets a new CTC head
        ctc_layers      whether that may put layers between the encoder and the head: the option --ctc-layers
        regularization  rates, by their names in training.regularization, where the family's defaults differ from there
        pretraining     name of the class that wav2vec 2.0's pretraining makes of it; empty where that is not supported
    """

    build: Callable[[Config, Config], "Encoder"]
    head: str
    prefix: str
    assumed_ctc: bool = True
    preprocessor: Callable[[Config], dict[str, Any]]
    with_new_head: Callable[[Config], dict[str, Any]] = dict
    ctc_layers: bool = False
    regularization: Mapping[str, float] = field(default_factory=dict)
    pretraining: str = ""


def family_of(config: Config) -> Family:
    """The family that config.json names as its model_type. Raises UnsupportedModel if the engine has no such family."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise UnsupportedModel(f"model_type {shown(kind)} is not supported; supported are {', '.join(FAMILIES)}")
    family: Family = import_module(FAMILIES[kind]).FAMILY
    return family
