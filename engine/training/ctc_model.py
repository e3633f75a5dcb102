"""An encoder, heads that only training needs, and the losses: CTC, and symbols and phones frame by frame.

Plain CTC (Graves et al. 2006) lingers where all is blank. Learned frame by frame from an alignment first, two frames a
symbol, blanks at a lower weight, with phones half-way up and at the top, a small model is past that in minutes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earshot_asr.engine import wav2vec2
from earshot_asr.engine.audio import SAMPLE_RATE
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.layers import Encoder, silence_padding
from earshot_asr.engine.training.compiling import compile_encoder
from earshot_asr.engine.training.masking import mask
from earshot_asr.engine.training.regularization import Regularization
from earshot_asr.engine.training.task import Batch, Text
from earshot_asr.engine.training.voice import Voice, imitate

UNKNOWN = -100


@dataclass(frozen=True, slots=True)
class Losses:
    """Weights of the parts, and when they come and go, in shares of the schedule.

    blank          of a frame without a symbol, beside 1 of one with
    ctc_from, ctc_full        CTC comes in between these
    frames_from, frames_until the frame by frame losses of the top fall to `frames_last` between these
    intermediate   share of CTC that is of half-way up, by the same head (Lee & Watanabe 2021)
    by_frame       factor on all that is learned frame by frame, phones too; 0: CTC alone
    last_stage     as at the end of all that, from the start: for weights that can write already
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
        """Factors on CTC and on the frame by frame losses of the top."""
        if self.last_stage:
            return 1.0, self.by_frame * self.frames_last
        falling = 1 - (1 - self.frames_last) * _ramp(share, self.frames_from, self.frames_until)
        rising = _ramp(share, self.ctc_from, self.ctc_full) if self.by_frame else 1.0
        return rising, self.by_frame * falling


def _ramp(x: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (x - low) / (high - low)))


