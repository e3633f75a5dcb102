"""Other recognizers that transcribe the same clips, to compare with."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from earshot_asr.client.evaluate.options import Options
from earshot_asr.client.evaluate.sphinx import pocketsphinx
from earshot_asr.client.evaluate.take import PeerResult
from earshot_asr.client.evaluate.whisper import whisper
from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.catalogue import choose
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.model import BUNDLED, Runner

PEERS = ("transformers", "pocketsphinx", "whisper")
"""The same weights, not streaming, by transformers; PocketSphinx with its English model; Whisper with its decoder."""

Transcriber: TypeAlias = Callable[[Sequence[Pcm]], str]
"""Takes the recordings of a clip (S,), returns their text."""


def load_peers(runner: Runner, options: Options) -> dict[str, Callable[[Sequence[Pcm]], PeerResult]]:
    """Loads the recognizers in `options.against`, by name.

    Raises ConfigError for an unknown name or one that is not installed, CheckpointError if a model can't be loaded.
    """
    peers: dict[str, Callable[[Sequence[Pcm]], PeerResult]] = {}
    for name in options.against:
        if name == "transformers":
            from earshot_asr.client.evaluate.against import transformers_plain

            choice = choose(options.model, options.language, options.revision)
            transcriber = transformers_plain(
                choice.model or BUNDLED, choice.revision, runner.device, runner.info.grid, runner.info.language
            )
        elif name == "pocketsphinx":
            transcriber = pocketsphinx()
        elif name == "whisper":
            from earshot_asr.engine.runner import threads

            transcriber = whisper(options.whisper_model, threads())
        else:
            raise ConfigError(f"against is {name!r}; it must be one of {', '.join(PEERS)}")
        peers[name] = partial(_timed, transcriber)
    return peers


def _timed(transcriber: Transcriber, pieces: Sequence[Pcm]) -> PeerResult:
    began = time.perf_counter()
    text = transcriber(pieces)
    return PeerResult(text, time.perf_counter() - began)
