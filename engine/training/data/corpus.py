"""Reads manifests, and decodes their recordings into one file of samples, which is mapped into memory.

The file depends only on the recordings and is made once. Texts and alignments are read, and recordings filtered, at
each start, which takes seconds: a filter can change without decoding anything again.
"""

import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds, to_pcm
from earshot_asr.engine.errors import AudioError, ConfigError
from earshot_asr.engine.manifest import UNIT_SAMPLES, Alignment, Row, read, read_alignments
from earshot_asr.engine.text import normalize
from earshot_asr.engine.training.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor, device

RECORDINGS_AT_ONCE = 256
"""Recordings that are decoded before any is written, which bounds the memory."""
MOST_NAMED = 3
"""Broken recordings that are named; the others are only counted."""
FORMAT = 1
"""Version of the file of samples; files of other versions are not used."""


@dataclass(slots=True)
class Corpus:
    """N utterances in one file of samples.

    samples       (S,) int16 at 16 kHz, mapped into memory; not to be written to
    spans         (N, 2) int64: first sample of each utterance, a multiple of UNIT_SAMPLES, and the one past its last
    rows          the lines of the manifests
    texts         normalized (engine.text)
    alignments    None where none fits the text
    """

    samples: Pcm
    spans: npt.NDArray[np.int64]
    rows: list[Row]
    texts: list[str]
    alignments: list[Alignment | None]
    _placed: dict[str, "Tensor"] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def corpora(self) -> list[str]:
        """Name of the corpus of each utterance."""
        return [row.corpus for row in self.rows]

    @property
    def langs(self) -> list[str | None]:
        """Language of each utterance."""
        return [row.lang for row in self.rows]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(N,) number of samples of each utterance."""
        lengths: npt.NDArray[np.int64] = self.spans[:, 1] - self.spans[:, 0]
        return lengths

    @property
    def hours(self) -> float:
        """Hours of audio in all."""
        return float(self.lengths.sum()) / SAMPLE_RATE / 3600

    def pcm(self, index: int) -> Pcm:
        """The samples of an utterance."""
        first, end = self.spans[index]
        return self.samples[first:end]

    def select(self, keep: Sequence[bool] | npt.NDArray[np.bool_]) -> "Corpus":
        """The utterances for which `keep` (N,) is true, as a corpus on the same samples."""
        return replace(
            self,
            spans=self.spans[np.asarray(keep, bool)],
            rows=list(compress(self.rows, keep)),
            texts=list(compress(self.texts, keep)),
            alignments=list(compress(self.alignments, keep)),
        )

    def with_texts(self, texts: Sequence[str]) -> "Corpus":
        """The same recordings with other texts, for example phonemes, and without alignments, which do not fit them."""
        assert len(texts) == len(self), (len(texts), len(self))
        return replace(self, texts=list(texts), alignments=[None] * len(self))

    def on(self, device: "device") -> "Tensor":
        """The samples (S,) int16: on the device if it is a GPU with memory for them, else as they are mapped.

        They are copied once, also if parts made by `select` ask for them.
        """
        import torch

        key = str(device)
        if key not in self._placed:
            tensor = torch.from_numpy(self.samples)
            if device.type == "cuda" and 2 * tensor.nbytes < torch.cuda.mem_get_info(device)[0]:
                tensor = tensor.to(device)
            self._placed[key] = tensor
        return self._placed[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which recordings of the manifests are used.

    shortest, longest    seconds
    min_score            lowest score of an alignment; below it the text is probably not what is said
    folds, splits        only these; empty: all. A line that names none is in all
    transcribed          whether a recording needs a text
    unseen               manifests whose recordings are left out; with `transcribed`, also all with one of their texts
    """

    shortest: Seconds = 0.1
    longest: Seconds = 30.0
    min_score: float = -60.0
    folds: Collection[int] = ()
    splits: Collection[str] = ()
    transcribed: bool = True
    unseen: Sequence[Path] = ()


