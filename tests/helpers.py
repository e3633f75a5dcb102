"""What tests share: a fake encoder and speech for it, ways to cut audio, a driver of sessions, real speech if there."""

import hashlib
import json
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import strategies as st

from earshot_asr.engine.audio import FrameGrid, LogProbs, Pcm
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.decoder import DecodeConfig, Hotword
from earshot_asr.engine.events import Event, Final, Partial
from earshot_asr.engine.model import Ladder, ModelInfo
from earshot_asr.engine.session import Session
from earshot_asr.engine.vocabulary import Vocabulary

SHARED = Path(__file__).parents[2] / "shared"
GRID = FrameGrid(hop=320, field=400)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
VOCABULARY = Vocabulary(symbols=("<pad>", "|", *LETTERS), blank=0, delimiter=1)
INFO = ModelInfo("fake", "fa4e", GRID, VOCABULARY)
EDGE = 2
"""So many frames at each end of a window are wrong where there is sound, in a way that depends on all of the window."""


def shared(path: str) -> Path:
    """A file or folder of real speech; the test is skipped where there is none."""
    if not (SHARED / path).exists():
        pytest.skip(f"needs {path} in a folder `shared` beside the repository")
    return SHARED / path


def clips(manifest: str, count: int, corpus: str | None = None) -> list[dict[str, Any]]:
    """The first lines of a manifest of real speech, `audio` made an absolute path."""
    path = shared("speech") / manifest
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [row | {"audio": path.parent / row["audio"]} for row in rows if corpus in (None, row["corpus"])]
    return rows[:count]


