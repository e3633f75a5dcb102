"""Reads clips from manifests, JSON lines of `{"audio", "text", ...}`, and their word timings from alignments."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earshot_asr.client.evaluate.quiet import rounds
from earshot_asr.client.evaluate.recordings import recording
from earshot_asr.client.evaluate.take import Clip, SpokenWord
from earshot_asr.engine.audio import SAMPLE_RATE
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.manifest import Row, alignment_beside, read, read_alignments
from earshot_asr.engine.text import normalize

WITHOUT_SPEECH = ("noise", "music")
"""Kinds of recordings without speech. Their lines need no text."""
NO_RECORDING = "rir"
"""Kind of lines that are room impulse responses. They are skipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Selects lines of manifests.

    folds, splits, corpora    only these; empty: all. A line without a fold or split belongs to each
    limit                     only this many of each corpus, the first ones; None: all
    gains, minutes            for recordings without speech, see quiet.rounds
    """

    folds: Collection[int] = ()
    splits: Collection[str] = ()
    corpora: Collection[str] = ()
    limit: int | None = None
    gains: Collection[float] = ()
    minutes: float | None = None


def load(
    manifests: Sequence[Path],
    choice: Selection = Selection(),
    *,
    alignments: Path | None = None,
    join: Collection[str] = (),
) -> list[Clip]:
    """The clips of manifests, in order.

    alignments    file of word timings; None: the one beside each manifest, if there is one
    join          corpora whose clips are joined to one, for each manifest

    Raises ConfigError, which names file and line, and AudioError if it needs a recording's length and can't read it.
    """
    clips: list[Clip] = []
    taken: Counter[str] = Counter()
    known: set[str] = set()
    folds: set[int] = set()
    splits: set[str] = set()
    for manifest in manifests:
        aligned = alignments or alignment_beside(manifest)
        spoken = _spoken(aligned) if aligned else {}
        chosen = []
        for row in read(manifest, required=()):
            known.add(row.corpus)
            folds |= set() if row.fold is None else {row.fold}
            splits |= set() if row.split is None else {row.split}
            full = choice.limit is not None and taken[row.corpus] >= choice.limit
            if _chosen(row, choice) and not full:
                taken[row.corpus] += 1
                chosen.append(_clip(row, spoken))
        clips += _joined(manifest.name, chosen, join)
    _check("corpus", {*choice.corpora, *join}, known)
    _check("fold", set(choice.folds), folds)
    _check("split", set(choice.splits), splits)
    if clips and (idle := sorted({*join} - {clip.corpus for clip in clips})):
        raise ConfigError(f"nothing to join: no line of {', '.join(idle)} is selected")
    if not clips:
        raise ConfigError(f"nothing to evaluate: no line of {', '.join(map(str, manifests))} is selected")
    if (choice.gains or choice.minutes is not None) and not any(clip.quiet for clip in clips):
        raise ConfigError("--gain and --minutes are for recordings without speech, and none is selected")
    return list(rounds(clips, choice.gains, choice.minutes))


def _chosen(row: Row, choice: Selection) -> bool:
    return (
        row.kind != NO_RECORDING
        and (not choice.corpora or row.corpus in choice.corpora)
        and (not choice.folds or row.fold is None or row.fold in choice.folds)
        and (not choice.splits or row.split is None or row.split in choice.splits)
    )


def _check(what: str, wanted: set[Any], there: set[Any]) -> None:
    if missing := sorted(wanted - there):
        known = ", ".join(map(str, sorted(there))) or "none"
        raise ConfigError(f"no {what} {', '.join(map(str, missing))} in the manifests; they have {known}")


def _clip(row: Row, spoken: Mapping[str, tuple[SpokenWord, ...]]) -> Clip:
    if row.text is None and row.kind not in WITHOUT_SPEECH:
        raise ConfigError(f"{row.where}: text is missing; it must be a string, empty for a recording without speech")
    words = spoken.get(row.name) if normalize(row.text or "") else ()
    return Clip(row.name, row.corpus, row.text or "", (row.path,), words, row.lang, row.phonemes)


def _spoken(path: Path) -> dict[str, tuple[SpokenWord, ...]]:
    """The word timings of each recording in a file of alignments, by the recording's name."""
    return {
        name: tuple(SpokenWord(text, *word.span) for word in alignment.words for text in normalize(word.text).split())
        for name, alignment in read_alignments(path).items()
    }


def _joined(name: str, clips: list[Clip], corpora: Collection[str]) -> Iterator[Clip]:
    """The clips, with those of each of `corpora` joined to one, after the others."""
    yield from (clip for clip in clips if clip.corpus not in corpora)
    for corpus in dict.fromkeys(clip.corpus for clip in clips if clip.corpus in corpora):
        parts = [clip for clip in clips if clip.corpus == corpus]
        languages = {part.lang for part in parts}
        phonemes = ["" if part.phonemes is None and part.quiet else part.phonemes for part in parts]
        yield Clip(
            name,
            corpus,
            " ".join(part.reference for part in parts),
            audio=tuple(path for part in parts for path in part.audio),
            words=tuple(_shifted(parts)) if any(part.words is not None for part in parts) else None,
            lang=parts[0].lang if len(languages) == 1 else None,
            phonemes=None if None in phonemes else " ".join(filter(None, phonemes)),
        )


def _shifted(parts: list[Clip]) -> Iterator[SpokenWord]:
    """The word timings of clips that are joined in order."""
    samples = 0
    for part in parts:
        began = samples / SAMPLE_RATE
        for text, start, end in part.words or ():
            yield SpokenWord(text, began + start, began + end)
        samples += len(recording(part))
