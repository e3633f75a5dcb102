"""The model that CTC training trains: an encoder, heads that only training needs, and the losses.

With plain CTC (Graves et al. 2006) a new model says only blanks for a long time. A small model gets past that within
minutes if it first learns frame by frame from an alignment: two frames a symbol, blanks at a lower weight, and phones
from a middle layer and the top.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earshot_asr.engine.audio import SAMPLE_RATE
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.families.layers import Encoder, silence_padding
from earshot_asr.engine.training.compiling import compile_encoder
from earshot_asr.engine.training.masking import mask
from earshot_asr.engine.training.regularization import Regularization
from earshot_asr.engine.training.task import UNKNOWN, TrainingBatch


@dataclass(frozen=True, slots=True)
class Losses:
    """Weights of the losses, and the shares of the schedule at which they change.

    ctc            weight of CTC
    middle_phones, top_phones   weights of the phones, told from a middle layer and from the top
    blank          weight of a frame without a symbol, beside 1 for one with a symbol
    ctc_from, ctc_full          CTC's weight rises from 0 to its full value between these
    frames_from, frames_until   the weight of the top's frame by frame losses falls to `frames_last` between these
    intermediate   share of CTC that is computed on the middle layer, by the same head (Lee & Watanabe 2021)
    by_frame       factor on all frame by frame losses, those of phones too; 0: CTC alone
    last_stage     the weights are those at the end of the schedule from the start: for a model that can write already
    """

    ctc: float = 3.0
    middle_phones: float = 0.3
    top_phones: float = 0.15
    blank: float = 0.35
    ctc_from: float = 0.12
    ctc_full: float = 0.22
    frames_from: float = 0.15
    frames_until: float = 0.40
    frames_last: float = 0.1
    intermediate: float = 0.0
    by_frame: float = 1.0
    last_stage: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.intermediate < 1:
            raise ConfigError(
                f"the share of intermediate CTC is {self.intermediate:g}; it must be from 0 on and below 1"
            )

    def at(self, share: float) -> tuple[float, float]:
        """Factors on CTC and on the top's frame by frame losses when `share` of the schedule is done."""
        if self.last_stage:
            return 1.0, self.by_frame * self.frames_last
        falling = 1 - (1 - self.frames_last) * _ramp(share, self.frames_from, self.frames_until)
        rising = _ramp(share, self.ctc_from, self.ctc_full) if self.by_frame else 1.0
        return rising, self.by_frame * falling


def _ramp(x: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (x - low) / (high - low)))


