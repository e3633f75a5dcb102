"""The built-in shapes: config.json of models that begin with random weights. No torch."""

from typing import Any

CTC_SHAPES: dict[str, dict[str, Any]] = {
    # 7 M parameters, for two CPU cores.
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
        "final_dropout": 0.0,
        "layerdrop": 0.0,
        "conformer_conv_dropout": 0.0,
        "mask_time_prob": 0.05,
        "mask_time_length": 7,
        "mask_time_min_masks": 0,
    }
}
"""config.json of the models that `earshot train ctc --shape NAME` makes."""

WAV2VEC2: dict[str, Any] = {
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
    "mask_time_prob": 0.05,  # for fine-tuning; pretraining has an option of its own
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

PRETRAINING_SHAPES: dict[str, dict[str, Any]] = {
    # 6.4 M parameters, for two CPU cores. The first convolutions of wav2vec 2.0 run at 3,200 frames a second and are
    # expensive. Here one convolution over 25 ms replaces them; it begins as a bank of band filters.
    "tiny": WAV2VEC2
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
        # With 0.1, the weight of large models, the codebook collapsed within 75 to 125 steps of half a minute each:
        # distractors with the true codeword do not count, so the task gets easier the fewer codewords are in use.
        "diversity_loss_weight": 0.4,
    },
    # wav2vec 2.0 base, 95 M
    "base": WAV2VEC2
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
    "large": WAV2VEC2
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
"""config.json of the models that `earshot train pretrain --shape NAME` makes."""
