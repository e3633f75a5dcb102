"""Wav2Vec2-BERT with a CTC head (Barrault et al. 2023), as transformers' Wav2Vec2BertForCTC.

    samples -> log-mels every 160 samples, two to a frame -> conformer -> adapter, in most fine-tunes -> CTC head

Its convolutions are causal, so padding on the right could change the result in two places, and is masked in both: the
statistics that normalize log-mels, and the attention keys. For the adapter see wav2vec2_bert_adapter.py.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from earshot_asr.engine.audio import SAMPLE_RATE, FrameGrid
from earshot_asr.engine.errors import CheckpointError, UnsupportedModel, shown
from earshot_asr.engine.families import Config, Family
from earshot_asr.engine.families.conformer import Conformer, Shape, positions_of
from earshot_asr.engine.families.layers import (
    Depth,
    Encoder,
    FeedForward,
    Recipe,
    Size,
    Stack,
    Symbols,
    check_heads,
    counts,
    read_dims,
    valid,
)
from earshot_asr.engine.families.wav2vec2_bert_adapter import Adapter, AdapterDims, adapter_of

PREFIX = "wav2vec2_bert."
EXTRACTOR = "SeamlessM4TFeatureExtractor"
POSITIONS = ("relative_key", "relative", "rotary", None)
"""Of position_embeddings_type."""

MEL_WINDOW_SAMPLES, MEL_HOP_SAMPLES, MEL_FFT_SAMPLES = 400, 160, 512
MEL_FLOOR = 1.192092955078125e-07
PREEMPHASIS = 0.97


@dataclass(frozen=True, slots=True)
class Wav2Vec2BertDims:
    """The entries of config.json with the model's sizes, under transformers' names and with its defaults."""

    vocab_size: Symbols
    hidden_size: Size = 1024
    num_hidden_layers: Depth = 24
    num_attention_heads: Size = 16
    intermediate_size: Size = 4096
    feature_projection_input_dim: Size = 160
    hidden_act: str = "swish"
    layer_norm_eps: float = 1e-5
    use_intermediate_ffn_before_adapter: bool = False
    rotary_embedding_base: float = 10000
    left_max_position_embeddings: Size = 64
    right_max_position_embeddings: Size = 8
    conv_depthwise_kernel_size: Size = 31

    def __post_init__(self) -> None:
        check_heads(self, "hidden_size", "num_attention_heads")

    def shape(self, positions: str | None) -> Shape:
        """The conformer's shape. positions: one of POSITIONS."""
        return Shape(
            channels=self.hidden_size,
            heads=self.num_attention_heads,
            inner=self.intermediate_size,
            depth=self.num_hidden_layers,
            act=self.hidden_act,
            positions=positions,
            kernel=self.conv_depthwise_kernel_size,
            causal=True,
            eps=self.layer_norm_eps,
            left=self.left_max_position_embeddings,
            right=self.right_max_position_embeddings,
            base=self.rotary_embedding_base,
        )


def build(config: Config, preprocessor: Config) -> "Wav2Vec2Bert":
    """See Family.build."""
    extractor = preprocessor.get("feature_extractor_type", EXTRACTOR)
    if extractor != EXTRACTOR:
        raise UnsupportedModel(f"feature_extractor_type {shown(extractor)} does not go with model_type 'wav2vec2-bert'")
    positions = positions_of(config, "relative_key", POSITIONS)
    dims = read_dims(Wav2Vec2BertDims, config)
    bands, stride = preprocessor.get("num_mel_bins", 80), preprocessor.get("stride", 2)
    whole = type(bands) is int and type(stride) is int and bands > 0 and stride > 0
    if not (whole and bands * stride == dims.feature_projection_input_dim):
        raise CheckpointError(
            f"preprocessor_config.json: num_mel_bins {shown(bands)} times stride {shown(stride)} is not "
            f"config.json's feature_projection_input_dim, {dims.feature_projection_input_dim}"
        )
    return Wav2Vec2Bert(dims, dims.shape(positions), adapter_of(config), bands, stride)