class CtcModel(nn.Module):
    """The module of CTC training. Letters: B rows, T frames, C channels, V vocabulary, P phones.

    phones           P; 0: there are no heads for phones
    freeze_features  whether the convolutions over samples keep their weights
    freeze_layers    number of the lowest layers that keep their weights, as does what is below them
    freeze_body      share of the schedule in which only the heads learn
    eager            whether nothing is compiled
    """

    def __init__(
        self,
        encoder: Encoder,
        masked: nn.Parameter,
        blank: int,
        *,
        phones: int = 0,
        regularization: Regularization,
        losses: Losses,
        freeze_features: bool = False,
        freeze_layers: int = 0,
        freeze_body: float = 0.0,
        eager: bool = False,
    ) -> None:
        super().__init__()
        self.encoder, self.masked_spec_embed, self.blank = encoder, masked, blank
        self.regularization, self.losses = regularization, losses
        self.freeze_body = freeze_body
        regularization.apply(encoder)
        channels = encoder.lm_head.in_features
        self.middle, self.normalize = encoder.middle, encoder.pre_norm
        names = ("middle_phones", "top_phones") if phones else ()
        self.heads = nn.ModuleDict({name: nn.Linear(channels, phones) for name in names})
        if freeze_features and encoder.convolutions is not None:
            encoder.convolutions.requires_grad_(False)
        levels = body(encoder)
        for name, level in levels.items():
            if freeze_layers and level <= freeze_layers:
                encoder.get_parameter(name).requires_grad_(False)
        if freeze_layers or not (regularization.mask_time_prob > 0):
            masked.requires_grad_(False)  # it is below all layers: gradients would pass the frozen ones to reach it
        below = [masked, *(encoder.get_parameter(name) for name in levels)]
        self._body = [parameter for parameter in below if parameter.requires_grad]
        compile_encoder(encoder, eager)

    def forward(self, batch: TrainingBatch, share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See Task.module."""
        for parameter in self._body:
            parameter.requires_grad_(share >= self.freeze_body)
        samples, lengths = silence_padding(batch.samples, batch.lengths)
        steps = None if lengths is None else self.encoder.steps(lengths)
        features = self.encoder.extract(samples, lengths)
        shape = (*features.shape[:2], self.masked_spec_embed.numel())
        time, channels = self.regularization.masks(shape, steps, features.device)
        middle, top = self._hidden_states(features, steps, time, channels)
        frames = torch.full(top.shape[:1], top.shape[1])
        if batch.lengths is not None:
            frames = self.encoder.frames(batch.lengths).cpu()
        loss, figures = self._losses(middle, top, batch, frames, share)
        seconds = batch.samples.numel() if batch.lengths is None else int(batch.lengths.sum())
        return loss, figures | {"seconds": torch.tensor(seconds / SAMPLE_RATE)}

    def _hidden_states(
        self, features: Tensor, steps: Tensor | None, time: Tensor | None, channels: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Hidden states (B, T, C) of the middle layer and of the top; time, channels: see Regularization.masks."""
        x = mask(self.encoder.project(features), time, channels, self.masked_spec_embed)
        states: list[Tensor] = []
        top = self.encoder.final_dropout(self.encoder.contextualize(x, steps, states))
        return states[self.middle - 1], top

    def _losses(
        self, middle: Tensor, top: Tensor, batch: TrainingBatch, frames: Tensor, share: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        ctc_on, frames_on = self.losses.at(share)
        letters = self.encoder.lm_head(top).float()
        normal = F.layer_norm(middle, middle.shape[-1:]) if self.normalize else middle
        figures: dict[str, Tensor] = {}
        loss = letters.new_zeros(())
        if batch.symbols is None:
            ctc_on = 1.0
        else:
            figures["frames"] = by_frame(letters, batch.symbols, self.blank, self.losses.blank)
            loss = loss + frames_on * figures["frames"]
        if batch.phones is not None and self.heads and self.losses.by_frame:
            below = self.heads["middle_phones"](normal).float()
            figures["phones"], figures["phone_accuracy"] = (
                cross_entropy(below, batch.phones),
                accuracy(below, batch.phones),
            )
            loss = loss + self.losses.by_frame * self.losses.middle_phones * figures["phones"]
            above = cross_entropy(self.heads["top_phones"](top).float(), batch.phones)
            loss = loss + self.losses.top_phones * frames_on * above
        if ctc_on > 0:
            figures["ctc"] = ctc(letters, batch, frames, self.blank)
            both = figures["ctc"]
            if self.losses.intermediate:
                inner = ctc(self.encoder.lm_head(normal).float(), batch, frames, self.blank)
                both = (1 - self.losses.intermediate) * both + self.losses.intermediate * inner
            loss = loss + self.losses.ctc * ctc_on * both
        return loss, figures


def body(encoder: Encoder) -> dict[str, int]:
    """Name of each of the encoder's weights, but the head's -> the number of its layer, from 1 on.

    Weights below all layers have 0; those above them, such as a last norm, have the number of the last layer.
    """
    names = {name: parameter for name, parameter in encoder.named_parameters() if not name.startswith(encoder.HEAD)}
    layer = {id(p): number for number, layer in enumerate(encoder.layers, 1) for p in layer.parameters()}
    last = max((layer[id(p)] for p in names.values() if id(p) in layer), default=0)
    return {
        name: layer.get(id(parameter), last if name.startswith(encoder.ABOVE) else 0)
        for name, parameter in names.items()
    }


def ctc(logits: Tensor, batch: TrainingBatch, frames: Tensor, blank: int) -> Tensor:
    """CTC loss per frame of logits (B, T, V) float32; a row whose targets do not fit into its frames has the loss 0.

    frames   (B,) int64 on the CPU: valid frames of each row
    """
    log_probs = logits.log_softmax(-1).transpose(0, 1)
    total = F.ctc_loss(
        log_probs, batch.targets, frames, batch.target_lengths, blank=blank, reduction="sum", zero_infinity=True
    )
    return total / int(frames.sum())


def by_frame(logits: Tensor, symbols: Tensor, blank: int, weight: float) -> Tensor:
    """Cross entropy of logits (B, T, V), mean over the known frames of symbols (B, T); blanks count `weight` times."""
    flat = symbols.flatten()
    each = F.cross_entropy(logits.flatten(0, 1), flat, ignore_index=UNKNOWN, reduction="none")
    weighted = each * torch.where(flat == blank, weight, 1.0)
    return weighted.sum() / (flat != UNKNOWN).sum().clamp_min(1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of logits (B, T, P), mean over the known frames of labels (B, T); 0 if there are none."""
    total = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=UNKNOWN, reduction="sum")
    return total / (labels != UNKNOWN).sum().clamp_min(1)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of the known frames of labels (B, T) whose largest logit (B, T, P) is that of the label."""
    right = (logits.argmax(-1) == labels).sum()
    return right / (labels != UNKNOWN).sum().clamp_min(1)
