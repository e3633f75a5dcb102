"""A checkpoint under examination: loaded, described, tried on the bundled recording, compared with transformers."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from earshot_asr.client.demo import RECORDING_FILE
from earshot_asr.client.evaluate.against import Transformers
from earshot_asr.engine.audio import SAMPLE_RATE, LogProbs, Pcm
from earshot_asr.engine.checkpoint import Checkpoint, load_checkpoint
from earshot_asr.engine.errors import CheckpointError, ConfigError
from earshot_asr.engine.families import family_of
from earshot_asr.engine.files import PICKLED, SAFETENSORS, present, read_json
from earshot_asr.engine.hub import Origin, locate
from earshot_asr.engine.hub.progress import size
from earshot_asr.engine.languages import name as name_of
from earshot_asr.engine.lm import Weights, open_lm
from earshot_asr.engine.model import BUNDLED
from earshot_asr.engine.runner import TorchRunner, leave_a_core
from earshot_asr.engine.sources import open_file
from earshot_asr.engine.vocabulary import Vocabulary

MOST_DIFFERENCE = 0.01
"""Between our log-probabilities and those of transformers. Rounding makes at most a tenth of it in large models."""
SAMPLE_SYMBOLS, SAMPLE_LANGUAGES = 20, 12
SETTINGS = ("preprocessor_config.json", "tokenizer_config.json")
"""Files that a checkpoint of the hub usually has, and without which something has to be assumed."""


@dataclass
class Examination:
    """Lines about a checkpoint, each with a heading; `faults` is what is wrong once all lines were read.

    Raises CheckpointError and ConfigError if it can't be loaded.
    """

    model: str | None
    revision: str | None = None
    language: str | None = None
    faults: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[tuple[str, str]]:
        """The heading and the text of each line, as soon as it is known."""
        leave_a_core()
        origin = locate(self.model or BUNDLED, self.revision)
        checkpoint = load_checkpoint(self.model or BUNDLED, revision=self.revision, language=self.language)
        config = read_json(origin.folder / "config.json")
        yield "family", f"{config['model_type']}, in transformers {family_of(config).head}"
        yield "weights", _weights(checkpoint, origin)
        grid = checkpoint.encoder.grid
        yield "frames", f"every {_ms(grid.hop)}, each from {_ms(grid.field)} of audio"
        yield "vocabulary", _symbols(checkpoint.vocabulary)
        yield from _languages(checkpoint)
        yield from self._language_model(origin)
        for note in _notes(checkpoint, origin):
            yield "unusual", note
        with open_file(Path(str(files("earshot_asr.client") / "data" / RECORDING_FILE))) as source:
            pcm: Pcm = np.concatenate(list(source))
        log_probs = TorchRunner(checkpoint, torch.device("cpu")).run([pcm])[0]
        text = checkpoint.vocabulary.text(log_probs.argmax(-1).tolist())
        yield "it hears", text or "nothing"
        yield "transformers", self._compared(checkpoint, origin, pcm, log_probs, text)

    def _language_model(self, origin: Origin) -> Iterator[tuple[str, str]]:
        """What is known of the language model that lies beside it; nothing if there is none."""
        try:
            if (folder := origin.language_model()) is None:
                return
            model = open_lm(folder)
        except CheckpointError as e:
            self.faults.append(str(e))
            yield "with LM", f"can't be read: {e}"
            return
        words = f"{len(model.unigrams()):,} words, n-grams of up to {model.order}"
        weights = model.weights or Weights()
        yield (
            "with LM",
            f"{words}, alpha {weights.alpha:g}, beta {weights.beta:g}, unknown words {weights.unk_offset:+g}",
        )

    def _compared(self, checkpoint: Checkpoint, origin: Origin, pcm: Pcm, log_probs: LogProbs, text: str) -> str:
        """What transformers makes of it, beside ours."""
        try:
            peer = Transformers(origin.folder, origin.name, "cpu", checkpoint.language)
            theirs = peer.log_probs(pcm)
            said = peer.text(theirs.argmax(-1))
        except (ConfigError, CheckpointError) as e:
            return f"not compared: {e}"
        if theirs.shape != log_probs.shape:
            self.faults.append(f"transformers makes log-probabilities of shape {theirs.shape}, not {log_probs.shape}")
            return self.faults[-1]
        difference = float(np.abs(theirs - log_probs).max())
        if not difference <= MOST_DIFFERENCE:
            self.faults.append(f"the log-probabilities differ from those of transformers by up to {difference:.2g}")
        if said != text:
            self.faults.append(f"transformers writes another text: {said[:100]!r}")
        same = "the same text" if said == text else f"another text: {said}"
        return f"{peer.version} writes {same}; log-probabilities differ by at most {difference:.1g}"


def _ms(samples: int) -> str:
    return f"{samples * 1000 / SAMPLE_RATE:g} ms"


def _weights(checkpoint: Checkpoint, origin: Origin) -> str:
    count = sum(parameter.numel() for parameter in checkpoint.encoder.parameters())
    paths = [path for path in origin.folder.iterdir() if path.suffix in (".safetensors", ".bin")]
    bytes = sum(path.stat().st_size for path in paths if not path.name.startswith("adapter."))
    return f"{count / 1e6:,.1f} million parameters, {size(bytes)}"


def _symbols(vocabulary: Vocabulary) -> str:
    parts = [
        f"{vocabulary.size:,} symbols",
        f"the blank is {vocabulary.symbols[vocabulary.blank]} ({vocabulary.blank})",
    ]
    if vocabulary.delimiter is not None:
        parts.append(f"between words is {vocabulary.symbols[vocabulary.delimiter]!r} ({vocabulary.delimiter})")
    aside = {*vocabulary.special, vocabulary.blank, vocabulary.delimiter}
    plain = [each for id, each in enumerate(vocabulary.symbols) if id not in aside and each != vocabulary.unknown]
    more = " ..." if len(plain) > SAMPLE_SYMBOLS else ""
    return f"{', '.join(parts)}; {' '.join(plain[:SAMPLE_SYMBOLS])}{more}"


def _languages(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    names = checkpoint.languages
    if names:
        few = ", ".join(names[:SAMPLE_LANGUAGES])
        more = f" and {len(names) - SAMPLE_LANGUAGES:,} more" if len(names) > SAMPLE_LANGUAGES else ""
        yield "languages", f"{few}{more}"
    if checkpoint.language:
        yield "language", f"{checkpoint.language} ({name_of(checkpoint.language)})"


def _notes(checkpoint: Checkpoint, origin: Origin) -> Iterator[str]:
    """What a checkpoint of the hub usually has or is, and this one not."""
    folder, vocabulary = origin.folder, checkpoint.vocabulary
    if not any(present(folder / name) for name in SAFETENSORS) and any(present(folder / name) for name in PICKLED):
        yield "pickled weights: safetensors would load faster and in less memory"
    for name in SETTINGS:
        if not present(folder / name) and not present(folder / "processor_config.json"):
            yield f"there is no {name}: what it usually says is assumed"
    if vocabulary.delimiter is None:
        yield "the vocabulary has nothing between words"
    unknown = sum(symbol == vocabulary.unknown for symbol in vocabulary.symbols) - 1
    if unknown > 0:
        yield f"of the {vocabulary.size:,} outputs of its head, {unknown:,} without a symbol"
    if checkpoint.emission_delay:
        yield f"its symbols come {checkpoint.emission_delay} frames after their sound"
