"""wav2vec 2.0's pretraining (Baevski et al. 2020): the model tells masked frames from other frames of the utterance.

    samples -> convolutions -> latents -> some masked -> transformer -> project_hid ------+
                                  |                                                       | cosine
                                  +-> quantizer -> project_q -> this one, not those ------+

Given the same weights, mask and distractors, losses and gradients are those of transformers' Wav2Vec2ForPreTraining
(whose loss is fairseq's without the feature penalty).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earshot_asr.engine.errors import CheckpointError
from earshot_asr.engine.families.layers import Recipe, Size, read_dims, silence_padding, valid
from earshot_asr.engine.families.wav2vec2 import Wav2Vec2
from earshot_asr.engine.training import masking
from earshot_asr.engine.training.pretrain.quantizer import Quantizer


@dataclass(frozen=True, slots=True)
class ContrastiveDims:
    """The entries of config.json that shape the task, with transformers' names and defaults."""

    num_codevector_groups: Size = 2
    num_codevectors_per_group: Size = 320
    codevector_dim: Size = 256
    proj_codevector_dim: Size = 256
    num_negatives: Size = 100
    contrastive_logits_temperature: float = 0.1
    diversity_loss_weight: float = 0.1
    feat_quantizer_dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.codevector_dim % self.num_codevector_groups:
            raise CheckpointError(
                f"config.json: codevector_dim is {self.codevector_dim}, "
                f"which {self.num_codevector_groups} num_codevector_groups do not divide"
            )

    @property
    def codewords(self) -> int:
        """Of all groups together."""
        return self.num_codevector_groups * self.num_codevectors_per_group


class Outcome(NamedTuple):
    """Scalars of a batch. `loss`, contrastive and diversity are sums over the masked frames, as in transformers.

    loss         contrastive + diversity_loss_weight * diversity + the penalty's weight * penalty * masked
    contrastive  cross entropy of the true codeword among the distractors
    diversity    share of codewords that are not in use, times masked
    penalty      mean square of the latents
    perplexity   codewords in use at the masked frames, summed over groups
    correct      number of masked frames whose true codeword comes first
    masked       number of masked frames
    """

    loss: Tensor
    contrastive: Tensor
    diversity: Tensor
    penalty: Tensor
    perplexity: Tensor
    correct: Tensor
    masked: Tensor


