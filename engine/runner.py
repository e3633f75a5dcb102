"""Computes windows on a device. No other file of the engine touches the device."""

import os
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch.func import functional_call

from earshot_asr.engine.adapters import Adapters
from earshot_asr.engine.audio import SAMPLE_RATE, LogProbs, Pcm, from_ms
from earshot_asr.engine.checkpoint import Checkpoint, load_checkpoint
from earshot_asr.engine.errors import CheckpointError, DeviceError
from earshot_asr.engine.families.layers import Encoder
from earshot_asr.engine.lm import Lexicon
from earshot_asr.engine.model import BUNDLED, Ladder, ModelInfo, least_log_odds_for, lexicon_for

BATCH_SECONDS = {"cpu": 8, "cuda": 320}
"""Audio in a full batch. A larger one is not more efficient, and urgent windows would wait longer."""
RUNG_MS = 320
"""Audio between two lengths to which windows are padded, the shorter ones."""
WARM_UP_MS = {"cpu": (200,), "cuda": (1000, 3000)}
"""Lengths of the windows that are computed before the first stream. A CPU gains little by it, and large models are slow
on one."""


def resolve_device(name: str) -> torch.device:
    """The device that auto, cpu, cuda or cuda:N names. Raises DeviceError if it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"there is no device {name!r}; it must be auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"device {name!r} is not supported; it must be auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"there is no {name}: {torch.cuda.device_count()} CUDA devices found; use --device cpu")
    return device


def leave_a_core() -> None:
    """Has torch compute on all cores but one, unless OMP_NUM_THREADS says how many.

    Threads wait for each other at every layer. With a thread on each core, a window is held up whenever another program
    runs on any of them (on two cores beside a busy program, 4 s of audio took 2.4 s with two threads, 0.05 s with one).
    """
    if "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, min(torch.get_num_threads(), cores - 1)))


def threads() -> int:
    """How many CPU threads compute a window."""
    return torch.get_num_threads()


def twin(encoder: Encoder) -> Encoder:
    """An encoder with the same tensors: functional_call exchanges those of one, while threads that load a language read
    the other."""
    tensors = [*encoder.parameters(), *encoder.buffers()]
    return deepcopy(encoder, {id(tensor): tensor for tensor in tensors})


class TorchRunner:
    """A checkpoint's encoder on a device. See Runner; those of its languages share the encoder.

    beside            a runner of the same checkpoint in another language, on the same device
    lexicon           of the language that the checkpoint speaks
    least_log_odds    see ModelInfo
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device,
        beside: "TorchRunner | None" = None,
        lexicon: Lexicon | None = None,
        least_log_odds: float = 0.0,
    ) -> None:
        self.info = ModelInfo(
            checkpoint.name,
            checkpoint.fingerprint,
            checkpoint.encoder.grid,
            checkpoint.vocabulary,
            checkpoint.emission_delay,
            checkpoint.language,
            checkpoint.languages,
            lexicon,
            least_log_odds,
        )
        self._checkpoint = checkpoint
        self._device = device
        self._encoder: Encoder = beside._encoder if beside else twin(checkpoint.encoder.eval())
        self._adapters: Adapters = beside._adapters if beside else Adapters(self._encoder)
        self._spoken: dict[str | None, TorchRunner] = beside._spoken if beside else {checkpoint.language: self}
        self.ladder = Ladder(max(1, self.info.grid.from_ms(RUNG_MS)))
        self.batch_frames = BATCH_SECONDS[device.type] * SAMPLE_RATE // self.info.grid.hop

    @property
    def device(self) -> str:
        """What it runs on: cpu, cuda, cuda:1."""
        return str(self._device)

    def speaking(self, language: str | None) -> "TorchRunner":
        """See Runner.speaking."""
        if language is None:
            return self
        name = self.info.named(language)
        if name not in self._spoken:  # two threads may both come here, and one is late
            self._spoken.setdefault(name, TorchRunner(self._checkpoint.speaking(name), self._device, beside=self))
        return self._spoken[name]

    @torch.inference_mode()
    def run(self, windows: Sequence[Pcm]) -> list[LogProbs]:
        """Windows of int16 samples (S,), of any lengths -> log-probabilities (T, V) each, T = grid.frames(S).

        Windows of equal length run as they are. Others are padded on the right to a length of the ladder, and masked.
        """
        grid = self.info.grid
        frames = [grid.frames(len(pcm)) for pcm in windows]
        lengths = [len(pcm) for pcm in windows]
        same = len(set(lengths)) == 1
        width = lengths[0] if same else grid.span(0, self.ladder.rung(max(frames)))[1]
        rows = np.zeros((len(windows), max(width, *lengths)), np.int16)
        for row, pcm in zip(rows, windows, strict=True):
            row[: len(pcm)] = pcm
        samples = self._to_device(torch.from_numpy(rows)).float() / 32768
        valid = None if same else self._to_device(torch.tensor(lengths))
        adapter = self._checkpoint.adapter
        weights = self._adapters.weights(adapter) if adapter else {}
        outputs = functional_call(self._encoder, weights, (samples, valid), tie_weights=False)
        log_probs = outputs.float().cpu().numpy()
        return [log_probs[i, :n] for i, n in enumerate(frames)]

    def _to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        if self._device.type == "cuda":
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor


def _own_lm(checkpoint: Checkpoint) -> Path | None:
    """The folder of a checkpoint's language model; None if it has none, or it is not clear which: that was logged."""
    try:
        return checkpoint.origin.language_model()
    except CheckpointError:
        return None


def load_runner(
    model: str | Path | None = None,
    device: str = "auto",
    revision: str | None = None,
    language: str | None = None,
    lm: str | Path | None = None,
) -> TorchRunner:
    """Loads a checkpoint (a folder or a hub id; None: the bundled model) onto a device, and computes a first window.

    language   that it speaks unless speaking() says another one; see load_checkpoint
    lm         a language model for it, see lexicon_for

    Raises CheckpointError, DeviceError, and ConfigError if the model has no such language.
    """
    chosen = resolve_device(device)
    if chosen.type == "cpu":
        leave_a_core()
    dtype = torch.float16 if chosen.type == "cuda" else torch.float32
    checkpoint = load_checkpoint(model or BUNDLED, revision=revision, language=language, device=chosen, dtype=dtype)
    folder, own = checkpoint.origin.folder, _own_lm(checkpoint) if lm is None else None
    runner = TorchRunner(
        checkpoint, chosen, lexicon=lexicon_for(folder, own, lm), least_log_odds=least_log_odds_for(folder)
    )
    for ms in WARM_UP_MS[chosen.type]:
        runner.run([np.zeros(from_ms(ms), np.int16)])
    return runner
