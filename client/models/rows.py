"""The catalogue as rows: of each language the checkpoints for it, what they cost, and whether they are here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from earshot_asr.client.models.speed import Speed
from earshot_asr.engine.catalogue import UNKNOWN, USES, Entry, Published, entries, for_language, most_spoken
from earshot_asr.engine.hub import Cached
from earshot_asr.engine.languages import name

PHONEMES, ANY = "phonemes", "any of {:,}"
"""What stands for a language where it is none."""


@dataclass(frozen=True, slots=True)
class Row:
    """An entry for a language, by its English name. here: whether it need not be downloaded; streams: that fit."""

    language: str
    entry: Entry
    here: bool
    streams: float | None

    @property
    def size(self) -> str:
        """Of its weights."""
        return rounded(int(self.entry.bytes.value)) if self.entry.bytes else UNKNOWN

    @property
    def licence(self) -> str:
        """See Entry."""
        return str(self.entry.licence.value) if self.entry.licence else UNKNOWN

    @property
    def error(self) -> str:
        """The first error rate that was published."""
        return rate(self.entry.errors[0]) if self.entry.errors else UNKNOWN

    @property
    def recordings(self) -> str:
        """On which recordings it was measured."""
        return self.entry.errors[0].on if self.entry.errors else UNKNOWN

    @property
    def fitting(self) -> str:
        """The streams in words, which are an estimate."""
        return estimate(self.streams)


def estimate(streams: float | None) -> str:
    """A number of streams in words."""
    if streams is None:
        return UNKNOWN
    if streams < 0.1:
        return "<0.1"
    return f"~{streams:,.0f}" if streams >= 10 else f"~{streams:.1f}"


def rounded(count: int) -> str:
    """Bytes for people, with the three digits that are published: 1.26 GB."""
    unit, bytes = ("GB", 10**9) if count >= 10**9 else ("MB", 10**6)
    return f"{count / bytes:.3g} {unit}"


def rate(error: Published) -> str:
    """An error rate and what it counts: WER 12.06."""
    return f"{error.measure} {error.value:g}"


def rows(speed: Speed, copies: Iterable[Cached], language: str | None = None) -> list[Row]:
    """The rows for a language, or all: the languages with most speakers first, those for any of many at the end.

    copies   what is in the cache

    Raises ConfigError if there is no such language.
    """
    here = {copy.hub_id for copy in copies if copy.whole}

    def row(spoken: str, entry: Entry) -> Row:
        return Row(spoken, entry, not entry.id or entry.id in here, speed.streams(entry.operations))

    if language is not None:
        return [row(_spoken(each, language), each) for each in for_language(language)]
    others = sorted({each for entry in entries() for each in entry.languages} - {*most_spoken()}, key=name_of)
    found = [row(name_of(each), entry) for each in (*most_spoken(), *others) for entry in _for(each)]
    return [*found, *(row(_spoken(each), each) for each in entries() if each.use in ("phonemes", "any"))]


def name_of(language: str) -> str:
    """The English name of a language, without what ISO 639 adds to tell it from others."""
    return name(language).partition(" (")[0]


def _for(language: str) -> Sequence[Entry]:
    return sorted((each for each in entries() if language in each.languages), key=lambda each: USES.index(each.use))


def _spoken(entry: Entry, language: str | None = None) -> str:
    if entry.count is not None:
        return ANY.format(int(entry.count.value))
    return name_of(language) if language else PHONEMES
