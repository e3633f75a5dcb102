"""What is exported loads in transformers and in the engine, with the same logits, for each family and variant."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    AutoFeatureExtractor,
    AutoModelForCTC,
    AutoTokenizer,
    OmniASRFeatureExtractor,
    ParakeetFeatureExtractor,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from earshot_asr.engine.checkpoint import load_checkpoint, load_weights
from earshot_asr.engine.errors import CheckpointError, ConfigError, OutputError, UnsupportedModel
from earshot_asr.engine.families import family_of
from earshot_asr.engine.families.layers import Encoder
from earshot_asr.engine.training import options
from earshot_asr.engine.training.export import DTYPES, quantized, save, to_checkpoint
from earshot_asr.engine.weights import read_tensors, widened
from tests.engine.families.test_omniasr_ctc import SMALL as SMALL_OMNIASR
from tests.engine.families.test_parakeet_ctc import PARTS as PARTS_OF_PARAKEET
from tests.engine.families.test_parakeet_ctc import SMALL as SMALL_PARAKEET
from tests.engine.families.test_relatives import ALL
from tests.engine.families.test_wav2vec2 import LARGE, OTHERS, SMALL, difference, speechlike
from tests.engine.families.test_wav2vec2 import PARTS as PARTS_OF_WAV2VEC2
from tests.engine.families.test_wav2vec2_bert import ADAPTERS as ADAPTERS_OF_BERT
from tests.engine.families.test_wav2vec2_bert import PARTS as PARTS_OF_BERT
from tests.engine.families.test_wav2vec2_bert import SMALL as SMALL_BERT
from tests.engine.families.test_wav2vec2_conformer import PARTS as PARTS_OF_CONFORMER
from tests.engine.families.test_whisper import SMALL as SMALL_WHISPER
from tests.engine.families.test_whisper import TOP
from tests.helpers import small_files

VOCAB = {"<pad>": 0, "|": 1, **{chr(65 + i): 2 + i for i in range(15)}}
TOKENIZER: dict[str, dict[str, Any]] = {
    "vocab.json": VOCAB,
    "tokenizer_config.json": {"tokenizer_class": "Wav2Vec2CTCTokenizer", "bos_token": None, "eos_token": None}
    | {"unk_token": "|", "pad_token": "<pad>", "word_delimiter_token": "|"},
}


def relative(kind: str, parts: dict[str, Any]) -> dict[str, Any]:
    """config.json of a relative of wav2vec 2.0."""
    return {"model_type": kind, "architectures": [family_of({"model_type": kind}).head], **SMALL, **parts}


BERT = {"model_type": "wav2vec2-bert", "architectures": ["Wav2Vec2BertForCTC"], **SMALL_BERT}
PARAKEET = {"model_type": "parakeet_ctc", "architectures": ["ParakeetForCTC"], "vocab_size": 17, "pad_token_id": 0}
PLAIN = {"model_type": "wav2vec2", "architectures": ["Wav2Vec2ForCTC"], **SMALL}
CONFIGS = [
    *({**PLAIN, **parts} for parts in [*PARTS_OF_WAV2VEC2, *OTHERS]),
    *(relative(kind, parts) for kind, parts in ALL),
    *({**BERT, **parts} for parts in PARTS_OF_BERT if not parts["use_intermediate_ffn_before_adapter"]),
    *({**BERT, **parts} for parts in ADAPTERS_OF_BERT),
    *(relative("wav2vec2-conformer", parts) for parts in PARTS_OF_CONFORMER),
    {"model_type": "omniasr_ctc", "architectures": ["OmniASRForCTC"], "vocab_size": 17, "audio_config": SMALL_OMNIASR},
    *({**PARAKEET, "encoder_config": SMALL_PARAKEET | parts} for parts in PARTS_OF_PARAKEET),
]


def preprocessor(config: dict[str, Any]) -> dict[str, Any]:
    extractors = {
        "wav2vec2-bert": SeamlessM4TFeatureExtractor(),
        "omniasr_ctc": OmniASRFeatureExtractor(),
        "parakeet_ctc": ParakeetFeatureExtractor(config.get("encoder_config", {}).get("num_mel_bins", 80)),
        "whisper": WhisperFeatureExtractor(),
    }
    settings: dict[str, Any] = extractors.get(
        config["model_type"], Wav2Vec2FeatureExtractor(do_normalize=True)
    ).to_dict()
    return settings


def random_encoder(config: dict[str, Any]) -> Encoder:
    """All weights drawn, biases and norms too."""
    torch.manual_seed(1)
    encoder = family_of(config).build(config, preprocessor(config)).eval()
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            norm = name.endswith("weight") and parameter.ndim == 1
            parameter.copy_(torch.randn_like(parameter) * 0.1 + norm)
    return encoder


@torch.inference_mode()
def their_log_probs(folder: Path, samples: Tensor) -> Tensor:
    theirs, info = AutoModelForCTC.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert all(key.endswith("inv_freq") for key in info["missing_keys"])  # is computed; half precision would spoil it
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    inputs = extractor(samples.numpy(), sampling_rate=16000, return_tensors="pt")
    log_probs: Tensor = torch.log_softmax(theirs.eval()(**inputs).logits, dim=-1)
    return log_probs


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_transformers_and_the_engine_load_it_with_the_same_logits(config: dict[str, Any], tmp_path: Path) -> None:
    encoder = random_encoder(config)
    save(tmp_path / "model", encoder, config, preprocessor(config), TOKENIZER, dtype="float32")
    samples = speechlike(encoder.grid.span(0, 30)[1])
    with torch.inference_mode():
        ours = encoder(samples[None])
        loaded = load_checkpoint(tmp_path / "model")
        assert difference(loaded.encoder(samples[None]), ours) < 1e-5
    assert difference(ours, their_log_probs(tmp_path / "model", samples)[:, : ours.shape[1]]) < 1e-4


@pytest.mark.parametrize("config", [CONFIGS[0], BERT | PARTS_OF_BERT[4], CONFIGS[-1]], ids=repr)
def test_to_checkpoint_undoes_load_weights(config: dict[str, Any]) -> None:
    encoder = random_encoder(config)
    other = family_of(config).build(config, preprocessor(config))
    load_weights(other, to_checkpoint(encoder), torch.device("cpu"), torch.float32)
    for name, weight in other.state_dict().items():
        torch.testing.assert_close(weight, encoder.state_dict()[name], rtol=0, atol=1e-6, msg=name)


def test_half_precision_is_the_same_for_both(tmp_path: Path) -> None:
    config = {**PLAIN, **LARGE, "emission_delay_frames": 3, "mask_time_prob": 0.0}
    save(tmp_path / "model", random_encoder(config), config, preprocessor(config), TOKENIZER)
    samples = speechlike(9000)
    loaded = load_checkpoint(tmp_path / "model")
    with torch.inference_mode():
        assert difference(loaded.encoder(samples[None]), their_log_probs(tmp_path / "model", samples)) < 1e-4
    assert loaded.emission_delay == 3
    assert loaded.vocabulary.symbols == tuple(VOCAB)
    assert AutoTokenizer.from_pretrained(tmp_path / "model").decode([2, 2, 0, 3, 1, 2]) == "AB A"
    written = json.loads((tmp_path / "model" / "config.json").read_text())
    assert written == {**config, "conv_dim": list(config["conv_dim"]), "torch_dtype": "float16"}


def test_what_was_there_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    config = {**BERT, "position_embeddings_type": "rotary"}
    encoder = random_encoder(config)
    save(folder, encoder, config, preprocessor(config), TOKENIZER)
    first = load_checkpoint(folder).fingerprint
    (folder / "stray").touch()
    (tmp_path / ".model.new").mkdir()  # of a process that was killed
    with torch.no_grad():
        encoder.lm_head.bias.add_(1)
    save(folder, encoder, config, preprocessor(config), TOKENIZER)
    assert load_checkpoint(folder).fingerprint != first
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert not (folder / "stray").exists()


def test_killed_between_its_two_renames(tmp_path: Path) -> None:
    """The weights from before are there again, though the next ones can't be written."""
    config = {**BERT, "position_embeddings_type": "rotary"}
    encoder = random_encoder(config)
    save(tmp_path / "model", encoder, config, preprocessor(config), TOKENIZER)
    first = load_checkpoint(tmp_path / "model").fingerprint
    (tmp_path / "model").rename(tmp_path / ".model.old")
    (tmp_path / ".model.new").touch()  # where no folder can be made
    with pytest.raises(OutputError, match="model: File exists"):
        save(tmp_path / "model", encoder, config, preprocessor(config), TOKENIZER)
    assert load_checkpoint(tmp_path / "model").fingerprint == first