class CtcModel(nn.Module):
    """What is trained. Letters: B rows, T frames, C channels, V vocabulary, P phones.

    phones       P; 0: no heads for them
    text         weight of what is read beside what is heard, in batches that have Text; 0: there is none
    freeze_features  the convolutions of wav2vec 2.0 stay as they are
    freeze_layers  of the body, counted from below, and what is below them, stay as they are
    freeze_body  share of the schedule in which only the heads learn
    """

    def __init__(
        self,
        encoder: Encoder,
        masked: nn.Parameter,
        blank: int,
        *,
        phones: int = 0,
        text: float = 0.0,
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
        self.text = text
        self.voice = Voice(phones, channels) if text else None
        if freeze_features and isinstance(encoder, wav2vec2.Wav2Vec2):
            encoder.feature_extractor.requires_grad_(False)
        levels = body(encoder)
        for name, level in levels.items():
            if freeze_layers and level <= freeze_layers:
                encoder.get_parameter(name).requires_grad_(False)
        if freeze_layers or not (regularization.mask_time_prob > 0):
            masked.requires_grad_(False)  # below all layers: gradients would go through frozen ones to reach it
        below = [masked, *(encoder.get_parameter(name) for name in levels)]
        self._body = [parameter for parameter in below if parameter.requires_grad]
        compile_encoder(encoder, eager)

    def forward(self, batch: Batch, share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See Task."""
        for parameter in self._body:
            parameter.requires_grad_(share >= self.freeze_body)
        samples, lengths = silence_padding(batch.samples, batch.lengths)
        frames = None if lengths is None else self.encoder.frames(lengths)
        features = self.encoder.extract(samples, lengths)
        rows, size = features.shape[:2]
        time, channels = self.regularization.masks(
            (rows, size, self.masked_spec_embed.numel()), frames, features.device
        )
        middle, top = self._hear(features, frames, time, channels)
        counted = torch.full((rows,), size) if batch.lengths is None else self.encoder.frames(batch.lengths)
        loss, figures = self._losses(middle, top, batch, counted.cpu(), share)
        if self.voice is not None and batch.text is not None and batch.phones is not None:
            imagined, distance = self._imagine(self.voice, middle.detach(), batch.phones, batch.text)
            top = self.encoder.final_dropout(self.encoder.contextualize(imagined, None, first=self.middle))
            read, figures["text"] = self._read(top, batch.text, share)
            figures["voice"] = distance
            # What is not understood of the voice is other people's words: it would be read wrongly.
            loss = loss + distance + self.text * (1 - distance.detach()).clamp(0, 1) * read
        seconds = batch.samples.numel() if batch.lengths is None else int(batch.lengths.sum())
        return loss, figures | {"seconds": torch.tensor(seconds / SAMPLE_RATE)}

    def _hear(
        self, features: Tensor, frames: Tensor | None, time: Tensor | None, channels: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Hidden states (B, T, C) half-way up and at the top."""
        x = mask(self.encoder.project(features), time, channels, self.masked_spec_embed)
        states: list[Tensor] = []
        top = self.encoder.final_dropout(self.encoder.contextualize(x, frames, states))
        return states[self.middle - 1], top

    def _imagine(self, voice: Voice, heard: Tensor, phones: Tensor, text: Text) -> tuple[Tensor, Tensor]:
        """Hidden states (N, T, C) half-way up of text; and which share of those heard the voice can't explain."""
        spoken, heard, known = voice(phones).float(), heard.float(), phones != UNKNOWN
        count = known.sum().clamp_min(1)
        there = known[..., None]
        mean = (heard * there).sum((0, 1)) / count
        variance = ((heard - mean).square() * there).sum() + 1e-6
        distance = ((spoken - heard).square() * there).sum() / variance
        with torch.no_grad():
            return imitate(voice(text.phones), heard, spoken, known), distance

    def _read(self, top: Tensor, text: Text, share: float) -> tuple[Tensor, Tensor]:
        """The loss of text from the hidden states at the top, and the part of it that is CTC."""
        letters = self.encoder.lm_head(top).float()
        ctc_on, frames_on = self.losses.at(share)
        read = ctc(letters, text, torch.full((len(letters),), letters.shape[1]), self.blank)
        by_frames = by_frame(letters, text.symbols, self.blank, self.losses.blank)
        return frames_on * by_frames + self.losses.ctc * ctc_on * read, read

    def _losses(
        self, middle: Tensor, top: Tensor, batch: Batch, frames: Tensor, share: float
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
    """Names of the encoder's weights but its head's -> the layer each is of, from 1 on.

    0: what is below all layers; what is above them, a last norm, counts as the last one.
    """
    names = {name: parameter for name, parameter in encoder.named_parameters() if not name.startswith(encoder.HEAD)}
    layer = {id(p): number for number, layer in enumerate(encoder.layers, 1) for p in layer.parameters()}
    last = max((layer[id(p)] for p in names.values() if id(p) in layer), default=0)
    return {
        name: layer.get(id(parameter), last if name.startswith(encoder.ABOVE) else 0)
        for name, parameter in names.items()
    }


def ctc(logits: Tensor, batch: Batch | Text, frames: Tensor, blank: int) -> Tensor:
    """CTC loss per frame of logits (B, T, V) float32; a row whose targets do not fit into its frames counts 0.

    frames (B,) int64 on the CPU.
    """
    log_probs = logits.log_softmax(-1).transpose(0, 1)
    total = F.ctc_loss(
        log_probs, batch.targets, frames, batch.target_lengths, blank=blank, reduction="sum", zero_infinity=True
    )
    return total / int(frames.sum())


def by_frame(logits: Tensor, symbols: Tensor, blank: int, weight: float) -> Tensor:
    """Mean cross entropy of logits (B, T, V) over the known frames of symbols (B, T), that of blanks times `weight`."""
    flat = symbols.flatten()
    each = F.cross_entropy(logits.flatten(0, 1), flat, ignore_index=UNKNOWN, reduction="none")
    weighted = each * torch.where(flat == blank, weight, 1.0)
    return weighted.sum() / (flat != UNKNOWN).sum().clamp_min(1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the known frames; 0 if there are none."""
    total = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=UNKNOWN, reduction="sum")
    return total / (labels != UNKNOWN).sum().clamp_min(1)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of the known frames in which the best one is right."""
    right = (logits.argmax(-1) == labels).sum()
    return right / (labels != UNKNOWN).sum().clamp_min(1)