@contextmanager
def small_files(most_bytes: int = 4096) -> Iterator[None]:
    """No file can get larger: as on a full disk, writing fails in the middle."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# ---- speech for the fake encoder


def level(symbol: int) -> int:
    """The loudness that says a symbol; blank is silence."""
    return 0 if symbol == VOCABULARY.blank else 1000 + 500 * symbol


def tone(symbol: int, samples: int) -> Pcm:
    """A square wave of 1 kHz, where voices are loud, as loud as the symbol wants."""
    signs = 1 - 2 * (np.arange(samples) // 8 % 2)
    return (signs * level(symbol)).astype(np.int16)


def speak(text: str, blocks: int = 2) -> Pcm:
    """Speech that the fake encoder hears as `text` (letters, apostrophes, spaces): `blocks` hops a symbol."""
    sounds, last = [], ""
    for char in text + " ":
        if char == last:
            sounds.append(tone(VOCABULARY.blank, GRID.hop))
        sounds.append(tone(VOCABULARY.symbols.index("|" if char == " " else char), blocks * GRID.hop))
        last = char
    return np.concatenate(sounds)


def silence(seconds: float) -> Pcm:
    """Digital silence."""
    return np.zeros(round(seconds * 16000), np.int16)


# ---- the fake encoder


def fake_log_probs(pcm: Pcm, edge: int = EDGE, grid: FrameGrid = GRID) -> LogProbs:
    """A window of samples (S,) -> (T, V): the symbol whose loudness each frame's first hop has.

    Every frame's certainty, and the symbols of the outermost frames with sound in them, depend on every sample of the
    window, as they do in a model with attention.
    """
    n = grid.frames(len(pcm))
    digest = hashlib.blake2b(pcm.tobytes(), digest_size=8).digest()
    color = int.from_bytes(digest, "little")
    whole = np.pad(pcm, (0, max(0, n * grid.hop - len(pcm))))[: n * grid.hop]  # a field may be shorter than a hop
    loud = np.median(np.abs(whole.reshape(n, grid.hop).astype(np.int32)), axis=1)
    ids = np.clip(np.rint((loud - 1000) / 500), 0, VOCABULARY.size - 1).astype(int)
    for k in range(min(edge, n)):
        if ids[k]:
            ids[k] = (color + k) % VOCABULARY.size
        if ids[-1 - k]:
            ids[-1 - k] = (color // 7 + k) % VOCABULARY.size
    certainty = 0.55 + (color % 1000) / 2500
    probs = np.full((n, VOCABULARY.size), 1e-3, np.float32)
    probs[np.arange(n), (ids + 1) % VOCABULARY.size] = 1 - certainty
    probs[np.arange(n), ids] = certainty
    return np.log(probs)


@dataclass
class FakeRunner:
    """A runner without torch. `fail_on`: raises for batches with a window that it says yes to."""

    info: ModelInfo = INFO
    device: str = "cpu"
    ladder: Ladder = Ladder()  # noqa: RUF009
    batch_frames: int = 400
    windows: int = 0
    fail_on: Callable[[Pcm], bool] = field(default=lambda pcm: False)

    def speaking(self, language: str | None) -> "FakeRunner":
        """Itself, for the language that its model has."""
        assert language is None or self.info.named(language) == self.info.language
        return self

    def run(self, windows: Sequence[Pcm]) -> list[LogProbs]:
        """Windows of samples -> log-probabilities, as a Runner does."""
        if any(self.fail_on(pcm) for pcm in windows):
            raise RuntimeError("the device is on fire")
        self.windows += len(windows)
        return [fake_log_probs(pcm) for pcm in windows]


POLYGLOT = replace(INFO, language="eng", languages=("deu", "eng", "fra"))


@dataclass
class Polyglot(FakeRunner):
    """A fake model of several languages: each hears letters further along the alphabet, and writes in its own case.

    load    is called when a language is asked for the first time; may take long, or raise
    """

    info: ModelInfo = POLYGLOT
    load: Callable[[str], None] = field(default=lambda language: None)
    spoken: dict[str, "Polyglot"] = field(default_factory=dict)

    def speaking(self, language: str | None) -> "Polyglot":
        """See Runner."""
        if language is None or (name := self.info.named(language)) == self.info.language:
            return self
        if name not in self.spoken:
            self.load(name)
            written = replace(VOCABULARY, symbols=("<pad>", "|", *LETTERS.lower()))
            info = replace(self.info, fingerprint=f"fa4e-{name}", vocabulary=written, language=name)
            self.spoken[name] = replace(self, info=info)
        return self.spoken[name]

    def encode(self, pcm: Pcm) -> LogProbs:
        """One window, alone."""
        return self._heard(fake_log_probs(pcm))

    def run(self, windows: Sequence[Pcm]) -> list[LogProbs]:
        """See Runner."""
        return [self._heard(log_probs) for log_probs in super().run(windows)]

    def _heard(self, log_probs: LogProbs) -> LogProbs:
        shift = self.info.languages.index(self.info.language or "eng") - 1
        return log_probs[:, [0, 1, *np.roll(np.arange(2, VOCABULARY.size), shift)]]


def plain_text(log_probs: LogProbs) -> str:
    """Greedy CTC in its shortest form, the tests' own: repeats merged, blanks dropped."""
    symbols = [VOCABULARY.symbols[i] for i, _ in groupby(log_probs.argmax(-1).tolist()) if i != VOCABULARY.blank]
    return " ".join("".join(symbols).replace("|", " ").split())


# ---- driving a session


def drain(session: Session, encode: Callable[[Pcm], LogProbs] = fake_log_probs) -> list[Event]:
    """Runs all windows that are due, in order, and returns what was said."""
    while (window := session.next_window()) is not None:
        if session.wants(window):
            log_probs, decode = encode(session.samples(window)), session.decoding(window)
            session.accept(window, log_probs, decode(log_probs) if decode else None)
    return session.events()


def pieces(pcm: Pcm, at: Sequence[int]) -> Iterator[Pcm]:
    """`pcm` cut at sorted positions."""
    edges = [0, *at, len(pcm)]
    for start, end in pairwise(edges):
        yield pcm[start:end]