@pytest.mark.parametrize("most_bytes", [100, 20_000])
def test_a_full_disk_leaves_the_model_from_before_and_no_stump(tmp_path: Path, most_bytes: int) -> None:
    """Whether it is the settings or the weights that find no room."""
    config = {**BERT, "position_embeddings_type": None}
    save(tmp_path / "model", random_encoder(config), config, preprocessor(config), TOKENIZER)
    first = load_checkpoint(tmp_path / "model").fingerprint
    with small_files(most_bytes), pytest.raises(OutputError, match=r"^can't write .*model: .*File too large"):
        save(tmp_path / "model", random_encoder(config), config, preprocessor(config), TOKENIZER)
    assert load_checkpoint(tmp_path / "model").fingerprint == first
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_weights_that_are_not_finite_are_not_written_over_good_ones(tmp_path: Path) -> None:
    config = {**BERT, "position_embeddings_type": None}
    encoder = random_encoder(config)
    save(tmp_path / "model", encoder, config, preprocessor(config), TOKENIZER)
    with torch.no_grad():
        encoder.lm_head.weight[0, 0] = 1e6
    with pytest.raises(ConfigError, match=r"lm_head\.weight has .* not finite in float16; --dtype float32"):
        save(tmp_path / "model", encoder, config, preprocessor(config), TOKENIZER)
    assert np.isfinite(load_checkpoint(tmp_path / "model").encoder.lm_head.weight.numpy()).all()


