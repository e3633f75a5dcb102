"""The same weights run by `transformers`, to check what we make of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from earshot_asr.engine.audio import FrameGrid, LogProbs, Pcm, to_float
from earshot_asr.engine.errors import CheckpointError, ConfigError
from earshot_asr.engine.families import family_of
from earshot_asr.engine.files import read_json
from earshot_asr.engine.hub import locate
from earshot_asr.engine.transcription import passes


class Transformers:
    """A checkpoint as transformers runs it, in single precision.

    folder     where its files are
    language   whose weights are used, if it has some for each language, as the checkpoint names it

    Raises ConfigError if transformers is not installed or does not know this kind of model; CheckpointError, its
    methods too, if it can't load or run the model, whatever it raises itself.
    """

    def __init__(self, folder: Path, name: str, device: str, language: str | None = None) -> None:
        try:
            import transformers
            from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer
            from transformers.utils import logging
        except ImportError:
            raise ConfigError("transformers is not installed: pip install transformers") from None
        config = read_json(folder / "config.json")
        if not hasattr(transformers, head := family_of(config).head):
            raise ConfigError(f"transformers can't run {name}: it does not know models of type {head}")
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        adapted = language is not None and config.get("adapter_attn_dim") is not None
        spoken: dict[str, Any] = {"target_lang": language, "ignore_mismatched_sizes": True} if adapted else {}
        self._name = name
        with self._asked("load"):
            self._extractor = AutoFeatureExtractor.from_pretrained(folder)
            self._tokenizer = AutoTokenizer.from_pretrained(folder)
            network = AutoModelForCTC.from_pretrained(folder, dtype=torch.float32, **spoken)
            if adapted:
                self._tokenizer.set_target_lang(language)
        self.version: str = transformers.__version__
        self._network = network.to(device).eval()
        self._device = device

    @torch.inference_mode()
    def log_probs(self, pcm: Pcm) -> LogProbs:
        """The log-probabilities (T, V) of samples (S,)."""
        with self._asked("run"):
            inputs = self._extractor(to_float(pcm), sampling_rate=16_000, return_tensors="pt").to(self._device)
            log_probs: LogProbs = self._network(**inputs).logits[0].float().log_softmax(-1).cpu().numpy()
        return log_probs

    def text(self, ids: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> str:
        """The text of frame-wise ids."""
        with self._asked("run"):
            text = str(self._tokenizer.decode(ids))
        return text

    @contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        """Turns what transformers raises, of a checkpoint that it does not expect, into CheckpointError."""
        try:
            yield
        except Exception as e:  # OSError, ValueError, but also KeyError, TypeError and AttributeError
            why = (str(e).strip().splitlines() or [""])[0]
            why = why if isinstance(e, OSError | ValueError) else f"{type(e).__name__}: {why}"
            raise CheckpointError(f"transformers can't {what} {self._name}: {why}") from None


def transformers_plain(
    model: str | Path, revision: str | None, device: str, grid: FrameGrid, language: str | None = None
) -> Callable[[Sequence[Pcm]], str]:
    """Returns a function that transcribes a recording in pieces (S,), with the forward passes of our plain pass.

    Raises ConfigError and CheckpointError, see Transformers.
    """
    origin = locate(model, revision).with_weights()
    try:
        peer = Transformers(origin.folder, origin.name, device, language)
    except ConfigError as e:
        raise ConfigError(f"--against transformers: {e}") from None

    def plain(pieces: Sequence[Pcm]) -> str:
        kept = [peer.log_probs(part).argmax(-1)[keep] for part, keep in passes(pieces, grid)]
        return peer.text(np.concatenate(kept)) if kept else ""

    return plain