def preprocessor_for(config: Config) -> dict[str, Any]:
    """See Family.preprocessor."""
    return {
        "feature_extractor_type": EXTRACTOR,
        "feature_size": 80,
        "num_mel_bins": 80,
        "stride": 2,
        "sampling_rate": 16000,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
    }


class Wav2Vec2Bert(Encoder):
    """See Encoder. bands: of log-mels. stride: log-mel frames in a frame."""

    ABOVE = ("intermediate_ffn.", "adapter.proj")

    def __init__(
        self, dims: Wav2Vec2BertDims, shape: Shape, adapter: AdapterDims | None, bands: int, stride: int
    ) -> None:
        below = FrameGrid(MEL_HOP_SAMPLES * stride, MEL_WINDOW_SAMPLES + MEL_HOP_SAMPLES * (stride - 1))
        grid, channels = (adapter.grid(below), adapter.output_hidden_size) if adapter else (below, dims.hidden_size)
        super().__init__(grid, channels, dims.vocab_size)
        self.below = below
        self.mels = LogMels(bands, stride)
        self.feature_projection = FeatureProjection(dims)
        self.encoder = Conformer(shape)
        ffn = dims.use_intermediate_ffn_before_adapter
        self.intermediate_ffn = FeedForward(dims.hidden_size, dims.intermediate_size, "relu") if ffn else None
        self.adapter = Adapter(adapter) if adapter else None

    @property
    def layers(self) -> Stack:
        """See Encoder.layers."""
        return Stack([*self.encoder.layers, *self.adapter.layers]) if self.adapter else self.encoder.layers

    @property
    def width(self) -> int:
        """See Encoder.width."""
        return self.encoder.shape.channels

    @property
    def middle(self) -> int:
        """See Encoder.middle. Of a model with an adapter, only the last layer has the frames of the grid."""
        return len(self.layers) if self.adapter else super().middle

    def steps(self, lengths: Tensor) -> Tensor:
        """See Encoder.steps."""
        return counts(self.below, lengths)

    def initialize(self) -> None:
        """See Encoder.initialize: as transformers does."""
        self.encoder.initialize()

    def prepare_for_training(self) -> None:
        """See Encoder.prepare_for_training. Log-mels in single precision take half the time."""
        self.mels.precision = torch.float32

    def extract(self, samples: Tensor, lengths: Tensor | None) -> Tensor:
        """See Encoder.extract."""
        with torch.autocast(
            samples.device.type, enabled=False
        ):  # otherwise the filters would be applied in half precision
            mels: Tensor = self.mels(samples, lengths)
        return mels.to(self.dtype)

    def project(self, features: Tensor) -> Tensor:
        """See Encoder.project."""
        out: Tensor = self.feature_projection(features)
        return out

    def contextualize(self, x: Tensor, frames: Tensor | None, states: list[Tensor] | None = None) -> Tensor:
        """See Encoder.contextualize."""
        x = self.encoder(x, frames, states)
        if self.intermediate_ffn is not None:
            x = torch.add(x, self.intermediate_ffn(x), alpha=0.5)
        return x if self.adapter is None else self.adapter(x, frames, states)

    def recipe(self, name: str) -> Recipe:
        """See Encoder.recipe."""
        if name.startswith("lm_head."):
            return Recipe((name,))
        name = name.replace("self_attn.out_proj", "self_attn.linear_out")  # of the adapter
        return self.encoder.recipe(name, lambda ours: PREFIX + ours)