def test_the_mask_is_kept(tmp_path: Path) -> None:
    config = {**BERT, "position_embeddings_type": "relative", "mask_time_prob": 0.3}
    masked = torch.rand(32)
    save(tmp_path / "model", random_encoder(config), config, preprocessor(config), TOKENIZER, masked, "float32")
    theirs = AutoModelForCTC.from_pretrained(tmp_path / "model", dtype=torch.float32)
    assert torch.equal(theirs.wav2vec2_bert.masked_spec_embed, masked)


WHISPER = {"model_type": "whisper", "architectures": ["WhisperForCTC"], **SMALL_WHISPER, **TOP, "vocab_size": 17}


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_a_whisper_with_a_head_is_loaded_as_it_was_saved(dtype: str, tmp_path: Path) -> None:
    encoder = random_encoder(WHISPER)
    save(tmp_path / "model", encoder, WHISPER, preprocessor(WHISPER), TOKENIZER, dtype=dtype)
    samples = speechlike(encoder.grid.span(0, 30)[1])[None]
    with torch.inference_mode():
        near = difference(load_checkpoint(tmp_path / "model").encoder(samples), encoder(samples))
    assert near < {"float32": 1e-5, "float16": 1e-2, "int8": 0.1}[dtype]


@pytest.mark.parametrize("config", [CONFIGS[0], WHISPER], ids=repr)
def test_eight_bits_are_a_step_off_at_most(config: dict[str, Any], tmp_path: Path) -> None:
    encoder = random_encoder(config)
    for dtype in ("int8", "float16"):
        save(tmp_path / dtype, encoder, config, preprocessor(config), TOKENIZER, dtype=dtype)
    small, plain = (read_tensors([tmp_path / dtype / "model.safetensors"]) for dtype in ("int8", "float16"))
    whole = widened(small, json.loads((tmp_path / "int8" / "config.json").read_text()))
    assert whole.keys() == plain.keys()
    for name, tensor in to_checkpoint(encoder).items():
        if small[name].dtype != torch.int8:
            assert tensor.ndim == 1 or len(tensor) == 1, name
            continue
        rows, steps = tensor.flatten(1), small[name + ".scale"].float()[:, None]
        assert (127 * steps <= 1.01 * rows.abs().amax(1, keepdim=True)).all(), name  # a scale of its own for each
        clipped = rows.clamp(-127 * steps, 127 * steps)  # the few beyond are given up for the many
        off = (whole[name].flatten(1) - clipped).abs()
        assert (off <= 0.51 * steps).all(), name
        assert ((whole[name].flatten(1) - rows).abs().amax(1) <= 0.21 * rows.abs().amax(1)).all(), name
    sizes = [(tmp_path / dtype / "model.safetensors").stat().st_size for dtype in ("int8", "float16")]
    assert sizes[0] < sizes[1]


def test_eight_bits_of_rows_that_are_nothing_or_all_one_value() -> None:
    weight = torch.tensor([[0.0, 0.0], [1e-9, 0.0], [3.0, -3.0], [500.0, 1.0]])
    whole, scale = quantized(weight)
    assert whole.dtype == torch.int8
    assert (whole * scale.float()[:, None] - weight).abs().max() < 0.51 * float(scale.max())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e9])
def test_weights_that_eight_bits_can_t_hold_are_not_written(bad: float, tmp_path: Path) -> None:
    encoder = random_encoder(WHISPER)
    with torch.no_grad():
        encoder.lm_head.weight[0, 0] = bad
    with pytest.raises(ConfigError, match=r"lm_head\.weight has values that eight bits can't hold; --dtype float32"):
        save(tmp_path / "model", encoder, WHISPER, preprocessor(WHISPER), TOKENIZER, dtype="int8")


def test_weights_in_eight_bits_that_lack_a_scale_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "model", random_encoder(WHISPER), WHISPER, preprocessor(WHISPER), TOKENIZER, dtype="int8")
    file, config = tmp_path / "model" / "model.safetensors", tmp_path / "model" / "config.json"
    tensors = read_tensors([file])
    save_file({name: t.clone() for name, t in tensors.items() if name != "lm_head.weight.scale"}, file)
    with pytest.raises(CheckpointError, match=r"lm_head\.weight is of int8"):
        load_checkpoint(tmp_path / "model")
    config.write_text(json.dumps({**json.loads(config.read_text()), "earshot_weights": "int4"}))
    with pytest.raises(UnsupportedModel, match="earshot_weights is 'int4'"):
        load_checkpoint(tmp_path / "model")


def test_the_options_name_the_dtypes_that_there_are() -> None:
    assert tuple(DTYPES) == options.DTYPES
