"""Where training begins: at a checkpoint, its head kept or a new one; or at random weights."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from earshot_asr.engine import wav2vec2, wav2vec2_bert, whisper
from earshot_asr.engine.checkpoint import (
    FAMILIES,
    build_encoder,
    fuse_weight_norm,
    has_ctc_head,
    load_weights,
    locate,
    preprocessor_of,
    read_tensors,
    weight_files,
    widened,
)
from earshot_asr.engine.errors import CheckpointError, ConfigError
from earshot_asr.engine.layers import Encoder
from earshot_asr.engine.training.export import prefix
from earshot_asr.engine.training.filters import WIDE, band_filters
from earshot_asr.engine.training.regularization import masked_embedding
from earshot_asr.engine.training.units import tokenizer, tokenizer_of
from earshot_asr.engine.vocabulary import Vocabulary, read_json

HEADS = {"wav2vec2": "Wav2Vec2ForCTC", "wav2vec2-bert": "Wav2Vec2BertForCTC", "whisper": "WhisperForCTC"}
PREPROCESSORS: dict[str, dict[str, Any]] = {
    "wav2vec2": {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": 16000,
        "do_normalize": True,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
    },
    "wav2vec2-bert": {
        "feature_extractor_type": "SeamlessM4TFeatureExtractor",
        "feature_size": 80,
        "num_mel_bins": 80,
        "stride": 2,
        "sampling_rate": 16000,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
    },
    "whisper": {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": 80,
        "sampling_rate": 16000,
        "n_fft": 400,
        "hop_length": 160,
        "chunk_length": 30,
        "padding_value": 0.0,
        "return_attention_mask": False,
    },
}
PLAIN_LOSSES = {"final_dropout": 0.0, "layerdrop": 0.0, "conformer_conv_dropout": 0.0}
PLAIN_MASKS = {"mask_time_prob": 0.05, "mask_time_length": 7, "mask_time_min_masks": 0}
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "model_type": "wav2vec2-bert",
        "hidden_size": 256,
        "num_hidden_layers": 7,
        "num_attention_heads": 4,
        "intermediate_size": 512,
        "feature_projection_input_dim": 160,
        "hidden_act": "swish",
        "position_embeddings_type": "rotary",
        "rotary_embedding_base": 10000,
        "conv_depthwise_kernel_size": 15,
        "add_adapter": False,
        "use_intermediate_ffn_before_adapter": False,
        "layer_norm_eps": 1e-5,
        "ctc_zero_infinity": True,
        "emission_delay_frames": 3,
        **PLAIN_LOSSES,
        **PLAIN_MASKS,
    }
}
"""config.json of models of ours; each has a name that --shape knows."""


@dataclass
class Start:
    """A model to be trained, and all that is written beside its weights.

    masked      masked_spec_embed (C,)
    new_head    whether the head knows nothing yet
    """

    encoder: Encoder
    masked: nn.Parameter
    config: dict[str, Any]
    preprocessor: Mapping[str, Any]
    tokenizer: Mapping[str, Mapping[str, Any]]
    vocabulary: Vocabulary
    new_head: bool


def describe(model: str | Path, revision: str | None = None) -> tuple[Path, dict[str, Any], Vocabulary | None]:
    """Folder, config.json and vocabulary of a checkpoint; None where it has no CTC head. Raises CheckpointError."""
    folder, _ = locate(model, revision)
    config = read_json(folder / "config.json")
    if not (has_ctc_head(config) and (folder / "vocab.json").exists()):
        return folder, config, None
    return folder, config, Vocabulary.from_folder(folder)


def from_checkpoint(
    folder: Path, vocabulary: Vocabulary | None = None, overrides: Mapping[str, Any] = {}, seed: int = 0
) -> Start:
    """From a folder in Hugging Face's format, a pretrained one too; vocabulary: that of a new head, None: keep its own.

    overrides: entries of config.json to be others. Raises CheckpointError.
    """
    preprocessor = preprocessor_of(folder)
    config = {**read_json(folder / "config.json"), **overrides}
    kind = config.get("model_type")
    if kind in FAMILIES:
        config["architectures"] = [HEADS[kind]]
    tensors = with_prefix(fuse_weight_norm(widened(read_tensors(weight_files(folder)), config)), config)
    if vocabulary is not None:
        config |= _of_head(vocabulary)
        if kind == "whisper":
            config = {**whisper.with_top(config), **overrides}
        tensors = new_head(tensors, config, preprocessor, seed)
    encoder = build_encoder(config, preprocessor)
    masked = tensors.get(prefix(config) + "masked_spec_embed")
    load_weights(encoder, tensors, torch.device("cpu"), torch.float32)
    parameter = masked_embedding(encoder) if masked is None else nn.Parameter(masked.float().clone())
    _trainable(encoder)
    if vocabulary is not None:
        return Start(encoder, parameter, config, preprocessor, tokenizer(vocabulary), vocabulary, True)
    kept = Vocabulary.from_folder(folder, encoder.vocab_size)
    return Start(encoder, parameter, config, preprocessor, tokenizer_of(folder), kept, False)


def from_nothing(
    config: Mapping[str, Any], preprocessor: Mapping[str, Any], vocabulary: Vocabulary, seed: int = 0
) -> Start:
    """Random weights of the shape that config.json says. Raises CheckpointError."""
    config = {**config, **_of_head(vocabulary)}
    if config.get("model_type") == "whisper":
        config = whisper.with_top(config)
    if config.get("model_type") in FAMILIES:
        config["architectures"] = [HEADS[config["model_type"]]]
    build_encoder(config, preprocessor)  # says what is wrong with it
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = FAMILIES[config["model_type"]](config, preprocessor)
        initialize(encoder)
        masked = masked_embedding(encoder)
    _trainable(encoder)
    return Start(encoder, masked, config, preprocessor, tokenizer(vocabulary), vocabulary, True)


def read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A config.json, and the preprocessor_config.json beside it; else the usual one. Raises ConfigError."""
    try:
        config = read_json(path)
    except CheckpointError as error:
        raise ConfigError(str(error)) from None
    if config.get("model_type") not in FAMILIES:
        raise ConfigError(f"{path}: model_type is {config.get('model_type')!r}; supported are {', '.join(FAMILIES)}")
    beside = path.parent / "preprocessor_config.json"
    if beside.exists():
        return config, read_json(beside)
    usual = dict(PREPROCESSORS[config["model_type"]])
    if config["model_type"] == "whisper" and "num_mel_bins" in config:
        usual["feature_size"] = config["num_mel_bins"]
    return config, usual