def run_session(
    pcm: Pcm,
    config: StreamConfig,
    *,
    cuts: Sequence[int] = (),
    flushes: Sequence[int] = (),
    session: Session | None = None,
    finish: bool = True,
    encode: Callable[[Pcm], LogProbs] = fake_log_probs,
) -> list[Event]:
    """Feeds `pcm`, cut at `cuts` and flushed at `flushes` (positions in `pcm`), and returns all events."""
    session = session or Session(INFO, config)
    events: list[Event] = []
    first = session.received
    for piece in pieces(pcm, sorted({*cuts, *flushes})):
        while True:
            taken = session.feed(piece)
            events += drain(session, encode)
            piece = piece[taken:]
            if not len(piece):
                break
        if session.received - first in flushes:
            session.flush()
            events += drain(session, encode)
    if finish:
        session.finish()
        events += drain(session, encode)
        assert session.done
    return events


def finals(events: Sequence[Event]) -> list[Final]:
    """The finals among them."""
    return [event for event in events if isinstance(event, Final)]


def partials(events: Sequence[Event]) -> list[Partial]:
    """The partials among them."""
    return [event for event in events if isinstance(event, Partial)]


def transcript(events: Sequence[Event]) -> str:
    """The text of all finals."""
    return " ".join(final.text for final in finals(events))


def noise(samples: int, rng: np.random.Generator, loud: float = 8.0) -> Pcm:
    """White noise of a root mean square of `loud`."""
    values: npt.NDArray[np.float64] = rng.normal(0, loud, samples)
    return np.rint(values).astype(np.int16)


# ---- any stream, any configuration


@st.composite
def utterances(draw: st.DrawFn) -> Pcm:
    """Speech and pauses, short words and long ones, off the frame grid, over noise that comes and goes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        parts.append(np.zeros(draw(st.integers(0, 16_000)), np.int16))
        longest = draw(st.sampled_from([5, 5, 25]))
        words = draw(st.lists(st.text(LETTERS, min_size=1, max_size=longest), min_size=1, max_size=4))
        parts.append(speak(" ".join(words), blocks=draw(st.integers(2, 3))))
    parts.append(np.zeros(draw(st.sampled_from([0, 300, 9_000, 60_000])), np.int16))
    for n, loud in enumerate(draw(st.lists(st.sampled_from([0.0, 2.0, 40.0, 300.0]), max_size=len(parts)))):
        parts[n] = parts[n] + noise(len(parts[n]), rng, loud)
    return np.concatenate(parts)


GREEDY, BEAM = DecodeConfig(decoder="greedy"), DecodeConfig(decoder="beam", hotwords=(Hotword("HELLO"),))


@st.composite
def configs(draw: st.DrawFn) -> StreamConfig:
    """Settings of every kind, small enough that seconds of audio exercise them."""
    silence_ms = draw(st.integers(100, 700))
    return StreamConfig(
        hop_ms=draw(st.integers(80, 640)),
        left_ms=draw(st.integers(0, 1000)),
        right_ms=draw(st.integers(0, 400)),
        margin_ms=draw(st.integers(0, 400)),
        silence_ms=silence_ms,
        preroll_ms=draw(st.integers(0, 400)),
        tail_ms=draw(st.integers(0, silence_ms)),
        longest_ms=draw(st.sampled_from([1000, 1700, 3000, 20_000])),
        commit=draw(st.sampled_from(["utterance", "hop"])),
        partials=draw(st.booleans()),
        decode=draw(st.sampled_from([GREEDY, GREEDY, GREEDY, BEAM])),  # a search takes longer
        stability=draw(st.sampled_from(["low", "medium", "high"])),
        calm_ms=draw(st.integers(0, 600)),
        partial_words=draw(st.booleans()),
    )


def positions(pcm: Pcm, most: int) -> st.SearchStrategy[list[int]]:
    """Sorted places in a stream."""
    return st.lists(st.integers(0, len(pcm)), max_size=most, unique=True).map(sorted)