def open_corpus(
    manifests: Sequence[Path],
    cache: Path,
    *,
    alignments: Sequence[Path] = (),
    filter: Filter = Filter(),
    quiet: bool = False,
) -> Corpus:
    """The recordings of manifests, decoded into a file in the folder `cache`, unless it is there already.

    alignments    files that `earshot train align` wrote; of two alignments of a recording the last one counts
    quiet         whether nothing is printed on stderr

    Raises ConfigError, which names file and line, if no recording is left or an alignment could be that of two
    recordings; AudioError if most recordings are broken.
    """
    progress = Progress(quiet)
    required = ("text",) if filter.transcribed else ()
    rows = [row for manifest in manifests for row in read(manifest, required)]
    if not rows:
        raise ConfigError(f"no recording in {', '.join(map(str, manifests)) or 'no manifest'}")
    known = {name: found for path in alignments for name, found in read_alignments(path).items()}
    texts = [normalize(row.text or "") for row in rows]
    fitting = [_fitting(known.get(row.name), text) for row, text in zip(rows, texts, strict=True)]
    tell_apart(rows, {row.name for row, found in zip(rows, fitting, strict=True) if found})
    samples, spans = _decoded([row.path for row in rows], cache, progress)
    corpus = Corpus(samples, spans, rows, texts, fitting)
    corpus = _filtered(corpus, filter, progress)
    missing = sum(alignment is None for alignment in corpus.alignments)
    if alignments and missing:
        progress.say(
            f"{missing} of {len(corpus)} recordings have no alignment that fits their text; no crop is made of them"
        )
    progress.say(f"{corpus.hours:.2f} h, {len(corpus)} recordings")
    return corpus


# ---- which recordings


def _fitting(alignment: Alignment | None, text: str) -> Alignment | None:
    """The alignment, or None if its words are not those of the text; apostrophes do not count, aligners drop them."""
    if alignment is None or not alignment.words:
        return None
    said = normalize(" ".join(word.text for word in alignment.words))
    return alignment if said.replace("'", "") == text.replace("'", "") else None


def tell_apart(rows: Iterable[Row], aligned: Collection[str]) -> None:
    """Raises ConfigError if two recordings have the same name, one of `aligned`: of manifests in different folders."""
    known: dict[str, Row] = {}
    for row in rows:
        other = known.setdefault(row.name, row)
        if row.name in aligned and row.path != other.path and row.path.resolve() != other.path.resolve():
            raise ConfigError(
                f"{other.where}, and {row.where}, have different recordings that are both called {row.name}, and an "
                "alignment knows only the name; list them in one manifest in a folder above both, and align that"
            )


def _filtered(corpus: Corpus, filter: Filter, progress: Progress) -> Corpus:
    """The recordings that the filter keeps; says how many are left out, and why. Raises ConfigError if none is left."""
    required = ("text",) if filter.transcribed else ()
    judged = [row for path in filter.unseen for row in read(path, required)]
    unseen = {normalize(row.text or "") for row in judged if filter.transcribed} - {""}
    files = {row.path.resolve() for row in judged}
    low, high = filter.shortest * SAMPLE_RATE, filter.longest * SAMPLE_RATE

    def reason(row: Row, text: str, length: int, alignment: Alignment | None) -> str | None:
        if not length:
            return ""  # broken, which decoding has said
        if (filter.folds and row.fold not in (None, *filter.folds)) or (
            filter.splits and row.split not in (None, *filter.splits)
        ):
            return ""
        if filter.transcribed and not text:
            return "nothing that can be said"
        if text in unseen:
            return "a sentence that is judged on"
        if files and row.path.resolve() in files:
            return "a recording that is judged on"
        if not low <= length <= high:
            return f"not {filter.shortest:g} to {filter.longest:g} s long"
        if alignment and alignment.score < filter.min_score:
            return f"an alignment's score below {filter.min_score:g}"
        return None

    reasons = [
        reason(*each)
        for each in zip(corpus.rows, corpus.texts, corpus.lengths.tolist(), corpus.alignments, strict=True)
    ]
    for why, count in Counter(why for why in reasons if why).items():
        progress.say(f"{count} recordings left out: {why}")
    corpus = corpus.select([why is None for why in reasons])
    if not len(corpus):
        whys = ", ".join(sorted({why or "broken, or of another fold or split" for why in reasons if why is not None}))
        raise ConfigError(f"no recording is left ({whys}); loosen the filter or give other manifests")
    return corpus


# ---- the file of samples


