"""Whisper with a CTC head: its encoder equals transformers' on the same log-mels, and is exact under padding."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

from earshot_asr.engine.audio import to_float
from earshot_asr.engine.checkpoint import build_encoder, load_checkpoint
from earshot_asr.engine.errors import CheckpointError, UnsupportedModel
from earshot_asr.engine.families import whisper
from earshot_asr.engine.families.filters import slaney_filters
from earshot_asr.engine.families.whisper import LogMels, Whisper
from earshot_asr.engine.model import BUNDLED
from earshot_asr.engine.training.export import to_checkpoint
from earshot_asr.engine.training.start import from_checkpoint
from earshot_asr.engine.vocabulary import Vocabulary
from tests.engine.families.test_wav2vec2 import difference, speechlike
from tests.helpers import clips

SMALL: dict[str, Any] = dict(
    d_model=32,
    encoder_layers=3,
    encoder_attention_heads=4,
    encoder_ffn_dim=48,
    decoder_layers=1,
    decoder_attention_heads=4,
    decoder_ffn_dim=48,
    vocab_size=60,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    decoder_start_token_id=3,
)
TOP = dict(ctc_layers=2, ctc_inputs=[2, 3], ctc_hidden_size=24, ctc_attention_heads=3, ctc_intermediate_size=40)
PARTS: list[dict[str, Any]] = [{"ctc_layers": 0}, TOP, {**TOP, "ctc_inputs": [3], "ctc_conv_kernel": 3}]
LETTERS = Vocabulary(symbols=("<pad>", "|", *"abcdefghijklmno"), blank=0, delimiter=1, special=frozenset())
Pair = tuple[WhisperModel, Whisper]


def make(folder: Path, parts: dict[str, Any], bands: int = 80) -> Pair:
    """A random model of theirs, decoder and all, saved by them; and ours made of it, with a new head."""
    torch.manual_seed(0)
    theirs = WhisperModel(WhisperConfig(**SMALL, num_mel_bins=bands)).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "embed_positions" not in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    theirs.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=bands).save_pretrained(folder)
    ours = from_checkpoint(folder, LETTERS, parts).encoder.eval().requires_grad_(False)
    assert isinstance(ours, Whisper)
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if name.startswith(ours.HEAD):
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return theirs, ours


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Pair]:
    known: dict[str, Pair] = {}

    def get(parts: dict[str, Any], bands: int = 80) -> Pair:
        key = repr((parts, bands))
        if key not in known:
            known[key] = make(tmp_path_factory.mktemp("whisper"), parts, bands)
        return known[key]

    return get


@torch.inference_mode()
def their_states(theirs: WhisperModel, mels: Tensor) -> Tensor:
    """What comes out of their encoder, of log-mels (B, bands, 2 T): it wants as many as its positions."""
    encoder = deepcopy(theirs.encoder)
    frames = mels.shape[2] // 2
    encoder.config.max_source_positions = encoder.max_source_positions = frames
    table = encoder.embed_positions.weight[:frames]
    encoder.embed_positions = torch.nn.Embedding(frames, table.shape[1], _weight=table)
    states: Tensor = encoder(mels).last_hidden_state
    return states


@pytest.mark.parametrize("bands", [80, 128])
@torch.inference_mode()
def test_equals_transformers(pair: Callable[..., Pair], bands: int) -> None:
    theirs, ours = pair({"ctc_layers": 0}, bands)
    assert (ours.grid.hop, ours.grid.field) == (320, 560)
    for frames in (1, 2, 30, 61):
        samples = speechlike(ours.grid.span(0, frames)[1])[None]
        states = ours.encode(samples, None)
        assert states.shape[1] == frames
        assert difference(states, their_states(theirs, ours.mels(samples, None).mT)) < 1e-4


@pytest.mark.parametrize("more", [1, 159, 160, 319])
@torch.inference_mode()
def test_samples_between_two_frames_are_not_seen(pair: Callable[..., Pair], more: int) -> None:
    ours = pair(TOP)[1]
    samples = speechlike(ours.grid.span(0, 20)[1] + more)[None]
    assert torch.equal(ours(samples), ours(samples[:, :-more]))


@torch.inference_mode()
def test_the_layers_on_top_are_given_what_transformers_layers_give_out(pair: Callable[..., Pair]) -> None:
    theirs, ours = pair(TOP)
    samples = speechlike(ours.grid.span(0, 30)[1])[None]
    states: list[Tensor] = []
    ours.contextualize(ours.project(ours.extract(samples, None)), None, states)
    assert len(states) == len(ours.layers) == 5
    mels = ours.mels(samples, None).mT
    norm = theirs.encoder.layer_norm
    last = torch.nn.functional.layer_norm(states[2], (32,), norm.weight, norm.bias)
    assert difference(last, their_states(theirs, mels)) < 1e-4
    second = deepcopy(theirs)  # without its third layer
    second.encoder.layers = second.encoder.layers[:2]
    below = torch.nn.functional.layer_norm(states[1], (32,), norm.weight, norm.bias)
    assert difference(below, their_states(second, mels)) < 1e-4
    assert ours.top
    side_by_side = [torch.nn.functional.layer_norm(state, (32,)) for state in states[1:3]]
    given = ours.top.projection_norm(ours.top.projection(torch.cat(side_by_side, dim=-1)))
    assert torch.equal(ours.top.layers[0](given, None, None), states[3])


@pytest.mark.parametrize("parts", PARTS, ids=repr)
@torch.inference_mode()
def test_the_middle_has_the_channels_of_the_head(pair: Callable[..., Pair], parts: dict[str, Any]) -> None:
    """Training has heads there."""
    ours = pair(parts)[1]
    states: list[Tensor] = []
    ours.contextualize(ours.extract(speechlike(8000)[None], None), None, states)
    assert states[ours.middle - 1].shape[-1] == ours.lm_head.in_features


@pytest.mark.parametrize("bands", [80, 128])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 0.0])
def test_log_mels_equal_those_of_the_feature_extractor(scale: float, bands: int) -> None:
    samples = speechlike(16000) * scale
    theirs = WhisperFeatureExtractor(feature_size=bands)(samples.numpy(), sampling_rate=16000, padding=False)
    # Theirs are centred: frame k sees samples [160 k - 200, 160 k + 200); ours from sample 120 on, [120 + 160 j, ...).
    ours = LogMels(bands)(samples[None, 120:], None)[0].T.numpy()
    expected = np.array(theirs["input_features"][0])[:, 2 : 2 + ours.shape[1]]
    assert np.abs(ours - expected).max() < 1e-4


def test_the_filters_are_those_of_the_feature_extractor() -> None:
    for bands in (80, 128):
        theirs = WhisperFeatureExtractor(feature_size=bands).mel_filters
        assert np.abs(slaney_filters(bands, 400) - theirs).max() < 1e-7


def test_positions_are_transformers(pair: Callable[..., Pair]) -> None:
    theirs, _ = pair({"ctc_layers": 0})
    table = theirs.encoder.embed_positions.weight
    assert torch.allclose(whisper.sinusoids(torch.zeros(1, *table.shape)), table, atol=1e-6)


@pytest.mark.parametrize("parts", PARTS, ids=repr)
@torch.inference_mode()
def test_padded_equals_alone(pair: Callable[..., Pair], parts: dict[str, Any]) -> None:
    ours = pair(parts)[1]
    lengths = [9000, 16000, 560, 4321, 4161]
    garbage = torch.randn(5, 16000, generator=torch.Generator().manual_seed(1)) * 1000
    for row, length in enumerate(lengths):
        garbage[row, :length] = speechlike(length, row)
    together = ours(garbage, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone = ours(speechlike(length, row)[None])
        assert difference(together[row : row + 1, : alone.shape[1]], alone) < 1e-5


@settings(max_examples=15, deadline=None)
@given(data=st.data())
@torch.inference_mode()
def test_company_makes_no_difference(pair: Callable[..., Pair], data: st.DataObject) -> None:
    ours = pair(data.draw(st.sampled_from(PARTS)))[1]
    lengths = data.draw(st.lists(st.integers(0, 6000), min_size=1, max_size=4))
    padding = data.draw(st.sampled_from([0.0, 1.0, 1e4, float("inf"), float("nan")]))
    batch = torch.full((len(lengths), max(720, *lengths)), padding)
    for row, length in enumerate(lengths):
        batch[row, :length] = speechlike(length, row)
    together = ours(batch, torch.tensor(lengths))
    assert together.isfinite().all()
    for row, length in enumerate(lengths):
        alone = ours(speechlike(length, row)[None])
        frames = ours.grid.frames(length)
        assert alone.shape[1] == frames
        if frames:
            assert difference(together[row : row + 1, :frames], alone) < 1e-5


def test_grid_is_what_the_log_mels_of_a_frame_see() -> None:
    samples = (torch.randn(1, 3200) * 0.1).requires_grad_()
    LogMels(80)(samples, None)[0, 4:6].square().sum().backward()  # frame 2
    assert samples.grad is not None
    loudest = int(samples.grad[0].abs().argmax())
    seen = samples.grad[0].nonzero().flatten()
    assert 640 <= loudest < 640 + 560
    inside = seen[(seen >= 640) & (seen < 640 + 560)]
    assert int(inside.max() - inside.min()) >= 556  # the window is 0 at its ends


def test_the_loudest_in_the_window_is_the_loudest_of_what_is_valid() -> None:
    samples = speechlike(4000)[None]
    alone = LogMels(80)(samples, None)
    louder = torch.cat((samples, torch.ones(1, 4000)), dim=1)
    frames = torch.tensor([alone.shape[1] // 2])
    assert torch.equal(LogMels(80)(louder, frames)[:, : alone.shape[1]], alone)
    assert not torch.equal(LogMels(80)(louder, None)[:, : alone.shape[1]], alone)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("parts", PARTS, ids=repr)
@torch.inference_mode()
def test_half_precision_is_near_and_comes_out_as_float32(
    pair: Callable[..., Pair], parts: dict[str, Any], dtype: torch.dtype
) -> None:
    theirs, ours = pair(parts)
    half, their_half = deepcopy(ours).to(dtype), deepcopy(theirs).to(dtype)
    off = their_off = 0.0
    for seed in range(4):
        samples = speechlike(8160, seed)[None]
        assert half(samples).dtype == torch.float32
        off = max(off, difference(half(samples), ours(samples)))
        mels = ours.mels(samples, None).mT
        rounded = their_states(their_half, mels.to(dtype)).float()
        their_off = max(their_off, difference(rounded, their_states(theirs, mels)))
    assert off < max(0.05, 2 * their_off), (off, their_off)


def test_what_it_is_made_of_comes_back(pair: Callable[..., Pair]) -> None:
    """All tensors of a checkpoint are made into ours, and ours into the same again."""
    theirs, ours = pair({"ctc_layers": 0})
    written = to_checkpoint(ours)
    for name, tensor in theirs.state_dict().items():
        if name.startswith("encoder.") and "embed_positions" not in name:
            assert torch.equal(written[f"model.{name}"], tensor)


def test_a_checkpoint_without_a_ctc_head_is_refused_with_what_to_do(pair: Callable[..., Pair], tmp_path: Path) -> None:
    theirs, _ = pair(TOP)
    theirs.save_pretrained(tmp_path)
    WhisperFeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(
        UnsupportedModel, match=r"WhisperModel has no CTC head.*earshot train ctc MANIFEST --out OUT --from"
    ):
        load_checkpoint(tmp_path)
    theirs.config.architectures = None
    theirs.config.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModel, match=r"whisper has no CTC head.*earshot train ctc MANIFEST --out OUT --from"):
        load_checkpoint(tmp_path)


def test_what_is_not_supported_is_named() -> None:
    config = {**SMALL, **TOP, "model_type": "whisper", "architectures": ["WhisperForCTC"]}
    for name, entry in (
        ("quick_gelu", {"activation_function": "quick_gelu"}),
        ("max_source_positions is 500", {"max_source_positions": 500}),
        ("ctc_inputs", {"ctc_inputs": [4]}),
        ("ctc_inputs", {"ctc_inputs": []}),
        ("ctc_conv_kernel", {"ctc_conv_kernel": 4}),
        ("ctc_hidden_size is 24", {"ctc_attention_heads": 5}),
        ("d_model", {"d_model": "32"}),
        ("d_model is 32", {"encoder_attention_heads": 5}),
        ("even", {"d_model": 35, "encoder_attention_heads": 5}),
    ):
        with pytest.raises((UnsupportedModel, CheckpointError), match=name):
            build_encoder({**config, **entry}, {})
    with pytest.raises(UnsupportedModel, match="Wav2Vec2FeatureExtractor"):
        build_encoder(config, {"feature_extractor_type": "Wav2Vec2FeatureExtractor"})
    with pytest.raises(UnsupportedModel, match="n_fft"):
        build_encoder(config, {"n_fft": 512})
    with pytest.raises(CheckpointError, match="feature_size is 128"):
        build_encoder(config, {"feature_size": 128})


@torch.inference_mode()
def test_the_bundled_models_layers_equal_transformers_on_real_speech() -> None:
    (clip,) = clips("dev.jsonl", 1)
    pcm, rate = soundfile.read(clip["audio"], dtype="int16")
    assert rate == 16000
    checkpoint = load_checkpoint(BUNDLED)
    ours = checkpoint.encoder
    assert isinstance(ours, Whisper) and ours.top
    config = WhisperConfig(
        **{**json.loads((BUNDLED / "config.json").read_text()), "decoder_layers": 1, "decoder_attention_heads": 8}
    )
    theirs = WhisperModel(config).eval()
    weights = {n.removeprefix("model."): t for n, t in to_checkpoint(ours).items() if n.startswith("model.encoder.")}
    assert not theirs.load_state_dict(weights, strict=False).unexpected_keys
    samples = torch.from_numpy(to_float(pcm))[None]
    states: list[Tensor] = []
    ours.contextualize(ours.extract(samples, None), None, states)
    last = torch.nn.functional.layer_norm(states[len(ours.blocks) - 1], (config.d_model,))
    assert difference(last, their_states(theirs, ours.mels(samples, None).mT)) < 1e-4
    text = checkpoint.vocabulary.text(ours(samples)[0].argmax(-1).tolist())
    assert len(text.split()) > 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@torch.inference_mode()
def test_can_be_captured_in_a_cuda_graph(pair: Callable[..., Pair]) -> None:
    ours = deepcopy(pair(TOP)[1]).cuda()
    samples = speechlike(8000)[None].cuda()
    expected = ours(samples)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    still = samples.clone()
    with torch.cuda.graph(graph):
        captured = ours(still)
    still.copy_(samples)
    graph.replay()
    assert difference(captured, expected) < 1e-5