@torch.no_grad()
def initialize(encoder: Encoder) -> None:
    """Random weights: torch's own for linear maps and norms, transformers' for all that torch has none for."""
    for module in encoder.modules():
        match module:
            case wav2vec2.Conv():
                taken = module.weight.shape[0] * module.weight.shape[1]
                nn.init.normal_(module.weight, std=math.sqrt(2 / taken))
                if module.weight.shape[1] == 1 and module.kernel >= WIDE:
                    module.weight.copy_(band_filters(module.kernel, module.weight.shape[2])[:, None])
                if module.bias is not None:
                    nn.init.uniform_(module.bias, -(taken**-0.5), taken**-0.5)
            case wav2vec2.PositionalConv():
                conv = module.conv
                nn.init.normal_(conv.weight, std=2 * math.sqrt(1 / (conv.kernel_size[0] * conv.in_channels)))
                nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            case wav2vec2_bert.RelativeAttention():
                nn.init.xavier_uniform_(module.pos_bias_u)
                nn.init.xavier_uniform_(module.pos_bias_v)
            case nn.Embedding():
                nn.init.normal_(module.weight, std=0.02)


def _trainable(encoder: Encoder) -> None:
    """Weights of its own, not those of a mapped file, and what makes training faster."""
    for parameter in encoder.parameters():
        parameter.data = parameter.data.clone()
    encoder.requires_grad_(True).train()
    for module in encoder.modules():
        if isinstance(module, wav2vec2_bert.LogMels):
            module.precision = torch.float32


def _of_head(vocabulary: Vocabulary) -> dict[str, Any]:
    """The entries of config.json that depend on the vocabulary."""

    def id(symbol: str) -> int | None:
        return vocabulary.symbols.index(symbol) if symbol in vocabulary.symbols else None

    return {
        "vocab_size": vocabulary.size,
        "pad_token_id": vocabulary.blank,
        "bos_token_id": id("<s>"),
        "eos_token_id": id("</s>"),
    }


def new_head(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any], preprocessor: Mapping[str, Any], seed: int
) -> dict[str, Tensor]:
    """A checkpoint's tensors, and those of a new head for it, which begins as transformers begins one.

    What stands between head and body begins as torch begins it, where the checkpoint has none of that shape. Tensors
    that are of no use to the encoder, Whisper's decoder, are left away.
    """
    encoder = build_encoder(config, preprocessor)
    new = {name for name in encoder.state_dict() if name.startswith(encoder.HEAD)}
    for part in {name.split(".")[0] for name in new}:
        encoder.get_submodule(part).to_empty(device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, module in encoder.named_modules():
            if f"{name}.weight" in new:
                module.reset_parameters()
        nn.init.normal_(encoder.lm_head.weight, std=0.02)
        nn.init.zeros_(encoder.lm_head.bias)
    made = {encoder.recipe(name).names[0]: tensor for name, tensor in encoder.state_dict().items() if name in new}
    known = {part for name in encoder.state_dict() if name not in new for part in encoder.recipe(name).names}
    kept = {name: tensor for name, tensor in tensors.items() if name in known or not name.startswith(encoder.UNUSED)}
    for name in made.keys() & tensors.keys():
        if not name.startswith("lm_head.") and tensors[name].shape == made[name].shape:
            made[name] = tensors[name]
    return kept | made


def with_prefix(tensors: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Of a bare model, without a head, the names lack what comes before them otherwise."""
    if config.get("model_type") not in FAMILIES or any(name.startswith(prefix(config)) for name in tensors):
        return tensors
    return {prefix(config) + name: tensor for name, tensor in tensors.items()}


def shape(name: str, *, width: int | None, depth: int | None, inner: int | None, kernel: int | None) -> dict[str, Any]:
    """The config.json of a shape of ours, some of its sizes others. Raises ConfigError."""
    if name not in SHAPES:
        raise ConfigError(f"there is no shape {json.dumps(name)}; there are {', '.join(SHAPES)}")
    config = dict(SHAPES[name])
    if width is not None:
        size = config["hidden_size"] // config["num_attention_heads"]
        if width % size:
            raise ConfigError(f"--width {width} is not a multiple of {size}, the channels of an attention head")
        config |= {"hidden_size": width, "num_attention_heads": width // size}
    sizes = {"num_hidden_layers": depth, "intermediate_size": inner, "conv_depthwise_kernel_size": kernel}
    return config | {key: value for key, value in sizes.items() if value is not None}