def _decoded(paths: Sequence[Path], cache: Path, progress: Progress) -> tuple[Pcm, npt.NDArray[np.int64]]:
    """The samples (S,) of all recordings, decoded unless the cache has them, and the span of each (N, 2)."""
    stats = [(str(path.resolve()), (stat := path.stat()).st_size, stat.st_mtime_ns) for path in paths]
    key = hashlib.sha256(json.dumps([FORMAT, stats]).encode()).hexdigest()[:16]
    file, index = cache / f"{key}.pcm", cache / f"{key}.json"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / f"{key}.lock"):  # all processes of a run ask for it at the same time
            if not (index.exists() and file.exists()):
                _decode(paths, file, index, progress)
    except OSError as e:
        raise ConfigError(f"can't keep decoded audio in {cache}: {e.strerror or e}") from None
    found = json.loads(index.read_text())
    _complain(found["broken"], len(paths), progress)
    # torch wants memory that it may write to; a private mapping keeps that out of the file.
    samples = np.memmap(file, np.int16, mode="c") if found["samples"] else np.zeros(0, np.int16)
    return samples, np.array(found["spans"], np.int64).reshape(-1, 2)


def _decode(paths: Sequence[Path], file: Path, index: Path, progress: Progress) -> None:
    """Writes both files. A process that is killed leaves neither of them incomplete."""
    spans, broken, here, began = [], [], 0, time.monotonic()
    working = file.with_suffix(f".{os.getpid()}.tmp")
    try:
        with working.open("wb") as out, ThreadPoolExecutor(cores()) as pool:  # libsndfile runs without the GIL
            for first in range(0, len(paths), RECORDINGS_AT_ONCE):
                some = paths[first : first + RECORDINGS_AT_ONCE]
                for path, pcm in zip(some, pool.map(_attempt, some), strict=True):
                    if isinstance(pcm, str):
                        broken.append(f"{path}: {pcm}")
                        pcm = np.zeros(0, np.int16)
                    spans.append((here, here + len(pcm)))
                    out.write(pcm.tobytes())
                    out.write(bytes(2 * (-len(pcm) % UNIT_SAMPLES)))
                    here += len(pcm) + -len(pcm) % UNIT_SAMPLES
                done = len(spans) / len(paths)
                hours = {"hours": here / SAMPLE_RATE / 3600}
                progress.show(len(spans), done, time.monotonic() - began, hours, done == 1, "recording")
        progress.close()
        os.replace(working, file)
        working.write_text(json.dumps({"samples": here, "spans": spans, "broken": broken}))
        os.replace(working, index)
    finally:
        working.unlink(missing_ok=True)


def cores() -> int:
    """The number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _attempt(path: Path) -> Pcm | str:
    """The samples of a recording, or the reason why there are none."""
    try:
        pcm = read_audio(path)
    except AudioError as e:
        return str(e)
    return pcm if len(pcm) else "it is empty"


def read_audio(path: Path) -> Pcm:
    """A recording as 16 kHz mono (S,): channels are averaged, other rates resampled. Raises AudioError."""
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            file.seek(0)  # otherwise libsndfile 1.2 includes the 6.5 ms before the start of an Opus file
            rate, samples = file.samplerate, file.read(dtype="float32", always_2d=True).mean(axis=1)
    except (soundfile.LibsndfileError, RuntimeError, OSError) as e:
        reason = str(e).splitlines()[0]
        raise AudioError(f"can't decode it ({reason}); ffmpeg -i IT -ac 1 -ar 16000 OUT.flac may mend it") from None
    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ")
    return to_pcm(samples)


def _complain(broken: list[str], count: int, progress: Progress) -> None:
    """Names broken recordings. Raises AudioError if most recordings are broken."""
    if not broken:
        return
    named = "; ".join(broken[:MOST_NAMED]) + (
        f"; and {len(broken) - MOST_NAMED} more" if len(broken) > MOST_NAMED else ""
    )
    if 2 * len(broken) > count:
        raise AudioError(f"{len(broken)} of {count} recordings can't be read: {named}")
    progress.say(f"{len(broken)} recordings left out: {named}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Only one process at a time gets in, on systems that have such locks."""
    with path.open("w", encoding="utf-8") as file:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
