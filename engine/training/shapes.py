"""Models to pretrain from scratch: their config.json."""

from collections.abc import Mapping
from typing import Any

from earshot_asr.engine.training.start import PREPROCESSORS

COMMON: dict[str, Any] = {
    "model_type": "wav2vec2",
    "architectures": ["Wav2Vec2ForPreTraining"],
    "vocab_size": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "initializer_range": 0.02,
    "num_conv_pos_embedding_groups": 16,
    "num_codevector_groups": 2,
    "num_codevectors_per_group": 320,
    "contrastive_logits_temperature": 0.1,
    "num_negatives": 100,
    "diversity_loss_weight": 0.1,
    "add_adapter": False,
    "mask_time_prob": 0.05,  # of fine-tuning; pretraining has an option of its own
}
CLASSIC = {"conv_dim": [512] * 7, "conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2]}
LAYER_NORM = {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}
NO_DROPOUT = dict.fromkeys(
    (
        "hidden_dropout",
        "attention_dropout",
        "activation_dropout",
        "feat_proj_dropout",
        "feat_quantizer_dropout",
        "final_dropout",
        "layerdrop",
    ),
    0.0,
)

SHAPES: dict[str, dict[str, Any]] = {
    # 6.4 M parameters for two CPU cores. The first convolutions of wav2vec 2.0, at 3,200 frames a second,
    # are costly: one over 25 ms takes their place, and begins as a bank of band filters.
    "tiny": COMMON
    | LAYER_NORM
    | NO_DROPOUT
    | {
        "conv_dim": [256, 256, 256],
        "conv_kernel": [400, 2, 1],
        "conv_stride": [160, 2, 1],
        "num_feat_extract_layers": 3,
        "hidden_size": 256,
        "num_hidden_layers": 7,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
        "num_conv_pos_embeddings": 31,
        "codevector_dim": 256,
        "proj_codevector_dim": 256,
        # With 0.1, as large models have it, batches of half a minute made the codebook collapse within 75 to 125 steps:
        # distractors of the same codeword do not count, so the fewer are in use, the less there is to be told apart.
        "diversity_loss_weight": 0.4,
    },
    # wav2vec 2.0 base, 95 M
    "base": COMMON
    | CLASSIC
    | {
        "feat_extract_norm": "group",
        "conv_bias": False,
        "do_stable_layer_norm": False,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "num_conv_pos_embeddings": 128,
        "codevector_dim": 256,
        "proj_codevector_dim": 256,
        "hidden_dropout": 0.1,
        "attention_dropout": 0.1,
        "activation_dropout": 0.0,
        "feat_proj_dropout": 0.1,
        "feat_quantizer_dropout": 0.1,
        "layerdrop": 0.05,
    },
    # XLSR-53, 317 M
    "large": COMMON
    | CLASSIC
    | LAYER_NORM
    | NO_DROPOUT
    | {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "num_conv_pos_embeddings": 128,
        "codevector_dim": 768,
        "proj_codevector_dim": 768,
        "feat_proj_dropout": 0.1,
        "feat_quantizer_dropout": 0.1,
    },
}


def preprocessor(config: Mapping[str, Any]) -> dict[str, Any]:
    """preprocessor_config.json that goes with a config.json; group-norm models want no attention mask."""
    return {**PREPROCESSORS["wav2vec2"], "return_attention_mask": config.get("feat_extract_norm", "group") == "layer"}
