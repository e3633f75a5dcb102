"""The catalogue of checkpoints (catalogue.toml), and which one a name or a language means. No torch."""

import tomllib
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from earshot_asr.engine.languages import code, match, matches

DATA = files("earshot_asr.engine") / "catalogue.toml"
UNKNOWN = "-"
"""Stands for what is not known, in the data and in what is printed of them."""
USES = ("recommended", "small", "other", "bundled", "phonemes", "any")
"""What an entry is for, the best first: for a language, for a small machine, ... or for any of many languages."""
OPERATIONS = {"bundled": 1.24e9, "base": 7.12e9, "large": 18.4e9, "1b": 51.3e9}
"""Multiplications with addition that a second of audio takes, by the shape of the encoder: wav2vec 2.0's and alike."""
LIKENESS, MOST_NEAR = 0.6, 3
"""How alike a name must be, from 0 to 1, to be offered instead of one that is not there; and how many are offered."""


@dataclass(frozen=True, slots=True)
class Known:
    """A value that was read, with the page and the day."""

    value: str | int
    page: str
    read: date


@dataclass(frozen=True, slots=True)
class Published:
    """An error rate in per cent that somebody published. measure: WER or CER; on: the recordings."""

    value: float
    measure: str
    on: str
    page: str
    read: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A checkpoint of the catalogue. None, or no errors: not known.

    name         for --model
    id           on the hub; empty for the bundled model
    use          one of USES
    languages    ISO 639-3 codes of those that it is for; none if that can't be said
    family       model_type in its config.json
    shape        of its encoder, a key of OPERATIONS; empty if not known
    licence, parameters, bytes, errors    bytes: of the file of weights
    adapters     whether each language has weights of its own, so that it must be told which one is spoken
    count        number of its languages, if they are many
    listed       where `languages` were found, if they are a few out of many
    """

    name: str
    id: str
    use: str
    languages: tuple[str, ...]
    family: str
    shape: str
    licence: Known | None
    parameters: Known | None
    bytes: Known | None
    errors: tuple[Published, ...]
    adapters: bool = False
    count: Known | None = None
    listed: Known | None = None

    @property
    def operations(self) -> float | None:
        """Multiplications with addition that a second of audio takes; None if its shape is not known."""
        return OPERATIONS.get(self.shape)


@dataclass(frozen=True, slots=True)
class Choice:
    """What --model, --language and --revision mean together.

    model           a folder or a hub id; None: the bundled model
    revision        of a hub id; None: the newest
    language        that it is to speak; None: it is not known, or all that it can
    bundled_will_do whether the bundled model may stand in: English was meant, and no model was named
    """

    model: str | None = None
    revision: str | None = None
    language: str | None = None
    bundled_will_do: bool = False


@cache
def entries() -> tuple[Entry, ...]:
    """All entries, in the order of the file: by language, the best for each first."""
    return tuple(map(_entry, _data()["model"]))


@cache
def most_spoken() -> tuple[str, ...]:
    """ISO 639-3 codes of the 20 languages with most speakers."""
    return tuple(_data()["most_spoken"])


def find(name: str) -> Entry | None:
    """The entry of that name or hub id, in capitals or not; None if there is none."""
    wanted = name.strip().lower()
    return next((each for each in entries() if wanted and wanted in (each.name, each.id.lower())), None)


def near(name: str) -> list[str]:
    """Names and hub ids of the catalogue that are like one that is not there, the nearest first."""
    names = {each.name: each.name for each in entries()}
    ids = {each.id.lower(): each.id for each in entries() if each.id}
    short = {part.rpartition("/")[2]: id for part, id in ids.items()}
    last = {part.rpartition("-")[2]: name for part, name in reversed(names.items())}  # german of xlsr-53-german
    spelled = {**last, **short, **ids, **names}
    wanted = name.strip().lower()
    found = [
        spelled[like]
        for part in dict.fromkeys((wanted, wanted.rpartition("/")[2]))
        for like in get_close_matches(part, spelled, n=MOST_NEAR, cutoff=LIKENESS)
    ] or [whole for part, whole in spelled.items() if wanted and wanted in part]
    return list(dict.fromkeys(found))[:MOST_NEAR]


def for_language(language: str) -> list[Entry]:
    """The entries for a language, by any of its names, the best first; then those for any of many languages.

    Raises ConfigError if there is no language of that name, or if it stands for several.
    """
    anything = [each for each in entries() if each.use == "any"]
    known = dict.fromkeys(each for entry in entries() for each in entry.languages)
    if code(language) and not matches(language, known):
        return anything
    wanted = match(language, list(known), "the catalogue")
    found = [each for each in entries() if wanted in each.languages]
    return [*sorted(found, key=lambda each: USES.index(each.use)), *(each for each in anything if each not in found)]


def choose(model: str | Path | None, language: str | None = None, revision: str | None = None) -> Choice:
    """The checkpoint that is meant: a folder, a name of the catalogue, a hub id, or the recommended one for a language.

    A folder comes before a name. Raises ConfigError if there is no such language, or the model is for others.
    """
    if model is None and language is None:
        return Choice(revision=revision)
    if model is None or Path(model).expanduser().is_dir():
        entry = None if language is None or model is not None else for_language(language)[0]
    else:
        entry = find(str(model))
    if entry is None:
        return Choice(str(model), revision, language)
    english = model is None and code(language or "") == "eng"
    return Choice(entry.id or None, revision, _spoken(entry, language), bundled_will_do=english)


def _spoken(entry: Entry, language: str | None) -> str | None:
    """The language that an entry is to speak: by its code, if it is for few. Raises ConfigError if it does not."""
    if entry.count is not None or not entry.languages:
        return language
    if language is not None:
        return match(language, entry.languages, entry.name)
    return entry.languages[0] if len(entry.languages) == 1 else None


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(DATA.read_text(encoding="utf-8"))


def _entry(table: dict[str, Any]) -> Entry:
    """An entry as the file has it, with None for what is not known."""
    fields: dict[str, Any] = {name: None if value == UNKNOWN else value for name, value in table.items()}
    for name in ("licence", "parameters", "bytes", "count", "listed"):
        if fields.get(name) is not None:
            fields[name] = Known(**fields[name])
    fields["errors"] = tuple(Published(**each) for each in fields["errors"] or ())
    fields["languages"] = tuple(fields["languages"])
    fields["shape"] = fields["shape"] or ""
    return Entry(**fields)