class Contrastive(nn.Module):
    """An encoder, and the quantizer and projections that pretraining adds to it."""

    def __init__(
        self,
        wav2vec2: Wav2Vec2,
        dims: ContrastiveDims,
        *,
        penalty: float = 10.0,
        feature_gradient: float = 0.1,
    ) -> None:
        """penalty: weight of the mean square of the latents. feature_gradient: factor on the convolutions' gradients.

        Both defaults are fairseq's for base models; 0 and 1 are what transformers does.
        """
        super().__init__()
        self.dims, self.penalty, self.feature_gradient = dims, penalty, feature_gradient
        self.wav2vec2 = wav2vec2
        self.wav2vec2.lm_head.requires_grad_(False)  # it is not used
        latents, hidden = wav2vec2.feature_projection.channels, wav2vec2.lm_head.in_features
        self.masked_spec_embed = nn.Parameter(wav2vec2.new_mask())
        self.quantizer = Quantizer(
            latents, dims.num_codevector_groups, dims.num_codevectors_per_group, dims.codevector_dim
        )
        self.project_q = nn.Linear(dims.codevector_dim, dims.proj_codevector_dim)
        self.project_hid = nn.Linear(hidden, dims.proj_codevector_dim)

    def forward(
        self,
        samples: Tensor,
        lengths: Tensor | None,
        mask: Tensor,
        distractors: Tensor,
        temperature: Tensor | float = 2.0,
    ) -> Outcome:
        """One pass over a batch.

        samples      (B, S) float32 in [-1, 1)
        lengths      (B,) int64: valid samples of each row; None: all of them
        mask         (B, T) bool: the frames to be guessed, all of them valid
        distractors  (B, T, K) int64: for each masked frame other masked frames of its row; anything elsewhere
        temperature  of the quantizer
        """
        samples, lengths = silence_padding(samples, lengths)
        frames = None if lengths is None else self.wav2vec2.frames(lengths)
        latents = self.wav2vec2.extract(samples, lengths)
        scaled = latents.detach() + self.feature_gradient * (latents - latents.detach())
        normed = self.wav2vec2.feature_projection.layer_norm(scaled)
        projection = self.wav2vec2.feature_projection
        hidden = projection.feat_proj_dropout(projection.projection(normed))
        context = self.wav2vec2.contextualize(masking.mask(hidden, mask, None, self.masked_spec_embed), frames)
        with torch.autocast(samples.device.type, enabled=False):
            normed = F.dropout(normed.float(), self.dims.feat_quantizer_dropout, self.training)
            quantized = self.quantizer(normed, mask, temperature)
            guesses, targets = self.project_hid(context.float()), self.project_q(quantized.vectors)
            logits = contrast(guesses, targets, quantized.codes, distractors)
            return self._outcome(logits, quantized.perplexity, mask, mean_square(scaled.float(), frames))

    def codes(self, samples: Tensor) -> Tensor:
        """The most probable codewords of samples (B, S): (B, T, G) int64."""
        normed = self.wav2vec2.feature_projection.layer_norm(self.wav2vec2.extract(samples, None))
        with torch.autocast(samples.device.type, enabled=False):
            out: Tensor = self.quantizer.logits(normed.float()).argmax(-1)
        return out

    def recipe(self, name: str) -> Recipe:
        """See Encoder.recipe."""
        if name.startswith("wav2vec2."):
            return self.wav2vec2.recipe(name.removeprefix("wav2vec2."))
        return Recipe((self.wav2vec2.PREFIX + name if name == "masked_spec_embed" else name,))

    def _outcome(self, logits: Tensor, perplexity: Tensor, mask: Tensor, penalty: Tensor) -> Outcome:
        """The outcome of logits (B, T, 1 + K), of which the first is that of the true codeword."""
        dims, masked = self.dims, mask.sum()
        scores = (logits / dims.contrastive_logits_temperature).log_softmax(-1)[..., 0]
        contrastive = -scores.masked_fill(~mask, 0.0).sum()
        diversity = (1 - perplexity / dims.codewords) * masked
        loss = contrastive + dims.diversity_loss_weight * diversity + self.penalty * penalty * masked
        correct = ((logits[..., 0] > logits[..., 1:].amax(-1)) & mask).sum()
        return Outcome(loss, contrastive, diversity, penalty, perplexity, correct, masked)


def contrast(guesses: Tensor, targets: Tensor, codes: Tensor, distractors: Tensor) -> Tensor:
    """Cosines of each guess with its target and with its distractors' targets: (B, T, 1 + K).

    guesses, targets  (B, T, C)
    codes             (B, T, G): a distractor of the same codewords as the target is none, its cosine is -inf
    distractors       (B, T, K): places in the row

    All pairs of a row are compared, which takes less time and memory than to gather K targets for each guess.
    """
    cosines = F.normalize(guesses, dim=-1) @ F.normalize(targets, dim=-1).mT  # (B, T, T)
    same = (codes[:, :, None] == codes[:, None]).all(-1)
    wrong = cosines.masked_fill(same, float("-inf")).gather(2, distractors)
    return torch.cat([cosines.diagonal(dim1=1, dim2=2)[..., None], wrong], dim=-1)


def mean_square(latents: Tensor, frames: Tensor | None) -> Tensor:
    """The mean square of latents (B, T, C) over the first frames (B,) of each row; None: over all."""
    if frames is None:
        return latents.square().mean()
    inside = valid(frames, latents.shape[1])
    return (latents.square().mean(-1) * inside).sum() / inside.sum()


def draw_distractors(mask: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """For each masked frame (B, T) `count` other masked frames of its row, drawn with repetition: (B, T, count) int64.

    The only masked frame of a row gets itself.
    """
    places = mask.int().sort(dim=1, descending=True, stable=True).indices  # masked frames come first, in order
    masked, rank = mask.sum(1)[:, None, None], (mask.cumsum(1) - 1)[..., None]
    chance = torch.rand(*mask.shape, count, device=mask.device, generator=generator)
    others = torch.minimum((chance * (masked - 1)).long(), (masked - 2).clamp_min(0))
    others = torch.minimum(others + (others >= rank), (masked - 1).clamp_min(0))
    return places.gather(1, others.flatten(1)).view_as(others)


def read_contrastive_dims(config: Mapping[str, Any]) -> ContrastiveDims:
    """From config.json. Raises CheckpointError."""
    return read_dims(ContrastiveDims, config)