def mel_filters(bands: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Kaldi's triangular mel filters, 20 Hz to the Nyquist frequency: (MEL_FFT_SAMPLES // 2 + 1, bands)."""

    def mel(hertz: Any) -> Any:
        return 1127.0 * np.log(1.0 + hertz / 700.0)

    centres = np.linspace(mel(20.0), mel(SAMPLE_RATE / 2), bands + 2)
    bins = mel(np.arange(MEL_FFT_SAMPLES // 2 + 1) * SAMPLE_RATE / MEL_FFT_SAMPLES)[:, None]
    width = np.diff(centres)
    rising, falling = (bins - centres[:-2]) / width[:-1], (centres[2:] - bins) / width[1:]
    filters: np.ndarray[Any, np.dtype[np.float64]] = np.maximum(0.0, np.minimum(rising, falling))
    return filters


class LogMels(nn.Module):
    """Log-mels, normalized per band over the valid frames of a row, as by SeamlessM4TFeatureExtractor.

    Computed in double precision until they are normalized: in single precision a quiet band next to a loud one is off
    by 1e-3, and a row of two frames, whose variance is small, by 7e-5. Training changes the sound more than that, and
    sets `precision` to float32.

    A last log-mel frame without a partner (there is none in a window of exactly grid.span() samples) counts in mean and
    variance but makes no frame. transformers appends a padded frame there and masks it, which has the same result.
    """

    window: Tensor
    filters: Tensor
    precision = torch.float64

    def __init__(self, bands: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        povey = np.hanning(MEL_WINDOW_SAMPLES) ** 0.85 * 2.0**15  # Kaldi's samples are 16 bit integers
        self.register_buffer("window", torch.from_numpy(povey), persistent=False)
        self.register_buffer("filters", torch.from_numpy(mel_filters(bands)), persistent=False)

    def forward(self, samples: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, S) -> (B, T, stride * bands), float32."""
        mels = self.raw(samples)
        if lengths is None:
            variance, mean = torch.var_mean(mels, dim=1, correction=1, keepdim=True)
        else:
            count = (torch.div(lengths - MEL_WINDOW_SAMPLES, MEL_HOP_SAMPLES, rounding_mode="floor") + 1).clamp_min(2)
            inside = valid(count, mels.shape[1])[..., None]
            count = count[:, None, None]
            mean = mels.masked_fill(~inside, 0.0).sum(1, keepdim=True) / count
            variance = (mels - mean).masked_fill(~inside, 0.0).square().sum(1, keepdim=True) / (count - 1)
        mels = (mels - mean) * torch.rsqrt(variance + 1e-7)
        frames = mels.shape[1] // self.stride
        return mels[:, : frames * self.stride].reshape(len(mels), frames, -1).float()

    def raw(self, samples: Tensor) -> Tensor:
        """(B, S) -> log-mels (B, (S - 400) // 160 + 1, bands) of dtype `precision`, not normalized."""
        frames = samples.to(self.precision).unfold(1, MEL_WINDOW_SAMPLES, MEL_HOP_SAMPLES)
        frames = frames - frames.mean(-1, keepdim=True)
        before = torch.cat((frames[..., :1], frames[..., :-1]), dim=-1)
        window, filters = self.window.to(self.precision), self.filters.to(self.precision)
        spectrum = torch.fft.rfft(before.mul_(-PREEMPHASIS).add_(frames).mul_(window), n=MEL_FFT_SAMPLES)
        power = spectrum.real.square() + spectrum.imag.square()
        mels: Tensor = power @ filters
        return mels.clamp_min_(MEL_FLOOR).log_()


class FeatureProjection(nn.Module):
    """A norm and a linear map from log-mels to the conformer's channels."""

    def __init__(self, dims: Wav2Vec2BertDims) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(dims.feature_projection_input_dim, eps=dims.layer_norm_eps)
        self.projection = nn.Linear(dims.feature_projection_input_dim, dims.hidden_size)
        self.feat_proj_dropout = nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, mels) -> (B, T, C)."""
        out: Tensor = self.feat_proj_dropout(self.projection(self.layer_norm(x)))
        return out


FAMILY = Family(
    build=build,
    head="Wav2Vec2BertForCTC",
    prefix=PREFIX,
    preprocessor=preprocessor_for,
)
