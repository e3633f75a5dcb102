"""A task that is learned in seconds: letters that are tones, and a source of batches of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.families import family_of
from earshot_asr.engine.manifest import Row
from earshot_asr.engine.training.__main__ import USELESS, main
from earshot_asr.engine.training.ctc.command import CtcTask
from earshot_asr.engine.training.ctc.judge import Judge
from earshot_asr.engine.training.ctc.model import CtcModel, Losses
from earshot_asr.engine.training.data.corpus import Corpus
from earshot_asr.engine.training.data.units import characters
from earshot_asr.engine.training.regularization import Regularization
from earshot_asr.engine.training.start import TrainingModel, from_nothing
from earshot_asr.engine.training.task import TrainingBatch

TEXTS = ("ABBA CAB", "BAD DAB", "CAD ACB D", "DABCA")
SECONDS = 0.12
CONFIG = {
    "model_type": "wav2vec2-bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "position_embeddings_type": "rotary",
    "conv_depthwise_kernel_size": 5,
    "mask_time_prob": 0.0,
    "layerdrop": 0.0,
    "final_dropout": 0.0,
    "conformer_conv_dropout": 0.0,
}
WAV2VEC2 = {
    "model_type": "wav2vec2",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [16, 16, 16, 16, 16, 16, 16],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


def train_a_little(args: Sequence[str]) -> None:
    """Runs a training command for some steps. What comes of it is of no use, and the exit status may say so."""
    try:
        main(args)
    except SystemExit as ended:
        if ended.code != USELESS:
            raise


def say(text: str, seed: int = 0) -> Pcm:
    """Each letter a tone, spaces and the ends silent, with a little noise."""
    rng = np.random.default_rng(seed)
    parts = []
    for letter in f" {text} ":
        n = np.arange(int(SECONDS * 16000))
        tone = np.zeros(len(n)) if letter == " " else np.sin(n * (0.1 + 0.17 * (ord(letter) - 64)))
        parts.append(tone * np.hanning(len(n)))
    x = np.concatenate(parts) * 8000 + rng.normal(0, 30, len(parts) * len(n))
    return x.astype(np.int16)


def corpus(texts: Sequence[str] = TEXTS) -> Corpus:
    """As open_corpus makes it."""
    pcm = [say(text) for text in texts]
    pcm = [np.pad(p, (0, -len(p) % 160)) for p in pcm]
    ends = np.cumsum([len(p) for p in pcm])
    spans = np.stack([ends - [len(p) for p in pcm], ends], axis=1)
    rows = [Row(where=f"line {n}", name=f"{n}", path=Path(f"{n}"), text=t, corpus="tones") for n, t in enumerate(texts)]
    return Corpus(np.concatenate(pcm), spans, rows, list(texts), [None] * len(texts))


class Tones:
    """All of them in each batch, with other noise in each step and for each rank. A Source."""

    def __init__(self, ids: Sequence[Sequence[int]], texts: Sequence[str] = TEXTS, rank: int = 0) -> None:
        self.ids, self.texts, self.rank = ids, texts, rank

    def draw(self, step: int) -> TrainingBatch:
        """See Source.draw."""
        pcm = [say(text, 1000 * step + 10 * n + self.rank) for n, text in enumerate(self.texts)]
        lengths = torch.tensor([len(p) for p in pcm])
        samples = np.zeros((len(pcm), int(lengths.max())), np.float32)
        for row, p in enumerate(pcm):
            samples[row, : len(p)] = p / 32768
        targets = torch.tensor([id for ids in self.ids for id in ids])
        return TrainingBatch(torch.from_numpy(samples), lengths, targets, torch.tensor([len(ids) for ids in self.ids]))


def task(
    config: dict[str, object] = CONFIG, rank: int = 0, dtype: str = "float32", losses: Losses | None = None
) -> CtcTask:
    """A model that is to learn the tones, and is judged on them."""
    from earshot_asr.engine.training.data.spelling import Alphabet

    vocabulary = characters(TEXTS)
    start: TrainingModel = from_nothing(config, family_of(config).preprocessor(config), vocabulary)
    model = CtcModel(
        start.encoder,
        start.masked,
        vocabulary.blank,
        regularization=Regularization.read(start.config),
        losses=losses or Losses(),
        eager=True,
    )
    ids = [Alphabet(vocabulary).ids(text) for text in TEXTS]
    return CtcTask(start, model, Tones(ids, rank=rank), Judge(corpus(), vocabulary, per_corpus=None), dtype)
