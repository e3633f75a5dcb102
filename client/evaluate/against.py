"""The same weights run by `transformers`, to check the plain pass."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from earshot_asr.engine.audio import FrameGrid, Pcm, to_float
from earshot_asr.engine.errors import CheckpointError, ConfigError
from earshot_asr.engine.families import family_of
from earshot_asr.engine.files import read_json
from earshot_asr.engine.hub import locate
from earshot_asr.engine.transcription import passes


def transformers_plain(
    model: str | Path, revision: str | None, device: str, grid: FrameGrid
) -> Callable[[Sequence[Pcm]], str]:
    """Returns a function that transcribes a recording in pieces (S,), with the forward passes of our plain pass.

    Runs in single precision. Raises ConfigError if transformers is not installed or does not know this kind of model,
    CheckpointError if it can't load the model.
    """
    origin = locate(model, revision).with_weights()
    name, folder = origin.name, origin.folder
    try:
        import transformers
        from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer
        from transformers.utils import logging
    except ImportError:
        raise ConfigError("--against transformers needs the package: pip install transformers") from None
    if not hasattr(transformers, head := family_of(read_json(origin.folder / "config.json")).head):
        raise ConfigError(f"--against transformers can't run {name}: transformers does not know models of type {head}")
    logging.disable_progress_bar()
    try:
        extractor = AutoFeatureExtractor.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        network = AutoModelForCTC.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    except (OSError, ValueError) as e:
        raise CheckpointError(f"transformers can't load {model}: {e}") from None

    @torch.inference_mode()
    def symbols(pcm: Pcm) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        inputs = extractor(to_float(pcm), sampling_rate=16_000, return_tensors="pt").to(device)
        return network(**inputs).logits[0].argmax(-1).cpu().numpy()  # type: ignore[no-any-return]

    def plain(pieces: Sequence[Pcm]) -> str:
        kept = [symbols(part)[keep] for part, keep in passes(pieces, grid)]
        return str(tokenizer.decode(np.concatenate(kept))) if kept else ""

    return plain
