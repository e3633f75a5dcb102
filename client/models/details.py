"""All that is known of a model of the catalogue, with the page that each value was read from and the day."""

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from earshot_asr.client.models.rows import estimate, name_of, rate, rounded
from earshot_asr.client.models.speed import Speed
from earshot_asr.engine import lm
from earshot_asr.engine.catalogue import UNKNOWN, Entry, Known, Published
from earshot_asr.engine.files import LANGUAGE_MODEL
from earshot_asr.engine.hub import Cached
from earshot_asr.engine.hub.progress import size
from earshot_asr.engine.model import BUNDLED

WIDTH = 12
"""Of the names of values."""
Line = tuple[str, str, Known | Published | None]
"""A value's name, the value, and where it was read."""


def show(entry: Entry, speed: Speed, copies: list[Cached], console: Console) -> None:
    """Prints a model. copies: what the cache has of it."""
    for name, value, source in _known(entry):
        console.print(Text.assemble((f"{name:{WIDTH}}", "dim"), value), soft_wrap=True)
        if source is not None:
            console.print(Text(f"{'':{WIDTH}}{source.page}, read on {source.read}", style="dim"), soft_wrap=True)
    for name, value in _here(entry, speed, copies):
        console.print(Text.assemble((f"{name:{WIDTH}}", "dim"), value), soft_wrap=True)


def _known(entry: Entry) -> Iterator[Line]:
    yield "name", entry.name, None
    yield "on the hub", entry.id or "not needed: it comes with Earshot", None
    yield "for", _use(entry), None
    if entry.count:
        yield "languages", f"{int(entry.count.value):,}", entry.count
    if entry.listed:
        yield "among them", ", ".join(f"{each} ({name_of(each)})" for each in entry.languages), entry.listed
    yield "family", entry.family, None
    yield "licence", str(entry.licence.value) if entry.licence else UNKNOWN, entry.licence
    parameters = entry.parameters
    yield "parameters", f"{int(parameters.value) / 1e6:,.1f} million" if parameters else UNKNOWN, parameters
    yield "weights", rounded(int(entry.bytes.value)) if entry.bytes else UNKNOWN, entry.bytes
    for error in entry.errors:
        yield "error rate", f"{rate(error)} %: {error.on}", error
    if not entry.errors:
        yield "error rate", UNKNOWN, None


def _use(entry: Entry) -> str:
    languages = ", ".join(map(name_of, entry.languages))
    match entry.use:
        case "any":
            return "any of many languages; --language says which one" if entry.adapters else "any of many languages"
        case "phonemes":
            return "phonemes of any language"
        case "recommended" | "small":
            return f"{languages}, {entry.use}"
    return languages


def _here(entry: Entry, speed: Speed, copies: list[Cached]) -> Iterator[tuple[str, str]]:
    if not entry.id:
        yield "here", f"{BUNDLED}, with the language model {lm.BUNDLED}"
    elif not copies:
        yield "here", f"no; earshot models pull {entry.name}"
    for copy in copies:
        used = "" if copy.pinned or len(copies) == 1 else ", not used unless --revision names it"
        beside = ", with a language model" if (copy.folder / LANGUAGE_MODEL).is_dir() else ""
        part = "" if copy.whole else f", without weights; earshot models pull {entry.name}"
        yield "here", f"{size(copy.bytes)}, commit {copy.commit[:12]}{used}, {copy.folder}{beside}{part}"
    streams = estimate(speed.streams(entry.operations))
    yield "streams", streams if streams == UNKNOWN else f"{streams} on {speed.device}"
